"""A claim that names no storage class gets the default one; claims and volumes are protected while in use.

Upstream's counterparts are the ``DefaultStorageClass`` and ``StorageObjectInUseProtection`` plug-ins.
"""

from __future__ import annotations

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
