"""Which pod goes first, which tolerates what, which is expected: pure decisions of the controllers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.controllers.expectations import TIMEOUT_S, Expectations
from knarr.controllers.node_lifecycle import schedule_taints
from knarr.controllers.pods import available_in_s, deletion_rank, is_available
from knarr.controllers.taint_eviction import eviction_time
from knarr.kit.clock import VirtualClock, rfc3339
from knarr.testing.time import run

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ago(seconds: float) -> str:
    return rfc3339(NOW - timedelta(seconds=seconds))


def pod(
    name: str,
    *,
    node: str = "n1",
    phase: str = "Running",
    ready_s: float | None = 1000,
    age_s: float = 2000,
    restarts: int = 0,
    cost: str = "",
) -> core.Pod:
    ready = "True" if ready_s is not None else "False"
    condition = core.PodCondition(type="Ready", status=ready, lastTransitionTime=ago(ready_s or 0))
    container = core.ContainerStatus(name="c", restartCount=restarts)
    annotations = {"controller.kubernetes.io/pod-deletion-cost": cost} if cost else {}
    return core.Pod(
        metadata=meta.ObjectMeta(name=name, uid=name, creationTimestamp=ago(age_s), annotations=annotations),
        spec=core.PodSpec(nodeName=node),
        status=core.PodStatus(phase=phase, conditions=[condition], containerStatuses=[container]),
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"node": ""}, {"phase": "Pending", "ready_s": None}),
        ({"phase": "Pending", "ready_s": None}, {"ready_s": None}),
        ({"ready_s": None}, {"cost": "-100"}),
        ({"cost": "-1"}, {"ready_s": 1}),
        ({"cost": "nonsense"}, {"cost": "1"}),
        ({"node": "crowded"}, {"ready_s": 1}),
        ({"ready_s": 1}, {"restarts": 9}),
        ({"restarts": 3}, {"age_s": 1, "restarts": 2}),
        ({"age_s": 10}, {"age_s": 10_000}),
    ],
)
def test_the_less_valuable_pod_goes_first(first: dict[str, Any], second: dict[str, Any]) -> None:
    pods = [pod("keep", **second), pod("go", **first)]
    related = [*pods, *(pod(f"x{number}", node="crowded") for number in range(3))]
    assert [each.metadata.name for each in deletion_rank(pods, related, NOW)] == ["go", "keep"]
    assert [each.metadata.name for each in deletion_rank(pods[::-1], related, NOW)] == ["go", "keep"]


def test_a_pod_is_available_when_it_has_been_ready_for_long_enough() -> None:
    held = pod("a", ready_s=7)
    assert is_available(held, 0, NOW) and is_available(held, 7, NOW) and not is_available(held, 8, NOW)
    assert available_in_s(held, 10, NOW) == 3 and available_in_s(held, 5, NOW) is None
    assert available_in_s(pod("b", ready_s=None), 10, NOW) is None


def taint(key: str, added_s: float = 0) -> core.Taint:
    return core.Taint(key=key, effect="NoExecute", timeAdded=ago(added_s))


def tolerates(key: str, seconds: int | None = None) -> core.Toleration:
    return core.Toleration(key=key, operator="Exists", effect="NoExecute", tolerationSeconds=seconds)


@pytest.mark.parametrize(
    ("taints", "tolerations", "in_s"),
    [
        ([taint("a")], [], 0),
        ([taint("a")], [tolerates("a")], None),
        ([taint("a", 100)], [tolerates("a", 300)], 200),
        ([taint("a", 100), taint("b", 10)], [tolerates("a", 300), tolerates("b", 60)], 50),
        ([taint("a"), taint("b")], [tolerates("a")], 0),
        ([taint("a", 10)], [tolerates("a", 300), tolerates("a", 20)], 10),
        ([taint("a")], [tolerates("a", -5)], 0),
        ([taint("a")], [core.Toleration(operator="Exists")], None),
        ([], [], None),
    ],
)
def test_when_a_pod_has_to_leave(
    taints: list[core.Taint], tolerations: list[core.Toleration], in_s: float | None
) -> None:
    due = eviction_time(taints, tolerations, now=NOW)
    assert (due is None) == (in_s is None)
    if due is not None and in_s is not None:
        assert (due - NOW).total_seconds() == in_s


@pytest.mark.parametrize(
    ("status", "unschedulable", "expected"),
    [
        ({"Ready": "True"}, False, set()),
        ({"Ready": "False"}, False, {"not-ready"}),
        ({"Ready": "Unknown"}, True, {"unreachable", "unschedulable"}),
        ({"Ready": "True", "DiskPressure": "True", "MemoryPressure": "False"}, False, {"disk-pressure"}),
        ({}, False, {"not-ready"}),
    ],
)
def test_conditions_become_taints(status: dict[str, str], unschedulable: bool, expected: set[str]) -> None:
    node = core.Node(
        spec=core.NodeSpec(unschedulable=unschedulable),
        status=core.NodeStatus(conditions=[core.NodeCondition(type=kind, status=how) for kind, how in status.items()]),
    )
    assert {key.removeprefix("node.kubernetes.io/") for key in schedule_taints(node)} == expected


def test_expectations_hold_until_seen_or_until_it_has_been_too_long() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        expected = Expectations(clock)
        assert expected.satisfied("a")
        expected.expect_creations("a", 2)
        expected.created("a")
        assert not expected.satisfied("a")
        expected.created("a")
        assert expected.satisfied("a")
        expected.created("a")
        assert expected.satisfied("a")
        expected.expect_deletions("a", ["x", "y"])
        expected.deleted("a", "x")
        expected.deleted("a", "x")
        assert not expected.satisfied("a") and expected.satisfied("b")
        await clock.sleep(TIMEOUT_S + 1)
        assert expected.satisfied("a")
        expected.forget("a")
        expected.deleted("a", "y")

    run(scenario())


def test_an_old_owner_s_new_creations_are_expected_as_long_as_a_new_one_s() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        expected = Expectations(clock)
        expected.expect_creations("a", 1)
        expected.created("a")
        await clock.sleep(TIMEOUT_S + 1)
        expected.expect_creations("a", 1)
        assert not expected.satisfied("a")
        expected.expect_creations("a", 1)
        expected.created("a")
        assert not expected.satisfied("a")
        expected.created("a")
        assert expected.satisfied("a")

    run(scenario())
