"""How many replicas one metric asks for. Pure; amounts are thousandths throughout, as upstream's are.

The idea is one ratio: what is used over what should be. Pods that say nothing must not make it worse: on the way down a missing pod
counts as fully busy, on the way up it and those that are not ready count as idle, and if that turns the direction, nothing happens.

Upstream's counterpart is ``replica_calculator.go``. Neighbours: ``evaluation`` brings metrics and pods; ``scaling`` limits the result.

Invariant: within the tolerance the number stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from knarr.api import conditions, quantity
from knarr.api.core import v1 as core
from knarr.api.core.pod_resources import is_sidecar, pod_total
from knarr.controllers.pods import is_ready
from knarr.kit.clock import parse_rfc3339

__all__ = [
    "CannotTell",
    "PodMetric",
    "Tolerances",
    "by_average",
    "by_ratio",
    "by_utilization",
    "by_value_per_pod",
    "pod_requests",
    "ready_count",
]

#: For so long after a pod's start its use of the processor counts only once it is ready.
CPU_INITIALIZATION = timedelta(minutes=5)
#: Who became unready within so long after the start has never been ready.
INITIAL_READINESS_DELAY = timedelta(seconds=30)
DEFAULT_TOLERANCE = 0.1
MAX_REPLICAS = 2**31 - 1
NO_PODS = "no pods returned by selector while calculating replica count"
NONE_MEASURED = "did not receive metrics for targeted pods (pods might be unready)"


class CannotTell(Exception):
    """No number can be calculated; the text says why, as upstream's does."""


@dataclass(frozen=True, slots=True)
class PodMetric:
    """One pod's ``value`` over the ``window_s`` before ``at``."""

    value: int
    at: datetime | None = None
    window_s: float = 60.0


