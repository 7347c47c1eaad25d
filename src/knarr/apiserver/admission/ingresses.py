"""An Ingress that names no class gets the default one.

Upstream's counterpart is the ``DefaultIngressClass`` plug-in.
"""

from __future__ import annotations

from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.apiserver.registry.generic import GenericRegistry

__all__ = ["DefaultIngressClass"]

DEFAULT_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
#: The old way to name a class.
CLASS_ANNOTATION = "kubernetes.io/ingress.class"


class DefaultIngressClass(Plugin):
    name = "DefaultIngressClass"
    concerns = frozenset(("ingresses.networking.k8s.io",))

    def __init__(self) -> None:
        self._classes: GenericRegistry | None = None

    def use(self, classes: GenericRegistry) -> None:
        self._classes = classes

    async def mutate(self, attributes: Attributes) -> None:
        if not attributes.creates("networking.k8s.io", "ingresses"):
            return
        ingress = attributes.obj
        if ingress.spec.ingressClassName is not None or CLASS_ANNOTATION in ingress.metadata.annotations:
            return
        assert self._classes is not None, "use comes first"
        defaults = [
            each
            for each in self._classes.objects()
            if each.metadata.annotations.get(DEFAULT_ANNOTATION) == "true"
        ]
        if defaults:
            # Of several defaults the newest counts, then the first by name.
            defaults.sort(key=lambda each: each.metadata.name)
            newest = max(defaults, key=lambda each: each.metadata.creationTimestamp or "")
            ingress.spec.ingressClassName = newest.metadata.name
