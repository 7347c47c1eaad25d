"""How many replicas a metric asks for. Wrong here, and a service falls over or a bill explodes."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.controllers.horizontal.replicas import (
    MAX_REPLICAS,
    CannotTell,
    PodMetric,
    Tolerances,
    by_average,
    by_ratio,
    by_utilization,
    by_value_per_pod,
    pod_requests,
    ready_count,
)
from knarr.kit.clock import rfc3339

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TEN_PERCENT = Tolerances()
EXACT = Tolerances(0.0, 0.0)


def pod(
    name: str,
    *,
    cpu: str = "100m",
    ready: bool = True,
    phase: str = "Running",
    started_s: float = 3600,
    moved_s: float = 3000,
    going: bool = False,
) -> core.Pod:
    """A pod that was started and changed its readiness so many seconds ago."""
    container = core.Container(name="main", resources=core.ResourceRequirements(requests={"cpu": cpu} if cpu else {}))
    condition = core.PodCondition(
        type="Ready", status="True" if ready else "False", lastTransitionTime=rfc3339(NOW - timedelta(seconds=moved_s))
    )
    return core.Pod(
        metadata=meta.ObjectMeta(name=name, deletionTimestamp=rfc3339(NOW) if going else None),
        spec=core.PodSpec(containers=[container]),
        status=core.PodStatus(phase=phase, conditions=[condition], startTime=rfc3339(NOW - timedelta(seconds=started_s))),
    )


def pods(count: int) -> list[core.Pod]:
    return [pod(f"p{index}") for index in range(count)]


def used(*values: int, window_s: float = 15) -> dict[str, PodMetric]:
    return {f"p{index}": PodMetric(value, NOW, window_s) for index, value in enumerate(values)}


def utilization(
    current: int, metrics: dict[str, PodMetric], of: list[core.Pod], *, target: int = 50, tolerances: Tolerances = TEN_PERCENT
) -> int:
    return by_utilization(
        current, metrics, of, resource="cpu", target_percent=target, tolerances=tolerances, now=NOW
    )[0]


amounts = st.lists(st.integers(min_value=0, max_value=10_000), min_size=1, max_size=30)
targets = st.integers(min_value=1, max_value=300)


@given(amounts, targets)
def test_measured_pods_are_scaled_by_the_ratio(values: list[int], target: int) -> None:
    count = len(values)
    wanted, percent, average = by_utilization(
        count, used(*values), pods(count), resource="cpu", target_percent=target, tolerances=EXACT, now=NOW
    )
    assert percent == sum(values) * 100 // (100 * count) and average == sum(values) // count
    assert wanted == (count if percent == target else math.ceil(percent / target * count))


@given(amounts, targets, st.integers(min_value=0, max_value=5000))
def test_more_use_never_asks_for_fewer(values: list[int], target: int, more: int) -> None:
    count = len(values)
    busier = [values[0] + more, *values[1:]]
    assert utilization(count, used(*busier), pods(count), target=target) >= utilization(
        count, used(*values), pods(count), target=target
    )


@given(st.integers(min_value=1, max_value=100), st.integers(min_value=90, max_value=110))
def test_within_the_tolerance_nothing_moves(count: int, percent: int) -> None:
    assert utilization(count, used(*[percent] * count), pods(count), target=100) == count


@given(amounts, targets, st.integers(min_value=1, max_value=20), st.integers(min_value=0, max_value=20))
def test_pods_that_say_nothing_never_turn_the_direction(
    values: list[int], target: int, missing: int, unready: int
) -> None:
    count = len(values)
    silent = [pod(f"m{index}") for index in range(missing)]
    starting = [pod(f"u{index}", phase="Pending") for index in range(unready)]
    everybody = [*pods(count), *silent, *starting]
    current = len(everybody)
    wanted = utilization(current, used(*values), everybody, target=target)
    ratio = sum(values) * 100 // (100 * count) / target
    assert wanted >= current if ratio > 1 else wanted <= current


@given(amounts, targets, st.integers(min_value=1, max_value=20))
def test_missing_metrics_scale_down_no_further_than_busy_pods_would(values: list[int], target: int, missing: int) -> None:
    count = len(values)
    silent = [pod(f"m{index}") for index in range(missing)]
    everybody = [*pods(count), *silent]
    current = len(everybody)
    wanted = utilization(current, used(*values), everybody, target=target)
    busy = {each.metadata.name: PodMetric(max(100, target), NOW, 15) for each in silent}
    told = utilization(current, used(*values) | busy, everybody, target=target)
    if sum(values) * 100 // (100 * count) / target < 1:
        assert wanted >= min(told, current)


@pytest.mark.parametrize(
    ("of", "metrics", "current", "wanted"),
    [
        # On the way up those that are not ready count as idle, and so does a missing one.
        ([pod("p0"), pod("p1", ready=False, started_s=60, moved_s=60)], used(100, 900), 2, 2),
        ([pod("p0"), pod("p1", phase="Pending")], used(500), 2, 10),
        ([pod("p0"), pod("p1")], used(500), 2, 10),
        # On the way down a missing one counts as fully busy.
        ([pod("p0"), pod("p1")], used(10), 2, 2),
        ([pod("p0"), pod("p1"), pod("p2"), pod("p3"), pod("p4")], used(1, 1, 1, 1), 5, 2),
        # Those on their way out count for nothing.
        ([pod("p0"), pod("p1", going=True), pod("p2", phase="Failed")], used(200, 900, 900), 3, 4),
    ],
)
def test_pods_count_by_what_is_known_of_them(
    of: list[core.Pod], metrics: dict[str, PodMetric], current: int, wanted: int
) -> None:
    assert utilization(current, metrics, of) == wanted


@pytest.mark.parametrize(
    ("starting", "counts"),
    [
        # Young, and not measured for a whole window since it became ready.
        (pod("p1", started_s=60, moved_s=10), False),
        (pod("p1", started_s=60, moved_s=20), True),
        (pod("p1", started_s=60, moved_s=20, ready=False), False),
        # Old, and never ready.
        (pod("p1", started_s=600, moved_s=590, ready=False), False),
        # Old, and unready only since lately.
        (pod("p1", started_s=600, moved_s=60, ready=False), True),
    ],
)
def test_a_start_is_no_load(starting: core.Pod, counts: bool) -> None:
    _, percent, _ = by_utilization(
        2, used(50, 150), [pod("p0"), starting], resource="cpu", target_percent=50, tolerances=EXACT, now=NOW
    )
    assert percent == (100 if counts else 50)


def test_memory_counts_from_the_start() -> None:
    young = pod("p0", ready=False, started_s=5, moved_s=5)
    young.spec.containers[0].resources.requests = {"memory": "1Ki"}
    wanted, percent, _ = by_utilization(
        1, used(2 * 1024 * 1000), [young], resource="memory", target_percent=50, tolerances=EXACT, now=NOW
    )
    assert (wanted, percent) == (4, 200)


@given(st.integers(min_value=1, max_value=50), st.integers(min_value=0, max_value=10_000), st.integers(min_value=1, max_value=1000))
def test_an_average_is_scaled_by_the_ratio(count: int, value: int, target: int) -> None:
    wanted, average = by_average(
        count, used(*[value] * count), pods(count), resource="", target=target, tolerances=EXACT, now=NOW
    )
    assert average == value and wanted == (count if value == target else math.ceil(value / target * count))


@given(st.integers(min_value=0, max_value=10**12), st.integers(min_value=1, max_value=10**6), st.integers(min_value=1, max_value=50))
def test_a_shared_value_gives_each_pod_at_most_its_target(value: int, target: int, count: int) -> None:
    wanted, _ = by_value_per_pod(count, value, target=target, tolerances=EXACT)
    assert wanted == min(math.ceil(value / target), MAX_REPLICAS)


def test_from_zero_nothing_is_held_back() -> None:
    assert by_ratio(0, 1, target=1000, ready=None, tolerances=TEN_PERCENT) == 1
    assert by_ratio(0, 5000, target=1000, ready=None, tolerances=TEN_PERCENT) == 5
    assert by_ratio(0, 0, target=1000, ready=None, tolerances=TEN_PERCENT) == 0
    assert by_value_per_pod(0, 4500, target=1000, tolerances=TEN_PERCENT) == (5, 4500)
    assert by_value_per_pod(3, 0, target=1000, tolerances=TEN_PERCENT) == (0, 0)


def test_each_direction_has_its_own_tolerance() -> None:
    wide = Tolerances(down=0.5, up=0.01)
    assert utilization(10, used(*[60] * 10), pods(10), target=100, tolerances=wide) == 10
    assert utilization(10, used(*[102] * 10), pods(10), target=100, tolerances=wide) == 11


def test_what_cannot_be_told_says_why() -> None:
    bare = pod("p0", cpu="")
    with pytest.raises(CannotTell, match="missing request for cpu in container main of Pod p0"):
        utilization(1, used(1), [bare])
    with pytest.raises(CannotTell, match="container side not found in Pod p0"):
        pod_requests([pod("p0")], "cpu", container="side")
    with pytest.raises(CannotTell, match="no pods returned by selector"):
        utilization(1, used(1), [])
    with pytest.raises(CannotTell, match="pods might be unready"):
        utilization(1, used(1), [pod("p0", phase="Pending")])
    with pytest.raises(CannotTell, match="unable to calculate ready pods"):
        by_ratio(1, 5000, target=1000, ready=ready_count([]), tolerances=EXACT)


def test_requests_are_of_the_pod_of_its_sidecars_or_of_one_container() -> None:
    whole = pod("p0", cpu="200m")
    sidecar = core.Container(
        name="side", restartPolicy="Always", resources=core.ResourceRequirements(requests={"cpu": "50m"})
    )
    whole.spec.initContainers = [sidecar, core.Container(name="once")]
    assert pod_requests([whole], "cpu") == {"p0": 250}
    assert pod_requests([whole], "cpu", container="side") == {"p0": 50}
    whole.spec.resources = core.ResourceRequirements(requests={"cpu": "1"})
    assert pod_requests([whole], "cpu") == {"p0": 1000}