class Tolerances(NamedTuple):
    """By how much the ratio may be off without anything being done."""

    down: float = DEFAULT_TOLERANCE
    up: float = DEFAULT_TOLERANCE

    def hold(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(slots=True)
class _Groups:
    """Names by what they count for; ``ready`` is a number, ``ignored`` are on their way out."""

    ready: int = 0
    unready: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    ignored: set[str] = field(default_factory=set)


def _grouped(
    pods: Iterable[core.Pod], metrics: Mapping[str, PodMetric], resource: str, now: datetime
) -> _Groups:
    groups = _Groups()
    for pod in pods:
        name = pod.metadata.name
        if pod.metadata.deletionTimestamp is not None or pod.status.phase == "Failed":
            groups.ignored.add(name)
        elif pod.status.phase == "Pending":
            groups.unready.add(name)
        elif name not in metrics:
            groups.missing.add(name)
        elif resource == "cpu" and _is_unready(pod, metrics[name], now):
            groups.unready.add(name)
        else:
            groups.ready += 1
    return groups


def _is_unready(pod: core.Pod, metric: PodMetric, now: datetime) -> bool:
    """Starting costs processor time that says nothing about the load."""
    condition = conditions.get(pod.status.conditions, "Ready")
    if condition is None or pod.status.startTime is None or condition.lastTransitionTime is None:
        return True
    started, moved = parse_rfc3339(pod.status.startTime), parse_rfc3339(condition.lastTransitionTime)
    if started + CPU_INITIALIZATION > now:
        # A whole window must have been measured since the pod became ready.
        too_early = metric.at is not None and metric.at < moved + timedelta(seconds=metric.window_s)
        return condition.status == "False" or too_early
    return condition.status == "False" and started + INITIAL_READINESS_DELAY > moved


def pod_requests(pods: Iterable[core.Pod], resource: str, *, container: str = "") -> dict[str, int]:
    """What each pod asks for: of one container, or of the pod. Raises ``CannotTell`` where something asks for nothing."""
    return {pod.metadata.name: _request(pod, resource, container) for pod in pods}


def _request(pod: core.Pod, resource: str, container: str) -> int:
    name = pod.metadata.name
    if not container and pod.spec.resources is not None and pod.spec.resources.requests:
        found = pod_total(pod, "requests", lambda _name, text: quantity.millis(text)).get(resource)
        if found is None:
            raise CannotTell(f"missing pod-level request for {resource} in Pod {name}")
        return found
    total = 0
    running = [*pod.spec.containers, *(each for each in pod.spec.initContainers if is_sidecar(each))]
    chosen = [each for each in running if container in ("", each.name)]
    if container and not chosen:
        raise CannotTell(f"container {container} not found in Pod {name}")
    for each in chosen:
        if resource not in each.resources.requests:
            raise CannotTell(f"missing request for {resource} in container {each.name} of Pod {name}")
        total += quantity.millis(each.resources.requests[resource])
    return total


def by_utilization(
    current: int,
    metrics: Mapping[str, PodMetric],
    pods: list[core.Pod],
    *,
    resource: str,
    target_percent: int,
    tolerances: Tolerances,
    now: datetime,
    container: str = "",
) -> tuple[int, int, int]:
    """Replicas for a share of what pods ask for; also the share in percent and the average use. Raises ``CannotTell``."""
    groups, values = _measured(pods, metrics, resource, now)
    requests = pod_requests(pods, resource, container=container)

    def percent(used: Mapping[str, int]) -> int:
        known = [name for name in used if name in requests]
        asked = sum(requests[name] for name in known)
        if not asked:
            raise CannotTell("no metrics returned matched known pods")
        return sum(used[name] for name in known) * 100 // asked

    full = max(100, target_percent)
    replicas = _replicas(
        current,
        values,
        groups,
        ratio=lambda used: percent(used) / target_percent,
        busy=lambda name: requests[name] * full // 100,
        tolerances=tolerances,
    )
    return replicas, percent(values), sum(values.values()) // len(values)


def by_average(
    current: int,
    metrics: Mapping[str, PodMetric],
    pods: list[core.Pod],
    *,
    resource: str,
    target: int,
    tolerances: Tolerances,
    now: datetime,
) -> tuple[int, int]:
    """Replicas for an average a pod; also the average. ``resource`` is empty for what is no resource. Raises ``CannotTell``."""
    groups, values = _measured(pods, metrics, resource, now)

    def average(used: Mapping[str, int]) -> int:
        return sum(used.values()) // len(used)

    replicas = _replicas(
        current,
        values,
        groups,
        ratio=lambda used: average(used) / target,
        busy=lambda _name: target,
        tolerances=tolerances,
    )
    return replicas, average(values)


def _measured(
    pods: list[core.Pod], metrics: Mapping[str, PodMetric], resource: str, now: datetime
) -> tuple[_Groups, dict[str, int]]:
    """The groups, and the values that count. Raises ``CannotTell``."""
    if not pods:
        raise CannotTell(NO_PODS)
    groups = _grouped(pods, metrics, resource, now)
    left_out = groups.ignored | groups.unready
    values = {name: metric.value for name, metric in metrics.items() if name not in left_out}
    if not values:
        raise CannotTell(NONE_MEASURED)
    return groups, values


def _replicas(
    current: int,
    values: Mapping[str, int],
    groups: _Groups,
    *,
    ratio: Callable[[Mapping[str, int]], float],
    busy: Callable[[str], int],
    tolerances: Tolerances,
) -> int:
    """``busy`` is what a pod uses that is thought fully busy."""
    first = ratio(values)
    counts_unready = bool(groups.unready) and first > 1.0
    if not counts_unready and not groups.missing:
        return current if tolerances.hold(first) else _ceil(first * groups.ready)
    thought = dict(values)
    if first < 1.0:
        thought |= {name: busy(name) for name in groups.missing}
    elif first > 1.0:
        thought |= dict.fromkeys(groups.missing, 0)
    if counts_unready:
        thought |= dict.fromkeys(groups.unready, 0)
    second = ratio(thought)
    if tolerances.hold(second) or (first < 1.0 < second) or (second < 1.0 < first):
        return current
    wanted = _ceil(second * len(thought))
    against = (second < 1.0 and wanted > current) or (second > 1.0 and wanted < current)
    return current if against else wanted


def by_ratio(current: int, used: int, *, target: int, ready: int | None, tolerances: Tolerances) -> int:
    """Replicas for one value of something else than pods. ``ready`` is how many pods are; from zero replicas nothing is held back.

    Raises ``CannotTell`` where there are no pods to count.
    """
    ratio = used / target
    if current == 0:
        return _ceil(ratio)
    if tolerances.hold(ratio):
        return current
    if ready is None:
        raise CannotTell(f"unable to calculate ready pods: {NO_PODS}")
    return _ceil(ratio * ready)


def by_value_per_pod(replicas: int, used: int, *, target: int, tolerances: Tolerances) -> tuple[int, int]:
    """Replicas for a value that is shared by the pods; also what falls to each now. ``replicas`` are those there are."""
    if replicas and tolerances.hold(used / (target * replicas)):
        return replicas, math.ceil(used / replicas)
    return _ceil(used / target), math.ceil(used / max(replicas, 1))


def ready_count(pods: list[core.Pod]) -> int | None:
    """How many run and are ready; None without any pods."""
    return sum(pod.status.phase == "Running" and is_ready(pod) for pod in pods) if pods else None


def _ceil(number: float) -> int:
    return min(math.ceil(number), MAX_REPLICAS)
