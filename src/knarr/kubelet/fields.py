"""What the downward API can tell a container about its pod and its resources. Pure.

Upstream counterpart: ``pkg/fieldpath`` and ``pkg/api/v1/resource``. Neighbours: ``env`` and
``volumes.payload`` ask here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from knarr.api import quantity
from knarr.api.core import v1 as core
from knarr.kubelet.pods import all_containers

__all__ = ["FieldError", "PodFacts", "field_value", "format_map", "resource_value"]

_SUBSCRIPT = re.compile(r"(metadata\.(?:labels|annotations))\['(.*)'\]")


class FieldError(ValueError):
    """The path names nothing a container may be told."""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What is known only once the pod has a place: addresses, and the node's size for containers without
    limits.
    """

    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    node_allocatable: tuple[tuple[str, str], ...] = ()


def field_value(pod: core.Pod, path: str, facts: PodFacts) -> str:
    """The text for ``fieldRef.fieldPath``. Raises ``FieldError``."""
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        table = pod.metadata.labels if subscript[1].endswith("labels") else pod.metadata.annotations
        return table.get(subscript[2], "")
    plain = {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "metadata.labels": format_map(pod.metadata.labels),
        "metadata.annotations": format_map(pod.metadata.annotations),
        "spec.nodeName": pod.spec.nodeName,
        "spec.serviceAccountName": pod.spec.serviceAccountName,
        "status.hostIP": facts.host_ips[0] if facts.host_ips else "",
        "status.hostIPs": ",".join(facts.host_ips),
        "status.podIP": facts.pod_ips[0] if facts.pod_ips else "",
        "status.podIPs": ",".join(facts.pod_ips),
    }
    if path not in plain:
        raise FieldError(f"unsupported fieldPath: {path}")
    return plain[path]


def format_map(table: dict[str, str]) -> str:
    """``key="value"`` a line, sorted, values quoted."""
    return "\n".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in sorted(table.items()))


def resource_value(
    pod: core.Pod, selector: core.ResourceFieldSelector, container: Any, facts: PodFacts
) -> str:
    """The text for ``resourceFieldRef``: the amount in units of the divisor, rounded up. Raises
    ``FieldError``.
    """
    if selector.containerName:
        container = next((each for each in all_containers(pod) if each.name == selector.containerName), None)
        if container is None:
            raise FieldError(f"container {selector.containerName} not found")
    which, _, name = selector.resource.partition(".")
    if which not in ("limits", "requests") or not name:
        raise FieldError(f"unsupported container resource : {selector.resource}")
    amounts = getattr(container.resources, which)
    amount = amounts.get(name)
    if amount is None and which == "requests":
        amount = container.resources.limits.get(name)
    if amount is None and which == "limits":
        # Without a limit the node is the limit.
        amount = dict(facts.node_allocatable).get(name)
    divisor = quantity.nanos(selector.divisor or "1") or quantity.nanos("1")
    return str(-(-quantity.nanos(amount or "0") // divisor))
