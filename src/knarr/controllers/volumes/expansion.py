"""A claim that asks for more gets more, where its class allows that.

What is under way stands in the claim's status at every moment, so that a crash loses nothing: ``allocatedResources`` and
``allocatedResourceStatuses`` with the condition ``Resizing`` before the provider is asked, the volume's new capacity once it has grown, and
then either the claim's new capacity or, where the node still has to enlarge the file system, ``FileSystemResizePending``.

Upstream's counterpart is ``pkg/controller/volume/expand`` with ``external-resizer``, whose events these are. Neighbours: admission lets only
claims grow whose class has ``allowVolumeExpansion``; ``cloud.contract.Volumes`` does it.
"""

from __future__ import annotations

from datetime import datetime

from knarr.api import codec, conditions, quantity
from knarr.api.core import v1 as core
from knarr.api.quantity import Quantity
from knarr.client.events import NORMAL, WARNING
from knarr.cloud.contract import ProviderError, Volumes
from knarr.controllers.framework import Controller, ControllerContext, Key, key_of
from knarr.controllers.volumes import binding
from knarr.kit.clock import rfc3339

RESIZER = "volume.kubernetes.io/storage-resizer"
RESIZING, FILE_SYSTEM_PENDING = "Resizing", "FileSystemResizePending"
CONTROLLER_RESIZING, NODE_PENDING = "ControllerResizeInProgress", "NodeResizePending"
NODE_RESIZING = "NodeResizeInProgress"
PENDING_TEXT = "Waiting for user to (re-)start a pod to finish file system resize of volume on node."
#: What the provider could not do is tried again after this long.
AGAIN_S = 15.0
STORAGE = "storage"


class VolumeExpander(Controller):
    name = "persistentvolume-expander-controller"

    def __init__(self, context: ControllerContext, provider: Volumes | None) -> None:
        super().__init__(context)
        self._provider = provider
        #: Until when a claim's provider is left alone after a failure; an entry lives no longer than its claim.
        self._not_before_s: dict[Key, float] = {}
        self._claims = self.watch(core.PersistentVolumeClaim)
        self._volumes = self.lister(core.PersistentVolume)

    async def reconcile(self, key: Key) -> None:
        claim = self._claims.get(*key)
        if claim is None:
            self._not_before_s.pop(key, None)
            return
        left_s = self._not_before_s.get(key, 0.0) - self.clock.monotonic_s()
        if left_s > 0:
            self.queue.add_after(key, left_s)
            return
        if claim.metadata.deletionTimestamp is not None or not binding.is_bound(claim):
            return
        volume = self._volumes.get("", claim.spec.volumeName)
        if volume is None or not binding.is_for(volume, claim) or not asks_for_more(claim):
            return
        if self._provider is None or (
            volume.metadata.annotations.get(binding.PROVISIONED_BY) != self._provider.provisioner
        ):
            await self._leave_to_others(claim, volume)
            return
        await self._expand(claim, volume, self._provider)

    async def _expand(
        self, claim: core.PersistentVolumeClaim, volume: core.PersistentVolume, provider: Volumes
    ) -> None:
        size = claim.spec.resources.requests[STORAGE]
        claim = await self._write(claim, begun(claim, size, self.clock.now()))
        text = f"External resizer is resizing volume {volume.metadata.name}"
        self.recorder.event(claim, NORMAL, "Resizing", text)
        try:
            node_is_needed = await provider.expand(volume, size)
        except ProviderError as error:
            text = f'resize volume "{volume.metadata.name}" by resizer "{provider.provisioner}" failed: {error}'
            self.recorder.event(claim, WARNING, "VolumeResizeFailed", text)
            self._not_before_s[key_of(claim)] = self.clock.monotonic_s() + AGAIN_S
            self.queue.add_after(key_of(claim), AGAIN_S)
            return
        if quantity.compare(volume.spec.capacity.get(STORAGE, "0"), size) < 0:
            grown = codec.copy(volume)
            grown.spec.capacity = {**grown.spec.capacity, STORAGE: size}
            await self.client.update(grown)
        if node_is_needed:
            await self._write(claim, waiting_for_node(claim, self.clock.now()))
            text = "Require file system resize of volume on node"
            self.recorder.event(claim, NORMAL, "FileSystemResizeRequired", text)
            return
        await self._write(claim, finished(claim, size))
        self.recorder.event(claim, NORMAL, "VolumeResizeSuccessful", "Resize volume succeeded")

    async def _leave_to_others(self, claim: core.PersistentVolumeClaim, volume: core.PersistentVolume) -> None:
        """A driver's own resizer is told by an annotation; it may or may not be running."""
        provisioner = volume.metadata.annotations.get(binding.PROVISIONED_BY, "")
        if not provisioner or claim.metadata.annotations.get(RESIZER) == provisioner:
            return
        patch = {"metadata": {"annotations": {RESIZER: provisioner}}}
        namespace, name = key_of(claim)
        await self.client.patch(core.PersistentVolumeClaim, name, patch, namespace=namespace)
        text = "waiting for an external controller to expand this PVC"
        self.recorder.event(claim, NORMAL, "ExternalExpanding", text)

    async def _write(
        self, claim: core.PersistentVolumeClaim, status: core.PersistentVolumeClaimStatus
    ) -> core.PersistentVolumeClaim:
        if status == claim.status:
            return claim
        changed = codec.copy(claim)
        changed.status = status
        return await self.client.update_status(changed)


