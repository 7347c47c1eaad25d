"""From a pod's requests and limits to what the kernel is told: QoS class, CPU shares and quota, OOM
score. Pure.

Upstream counterpart: ``pkg/apis/core/v1/helper/qos``, ``pkg/kubelet/cm/helpers_linux.go``,
``pkg/kubelet/qos/policy.go`` and ``k8s.io/component-helpers/resource``. Neighbours: ``container_config``
(containers), ``pod_host`` (pods' cgroups), ``admission`` (sums of requests).
"""

from __future__ import annotations

from typing import Any, Literal

from knarr.api import quantity
from knarr.api.core import v1 as core
from knarr.api.core.pod_resources import pod_total
from knarr.api.core.qos import BEST_EFFORT, GUARANTEED, qos_class
from knarr.api.quantity import Quantity
from knarr.kubelet.runtime import contract as c

__all__ = [
    "BEST_EFFORT",
    "container_resources",
    "cpu_quota",
    "cpu_shares",
    "oom_score_adj",
    "pod_cgroup",
    "pod_cgroup_settings",
    "pod_limits",
    "pod_requests",
    "qos_class",
]

MIN_SHARES, MAX_SHARES = 2, 262_144
QUOTA_PERIOD_US = 100_000
MIN_QUOTA_US = 1_000
#: The kernel kills the highest first: best effort before all others, critical pods last.
GUARANTEED_OOM_SCORE, BEST_EFFORT_OOM_SCORE = -997, 1000
SYSTEM_CRITICAL_PRIORITY = 2_000_000_000


def cpu_shares(cpu_millis: int) -> int:
    if cpu_millis <= 0:
        return MIN_SHARES
    return min(max(cpu_millis * 1024 // 1000, MIN_SHARES), MAX_SHARES)


def cpu_quota(cpu_millis: int) -> int:
    """Microseconds of CPU time a period; 0 for no limit."""
    return 0 if cpu_millis <= 0 else max(cpu_millis * QUOTA_PERIOD_US // 1000, MIN_QUOTA_US)


def oom_score_adj(pod: core.Pod, container: Any, memory_capacity_bytes: int) -> int:
    if (pod.spec.priority or 0) >= SYSTEM_CRITICAL_PRIORITY:
        return GUARANTEED_OOM_SCORE
    kind = qos_class(pod)
    if kind == GUARANTEED:
        return GUARANTEED_OOM_SCORE
    if kind == BEST_EFFORT or memory_capacity_bytes <= 0:
        return BEST_EFFORT_OOM_SCORE
    # The more memory was promised, the less likely it is to be the culprit.
    request = quantity.value(container.resources.requests.get("memory") or "0")
    score = 1000 - 1000 * request // memory_capacity_bytes
    if score < 1000 + GUARANTEED_OOM_SCORE:
        return 1000 + GUARANTEED_OOM_SCORE
    return BEST_EFFORT_OOM_SCORE - 1 if score == BEST_EFFORT_OOM_SCORE else score


def container_resources(
    pod: core.Pod, container: Any, *, memory_capacity_bytes: int, unified: bool
) -> c.LinuxContainerResources:
    """The container's cgroup settings. ``unified`` tells of cgroup version 2."""
    requests, limits = container.resources.requests, container.resources.limits
    limit_millis = quantity.millis(limits.get("cpu"))
    # Without a request the limit is the request; without either the container gets the least share there is.
    request_millis = quantity.millis(requests["cpu"]) if "cpu" in requests else limit_millis
    memory_limit = quantity.value(limits.get("memory"))
    settings = c.LinuxContainerResources(
        cpu_period=QUOTA_PERIOD_US,
        cpu_quota=cpu_quota(limit_millis),
        cpu_shares=cpu_shares(request_millis),
        memory_limit_in_bytes=memory_limit,
        oom_score_adj=oom_score_adj(pod, container, memory_capacity_bytes),
    )
    if unified and memory_limit:
        # One process over the limit takes the whole container with it, rather than leaving it half dead.
        settings.unified = {"memory.oom.group": "1"}
    return settings


def pod_requests(pod: core.Pod) -> dict[str, Quantity]:
    """What the scheduler counts for the pod: the larger of its running and its starting phase, plus
    overhead.
    """
    return _aggregate(pod, "requests")


def pod_limits(pod: core.Pod) -> dict[str, Quantity]:
    return _aggregate(pod, "limits")


def _aggregate(pod: core.Pod, which: Literal["requests", "limits"]) -> dict[str, Quantity]:
    total = pod_total(pod, which, _as_written, plus=quantity.add, larger=_larger)
    if which == "requests" or total:
        for name, amount in pod.spec.overhead.items():
            total[name] = quantity.add(total[name], amount) if name in total else amount
    return total


def _as_written(name: str, text: str) -> Quantity:
    return Quantity(text)


def _larger(one: Quantity, other: Quantity) -> Quantity:
    return other if quantity.compare(one, other) < 0 else one


def pod_cgroup(root: str, pod: core.Pod) -> str:
    """``<root>/kubepods[/burstable|/besteffort]/pod<uid>``."""
    kind = qos_class(pod)
    level = "" if kind == GUARANTEED else f"/{kind.lower()}"
    return f"{root.rstrip('/')}/kubepods{level}/pod{pod.metadata.uid}"


def pod_cgroup_settings(pod: core.Pod, *, unified: bool) -> dict[str, dict[str, str]]:
    """Files of the pod's own cgroup: its shares, and limits where every container has one."""
    shares = cpu_shares(quantity.millis(pod_requests(pod).get("cpu")))
    limits = pod_limits(pod)
    complete = {
        name: (pod.spec.resources is not None and name in pod.spec.resources.limits)
        or all(name in each.resources.limits for each in (*pod.spec.initContainers, *pod.spec.containers))
        for name in ("cpu", "memory")
    }
    quota = cpu_quota(quantity.millis(limits.get("cpu"))) if complete["cpu"] else 0
    memory = quantity.value(limits.get("memory")) if complete["memory"] else 0
    if unified:
        weight = 1 + ((shares - 2) * 9999) // 262142
        settings = {"cpu": {"cpu.weight": str(weight)}, "memory": {}}
        if quota:
            settings["cpu"]["cpu.max"] = f"{quota} {QUOTA_PERIOD_US}"
        if memory:
            settings["memory"]["memory.max"] = str(memory)
        return settings
    settings = {"cpu": {"cpu.shares": str(shares)}, "memory": {}}
    if quota:
        settings["cpu"] |= {"cpu.cfs_period_us": str(QUOTA_PERIOD_US), "cpu.cfs_quota_us": str(quota)}
    if memory:
        settings["memory"]["memory.limit_in_bytes"] = str(memory)
    return settings
