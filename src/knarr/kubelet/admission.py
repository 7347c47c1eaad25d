"""Whether a pod bound to this node may run here: resources, number, selectors, ports. Pure.

The scheduler has asked the same, but with what it knew then; a pod bound by hand was never asked. A pod
that does not fit fails at once, with upstream's reason and text.

Upstream counterpart: ``pkg/kubelet/lifecycle/predicate.go``. Neighbours: ``pod_workers`` asks before a
pod's first round.
"""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api import quantity
from knarr.api.core import v1 as core
from knarr.api.core.placement import matches_node
from knarr.kubelet.pod_workers import Rejection
from knarr.kubelet.resources import pod_requests

__all__ = ["admit"]

PREFIX = "Pod was rejected: "
#: Known to stay within their pod and to harm nobody; any other would need an administrator's leave.
SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    }
)


def admit(
    pod: core.Pod, node: core.Node, others: Iterable[core.Pod], *, allocatable: dict[str, str]
) -> Rejection | None:
    """``others`` are the pods that use the node already."""
    active = [other for other in others if other.metadata.uid != pod.metadata.uid]
    if pod.spec.os is not None and pod.spec.os.name and pod.spec.os.name != "linux":
        text = f"Failed to admit pod as the OS field doesn't match node OS: {pod.spec.os.name}"
        return Rejection("PodOSNotSupported", PREFIX + text)
    if not matches_node(pod.spec, node):
        text = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
        return Rejection("NodeAffinity", PREFIX + text)
    taken = {port for other in active for port in _ports(other)}
    if any(_collide(port, other) for port in _ports(pod) for other in taken):
        text = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
        return Rejection("NodePorts", PREFIX + text)
    return _fits(pod, active, allocatable)


def _forbidden_sysctl(pod: core.Pod) -> str | None:
    context = pod.spec.securityContext
    for sysctl in context.sysctls if context is not None else ():
        name = sysctl.name.replace("/", ".")
        # In the host's own namespace even a safe one would be everybody's.
        shared = pod.spec.hostNetwork if name.startswith("net.") else pod.spec.hostIPC
        if name not in SAFE_SYSCTLS or shared:
            return sysctl.name
    return None


def _under_memory_pressure(node: core.Node) -> bool:
    return any(each.type == "MemoryPressure" and each.status == "True" for each in node.status.conditions)


def _fits(pod: core.Pod, active: list[core.Pod], allocatable: dict[str, str]) -> Rejection | None:
    limit = quantity.value(allocatable.get("pods") or "0")
    if len(active) + 1 > limit:
        text = f"Node didn't have enough resource: pods, requested: 1, used: {len(active)}, capacity: {limit}"
        return Rejection("OutOfpods", PREFIX + text)
    requests = pod_requests(pod)
    for name, amount in sorted(requests.items()):
        if "/" in name and name not in allocatable:
            # Upstream: an extended resource that the node does not name is the scheduler's business alone.
            continue
        measure = quantity.millis if name == "cpu" else quantity.value
        wanted, capacity = measure(amount), measure(allocatable.get(name) or "0")
        if wanted == 0:
            continue
        used = sum(measure(pod_requests(other).get(name) or "0") for other in active)
        if used + wanted > capacity:
            text = (
                f"Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, "
                f"capacity: {capacity}"
            )
            return Rejection(f"OutOf{name}", PREFIX + text)
    return None


#: Protocol, address and number; the address is ``ANY`` where the pod takes the port on all.
_Port = tuple[str, str, int]
ANY = "0.0.0.0"


def _collide(one: _Port, other: _Port) -> bool:
    same = (one[0], one[2]) == (other[0], other[2])
    return same and (one[1] == other[1] or ANY in (one[1], other[1]))


def _ports(pod: core.Pod) -> set[_Port]:
    """Ports of the node that the pod takes. In the host's network every port is one."""
    found: set[_Port] = set()
    for container in pod.spec.containers:
        for port in container.ports:
            number = port.hostPort or (port.containerPort if pod.spec.hostNetwork else 0)
            if number:
                found.add((port.protocol or "TCP", port.hostIP or ANY, number))
    return found
