"""What a pod asks for, as numbers. Pure.

Units: CPU in thousandths, everything else in whole units (bytes for memory).

Upstream's counterpart is ``pkg/scheduler/framework/types.go`` and ``component-helpers/resource``.
"""

from __future__ import annotations

from collections.abc import Mapping

from knarr.api import quantity
from knarr.api.core import v1 as core
from knarr.api.core.pod_resources import is_sidecar, pod_total

CPU, MEMORY, EPHEMERAL, PODS = "cpu", "memory", "ephemeral-storage", "pods"
#: What scoring assumes of a container that asks for nothing, so that such pods spread too.
DEFAULT_CPU_MILLIS, DEFAULT_MEMORY_BYTES = 100, 200 * 1024 * 1024

Amounts = dict[str, int]


def amount(name: str, text: str) -> int:
    """One quantity as a number in its resource's unit."""
    return quantity.millis(text) if name == CPU else quantity.value(text)


def amounts(quantities: Mapping[str, str]) -> Amounts:
    return {name: amount(name, text) for name, text in quantities.items()}


def requests(pod: core.Pod) -> Amounts:
    """What a node must have free for the pod: its containers together, or its greediest moment of
    initialisation.
    """
    total = pod_total(pod, "requests", amount)
    for name, text in pod.spec.overhead.items():
        total[name] = total.get(name, 0) + amount(name, text)
    return total


def scoring_requests(pod: core.Pod, exact: Amounts) -> tuple[int, int]:
    """CPU and memory as scoring sees them: with assumptions where nothing is asked for. ``exact`` is what
    ``requests`` says."""
    cpu = memory = 0
    for container in pod.spec.containers:
        wanted = container.resources.requests
        cpu += amount(CPU, wanted[CPU]) if CPU in wanted else DEFAULT_CPU_MILLIS
        memory += amount(MEMORY, wanted[MEMORY]) if MEMORY in wanted else DEFAULT_MEMORY_BYTES
    return max(cpu, exact.get(CPU, 0)), max(memory, exact.get(MEMORY, 0))


def host_ports(pod: core.Pod) -> list[tuple[str, str, int]]:
    """The ports of the node a pod takes: protocol, address, port."""
    sidecars = [each for each in pod.spec.initContainers if is_sidecar(each)]
    return [
        (port.protocol or "TCP", port.hostIP or "0.0.0.0", port.hostPort)
        for container in (*pod.spec.containers, *sidecars)
        for port in container.ports
        if port.hostPort
    ]
