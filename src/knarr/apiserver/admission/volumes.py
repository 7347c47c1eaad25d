"""A claim that names no storage class gets the default one; claims and volumes are protected while in use.

Upstream's counterparts are the ``DefaultStorageClass``, ``PersistentVolumeClaimResize`` and ``StorageObjectInUseProtection`` plug-ins.
"""

from __future__ import annotations

from knarr.api.core import v1 as core
from knarr.api.errors import forbidden
from knarr.api.quantity import nanos
from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.apiserver.registry.generic import GenericRegistry

DEFAULT_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
_FINALIZERS = {
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "persistentvolumes": "kubernetes.io/pv-protection",
}


class DefaultStorageClass(Plugin):
    name = "DefaultStorageClass"
    concerns = frozenset(("persistentvolumeclaims",))

    def __init__(self) -> None:
        self._classes: GenericRegistry | None = None

    def use(self, classes: GenericRegistry) -> None:
        self._classes = classes

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.operation != "CREATE" or not attributes.is_("", "persistentvolumeclaims"):
            return
        claim = attributes.obj
        if claim.spec.storageClassName is not None:
            return
        assert self._classes is not None
        defaults = [
            each
            for each in self._classes.objects()
            if any(each.metadata.annotations.get(key) == "true" for key in DEFAULT_ANNOTATIONS)
        ]
        if defaults:
            # Of several defaults the newest counts, then the first by name.
            defaults.sort(key=lambda each: each.metadata.name)
            newest = max(defaults, key=lambda each: each.metadata.creationTimestamp or "")
            claim.spec.storageClassName = newest.metadata.name


class StorageObjectInUseProtection(Plugin):
    name = "StorageObjectInUseProtection"
    concerns = frozenset(("persistentvolumeclaims", "persistentvolumes"))

    async def mutate(self, attributes: Attributes) -> None:
        if attributes.operation != "CREATE" or attributes.resource.group or attributes.subresource:
            return
        finalizer = _FINALIZERS.get(attributes.resource.plural)
        if finalizer is not None and finalizer not in attributes.obj.metadata.finalizers:
            attributes.obj.metadata.finalizers = [*attributes.obj.metadata.finalizers, finalizer]


class PersistentVolumeClaimResize(Plugin):
    """A claim grows only where its class allows that."""

    name = "PersistentVolumeClaimResize"
    concerns = frozenset(("persistentvolumeclaims",))

    def __init__(self) -> None:
        self._classes: GenericRegistry | None = None

    def use(self, classes: GenericRegistry) -> None:
        self._classes = classes

    async def validate(self, attributes: Attributes) -> None:
        if attributes.operation != "UPDATE" or attributes.subresource:
            return
        new, old = attributes.obj, attributes.old
        if _storage(new) <= _storage(old):
            return
        problem = ""
        if old.status.phase != "Bound":
            problem = "Only bound persistent volume claims can be expanded"
        elif not self._may_grow(new, old):
            problem = (
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc "
                "must support resize"
            )
        if problem:
            raise forbidden("", "persistentvolumeclaims", attributes.name, problem)

    def _may_grow(self, new: core.PersistentVolumeClaim, old: core.PersistentVolumeClaim) -> bool:
        assert self._classes is not None, "use comes first"
        name = _class_name(new)
        if not name or name != _class_name(old):
            return False
        entry = self._classes.cache.get(self._classes.key("", name))
        return entry is not None and bool(self._classes.cache.object(entry).allowVolumeExpansion)


def _storage(claim: core.PersistentVolumeClaim) -> int:
    resources = claim.spec.resources
    return nanos(resources.requests.get("storage", "0")) if resources is not None else 0


def _class_name(claim: core.PersistentVolumeClaim) -> str:
    return claim.metadata.annotations.get("volume.beta.kubernetes.io/storage-class", claim.spec.storageClassName or "")
