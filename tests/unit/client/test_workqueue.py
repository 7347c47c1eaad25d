"""The work queue's three promises, by example and by random operations."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.client.workqueue import RETRY_MAX_S, WorkQueue
from knarr.kit.clock import VirtualClock
from knarr.testing.time import run


def test_a_key_waits_once_however_often_it_is_added() -> None:
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue(VirtualClock())
        for key in ("a", "b", "a", "a"):
            queue.add(key)
        assert len(queue) == 2 and [await queue.get(), await queue.get()] == ["a", "b"]

    run(scenario())


def test_a_key_being_worked_on_is_not_given_out_but_comes_again() -> None:
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue(VirtualClock())
        queue.add("a")
        await queue.get()
        queue.add("a")
        assert len(queue) == 0 and not queue.idle()
        queue.done("a")
        assert await queue.get() == "a"
        queue.done("a")
        assert queue.idle()

    run(scenario())


def test_failures_come_back_later_and_later_until_one_succeeds() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        queue: WorkQueue[str] = WorkQueue(clock)
        waits = []
        for _ in range(4):
            before_s = clock.monotonic_s()
            queue.retry("a")
            await queue.get()
            waits.append(clock.monotonic_s() - before_s)
            queue.done("a")
        assert waits == pytest.approx([0.005, 0.01, 0.02, 0.04])
        for _ in range(40):
            queue.retry("b")
            queue.close()
        before_s = clock.monotonic_s()
        queue.retry("b")
        await queue.get()
        assert clock.monotonic_s() - before_s == pytest.approx(RETRY_MAX_S)
        queue.forget("a")
        before_s = clock.monotonic_s()
        queue.retry("a")
        await queue.get()
        assert clock.monotonic_s() - before_s == pytest.approx(0.005)

    run(scenario())


def test_of_several_delays_the_earliest_counts() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        queue: WorkQueue[str] = WorkQueue(clock)
        for delay_s in (50, 10, 30):
            queue.add_after("a", delay_s)
        await queue.get()
        assert clock.monotonic_s() == pytest.approx(10)
        queue.done("a")
        await clock.sleep(100)
        assert queue.idle()

    run(scenario())


def test_closing_leaves_no_timer() -> None:
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue(VirtualClock())
        queue.add_after("a", 10)
        queue.close()
        await asyncio.sleep(100)
        assert len(queue) == 0

    run(scenario())


@given(st.lists(st.tuples(st.sampled_from(["add", "get", "done", "later"]), st.integers(0, 3)), max_size=60))
def test_no_key_is_lost_and_none_is_worked_on_twice(steps: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        queue: WorkQueue[int] = WorkQueue(clock)
        working: set[int] = set()
        owed: set[int] = set()
        for step, key in steps:
            if step == "add":
                queue.add(key)
                owed.add(key)
            elif step == "later":
                queue.add_after(key, 1 + key)
                owed.add(key)
            elif step == "get" and len(queue):
                got = await queue.get()
                assert got not in working
                working.add(got)
                owed.discard(got)
            elif step == "done" and key in working:
                working.discard(key)
                queue.done(key)
        await clock.sleep(10)
        for key in working:
            queue.done(key)
        while len(queue):
            got = await queue.get()
            owed.discard(got)
            queue.done(got)
        assert not owed and queue.idle()

    run(scenario())
