"""Which volume fits a claim. Pure.

Upstream's counterpart is ``component-helpers/storage/volume`` and
``pkg/controller/volume/persistentvolume/index.go``.
"""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api import quantity
from knarr.api.core import v1 as core
from knarr.api.core.pod_claims import BIND_COMPLETED
from knarr.api.selectors import from_label_selector

BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"


def class_of(claim: core.PersistentVolumeClaim) -> str:
    return claim.spec.storageClassName or ""


def is_bound(claim: core.PersistentVolumeClaim) -> bool:
    return bool(claim.spec.volumeName) and BIND_COMPLETED in claim.metadata.annotations


def is_for(volume: core.PersistentVolume, claim: core.PersistentVolumeClaim) -> bool:
    """Whether the volume is promised to this claim (or to any claim of its name, if it says no UID)."""
    reference = volume.spec.claimRef
    if reference is None or (reference.namespace, reference.name) != (
        claim.metadata.namespace,
        claim.metadata.name,
    ):
        return False
    return not reference.uid or reference.uid == claim.metadata.uid


def fits(volume: core.PersistentVolume, claim: core.PersistentVolumeClaim) -> bool:
    """Whether the claim could have the volume: class, mode, access, size, labels; and it is free or promised
    to it.
    """
    spec = volume.spec
    if volume.metadata.deletionTimestamp is not None:
        return False
    if spec.claimRef is not None and not is_for(volume, claim):
        return False
    if spec.storageClassName != class_of(claim):
        return False
    if (spec.volumeMode or "Filesystem") != (claim.spec.volumeMode or "Filesystem"):
        return False
    if not set(claim.spec.accessModes) <= set(spec.accessModes):
        return False
    wanted = claim.spec.resources.requests.get("storage", "0")
    if quantity.compare(spec.capacity.get("storage", "0"), wanted) < 0:
        return False
    if claim.spec.selector is not None:
        return from_label_selector(claim.spec.selector).matches(volume.metadata.labels)
    return True


def best(
    volumes: Iterable[core.PersistentVolume], claim: core.PersistentVolumeClaim
) -> core.PersistentVolume | None:
    """The volume promised to the claim, or else the smallest that fits."""
    candidates = [volume for volume in volumes if fits(volume, claim)]
    promised = [volume for volume in candidates if volume.spec.claimRef is not None]
    ordered = promised or sorted(
        candidates,
        key=lambda each: (quantity.value(each.spec.capacity.get("storage", "0")), each.metadata.name),
    )
    return ordered[0] if ordered else None


def claim_reference(claim: core.PersistentVolumeClaim) -> core.ObjectReference:
    return core.ObjectReference(
        apiVersion="v1",
        kind="PersistentVolumeClaim",
        namespace=claim.metadata.namespace,
        name=claim.metadata.name,
        uid=claim.metadata.uid,
        resourceVersion=claim.metadata.resourceVersion,
    )
