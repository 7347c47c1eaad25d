"""LimitRanger: what containers, pods and claims of a namespace get by default, and how much they may ask for.

Upstream's counterpart is the ``LimitRanger`` plug-in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knarr.api import quantity
from knarr.api.core import v1 as core
from knarr.api.core.usage import usage_of
from knarr.api.errors import forbidden
from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.apiserver.registry.generic import GenericRegistry


class LimitRanger(Plugin):
    name = "LimitRanger"
    concerns = frozenset(("pods", "persistentvolumeclaims"))

    def __init__(self) -> None:
        self._ranges: GenericRegistry | None = None

    def use(self, ranges: GenericRegistry) -> None:
        self._ranges = ranges

    def _none(self) -> bool:
        """Most clusters have no limit range at all."""
        return self._ranges is None or not len(self._ranges.cache)

    def _items(self, attributes: Attributes, kind: str) -> list[core.LimitRangeItem]:
        assert self._ranges is not None
        return [
            item
            for held in self._ranges.objects(attributes.namespace)
            for item in held.spec.limits
            if item.type == kind
        ]

    async def mutate(self, attributes: Attributes) -> None:
        if self._none() or not attributes.creates("", "pods"):
            return
        defaulted: list[str] = []
        for item in self._items(attributes, "Container"):
            spec = attributes.obj.spec
            for container in (*spec.initContainers, *spec.containers):
                defaulted += _default(container, item)
        if defaulted:
            metadata = attributes.obj.metadata
            text = "LimitRanger plugin set: " + "; ".join(defaulted)
            metadata.annotations = {**metadata.annotations, "kubernetes.io/limit-ranger": text}

    async def validate(self, attributes: Attributes) -> None:
        if self._none() or attributes.operation not in ("CREATE", "UPDATE") or attributes.subresource:
            return
        faults: list[str] = []
        if attributes.is_("", "pods") and attributes.operation == "CREATE":
            spec = attributes.obj.spec
            for item in self._items(attributes, "Container"):
                for container in (*spec.initContainers, *spec.containers):
                    faults += _judge(item, container.resources.requests, container.resources.limits)
            for item in self._items(attributes, "Pod"):
                faults += _judge(item, *_pod_totals(attributes.obj))
        elif attributes.is_("", "persistentvolumeclaims"):
            for item in self._items(attributes, "PersistentVolumeClaim"):
                faults += _judge(item, attributes.obj.spec.resources.requests, {})
        if faults:
            name = attributes.name or attributes.obj.metadata.generateName
            text = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
            raise forbidden("", attributes.resource.plural, name, text)


def _default(container: core.Container, item: core.LimitRangeItem) -> list[str]:
    """Fill in requests and limits; returns what was set, for the annotation."""
    said = []
    resources = container.resources
    for word, wanted, kind in (
        ("request", item.defaultRequest, "requests"),
        ("limit", item.default, "limits"),
    ):
        held: dict[str, Any] = getattr(resources, kind)
        added = [name for name in wanted if name not in held]
        for name in added:
            held[name] = wanted[name]
        if added:
            said.append(f"{', '.join(sorted(added))} {word} for container {container.name}")
    return said


def _pod_totals(pod: core.Pod) -> tuple[dict[str, str], dict[str, str]]:
    usage = usage_of("", "pods", pod)
    totals: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
    for name, amount in usage.items():
        kind, _, resource = name.partition(".")
        if kind in totals:
            totals[kind][resource] = quantity.from_nanos(amount, like="1")
    return totals["requests"], totals["limits"]


def _judge(item: core.LimitRangeItem, requests: Mapping[str, str], limits: Mapping[str, str]) -> list[str]:
    faults = []
    for name, minimum in item.min.items():
        for word, given in (("request", requests), ("limit", limits)):
            if name not in given:
                if word == "request":
                    faults.append(
                        f"minimum {name} usage per {item.type} is {minimum}.  No request is specified"
                    )
            elif quantity.compare(given[name], minimum) < 0:
                faults.append(
                    f"minimum {name} usage per {item.type} is {minimum}, but {word} is {given[name]}"
                )
    for name, maximum in item.max.items():
        for word, given in (("request", requests), ("limit", limits)):
            if name not in given:
                if word == "limit" and item.type != "PersistentVolumeClaim":
                    faults.append(
                        f"maximum {name} usage per {item.type} is {maximum}.  No limit is specified"
                    )
            elif quantity.compare(given[name], maximum) > 0:
                faults.append(
                    f"maximum {name} usage per {item.type} is {maximum}, but {word} is {given[name]}"
                )
    for name, ratio in item.maxLimitRequestRatio.items():
        faults += _ratio(item, name, ratio, requests, limits)
    return faults


def _ratio(
    item: core.LimitRangeItem, name: str, ratio: str, requests: Mapping[str, str], limits: Mapping[str, str]
) -> list[str]:
    if name not in requests or name not in limits or not quantity.nanos(requests[name]):
        return [
            f"{name} max limit to request ratio per {item.type} is {ratio}, but no request is specified or request is 0"
        ]
    actual = quantity.nanos(limits[name]) / quantity.nanos(requests[name])
    if actual > quantity.nanos(ratio) / 10**9:
        return [
            f"{name} max limit to request ratio per {item.type} is {ratio}, but provided ratio is {actual:f}"
        ]
    return []
