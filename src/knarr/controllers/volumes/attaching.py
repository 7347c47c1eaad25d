"""What to attach to a node and what to detach from it. Pure.

Upstream's counterparts are the desired and actual states of ``pkg/controller/volume/attachdetach/cache`` and its ``reconciler``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from knarr.api import conditions
from knarr.api.core import v1 as core
from knarr.api.core.pod_claims import claim_names
from knarr.api.storage import v1 as storage
from knarr.api.storage.attachment import attachment_name, unique_name
from knarr.controllers.pod_gc import OUT_OF_SERVICE

MANAGED = "volumes.kubernetes.io/controller-managed-attach-detach"
OUR_NAME = re.compile(r"csi-[0-9a-f]{64}")
#: How long a node that no longer answers is waited for to unmount.
UNMOUNT_TIMEOUT_S = 360.0


@dataclass(slots=True)
class Use:
    """A volume and the pods of one node that want it."""

    volume: core.PersistentVolume
    pods: list[core.Pod] = field(default_factory=list)


def has_ended(pod: core.Pod) -> bool:
    """No container of it runs, and none will."""
    if pod.status.phase in ("Succeeded", "Failed"):
        return True
    statuses = (*pod.status.initContainerStatuses, *pod.status.containerStatuses)
    return (
        pod.metadata.deletionTimestamp is not None
        and bool(statuses)
        and all(each.state.running is None and each.state.waiting is None for each in statuses)
    )


def wanted_on(
    pods: Sequence[core.Pod],
    volume_of: Callable[[str, str], core.PersistentVolume | None],
    attachable: Callable[[core.PersistentVolume], bool],
) -> dict[str, Use]:
    """What the pods of a node need attached, by volume. ``volume_of`` gives a claim's volume, once it is bound."""
    found: dict[str, Use] = {}
    for pod in pods:
        if has_ended(pod):
            continue
        for claim in claim_names(pod):
            volume = volume_of(pod.metadata.namespace, claim)
            if volume is not None and attachable(volume):
                found.setdefault(volume.metadata.name, Use(volume)).pods.append(pod)
    return found


def is_exclusive(volume: core.PersistentVolume) -> bool:
    """Whether only one node at a time may have it."""
    return not {"ReadWriteMany", "ReadOnlyMany"} & set(volume.spec.accessModes)


def is_managed(node: core.Node) -> bool:
    return node.metadata.annotations.get(MANAGED) == "true"


def is_ours(attachment: storage.VolumeAttachment) -> bool:
    """Whether it is one that this controller makes: what somebody else has made under another name is left alone."""
    return OUR_NAME.fullmatch(attachment.metadata.name) is not None


def may_detach(node: core.Node | None, volume: core.PersistentVolume, *, waited_s: float) -> bool:
    """Whether the volume can be taken away: the node has unmounted it, or will never say so."""
    if node is None or unique_name(volume) not in node.status.volumesInUse:
        return True
    if any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints):
        return True
    return waited_s >= UNMOUNT_TIMEOUT_S and not conditions.is_true(node.status.conditions, "Ready")


def build_attachment(volume: core.PersistentVolume, node: str) -> storage.VolumeAttachment:
    assert volume.spec.csi is not None, "only attachable volumes get here"
    made = storage.VolumeAttachment()
    made.metadata.name = attachment_name(volume, node)
    made.spec.attacher = volume.spec.csi.driver
    made.spec.nodeName = node
    made.spec.source.persistentVolumeName = volume.metadata.name
    return made


def multi_attach_text(volume: core.PersistentVolume, namespace: str, users: Sequence[core.Pod]) -> str:
    """Why an exclusive volume that another node has cannot be attached: who uses it there, as far as the reader may know."""
    head = f'Multi-Attach error for volume "{volume.metadata.name}" Volume is already '
    if not users:
        return head + "exclusively attached to one node and can't be attached to another"
    near = sorted(pod.metadata.name for pod in users if pod.metadata.namespace == namespace)
    far = len(users) - len(near)
    if not near:
        return head + f"used by {far} pod(s) in different namespaces"
    text = head + f"used by pod(s) {', '.join(near)}"
    return f"{text} and {far} pod(s) in different namespaces" if far else text