def asks_for_more(claim: core.PersistentVolumeClaim) -> bool:
    """Whether there is something to do here; from ``NodeResizePending`` on it is the node's turn, unless still more is wanted."""
    status = claim.status
    wanted = claim.spec.resources.requests.get(STORAGE, "0")
    if status.allocatedResourceStatuses.get(STORAGE) in (NODE_PENDING, NODE_RESIZING):
        return quantity.compare(wanted, status.allocatedResources.get(STORAGE, "0")) > 0
    return quantity.compare(wanted, status.capacity.get(STORAGE, "0")) > 0


def begun(claim: core.PersistentVolumeClaim, size: Quantity, now: datetime) -> core.PersistentVolumeClaimStatus:
    """The claim's status while the provider is at work."""
    status = codec.copy(claim.status)
    status.allocatedResources = {**status.allocatedResources, STORAGE: size}
    status.allocatedResourceStatuses = {**status.allocatedResourceStatuses, STORAGE: CONTROLLER_RESIZING}
    _say(status, RESIZING, "", now)
    return status


def waiting_for_node(claim: core.PersistentVolumeClaim, now: datetime) -> core.PersistentVolumeClaimStatus:
    """The volume has grown, its file system has not."""
    status = codec.copy(claim.status)
    status.allocatedResourceStatuses = {**status.allocatedResourceStatuses, STORAGE: NODE_PENDING}
    conditions.remove(status.conditions, RESIZING)
    _say(status, FILE_SYSTEM_PENDING, PENDING_TEXT, now)
    return status


def finished(claim: core.PersistentVolumeClaim, size: Quantity) -> core.PersistentVolumeClaimStatus:
    """All of it can be used."""
    status = codec.copy(claim.status)
    status.capacity = {**status.capacity, STORAGE: size}
    status.allocatedResourceStatuses = {
        name: held for name, held in status.allocatedResourceStatuses.items() if name != STORAGE
    }
    for name in (RESIZING, FILE_SYSTEM_PENDING):
        conditions.remove(status.conditions, name)
    return status


def _say(status: core.PersistentVolumeClaimStatus, kind: str, message: str, now: datetime) -> None:
    held = conditions.get(status.conditions, kind)
    if held is None or held.status != "True":
        made = core.PersistentVolumeClaimCondition(
            type=kind, status="True", message=message, lastTransitionTime=rfc3339(now)
        )
        conditions.put(status.conditions, made)
