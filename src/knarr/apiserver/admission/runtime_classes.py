"""What a pod's runtime class demands: that it exists, its overhead, and the nodes that have its runtime.

Upstream's counterpart is the ``RuntimeClass`` plug-in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from knarr.api.core import v1 as core
from knarr.api.errors import StatusError, forbidden
from knarr.api.quantity import nanos
from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.apiserver.registry.generic import GenericRegistry

if TYPE_CHECKING:
    # Few clusters have a runtime class: the group's types are loaded with the first.
    from knarr.api.node import v1 as node

__all__ = ["RuntimeClasses"]


class RuntimeClasses(Plugin):
    """Fills in a new pod's overhead, node selector and tolerations from its class."""

    name = "RuntimeClass"
    concerns = frozenset(("pods",))

    def __init__(self) -> None:
        self._classes: GenericRegistry | None = None

    def use(self, classes: GenericRegistry) -> None:
        self._classes = classes

    async def mutate(self, attributes: Attributes) -> None:
        found = self._class_of(attributes)
        if found is None:
            return
        spec: core.PodSpec = attributes.obj.spec
        if found.overhead is not None and found.overhead.podFixed:
            if spec.overhead and not _same(spec.overhead, found.overhead.podFixed):
                raise _mismatch(attributes)
            spec.overhead = dict(found.overhead.podFixed)
        if found.scheduling is not None:
            self._narrow(attributes, spec, found.scheduling)

    async def validate(self, attributes: Attributes) -> None:
        if not attributes.creates("", "pods"):
            return
        found = self._class_of(attributes)
        overhead: Mapping[str, str] = attributes.obj.spec.overhead
        if found is not None and found.overhead is not None:
            if not _same(overhead, found.overhead.podFixed):
                raise _mismatch(attributes)
        elif overhead:
            text = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            raise forbidden("", "pods", attributes.name, text)

    def _class_of(self, attributes: Attributes) -> node.RuntimeClass | None:
        if not attributes.creates("", "pods") or not attributes.obj.spec.runtimeClassName:
            return None
        assert self._classes is not None
        name = attributes.obj.spec.runtimeClassName
        entry = self._classes.cache.get(self._classes.key("", name))
        if entry is None:
            text = f'pod rejected: RuntimeClass "{name}" not found'
            raise forbidden("", "pods", attributes.name, text)
        found: node.RuntimeClass = self._classes.cache.object(entry)
        return found

    def _narrow(self, attributes: Attributes, spec: core.PodSpec, wanted: node.Scheduling) -> None:
        for key, value in wanted.nodeSelector.items():
            own = spec.nodeSelector.get(key, value)
            if own != value:
                text = f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
                raise forbidden("", "pods", attributes.name, text)
        spec.nodeSelector = {**spec.nodeSelector, **wanted.nodeSelector}
        added = [each for each in wanted.tolerations if each not in spec.tolerations]
        spec.tolerations = [*spec.tolerations, *added]


def _same(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return one.keys() == other.keys() and all(nanos(one[name]) == nanos(other[name]) for name in one)


def _mismatch(attributes: Attributes) -> StatusError:
    text = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
    return forbidden("", "pods", attributes.name, text)
