"""What a deletion does to an object, for every mixture of grace and finalizers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.scheme import by_type
from knarr.apiserver.registry.deletion import check_options, check_preconditions, decide, is_done
from knarr.apiserver.registry.pods import grace_period_s
from knarr.apiserver.registry.strategy import Strategy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PODS = by_type(core.Pod)
GRACEFUL = Strategy(PODS, graceful=grace_period_s)
AT_ONCE = Strategy(PODS)


def pod(*finalizers: str, node: str = "n1", **more: Any) -> core.Pod:
    metadata = meta.ObjectMeta(name="a", uid="u", resourceVersion="7", finalizers=list(finalizers), **more)
    return core.Pod(metadata=metadata, spec=core.PodSpec(nodeName=node, terminationGracePeriodSeconds=30))


def options(**more: Any) -> meta.DeleteOptions:
    return meta.DeleteOptions(**more)


def test_an_object_without_ties_goes_at_once() -> None:
    assert decide(AT_ONCE, pod(), options(), now=NOW).remove
    assert decide(GRACEFUL, pod(node=""), options(), now=NOW).remove
    assert decide(GRACEFUL, pod(), options(gracePeriodSeconds=0), now=NOW).remove


def test_who_asks_for_time_gets_it_also_for_a_pod_that_wants_none() -> None:
    hasty = pod()
    hasty.spec.terminationGracePeriodSeconds = 0
    assert decide(GRACEFUL, hasty, options(), now=NOW).remove
    marked = decide(GRACEFUL, hasty, options(gracePeriodSeconds=60), now=NOW).updated
    assert marked is not None and marked.metadata.deletionGracePeriodSeconds == 60
    ended = pod()
    ended.status.phase = "Succeeded"
    assert decide(GRACEFUL, ended, options(gracePeriodSeconds=60), now=NOW).remove


def test_a_running_pod_is_marked_for_when_its_time_is_over() -> None:
    marked = decide(GRACEFUL, pod(), options(), now=NOW).updated
    assert marked is not None
    assert (marked.metadata.deletionTimestamp, marked.metadata.deletionGracePeriodSeconds) == ("2026-01-01T00:00:30Z", 30)
    again = decide(GRACEFUL, marked, options(gracePeriodSeconds=10), now=NOW).updated
    assert again is not None and again.metadata.deletionTimestamp == "2026-01-01T00:00:10Z"
    longer = decide(GRACEFUL, again, options(gracePeriodSeconds=99), now=NOW)
    assert not longer.remove and longer.updated is None
    assert decide(GRACEFUL, again, options(gracePeriodSeconds=0), now=NOW).remove


def test_a_negative_period_is_the_shortest() -> None:
    marked = decide(GRACEFUL, pod(), options(gracePeriodSeconds=-5), now=NOW).updated
    assert marked is not None and marked.metadata.deletionGracePeriodSeconds == 1


@pytest.mark.parametrize(
    ("held", "wanted", "expected"),
    [
        ([], {"propagationPolicy": "Foreground"}, ["foregroundDeletion"]),
        ([], {"propagationPolicy": "Orphan"}, ["orphan"]),
        ([], {"orphanDependents": True}, ["orphan"]),
        (["x"], {"propagationPolicy": "Background"}, ["x"]),
        (["orphan"], {"propagationPolicy": "Foreground"}, ["foregroundDeletion"]),
        (["orphan", "x"], {"propagationPolicy": "Background"}, ["x"]),
        (["foregroundDeletion"], {}, ["foregroundDeletion"]),
    ],
)
def test_the_policy_becomes_a_finalizer(held: list[str], wanted: dict[str, Any], expected: list[str]) -> None:
    marked = decide(AT_ONCE, pod(*held), options(**wanted), now=NOW).updated
    assert marked is not None and marked.metadata.finalizers == expected


@given(
    st.lists(st.sampled_from(["a", "b", "orphan", "foregroundDeletion"]), unique=True),
    st.none() | st.integers(-1, 60),
    st.sampled_from([None, "Background", "Foreground", "Orphan"]),
    st.sampled_from(["", "n1"]),
    st.none() | st.integers(-1, 60),
)
def test_a_deletion_never_loses_a_finalizer_of_somebody_else(
    finalizers: list[str], grace_s: int | None, policy: str | None, node: str, second_s: int | None
) -> None:
    obj = pod(*finalizers, node=node)
    before = codec.encode(obj)
    decision = decide(GRACEFUL, obj, options(gracePeriodSeconds=grace_s, propagationPolicy=policy), now=NOW)
    assert codec.encode(obj) == before
    others = [name for name in finalizers if name in ("a", "b")]
    if decision.remove:
        assert not others
        return
    marked = decision.updated
    assert marked is not None and [name for name in marked.metadata.finalizers if name in ("a", "b")] == others
    again = decide(GRACEFUL, marked, options(gracePeriodSeconds=second_s), now=NOW)
    if again.updated is not None:
        assert again.updated.metadata.deletionGracePeriodSeconds <= marked.metadata.deletionGracePeriodSeconds
        assert again.updated.metadata.deletionTimestamp <= marked.metadata.deletionTimestamp


def test_an_object_is_done_only_when_nothing_is_left_to_wait_for() -> None:
    assert not is_done(pod())
    assert is_done(pod(deletionTimestamp="2026-01-01T00:00:00Z", deletionGracePeriodSeconds=0))
    assert not is_done(pod("x", deletionTimestamp="2026-01-01T00:00:00Z", deletionGracePeriodSeconds=0))
    assert not is_done(pod(deletionTimestamp="2026-01-01T00:00:30Z", deletionGracePeriodSeconds=30))


def test_contradictions_are_refused() -> None:
    with pytest.raises(StatusError):
        check_options(options(orphanDependents=True, propagationPolicy="Orphan"))
    with pytest.raises(StatusError):
        check_options(options(propagationPolicy="Sideways"))
    check_options(options(propagationPolicy="Foreground"))


def test_preconditions_name_one_object_at_one_moment() -> None:
    def problem(**wanted: str) -> int:
        found = check_preconditions(PODS, "a", pod(), meta.Preconditions(**wanted))
        return found.code if found is not None else 0

    assert (problem(), problem(uid="u"), problem(uid="v")) == (0, 0, 409)
    assert (problem(resourceVersion="7"), problem(resourceVersion="8")) == (0, 409)
