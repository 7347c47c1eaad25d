"""Attaching volumes to the nodes whose pods need them, and detaching them afterwards.

A VolumeAttachment says what is wanted; the driver's attacher sees it and says when it is done. Only then is the volume in
``node.status.volumesAttached``, which the kubelet waits for; it leaves that list before it is detached. A volume that a node still has mounted
is not taken away, unless the node has not answered for six minutes or is out of service.

Upstream's counterpart is ``pkg/controller/volume/attachdetach`` with its CSI plugin. Difference: nothing is remembered but how long an unmount
has been waited for; everything else is in the objects. Neighbours: ``attaching`` decides; the kubelet's ``volumes.attachments`` waits.
"""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.storage import v1 as storage
from knarr.api.storage.attachment import attachment_name, is_attachable, unique_name
from knarr.client.client import MERGE_PATCH
from knarr.client.events import NORMAL, WARNING
from knarr.controllers.framework import Controller, ControllerContext, Key, key_of
from knarr.controllers.volumes import attaching, binding
from knarr.controllers.volumes.protection import BY_CLAIM, claims_of

BY_NODE, BY_VOLUME = "node", "volume"


class AttachDetachController(Controller):
    name = "persistentvolume-attach-detach-controller"
    #: Two nodes must not be given the same volume.
    workers = 1

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._nodes = self.watch(core.Node)
        self._pods = self.lister(core.Pod)
        self._pods.add_index(BY_NODE, lambda pod: (pod.spec.nodeName,) if pod.spec.nodeName else ())
        self._pods.add_index(BY_CLAIM, claims_of)
        self._claims = self.lister(core.PersistentVolumeClaim)
        self._volumes = self.lister(core.PersistentVolume)
        self._drivers = self.lister(storage.CSIDriver)
        self._attachments = self.lister(storage.VolumeAttachment)
        self._attachments.add_index(BY_NODE, lambda each: (each.spec.nodeName,))
        self._attachments.add_index(BY_VOLUME, _volume_of)
        #: Since when an unmount is waited for, by attachment, and ends with it.
        self._waiting_since_s: dict[str, float] = {}
        #: What was said last of the volumes that a node wants and does not have.
        self._said: dict[str, dict[str, str]] = {}
        self.informer(core.Pod).add_handler(self._pod_changed)
        self.informer(core.PersistentVolumeClaim).add_handler(self._claim_changed)
        self.informer(core.PersistentVolume).add_handler(self._volume_changed)
        self.informer(storage.VolumeAttachment).add_handler(self._attachment_changed)

    def _pod_changed(self, event: str, old: core.Pod | None, new: core.Pod | None) -> None:
        pod = new or old
        assert pod is not None
        if not pod.spec.nodeName or not claims_of(pod):
            return
        if old is None or new is None or not old.spec.nodeName or attaching.has_ended(new) != attaching.has_ended(old):
            self.queue.add(("", pod.spec.nodeName))

    def _claim_changed(
        self, event: str, old: core.PersistentVolumeClaim | None, new: core.PersistentVolumeClaim | None
    ) -> None:
        if new is not None and new.spec.volumeName:
            self._wake_users(key_of(new))

    def _volume_changed(
        self, event: str, old: core.PersistentVolume | None, new: core.PersistentVolume | None
    ) -> None:
        """The claim may have been seen to be bound before its volume was seen at all."""
        if old is None and new is not None and new.spec.claimRef is not None:
            self._wake_users((new.spec.claimRef.namespace, new.spec.claimRef.name))

    def _wake_users(self, claim: Key) -> None:
        for pod in self._pods.by_index(BY_CLAIM, "/".join(claim)):
            if pod.spec.nodeName:
                self.queue.add(("", pod.spec.nodeName))

    def _attachment_changed(
        self, event: str, old: storage.VolumeAttachment | None, new: storage.VolumeAttachment | None
    ) -> None:
        attachment = new or old
        assert attachment is not None
        self.queue.add(("", attachment.spec.nodeName))
        if new is not None:
            return
        self._waiting_since_s.pop(attachment.metadata.name, None)
        # Another node may have waited for the volume.
        volume = self._volumes.get("", attachment.spec.source.persistentVolumeName or "")
        self._volume_changed(event, None, volume)

    async def reconcile(self, key: Key) -> None:
        name = key[1]
        node = self._nodes.get("", name)
        ours = [each for each in self._attachments.by_index(BY_NODE, name) if attaching.is_ours(each)]
        held = {each.spec.source.persistentVolumeName: each for each in ours}
        wanted: dict[str, attaching.Use] = {}
        if node is not None and attaching.is_managed(node):
            wanted = attaching.wanted_on(self._pods.by_index(BY_NODE, name), self._volume_for, self._is_attachable)
        self._forget_said(name, {pv for pv in wanted if pv not in held or not held[pv].status.attached})
        leaving = [each for pv, each in held.items() if pv is not None and pv not in wanted]
        going = [each for each in leaving if self._may_go(key, node, each)]
        attached = [
            use
            for pv, use in wanted.items()
            if pv in held and held[pv].status.attached and held[pv].metadata.deletionTimestamp is None
        ]
        if node is not None:
            kept = [self._volumes.get("", _volume_of(each)[0]) for each in leaving if each not in going]
            await self._tell_node(node, attached, [each for each in kept if each is not None])
        for attachment in going:
            if attachment.metadata.deletionTimestamp is None:
                await self.client.delete(storage.VolumeAttachment, attachment.metadata.name, missing_ok=True)
        for pv, use in wanted.items():
            if pv not in held:
                await self._attach(name, use)
            else:
                self._tell_failure(held[pv], use)

    def _volume_for(self, namespace: str, name: str) -> core.PersistentVolume | None:
        claim = self._claims.get(namespace, name)
        if claim is None or not binding.is_bound(claim):
            return None
        return self._volumes.get("", claim.spec.volumeName)

    def _is_attachable(self, volume: core.PersistentVolume) -> bool:
        driver = self._drivers.get("", volume.spec.csi.driver) if volume.spec.csi is not None else None
        return is_attachable(volume, driver)

    def _may_go(self, key: Key, node: core.Node | None, attachment: storage.VolumeAttachment) -> bool:
        volume = self._volumes.get("", attachment.spec.source.persistentVolumeName or "")
        if volume is None or volume.spec.csi is None:
            return True
        now_s = self.clock.monotonic_s()
        waited_s = now_s - self._waiting_since_s.setdefault(attachment.metadata.name, now_s)
        if attaching.may_detach(node, volume, waited_s=waited_s):
            return True
        # From then on a change of the node decides, which comes as an event.
        if waited_s < attaching.UNMOUNT_TIMEOUT_S:
            self.queue.add_after(key, attaching.UNMOUNT_TIMEOUT_S - waited_s)
        return False

    async def _tell_node(
        self, node: core.Node, attached: list[attaching.Use], kept: list[core.PersistentVolume]
    ) -> None:
        """Bring ``volumesAttached`` up to date: what has been attached, and what could not be detached yet."""
        before = {each.name for each in node.status.volumesAttached}
        fresh = [use for use in attached if unique_name(use.volume) not in before]
        still = [name for each in kept if (name := unique_name(each)) in before]
        names = sorted({unique_name(use.volume) for use in attached} | set(still))
        for use in attached:
            self._waiting_since_s.pop(attachment_name(use.volume, node.metadata.name), None)
        if names == [each.name for each in node.status.volumesAttached]:
            return
        listed = [codec.to_dict(core.AttachedVolume(name=name)) for name in names]
        patch = {"metadata": {"uid": node.metadata.uid}, "status": {"volumesAttached": listed or None}}
        await self.client.patch(
            core.Node, node.metadata.name, patch, patch_type=MERGE_PATCH, subresource="status"
        )
        for use in fresh:
            text = f'AttachVolume.Attach succeeded for volume "{use.volume.metadata.name}" '
            self._tell_pods(use.pods, NORMAL, "SuccessfulAttachVolume", text)

    async def _attach(self, node: str, use: attaching.Use) -> None:
        others = self._attachments.by_index(BY_VOLUME, use.volume.metadata.name)
        if others and attaching.is_exclusive(use.volume):
            self._refuse(node, use)
            return
        try:
            await self.client.create(attaching.build_attachment(use.volume, node))
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise

    def _refuse(self, node: str, use: attaching.Use) -> None:
        """Another node has the volume: said once, until that has changed."""
        reference = use.volume.spec.claimRef
        key = f"{reference.namespace}/{reference.name}" if reference is not None else ""
        users = [
            pod
            for pod in self._pods.by_index(BY_CLAIM, key)
            if pod.spec.nodeName not in ("", node) and not attaching.has_ended(pod)
        ]
        text = attaching.multi_attach_text(use.volume, use.pods[0].metadata.namespace, users)
        self._say_once(node, use, text)

    def _tell_failure(self, attachment: storage.VolumeAttachment, use: attaching.Use) -> None:
        failure = attachment.status.attachError
        if failure is not None and not attachment.status.attached:
            name = use.volume.metadata.name
            text = f'AttachVolume.Attach failed for volume "{name}" : {failure.message}'
            self._say_once(attachment.spec.nodeName, use, text)

    def _say_once(self, node: str, use: attaching.Use, text: str) -> None:
        said = self._said.setdefault(node, {})
        if said.get(use.volume.metadata.name) != text:
            said[use.volume.metadata.name] = text
            self._tell_pods(use.pods, WARNING, "FailedAttachVolume", text)

    def _forget_said(self, node: str, lacking: set[str]) -> None:
        """What has been attached, or is no longer wanted, would be news again."""
        kept = {pv: text for pv, text in self._said.pop(node, {}).items() if pv in lacking}
        if kept:
            self._said[node] = kept

    def _tell_pods(self, pods: Iterable[core.Pod], kind: str, reason: str, text: str) -> None:
        for pod in pods:
            self.recorder.event(pod, kind, reason, text)


def _volume_of(attachment: storage.VolumeAttachment) -> list[str]:
    """Index: the volume that is attached."""
    return [attachment.spec.source.persistentVolumeName or ""]
