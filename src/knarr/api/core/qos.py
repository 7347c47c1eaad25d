"""A pod's quality of service, from what its containers ask for.

The API server writes it into a new pod's status; the kubelet sets cgroups and out-of-memory scores by it.
Upstream's counterpart is ``pkg/apis/core/helper/qos``.
"""

from __future__ import annotations

from knarr.api import quantity
from knarr.api.core import v1 as core

GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"


def qos_class(pod: core.Pod) -> str:
    """Guaranteed, Burstable or BestEffort; only CPU and memory count."""
    if pod.spec.resources is not None and (pod.spec.resources.requests or pod.spec.resources.limits):
        sets = [pod.spec.resources]
    else:
        sets = [container.resources for container in (*pod.spec.initContainers, *pod.spec.containers)]
    any_set, all_guaranteed = False, True
    for resources in sets:
        for name in ("cpu", "memory"):
            request = quantity.nanos(resources.requests.get(name) or "0")
            limit = quantity.nanos(resources.limits.get(name) or "0")
            any_set = any_set or request > 0 or limit > 0
            if limit == 0 or request != limit:
                all_guaranteed = False
    if not any_set:
        return BEST_EFFORT
    return GUARANTEED if all_guaranteed else BURSTABLE
