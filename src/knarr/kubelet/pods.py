"""Questions one asks of a pod's object, in upstream's terms. Pure.

Upstream counterpart: ``pkg/api/v1/pod`` and ``pkg/kubelet/util/format``. Neighbours: everything in this room.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from knarr.api.core import v1 as core
from knarr.api.core.pod_resources import is_sidecar
from knarr.kit.clock import parse_rfc3339

__all__ = [
    "all_containers",
    "find_condition",
    "full_name",
    "grace_period_s",
    "is_sidecar",
    "is_terminal",
    "long_running_containers",
    "moment",
    "pod_ref",
]


def pod_ref(pod: core.Pod) -> str:
    """``namespace/name``, for logs."""
    return f"{pod.metadata.namespace}/{pod.metadata.name}"


def full_name(pod: core.Pod) -> str:
    """``name_namespace(uid)``: how upstream's events and messages name a pod."""
    return f"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"


def is_terminal(pod: core.Pod) -> bool:
    return pod.status.phase in ("Succeeded", "Failed")


def all_containers(pod: core.Pod) -> Iterator[Any]:
    """Init containers, containers, ephemeral containers, in this order."""
    yield from pod.spec.initContainers
    yield from pod.spec.containers
    yield from pod.spec.ephemeralContainers


def long_running_containers(pod: core.Pod) -> Iterator[core.Container]:
    """What counts for readiness: sidecars and containers."""
    yield from (container for container in pod.spec.initContainers if is_sidecar(container))
    yield from pod.spec.containers


def grace_period_s(pod: core.Pod) -> int:
    """What is left to a pod that is being deleted, else what its spec allows (upstream's default is 30)."""
    if pod.metadata.deletionGracePeriodSeconds is not None:
        return pod.metadata.deletionGracePeriodSeconds
    if pod.spec.terminationGracePeriodSeconds is not None:
        return pod.spec.terminationGracePeriodSeconds
    return 30


def find_condition(status: core.PodStatus, kind: str) -> core.PodCondition | None:
    return next((condition for condition in status.conditions if condition.type == kind), None)


def moment(text: str | None) -> datetime | None:
    """An API time as a moment; None for none or for what cannot be read."""
    try:
        return parse_rfc3339(text) if text else None
    except ValueError:
        return None
