"""A pod's place on the node: directories, hosts file, termination logs, cgroup, volumes. The only part
that touches the disk.

``LinuxPodHost`` does it; ``SimulatedPodHost`` does nothing, for nodes whose runtime is simulated.

Upstream counterpart: ``makePodDataDirs``, ``pod_container_manager``, ``kubelet_pods.go``. Neighbours:
``pod_sync`` calls it in order (``prepare``, ``container_view`` …), ``pod_workers`` ends with ``cleanup``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from knarr.api.core import v1 as core
from knarr.kit.chance import Chance
from knarr.kubelet.cgroups import Cgroups
from knarr.kubelet.dns import hosts_file
from knarr.kubelet.fields import PodFacts
from knarr.kubelet.machine import NodeUse, read_own_use, read_use
from knarr.kubelet.naming import TERMINATION_PATH_ANNOTATION, TERMINATION_POLICY_ANNOTATION, log_directory
from knarr.kubelet.resources import pod_cgroup, pod_cgroup_settings
from knarr.kubelet.runtime import contract as c
from knarr.kubelet.volumes.manager import MountedVolume, VolumeManager
from knarr.kubelet.volumes.mounts import container_devices, container_mounts

__all__ = ["ContainerView", "LinuxPodHost", "PodHost", "SimulatedPodHost", "termination_message"]

MESSAGE_LIMIT = 4096
LOG_MESSAGE_LIMIT, LOG_MESSAGE_LINES = 2048, 80

#: (mounts, devices)
ContainerView = tuple[list[c.Mount], list[c.Device]]


class PodHost(Protocol):
    unified_cgroups: bool

    async def prepare(self, pod: core.Pod, facts: PodFacts) -> Mapping[str, MountedVolume]:
        """Directories, cgroup and volumes; again and again without harm. Raises ``VolumeError``,
        ``OSError``.
        """
        ...

    async def refresh(self, pod: core.Pod, facts: PodFacts, *, max_age_s: float) -> None:
        """Bring the contents of the pod's volumes up to date. Raises ``VolumeError``."""
        ...

    def resize(self, pod: core.Pod) -> None:
        """Give the pod's cgroup what its spec says now. Raises ``OSError``."""
        ...

    def cgroup_parent(self, pod: core.Pod) -> str: ...

    def container_view(
        self,
        pod: core.Pod,
        container: Any,
        volumes: Mapping[str, MountedVolume],
        *,
        environment: Mapping[str, str],
        pod_ips: Sequence[str],
    ) -> ContainerView:
        """Raises ``PayloadError``, ``OSError``."""
        ...

    def container_started(self, pod: core.Pod, container: Any, container_id: str, log_path: str) -> None: ...

    async def cleanup(self, pod_uid: str, cgroup: str) -> None:
        """Volumes, directories and cgroup of a pod of which nothing runs. Raises ``OSError``."""
        ...

    def remove_logs(self, directory: str) -> None: ...

    def node_use(self) -> NodeUse | None:
        """What the node uses; None where only its containers are counted."""
        ...


