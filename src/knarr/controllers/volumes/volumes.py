"""The binder's other half: a volume becomes available, and is reclaimed when its claim is gone.

Upstream's counterpart is ``pkg/controller/volume/persistentvolume``.
"""

from __future__ import annotations

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.client.events import NORMAL, WARNING
from knarr.cloud.contract import ProviderError, Volumes
from knarr.controllers.framework import Controller, ControllerContext, Key
from knarr.controllers.volumes import binding

RETRY_S = 10.0


class VolumeReclaimer(Controller):
    name = "persistentvolume-reclaimer"

    def __init__(self, context: ControllerContext, provider: Volumes | None) -> None:
        super().__init__(context)
        self._provider = provider
        self._volumes = self.watch(core.PersistentVolume)
        self._claims = self.lister(core.PersistentVolumeClaim)
        self.informer(core.PersistentVolumeClaim).add_handler(self._claim_changed)

    def _claim_changed(
        self, event: str, old: core.PersistentVolumeClaim | None, new: core.PersistentVolumeClaim | None
    ) -> None:
        claim = new or old
        assert claim is not None
        if claim.spec.volumeName:
            self.queue.add(("", claim.spec.volumeName))

    async def reconcile(self, key: Key) -> None:
        volume = self._volumes.get(*key)
        if volume is None:
            return
        reference = volume.spec.claimRef
        if reference is None:
            await self._phase(volume, "Available")
            return
        if not reference.uid:
            # Promised to a claim that has yet to come.
            await self._phase(volume, "Available")
            return
        if await self._claim_is_gone(reference):
            await self._phase(volume, "Released")
            await self._reclaim(key, volume)

    async def _claim_is_gone(self, reference: core.ObjectReference) -> bool:
        held = self._claims.get(reference.namespace, reference.name)
        if held is not None and held.metadata.uid == reference.uid:
            return False
        try:
            fresh = await self.client.get(
                core.PersistentVolumeClaim, reference.name, namespace=reference.namespace
            )
        except StatusError as error:
            if error.code == 404:
                return True
            raise
        return fresh.metadata.uid != reference.uid

    async def _phase(self, volume: core.PersistentVolume, phase: str) -> None:
        if volume.status.phase == phase:
            return
        changed = codec.copy(volume)
        changed.status.phase = phase
        await self.client.update_status(changed)

    async def _reclaim(self, key: Key, volume: core.PersistentVolume) -> None:
        if (
            volume.spec.persistentVolumeReclaimPolicy != "Delete"
            or volume.metadata.deletionTimestamp is not None
        ):
            return
        if self._provider is None or (
            volume.metadata.annotations.get(binding.PROVISIONED_BY) != self._provider.provisioner
        ):
            return
        try:
            removed = await self._provider.remove(volume)
        except ProviderError as error:
            self.recorder.event(volume, WARNING, "VolumeFailedDelete", str(error))
            self.queue.add_after(key, RETRY_S)
            return
        if not removed:
            return
        self.recorder.event(volume, NORMAL, "VolumeDelete", "Volume deleted")
        name, uid = volume.metadata.name, volume.metadata.uid
        await self.client.delete(core.PersistentVolume, name, uid=uid, missing_ok=True)
