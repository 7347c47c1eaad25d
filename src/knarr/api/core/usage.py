"""What an object counts for in a resource quota. Pure; the API server's admission and the quota controller
both judge by it.

Amounts are exact numbers of billionths. Upstream's counterpart is ``pkg/quota/v1/evaluator``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from knarr.api import quantity
from knarr.api.core import v1 as core
from knarr.api.core.pod_resources import pod_total
from knarr.api.core.qos import BEST_EFFORT, qos_class

__all__ = ["Usage", "covers", "exceeded", "missing_requests", "usage_of"]

ONE = 10**9
#: Quota name -> billionths.
Usage = dict[str, int]

_COUNTED = {
    "pods",
    "services",
    "configmaps",
    "secrets",
    "persistentvolumeclaims",
    "replicationcontrollers",
    "resourcequotas",
}
_COMPUTE = ("cpu", "memory", "ephemeral-storage")


def usage_of(group: str, plural: str, obj: Any) -> Usage:
    """Everything one object counts for, under every name a quota may use."""
    qualified = f"{plural}.{group}" if group else plural
    usage: Usage = {f"count/{qualified}": ONE}
    if not group and plural == "pods":
        return _pod(obj, usage)
    if not group and plural in _COUNTED:
        usage[plural] = ONE
    if not group and plural == "services":
        if obj.spec.type in ("NodePort", "LoadBalancer"):
            ports = 0 if obj.spec.allocateLoadBalancerNodePorts is False else len(obj.spec.ports)
            usage["services.nodeports"] = ports * ONE
        if obj.spec.type == "LoadBalancer":
            usage["services.loadbalancers"] = ONE
    if not group and plural == "persistentvolumeclaims":
        size = quantity.nanos(obj.spec.resources.requests.get("storage", "0"))
        usage["requests.storage"] = size
        if obj.spec.storageClassName:
            prefix = f"{obj.spec.storageClassName}.storageclass.storage.k8s.io"
            usage[f"{prefix}/requests.storage"] = size
            usage[f"{prefix}/persistentvolumeclaims"] = ONE
    return usage


def _pod(pod: core.Pod, usage: Usage) -> Usage:
    if pod.status.phase in ("Succeeded", "Failed"):
        # It still takes a place in the store, but nothing of a node.
        return usage
    usage["pods"] = ONE
    requests, limits = pod_total(pod, "requests", _nanos), pod_total(pod, "limits", _nanos)
    for name, text in pod.spec.overhead.items():
        requests[name] = requests.get(name, 0) + quantity.nanos(text)
    for name, amount in requests.items():
        usage[f"requests.{name}"] = amount
        if name in _COMPUTE:
            usage[name] = amount
    for name, amount in limits.items():
        usage[f"limits.{name}"] = amount
    return usage


def _nanos(name: str, text: str) -> int:
    return quantity.nanos(text)


def covers(quota: core.ResourceQuota, plural: str, obj: Any) -> bool:
    """Whether the quota's scopes include the object. Only pods have scopes."""
    wanted: list[tuple[str, str, list[str]]] = [(scope, "Exists", []) for scope in quota.spec.scopes]
    if quota.spec.scopeSelector is not None:
        wanted += [(e.scopeName, e.operator, e.values) for e in quota.spec.scopeSelector.matchExpressions]
    if not wanted:
        return True
    if plural != "pods":
        return False
    return all(_in_scope(obj, scope, operator, values) for scope, operator, values in wanted)


def _in_scope(pod: core.Pod, scope: str, operator: str, values: Iterable[str]) -> bool:
    terminating = pod.spec.activeDeadlineSeconds is not None
    match scope:
        case "Terminating":
            return terminating
        case "NotTerminating":
            return not terminating
        case "BestEffort":
            return qos_class(pod) == BEST_EFFORT
        case "NotBestEffort":
            return qos_class(pod) != BEST_EFFORT
        case "PriorityClass":
            name = pod.spec.priorityClassName
            if operator == "In":
                return name in values
            if operator == "NotIn":
                return name not in values
            return bool(name) if operator == "Exists" else not name
        case "CrossNamespacePodAffinity":
            return _reaches_out(pod)
    return False


def _reaches_out(pod: core.Pod) -> bool:
    affinity = pod.spec.affinity
    if affinity is None:
        return False
    terms: list[core.PodAffinityTerm] = []
    for part in (affinity.podAffinity, affinity.podAntiAffinity):
        if part is not None:
            terms += part.requiredDuringSchedulingIgnoredDuringExecution
            terms += [each.podAffinityTerm for each in part.preferredDuringSchedulingIgnoredDuringExecution]
    return any(term.namespaces or term.namespaceSelector is not None for term in terms)


def exceeded(hard: Mapping[str, str], used: Mapping[str, str], delta: Usage) -> list[str]:
    """The names under which ``used`` and ``delta`` together are more than ``hard``."""
    return sorted(
        name
        for name, amount in delta.items()
        if amount > 0
        and name in hard
        and quantity.nanos(used.get(name, "0")) + amount > quantity.nanos(hard[name])
    )


def missing_requests(hard: Mapping[str, str], pod: core.Pod) -> dict[str, list[str]]:
    """Containers that say nothing of what the quota limits: name of the limit -> container names."""
    found: dict[str, list[str]] = {}
    for name in hard:
        kind, _, resource = name.partition(".")
        if name in ("cpu", "memory"):
            kind, resource = "requests", name
        if kind not in ("requests", "limits") or resource not in ("cpu", "memory"):
            continue
        lacking = [
            container.name
            for container in (*pod.spec.initContainers, *pod.spec.containers)
            if resource not in getattr(container.resources, kind)
        ]
        if lacking:
            found[name] = lacking
    return found
