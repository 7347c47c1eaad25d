"""The short history and the deadlines: both bounded, both right."""

from __future__ import annotations

import asyncio

import pytest

from knarr.kit.clock import VirtualClock, VirtualTimeLoop
from knarr.store.contract import Compacted, Event
from knarr.store.expiry import Deadlines
from knarr.store.history import History
from knarr.store.memory import MemoryStore


def event(revision: int, size: int = 1) -> Event:
    return Event(f"/{revision}", revision, b"x" * size, revision, None)


def test_a_history_stays_within_its_number_of_events() -> None:
    history = History(1, max_events=100, max_bytes=1 << 30)
    for revision in range(2, 1_000):
        history.append([event(revision)])
        assert len(history.after(history.floor)) <= 100
    assert history.last == 999
    assert [e.revision for e in history.after(990)] == list(range(991, 1_000))
    assert history.at(999) == event(999)
    assert history.at(history.floor) is None
    assert history.at(1_000) is None


def test_a_history_stays_within_its_bytes() -> None:
    history = History(1, max_events=10_000, max_bytes=100_000)
    for revision in range(2, 500):
        history.append([event(revision, 5_000)])
        assert sum(len(e.value or b"") for e in history.after(history.floor)) <= 100_000
    assert history.last == 499
    history.append([event(500, 1_000_000)])
    assert (history.last, history.floor) == (500, 500)


def test_a_history_forgets_what_it_is_told_to() -> None:
    history = History(1, max_events=100, max_bytes=1 << 30)
    history.append([event(revision) for revision in range(2, 12)])
    history.forget(5)
    history.forget(3)
    assert (history.floor, history.last) == (5, 11)
    history.forget(50)
    assert (history.floor, history.last) == (11, 11)


def test_the_memory_store_bounds_its_past_by_itself() -> None:
    async def main() -> None:
        store = MemoryStore(VirtualClock(), history_events=100)
        for n in range(1_000):
            await store.put("/a", str(n).encode(), expected=None)
        with pytest.raises(Compacted):
            await store.get("/a", revision=500)
        with pytest.raises(Compacted):
            await anext(store.watch("/", after=500))
        assert (await anext(store.watch("/", after=1_000)))[0].value == b"999"
        await store.close()

    asyncio.run(main())


def test_on_virtual_time_an_hour_to_live_costs_nothing() -> None:
    async def main() -> None:
        clock = VirtualClock()
        store = MemoryStore(clock)
        await store.put("/event", b"", expected=0, ttl_s=3_600)
        await clock.sleep(3_599)
        assert await store.get("/event") is not None
        await clock.sleep(2)
        assert await store.get("/event") is None
        await store.close()

    loop = VirtualTimeLoop()
    loop.run_until_complete(main())
    loop.close()


def test_deadlines_of_a_key_renewed_for_ever_do_not_pile_up() -> None:
    deadlines = Deadlines()
    for n in range(10_000):
        deadlines.note("/lease", n, expires_at=n + 10.0)
    assert len(deadlines._heap) < 100
    assert deadlines.due(10_008.0, 10) == []
    assert deadlines.due(10_009.0, 10) == [("/lease", 9_999)]
    deadlines.note("/lease", 10_000, expires_at=0)
    assert deadlines.next_at() is None
