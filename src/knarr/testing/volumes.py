"""A simulated node whose pods' volumes are real directories: what containers would read can be read by a test.

The kubelet's own ``VolumeManager`` writes them, below a directory that the test gives; nothing is mounted, so what belongs in memory lies there
as well. A volume that has to be mounted to be seen (a sub-path) is not for this host.

Neighbours: ``node`` uses it where a cluster is given a ``host_root``; ``kubelet.pod_host`` has the real host and the one that writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from knarr.api.core import v1 as core
from knarr.client.client import Client
from knarr.kit.clock import Clock
from knarr.kubelet.fields import PodFacts
from knarr.kubelet.objects import ObjectSource, TokenSource
from knarr.kubelet.pod_host import ContainerView, SimulatedPodHost
from knarr.kubelet.runtime import contract as c
from knarr.kubelet.runtime.simulated import SimulatedRuntime
from knarr.kubelet.volumes.manager import MountedVolume, VolumeManager
from knarr.kubelet.volumes.mounts import container_mounts

__all__ = ["WritingPodHost", "path_seen_by"]


class WritingPodHost(SimulatedPodHost):
    """Volumes below ``root``, and no other trace of a pod."""

    def __init__(self, root: Path, client: Client, clock: Clock) -> None:
        self._volumes = VolumeManager(
            root,
            ObjectSource(client, clock),
            TokenSource(client, clock),
            clock=clock,
            mount_memory=_make_plain,
        )

    async def prepare(self, pod: core.Pod, facts: PodFacts) -> Mapping[str, MountedVolume]:
        return await self._volumes.setup(pod, facts)

    async def refresh(self, pod: core.Pod, facts: PodFacts, *, max_age_s: float) -> None:
        await self._volumes.refresh(pod, facts, max_age_s=max_age_s)

    def container_view(
        self,
        pod: core.Pod,
        container: Any,
        volumes: Mapping[str, MountedVolume],
        *,
        environment: Mapping[str, str],
        pod_ips: Sequence[str],
    ) -> ContainerView:
        directory = self._volumes.pod_dir(pod.metadata.uid)
        return container_mounts(container, volumes, environment, pod_dir=directory), []

    async def cleanup(self, pod_uid: str, cgroup: str) -> None:
        await self._volumes.teardown(pod_uid)


def _make_plain(target: Path, *, size_bytes: int = 0, mode: int = 0o755) -> None:
    target.chmod(mode)


async def path_seen_by(runtime: SimulatedRuntime, container_id: str, path: str) -> Path:
    """Where on this machine lies what a container sees at ``path``. Raises ``KeyError`` for what no volume holds."""
    status = await runtime.container_status(container_id.rpartition("/")[2])
    holding = [each for each in status.mounts if _is_below(path, each)]
    if not holding:
        raise KeyError(f"expected {path} to lie in a volume, the mounts are {[each.container_path for each in status.mounts]}")
    mount = max(holding, key=lambda each: len(each.container_path))
    return Path(mount.host_path) / path.removeprefix(mount.container_path).lstrip("/")


def _is_below(path: str, mount: c.Mount) -> bool:
    return path == mount.container_path or path.startswith(mount.container_path.rstrip("/") + "/")
