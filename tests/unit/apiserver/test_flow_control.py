"""Seats, borrowing and queues of priority levels, and which schema a request belongs to."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.flowcontrol import v1 as flowcontrol
from knarr.api.meta import v1 as meta
from knarr.apiserver.flowcontrol.classify import MAX_REMEMBERED, Classifier
from knarr.apiserver.flowcontrol.defaults import default_levels, default_schemas
from knarr.apiserver.flowcontrol.levels import MAX_WAIT_S, Refused, Seats, deal
from knarr.apiserver.request import Query, UserInfo, parse_request_info
from knarr.testing.time import run

USERS = ("system:authenticated",)


@pytest.mark.parametrize(
    ("user", "groups", "method", "path", "schema"),
    [
        ("root", ("system:masters",), "DELETE", "/api/v1/nodes/n", "exempt"),
        ("x", USERS, "GET", "/healthz", "probes"),
        ("x", USERS, "GET", "/healthz/etcd", "global-default"),
        ("system:kube-scheduler", USERS, "PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/s", "system-leader-election"),
        ("system:kube-scheduler", USERS, "GET", "/api/v1/pods", "kube-scheduler"),
        ("system:kube-controller-manager", USERS, "PUT", "/api/v1/namespaces/a/endpoints/e", "kube-controller-manager"),
        ("system:kube-controller-manager", USERS, "POST", "/api/v1/namespaces/a/pods", "kube-controller-manager"),
        ("system:node:n", ("system:nodes", *USERS), "PATCH", "/api/v1/nodes/n/status", "system-node-high"),
        ("system:node:n", ("system:nodes", *USERS), "GET", "/api/v1/pods", "system-nodes"),
        ("system:serviceaccount:kube-system:x", ("system:serviceaccounts", *USERS), "GET", "/api/v1/pods", "kube-system-service-accounts"),
        ("system:serviceaccount:kube-systematic:x", ("system:serviceaccounts", *USERS), "GET", "/api/v1/pods", "service-accounts"),
        ("alice", USERS, "GET", "/api/v1/pods", "global-default"),
        ("system:anonymous", ("system:unauthenticated",), "GET", "/version", "global-default"),
    ],
)
def test_every_request_finds_its_schema(user: str, groups: tuple[str, ...], method: str, path: str, schema: str) -> None:
    found = Classifier(default_schemas()).find(UserInfo(user, groups), parse_request_info(method, path, Query()), path)
    assert found is not None and found.metadata.name == schema


def test_what_is_remembered_of_requests_has_a_limit() -> None:
    classifier = Classifier(default_schemas())
    info = parse_request_info("GET", "/api/v1/pods", Query())
    for number in range(MAX_REMEMBERED + 10):
        classifier.find(UserInfo(f"u{number}", USERS), info, "")
    assert len(classifier._found) <= MAX_REMEMBERED


def level(name: str, shares: int, *, lends: int = 0, limit: int | None = None, queues: int = 0, length: int = 2, hand: int = 1) -> flowcontrol.PriorityLevelConfiguration:
    queuing = flowcontrol.QueuingConfiguration(queues=queues, handSize=hand, queueLengthLimit=length) if queues else None
    response = flowcontrol.LimitResponse(type="Queue" if queues else "Reject", queuing=queuing)
    limited = flowcontrol.LimitedPriorityLevelConfiguration(
        nominalConcurrencyShares=shares, lendablePercent=lends, borrowingLimitPercent=limit, limitResponse=response
    )
    spec = flowcontrol.PriorityLevelConfigurationSpec(type="Limited", limited=limited)
    return flowcontrol.PriorityLevelConfiguration(metadata=meta.ObjectMeta(name=name), spec=spec)


def seats(total: int, *levels: flowcontrol.PriorityLevelConfiguration) -> Seats:
    made = Seats(total)
    made.configure(levels)
    return made


def taken(of: Seats, name: str, most: int = 100) -> int:
    """How many more seats the level gets at once."""
    return sum(1 for _ in range(most) if of.take(of.levels[name], 1))


def test_seats_are_shared_out_by_shares() -> None:
    made = seats(600, *default_levels())
    nominal = {name: each.nominal for name, each in made.levels.items()}
    assert nominal == {
        "exempt": 0,
        "catch-all": 13,
        "system": 74,
        "node-high": 98,
        "leader-election": 25,
        "workload-high": 98,
        "workload-low": 245,
        "global-default": 49,
    }
    assert made.levels["workload-low"].lendable == 220


def test_a_level_borrows_what_others_lend_and_no_more() -> None:
    made = seats(20, level("a", 1), level("b", 1, lends=50))
    assert taken(made, "a") == 15
    # What was not for lending is still there; what was lent comes back seat by seat.
    assert taken(made, "b") == 5
    made.release(made.levels["a"], 1)
    assert taken(made, "b") == 1 and taken(made, "a") == 0


def test_a_borrowing_limit_holds() -> None:
    made = seats(20, level("a", 1, limit=20), level("b", 1, lends=100))
    assert taken(made, "a") == 12


def test_an_exempt_level_never_waits() -> None:
    made = seats(10, *default_levels())
    assert taken(made, "exempt") == 100 and made.taken == 0


def test_a_level_without_queues_refuses() -> None:
    async def main() -> None:
        made = seats(2, level("a", 1))
        assert taken(made, "a") == 2
        with pytest.raises(Refused, match="concurrency-limit"):
            await made.wait(made.levels["a"], 1, "f")

    run(main())


def test_a_full_queue_refuses_and_a_long_wait_ends() -> None:
    async def main() -> None:
        made = seats(1, level("a", 1, queues=1, length=2))
        a = made.levels["a"]
        assert made.take(a, 1)
        waiting = [asyncio.ensure_future(made.wait(a, 1, "f")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="queue-full"):
            await made.wait(a, 1, "f")
        began_s = asyncio.get_running_loop().time()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(each) for each in results] == ["time-out", "time-out"]
        assert asyncio.get_running_loop().time() - began_s == MAX_WAIT_S
        assert a.waiting == 0 and a.taken == 1
        made.release(a, 1)
        assert made.taken == 0

    run(main())


def test_a_flood_does_not_keep_others_waiting() -> None:
    async def main() -> None:
        made = seats(1, level("a", 1, queues=64, length=100))
        a = made.levels["a"]
        assert made.take(a, 1)
        served: list[str] = []

        async def ask(flow: str) -> None:
            await made.wait(a, 1, flow)
            served.append(flow)
            made.release(a, 1)

        tasks = [asyncio.ensure_future(ask("flood")) for _ in range(50)]
        await asyncio.sleep(0)
        tasks += [asyncio.ensure_future(ask(name)) for name in ("small-1", "small-2")]
        await asyncio.sleep(0)
        made.release(a, 1)
        await asyncio.gather(*tasks)
        assert set(served[:4]) >= {"small-1", "small-2"} and made.taken == 0 and a.waiting == 0

    run(main())


def test_who_gives_up_takes_no_seat_with_him() -> None:
    async def main() -> None:
        made = seats(1, level("a", 1, queues=2))
        a = made.levels["a"]
        assert made.take(a, 1)
        gone, stays = (asyncio.ensure_future(made.wait(a, 1, flow)) for flow in ("x", "y"))
        await asyncio.sleep(0)
        gone.cancel()
        # The seat and the end come in the same moment.
        made.release(a, 1)
        await asyncio.wait([gone, stays], timeout=1)
        assert stays.done() and not stays.exception()
        made.release(a, 1)
        assert (made.taken, a.taken, a.waiting) == (0, 0, 0)

    run(main())


def test_a_changed_level_keeps_who_is_seated_and_who_waits() -> None:
    async def main() -> None:
        made = seats(2, level("a", 1, queues=2))
        a = made.levels["a"]
        assert taken(made, "a") == 2
        waiting = asyncio.ensure_future(made.wait(a, 1, "x"))
        await asyncio.sleep(0)
        made.configure([level("a", 5, queues=8), level("b", 1)])
        assert a is made.levels["a"] and a.taken == 2 and a.waiting == 1
        made.configure([level("b", 1)])
        assert "a" in made.levels
        made.release(a, 1)
        await waiting
        made.release(a, 1)
        made.release(a, 1)
        made.configure([level("b", 1)])
        assert "a" not in made.levels and made.taken == 0

    run(main())


@given(st.text(max_size=20), st.integers(1, 128), st.integers(1, 10))
def test_a_hand_has_different_queues(flow: str, deck: int, hand: int) -> None:
    cards = deal(flow, deck, hand)
    assert len(cards) == len(set(cards)) == min(hand, deck) and all(0 <= card < deck for card in cards)
    assert cards == deal(flow, deck, hand)


def test_flows_are_dealt_evenly() -> None:
    counts = Counter(card for number in range(2000) for card in deal(f"flow-{number}", 16, 4))
    assert len(counts) == 16 and max(counts.values()) < 1.3 * min(counts.values())


STEPS = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans(), st.integers(1, 3)), max_size=60)


@given(STEPS)
def test_no_more_seats_are_taken_than_there_are(steps: list[tuple[str, bool, int]]) -> None:
    made = seats(9, level("a", 1, lends=50), level("b", 2, lends=80, limit=50), level("c", 1))
    held: list[tuple[Any, int]] = []
    for name, takes, width in steps:
        if takes and made.take(made.levels[name], width):
            held.append((made.levels[name], width))
        elif not takes and held:
            made.release(*held.pop(0))
        assert made.taken == sum(each for _, each in held) <= 9
        assert all(each.taken <= each.nominal + each.borrowing_limit for each in made.levels.values())
