"""Volumes of this node's pods: set up before the sandbox, kept current while the pod runs, taken down
after it.

Each volume becomes one directory below ``<root>/pods/<uid>/volumes/<plugin>/<name>`` (or a path of the
node's). What contains secrets lies in a tmpfs of its own and never touches the disk. Setting up is
idempotent, so a restarted kubelet or a second try after a failure just does it again.

Upstream counterpart: ``pkg/kubelet/volumemanager`` and ``pkg/volume/*``. Neighbours: ``payload``
(contents), ``mounts`` (what a container sees), ``objects`` (what is fetched).

Invariant: nothing is removed below a path that is still a mount.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from knarr.api import quantity
from knarr.api.core import v1 as core
from knarr.api.core.pod_claims import ephemeral_claim_name, not_for_pod
from knarr.api.errors import StatusError
from knarr.client.transport import TransportError
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.kubelet.env import Sources
from knarr.kubelet.fields import PodFacts
from knarr.kubelet.mounting import mount_tmpfs, mounts_below, unmount
from knarr.kubelet.objects import FRESH_S, ObjectSource, TokenSource
from knarr.kubelet.volumes import payload as p
from knarr.kubelet.volumes.atomic_writer import write_payload
from knarr.kubelet.volumes.host_path import check_host_path
from knarr.kubelet.volumes.ownership import set_group

__all__ = ["MountedVolume", "VolumeError", "VolumeManager"]

log = get_logger("volumes")

#: Setting up volumes copies and changes owners; a handful at once is all a disk is good for.
MAX_CONCURRENT = 16


class VolumeError(Exception):
    """A volume is not ready; the text is that of the FailedMount event."""


@dataclass(frozen=True, slots=True)
class MountedVolume:
    """Where a volume lies on the node. ``device`` volumes are passed on as such, not mounted."""

    path: Path
    read_only: bool = False
    device: bool = False


class VolumeManager:
    """All pods' volumes on one node."""

    def __init__(
        self,
        root_dir: Path,
        objects: ObjectSource,
        tokens: TokenSource,
        *,
        clock: Clock,
        mount_memory: Callable[..., None] = mount_tmpfs,
    ) -> None:
        self._mount_memory = mount_memory
        self._pods_dir = root_dir / "pods"
        self._objects = objects
        self._tokens = tokens
        self._clock = clock
        self._stamps: dict[str, object] = {}
        self._places = asyncio.Semaphore(MAX_CONCURRENT)

    def pod_dir(self, uid: str) -> Path:
        return self._pods_dir / uid

    async def setup(
        self, pod: core.Pod, facts: PodFacts, *, max_age_s: float = FRESH_S
    ) -> dict[str, MountedVolume]:
        """Make all of the pod's volumes ready, or bring them up to date. Raises ``VolumeError``."""
        async with self._places:
            sources = await self._sources(pod, max_age_s)
            mounted: dict[str, MountedVolume] = {}
            for volume in pod.spec.volumes:
                try:
                    mounted[volume.name] = await self._one(pod, volume, sources, facts)
                except (p.PayloadError, OSError, StatusError, TransportError) as error:
                    raise VolumeError(
                        f'MountVolume.SetUp failed for volume "{volume.name}" : {error}'
                    ) from error
            return mounted

    async def refresh(self, pod: core.Pod, facts: PodFacts, *, max_age_s: float) -> None:
        """Bring contents up to date; nothing is touched where nothing they depend on has changed."""
        if not any(_changes(volume) for volume in pod.spec.volumes):
            return
        sources = await self._sources(pod, max_age_s)
        objects = (*sources.config_maps.values(), *sources.secrets.values())
        versions = tuple(each.metadata.resourceVersion if each is not None else "" for each in objects)
        wanted = [p.token_requests(each.projected) for each in pod.spec.volumes if each.projected is not None]
        tokens = [await self._token(pod, key) for keys in wanted for key in keys]
        stamp = (versions, tuple(tokens), dict(pod.metadata.labels), dict(pod.metadata.annotations), facts)
        if self._stamps.get(pod.metadata.uid) == stamp:
            return
        await self.setup(pod, facts, max_age_s=max_age_s)
        self._stamps[pod.metadata.uid] = stamp

    async def _token(self, pod: core.Pod, key: p.TokenKey) -> str:
        try:
            return await self._tokens.get(pod, key)
        except (StatusError, TransportError) as error:
            raise VolumeError(f"failed to fetch token: {error}") from error

    async def _sources(self, pod: core.Pod, max_age_s: float) -> Sources:
        config_maps: set[str] = set()
        secrets: set[str] = set()
        for volume in pod.spec.volumes:
            if volume.configMap is not None:
                config_maps.add(volume.configMap.name)
            if volume.secret is not None:
                secrets.add(volume.secret.secretName)
            for part in volume.projected.sources if volume.projected is not None else ():
                if part.configMap is not None:
                    config_maps.add(part.configMap.name)
                if part.secret is not None:
                    secrets.add(part.secret.name)
        try:
            return await self._objects.sources(
                pod.metadata.namespace, config_maps, secrets, max_age_s=max_age_s
            )
        except (StatusError, TransportError) as error:
            names = " ".join(volume.name for volume in pod.spec.volumes)
            raise VolumeError(
                f"Unable to attach or mount volumes: unmounted volumes=[{names}]: {error}"
            ) from error

    async def _one(
        self, pod: core.Pod, volume: core.Volume, sources: Sources, facts: PodFacts
    ) -> MountedVolume:
        if volume.emptyDir is not None:
            return MountedVolume(await self._empty_dir(pod, volume.name, volume.emptyDir))
        if volume.hostPath is not None:
            path = Path(volume.hostPath.path)
            check_host_path(path, volume.hostPath.type or "")
            return MountedVolume(path)
        if volume.persistentVolumeClaim is not None:
            claim = volume.persistentVolumeClaim
            return await self._claim(pod, claim.claimName, read_only=claim.readOnly)
        if volume.ephemeral is not None:
            return await self._claim(pod, ephemeral_claim_name(pod, volume), read_only=False, own=True)
        if volume.csi is not None:
            driver = volume.csi.driver
            raise p.PayloadError(f"driver name {driver} not found in the list of registered CSI drivers")
        return await self._files(pod, volume, sources, facts)

    async def _files(
        self, pod: core.Pod, volume: core.Volume, sources: Sources, facts: PodFacts
    ) -> MountedVolume:
        if (config := volume.configMap) is not None:
            plugin, in_memory = "configmap", False
            content = p.config_map_payload(
                config.name,
                sources.config_maps.get(config.name),
                config.items,
                mode=config.defaultMode,
                optional=config.optional,
            )
        elif (secret := volume.secret) is not None:
            plugin, in_memory = "secret", True
            content = p.secret_payload(
                secret.secretName,
                sources.secrets.get(secret.secretName),
                secret.items,
                mode=secret.defaultMode,
                optional=secret.optional,
            )
        elif (downward := volume.downwardAPI) is not None:
            plugin, in_memory = "downward-api", True
            content = p.downward_payload(pod, downward.items, facts, mode=downward.defaultMode)
        elif (projected := volume.projected) is not None:
            plugin, in_memory = "projected", True
            keys = p.token_requests(projected)
            tokens = {key: await self._tokens.get(pod, key) for key in keys}
            content = p.projected_payload(pod, projected, sources, facts, tokens=tokens)
        else:
            raise p.PayloadError("no volume plugin matched")
        directory = self._directory(pod, plugin, volume.name)
        self._make(directory, in_memory=in_memory)
        if write_payload(directory, content, now=self._clock.now(), fs_group=_fs_group(pod)):
            log.debug("volume written", pod=pod.metadata.name, volume=volume.name)
        return MountedVolume(directory, read_only=True)

    async def _empty_dir(self, pod: core.Pod, name: str, source: core.EmptyDirVolumeSource) -> Path:
        directory = self._directory(pod, "empty-dir", name)
        fresh = not directory.is_dir()
        size = quantity.value(source.sizeLimit) if source.sizeLimit else 0
        self._make(directory, in_memory=source.medium == "Memory", size_bytes=size)
        if fresh:
            # Whoever the container runs as may write here.
            directory.chmod(0o777)
        await self._own(pod, directory)
        return directory

    def _make(self, directory: Path, *, in_memory: bool, size_bytes: int = 0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        if in_memory and not os.path.ismount(directory):
            self._mount_memory(directory, size_bytes=size_bytes, mode=0o777)

    async def _claim(
        self, pod: core.Pod, name: str, *, read_only: bool, own: bool = False
    ) -> MountedVolume:
        """A claim's volume; ``own``: a claim that was made for this pod."""
        namespace = pod.metadata.namespace
        claim = await self._objects.get(core.PersistentVolumeClaim, namespace, name)
        if claim is None:
            raise p.PayloadError(
                f'error processing PVC {namespace}/{name}: persistentvolumeclaim "{name}" not found'
            )
        if own and (problem := not_for_pod(claim, pod)):
            raise p.PayloadError(problem)
        if claim.status.phase != "Bound" or not claim.spec.volumeName:
            raise p.PayloadError(f"error processing PVC {namespace}/{name}: PVC is not bound")
        volume = await self._objects.get(core.PersistentVolume, "", claim.spec.volumeName)
        if volume is None:
            raise p.PayloadError(f'persistentvolume "{claim.spec.volumeName}" not found')
        spec = volume.spec
        path = _persistent_path(spec)
        device = spec.volumeMode == "Block"
        if not device and spec.local is not None and not read_only:
            await self._own(pod, path)
        return MountedVolume(path, read_only=read_only, device=device)

    async def _own(self, pod: core.Pod, directory: Path) -> None:
        group = _fs_group(pod)
        if group is None:
            return
        context = pod.spec.securityContext
        lazily = context is not None and context.fsGroupChangePolicy == "OnRootMismatch"
        await asyncio.to_thread(set_group, directory, group, only_on_mismatch=lazily)

    def _directory(self, pod: core.Pod, plugin: str, name: str) -> Path:
        return self.pod_dir(pod.metadata.uid) / "volumes" / f"kubernetes.io~{plugin}" / name

    async def teardown(self, uid: str) -> None:
        """Unmount and remove everything of the pod; raises ``OSError`` when something will not go."""
        self._tokens.forget(uid)
        self._stamps.pop(uid, None)
        directory = self.pod_dir(uid)
        if directory.is_dir():
            await asyncio.to_thread(_remove_tree, directory)

    def pods_on_disk(self) -> set[str]:
        with contextlib.suppress(FileNotFoundError):
            return {entry.name for entry in os.scandir(self._pods_dir) if entry.is_dir()}
        return set()


def _changes(volume: core.Volume) -> bool:
    """Whether what the volume holds can change while the pod runs."""
    return any((volume.configMap, volume.secret, volume.downwardAPI, volume.projected))


def _persistent_path(spec: core.PersistentVolumeSpec) -> Path:
    """Where a persistent volume of this node lies. Raises ``PayloadError``."""
    if spec.local is not None:
        path = Path(spec.local.path)
        if not path.exists():
            raise p.PayloadError(f'path "{path}" does not exist')
        return path
    if spec.hostPath is not None:
        path = Path(spec.hostPath.path)
        check_host_path(path, spec.hostPath.type or "")
        path.mkdir(parents=True, exist_ok=True)
        return path
    if spec.csi is not None:
        raise p.PayloadError(f"driver name {spec.csi.driver} not found in the list of registered CSI drivers")
    raise p.PayloadError("no volume plugin matched")


def _remove_tree(directory: Path) -> None:
    for point in mounts_below(directory):
        unmount(point)
    shutil.rmtree(directory)


def _fs_group(pod: core.Pod) -> int | None:
    return pod.spec.securityContext.fsGroup if pod.spec.securityContext is not None else None