class LinuxPodHost:
    def __init__(
        self,
        *,
        root_dir: Path,
        container_logs_dir: Path,
        pod_logs_dir: Path,
        cgroup_root: str,
        cluster_domain: str,
        volumes: VolumeManager,
        chance: Chance,
    ) -> None:
        self._root_dir = root_dir
        self._container_logs_dir = container_logs_dir
        self._pod_logs_dir = pod_logs_dir
        self._cgroup_root = cgroup_root
        self._cluster_domain = cluster_domain
        self._volumes = volumes
        self._chance = chance
        self._cgroups = Cgroups()
        self.unified_cgroups = self._cgroups.unified

    async def prepare(self, pod: core.Pod, facts: PodFacts) -> Mapping[str, MountedVolume]:
        self._make_directories(pod)
        self._cgroups.create(self.cgroup_parent(pod), pod_cgroup_settings(pod, unified=self.unified_cgroups))
        return await self._volumes.setup(pod, facts)

    def _make_directories(self, pod: core.Pod) -> None:
        directory = self._volumes.pod_dir(pod.metadata.uid)
        for name in ("volumes", "plugins", "containers"):
            (directory / name).mkdir(mode=0o750, parents=True, exist_ok=True)
        # A sandbox does not wait for the runtime to make its log directory.
        Path(log_directory(str(self._pod_logs_dir), pod)).mkdir(mode=0o755, parents=True, exist_ok=True)

    async def refresh(self, pod: core.Pod, facts: PodFacts, *, max_age_s: float) -> None:
        await self._volumes.refresh(pod, facts, max_age_s=max_age_s)

    def resize(self, pod: core.Pod) -> None:
        settings = pod_cgroup_settings(pod, unified=self.unified_cgroups)
        self._cgroups.create(self.cgroup_parent(pod), settings)

    def cgroup_parent(self, pod: core.Pod) -> str:
        return pod_cgroup(self._cgroup_root, pod)

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
        hosts_path = directory / "etc-hosts"
        if pod_ips or pod.spec.hostNetwork:
            host_text = ""
            with contextlib.suppress(OSError):
                host_text = Path("/etc/hosts").read_text()
            text = hosts_file(pod, ips=pod_ips, cluster_domain=self._cluster_domain, host_text=host_text)
            hosts_path.write_text(text)
            hosts_path.chmod(0o644)
        termination_log: Path | None = None
        if container.terminationMessagePath:
            parent = directory / "containers" / container.name
            parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            termination_log = parent / self._chance.suffix(8)
            termination_log.touch()
            # The container may run as anyone.
            termination_log.chmod(0o666)
        mounts = container_mounts(
            container,
            volumes,
            environment,
            pod_dir=directory,
            hosts_path=hosts_path if hosts_path.exists() else None,
            termination_log=termination_log,
        )
        return mounts, container_devices(container, volumes)

    def container_started(self, pod: core.Pod, container: Any, container_id: str, log_path: str) -> None:
        """The link by which collectors find a log: ``<pod>_<namespace>_<container>-<id>.log``."""
        name = f"{pod.metadata.name}_{pod.metadata.namespace}_{container.name}-{container_id}.log"
        if len(name) > 255:
            name = f"{name[:251]}.log"
        with contextlib.suppress(OSError):
            self._container_logs_dir.mkdir(parents=True, exist_ok=True)
            (self._container_logs_dir / name).symlink_to(log_path)

    async def cleanup(self, pod_uid: str, cgroup: str) -> None:
        await self._volumes.teardown(pod_uid)
        if cgroup:
            self._cgroups.remove(cgroup)

    def remove_logs(self, directory: str) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        with contextlib.suppress(OSError):
            for entry in os.scandir(self._container_logs_dir):
                if entry.is_symlink() and os.readlink(entry.path).startswith(f"{directory}/"):
                    os.unlink(entry.path)


    def node_use(self) -> NodeUse:
        if self._cgroup_root == "/":
            use = read_use(self._root_dir)
            return NodeUse(use.cpu_nanoseconds, use.memory_total_bytes - use.memory_available_bytes)
        # One of several nodes of this machine: its containers, and this process, which is its kubelet, proxy and DNS.
        cpu_nanoseconds, working_set_bytes = self._cgroups.use(self._cgroup_root)
        own = read_own_use()
        return NodeUse(cpu_nanoseconds + own.cpu_nanoseconds, working_set_bytes + own.working_set_bytes)


class SimulatedPodHost:
    """Nothing on the disk: what a simulated container would see does not matter."""

    unified_cgroups = True

    async def prepare(self, pod: core.Pod, facts: PodFacts) -> Mapping[str, MountedVolume]:
        return {}

    async def refresh(self, pod: core.Pod, facts: PodFacts, *, max_age_s: float) -> None:
        return None

    def resize(self, pod: core.Pod) -> None:
        return None

    def cgroup_parent(self, pod: core.Pod) -> str:
        return ""

    def container_view(
        self,
        pod: core.Pod,
        container: Any,
        volumes: Mapping[str, MountedVolume],
        *,
        environment: Mapping[str, str],
        pod_ips: Sequence[str],
    ) -> ContainerView:
        return [], []

    def container_started(self, pod: core.Pod, container: Any, container_id: str, log_path: str) -> None:
        return None

    async def cleanup(self, pod_uid: str, cgroup: str) -> None:
        return None

    def remove_logs(self, directory: str) -> None:
        return None

    def node_use(self) -> None:
        return None


def termination_message(status: c.ContainerStatus) -> str:
    """What an ended container left behind as its last word: its termination log, or the end of its log."""
    path = status.annotations.get(TERMINATION_PATH_ANNOTATION, "")
    policy = status.annotations.get(TERMINATION_POLICY_ANNOTATION, "")
    text = ""
    for mount in status.mounts:
        if path and mount.container_path == path:
            text = _tail(Path(mount.host_path), MESSAGE_LIMIT)
    if not text and policy == "FallbackToLogsOnError" and status.exit_code != 0:
        lines = _tail(Path(status.log_path), LOG_MESSAGE_LIMIT).splitlines()[-LOG_MESSAGE_LINES:]
        text = "\n".join(line.split(" ", 3)[3] for line in lines if line.count(" ") >= 3)
    return text


def _tail(path: Path, limit: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - limit))
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""
