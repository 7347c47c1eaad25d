"""When the node runs short of memory or disk: which pod goes, and what it is told.

One pod a round, the one that is worth least and uses most beyond what it asked for; then the effect is
waited for.

Upstream counterpart: ``pkg/kubelet/eviction``. Neighbours: ``machine`` measures, ``pod_workers`` ends the
pod, ``node_status`` shows the pressure and keeps further pods away.

Invariants: ``rank`` is pure and total; a critical pod is never evicted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from knarr.api import quantity
from knarr.api.core import v1 as core
from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.machine import MachineUse
from knarr.kubelet.pod_workers import Rejection
from knarr.kubelet.resources import SYSTEM_CRITICAL_PRIORITY, pod_requests

__all__ = ["Shortage", "evicted", "rank", "shortage"]


@dataclass(frozen=True, slots=True)
class Shortage:
    """``resource`` is memory or ephemeral-storage; the amounts are what a message shows."""

    resource: str
    threshold: str
    available: str


def shortage(use: MachineUse, config: KubeletConfig) -> Shortage | None:
    """The most pressing shortage, if any. Memory goes first: its lack kills at random."""
    if use.memory_total_bytes and use.memory_available_bytes < config.eviction_memory_available_bytes:
        threshold = quantity.from_value(config.eviction_memory_available_bytes, binary=True)
        return Shortage("memory", str(threshold), f"{use.memory_available_bytes // 1024}Ki")
    least = use.fs_capacity_bytes * config.eviction_nodefs_available_percent // 100
    if use.fs_capacity_bytes and use.fs_available_bytes < least:
        return Shortage("ephemeral-storage", str(least), f"{use.fs_available_bytes // 1024}Ki")
    return None


def rank(pods: list[core.Pod], usage: Mapping[str, int], resource: str) -> list[core.Pod]:
    """The pods in the order in which they go; ``usage`` is bytes by uid."""

    def order(pod: core.Pod) -> tuple[bool, int, int, str]:
        used = usage.get(pod.metadata.uid, 0)
        beyond = used - quantity.value(pod_requests(pod).get(resource) or "0")
        # Who uses more than it asked for goes before who does not; then the less important; then the larger.
        return (beyond <= 0, pod.spec.priority or 0, -beyond, pod.metadata.uid)

    evictable = [pod for pod in pods if (pod.spec.priority or 0) < SYSTEM_CRITICAL_PRIORITY]
    return sorted(evictable, key=order)


def evicted(pod: core.Pod, lack: Shortage, usage: Mapping[str, int]) -> Rejection:
    """What the pod's status says in the end."""
    used, request = usage.get(pod.metadata.uid, 0), pod_requests(pod).get(lack.resource) or "0"
    message = (
        f"The node was low on resource: {lack.resource}. "
        f"Threshold quantity: {lack.threshold}, available: {lack.available}. "
    )
    beyond = used > quantity.value(request)
    for container in pod.spec.containers if beyond else ():
        own = container.resources.requests.get(lack.resource) or "0"
        message += (
            f"Container {container.name} was using {used // 1024}Ki, request is {own}, has larger "
            f"consumption of "
            f"{lack.resource}. "
        )
        break
    return Rejection("Evicted", message)
