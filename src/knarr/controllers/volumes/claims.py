"""The binder's one half: a claim looks for a volume, or has one made.

Binding is four writes in an order that can be taken up again after any of them: the volume promises itself to
the claim, then says it is bound; the claim names the volume, then says it is bound.

Upstream's counterpart is ``pkg/controller/volume/persistentvolume`` and, for provisioning,
``sig-storage-lib-external-provisioner``.
"""

from __future__ import annotations

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.core.pod_claims import BIND_COMPLETED, SELECTED_NODE
from knarr.api.errors import StatusError
from knarr.api.storage import v1 as storage
from knarr.client.events import NORMAL, WARNING
from knarr.cloud.contract import ProviderError, Volumes
from knarr.controllers.framework import Controller, ControllerContext, Key, key_of
from knarr.controllers.volumes import binding

WAIT_FOR_CONSUMER = "WaitForFirstConsumer"
#: A claim that waits is looked at again now and then, as upstream's resync does.
AGAIN_S = 15.0


class ClaimBinder(Controller):
    name = "persistentvolume-binder-controller"
    #: Two claims must not be promised the same volume.
    workers = 1

    def __init__(self, context: ControllerContext, provider: Volumes | None) -> None:
        super().__init__(context)
        self._provider = provider
        self._claims = self.watch(core.PersistentVolumeClaim)
        self._volumes = self.lister(core.PersistentVolume)
        self._classes = self.lister(storage.StorageClass)
        self._nodes = self.lister(core.Node)
        self.informer(core.PersistentVolume).add_handler(self._volume_changed)

    def _volume_changed(
        self, event: str, old: core.PersistentVolume | None, new: core.PersistentVolume | None
    ) -> None:
        volume = new or old
        assert volume is not None
        if volume.spec.claimRef is not None:
            self.queue.add((volume.spec.claimRef.namespace, volume.spec.claimRef.name))
            return
        for claim in self._claims.list():
            if not claim.spec.volumeName and binding.class_of(claim) == volume.spec.storageClassName:
                self.queue.add(key_of(claim))

    async def reconcile(self, key: Key) -> None:
        claim = self._claims.get(*key)
        if claim is None:
            return
        if binding.is_bound(claim):
            await self._check_bound(claim)
        elif claim.spec.volumeName:
            volume = self._volumes.get("", claim.spec.volumeName)
            if volume is not None and (volume.spec.claimRef is None or binding.is_for(volume, claim)):
                await self._bind(claim, volume)
        elif claim.metadata.deletionTimestamp is None:
            await self._find(claim)

    async def _check_bound(self, claim: core.PersistentVolumeClaim) -> None:
        volume = self._volumes.get("", claim.spec.volumeName)
        if volume is None:
            if claim.status.phase != "Lost":
                changed = codec.copy(claim)
                changed.status.phase = "Lost"
                await self.client.update_status(changed)
                text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
                self.recorder.event(claim, WARNING, "ClaimLost", text)
        elif claim.status.phase != "Bound":
            await self._bind(claim, volume)

    async def _find(self, claim: core.PersistentVolumeClaim) -> None:
        """A volume that is there, one that can be made, or patience."""
        waiting = self._waits_for_consumer(claim)
        node = claim.metadata.annotations.get(SELECTED_NODE, "")
        if not waiting or node or self._promised(claim):
            volume = binding.best(self._volumes.list(), claim)
            if volume is not None:
                await self._bind(claim, volume)
                return
        if waiting and not node:
            text = "waiting for first consumer to be created before binding"
            self.recorder.event(claim, NORMAL, "WaitForFirstConsumer", text)
            self.queue.add_after(key_of(claim), AGAIN_S)
            return
        name = binding.class_of(claim)
        if not name:
            text = "no persistent volumes available for this claim and no storage class is set"
            self.recorder.event(claim, NORMAL, "FailedBinding", text)
            self.queue.add_after(key_of(claim), AGAIN_S)
            return
        await self._provision(claim, node)

    def _promised(self, claim: core.PersistentVolumeClaim) -> bool:
        return any(binding.is_for(volume, claim) for volume in self._volumes.list())

    def _waits_for_consumer(self, claim: core.PersistentVolumeClaim) -> bool:
        chosen = self._classes.get("", binding.class_of(claim))
        return chosen is not None and chosen.volumeBindingMode == WAIT_FOR_CONSUMER

    async def _provision(self, claim: core.PersistentVolumeClaim, node_name: str) -> None:
        chosen = self._classes.get("", binding.class_of(claim))
        if chosen is None:
            text = f'storageclass.storage.k8s.io "{binding.class_of(claim)}" not found'
            self.recorder.event(claim, WARNING, "ProvisioningFailed", text)
            self.queue.add_after(key_of(claim), AGAIN_S)
            return
        if self._provider is None or chosen.provisioner != self._provider.provisioner:
            await self._leave_to_others(claim, chosen)
            return
        node = self._nodes.get("", node_name) if node_name else None
        try:
            volume = await self._provider.provision(claim, chosen, node)
        except ProviderError as error:
            text = f'failed to provision volume with StorageClass "{chosen.metadata.name}": {error}'
            self.recorder.event(claim, WARNING, "ProvisioningFailed", text)
            self.queue.add_after(key_of(claim), AGAIN_S)
            return
        volume.spec.claimRef = binding.claim_reference(claim)
        volume.metadata.annotations = {
            **volume.metadata.annotations,
            binding.PROVISIONED_BY: self._provider.provisioner,
        }
        try:
            created = await self.client.create(volume)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            return
        text = f"Successfully provisioned volume {created.metadata.name}"
        self.recorder.event(claim, NORMAL, "ProvisioningSucceeded", text)
        await self._bind(claim, created)

    async def _leave_to_others(self, claim: core.PersistentVolumeClaim, chosen: storage.StorageClass) -> None:
        """An external provisioner is told by an annotation; it may or may not be running."""
        if claim.metadata.annotations.get(binding.STORAGE_PROVISIONER) != chosen.provisioner:
            patch = {"metadata": {"annotations": {binding.STORAGE_PROVISIONER: chosen.provisioner}}}
            namespace, name = key_of(claim)
            await self.client.patch(core.PersistentVolumeClaim, name, patch, namespace=namespace)
        text = (
            f"Waiting for a volume to be created either by the external provisioner '{chosen.provisioner}' or manually "
            "by the system administrator. If volume creation is delayed, please verify that the provisioner is running "
            "and correctly registered."
        )
        self.recorder.event(claim, NORMAL, "ExternalProvisioning", text)

    async def _bind(self, claim: core.PersistentVolumeClaim, volume: core.PersistentVolume) -> None:
        volume = await self._bind_volume(claim, volume)
        claim = await self._bind_claim(claim, volume)
        changed = codec.copy(claim)
        changed.status.phase = "Bound"
        changed.status.accessModes = list(volume.spec.accessModes)
        changed.status.capacity = dict(volume.spec.capacity)
        if changed.status != claim.status:
            await self.client.update_status(changed)

    async def _bind_volume(
        self, claim: core.PersistentVolumeClaim, volume: core.PersistentVolume
    ) -> core.PersistentVolume:
        changed = codec.copy(volume)
        reference = binding.claim_reference(claim)
        if volume.spec.claimRef is None:
            changed.metadata.annotations = {
                **changed.metadata.annotations,
                binding.BOUND_BY_CONTROLLER: "yes",
            }
        if volume.spec.claimRef is None or volume.spec.claimRef.uid != claim.metadata.uid:
            changed.spec.claimRef = reference
            changed = await self.client.update(changed)
        if changed.status.phase != "Bound":
            changed.status.phase = "Bound"
            changed = await self.client.update_status(changed)
        return changed

    async def _bind_claim(
        self, claim: core.PersistentVolumeClaim, volume: core.PersistentVolume
    ) -> core.PersistentVolumeClaim:
        annotations = {**claim.metadata.annotations, BIND_COMPLETED: "yes"}
        if not claim.spec.volumeName:
            annotations[binding.BOUND_BY_CONTROLLER] = "yes"
        if claim.spec.volumeName == volume.metadata.name and annotations == claim.metadata.annotations:
            return claim
        changed = codec.copy(claim)
        changed.spec.volumeName = volume.metadata.name
        changed.metadata.annotations = annotations
        return await self.client.update(changed)
