"""The scheduling queue: order, back-off, and who is woken by what."""

from __future__ import annotations

import asyncio

import pytest

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.client.informer import ADDED, DELETED
from knarr.kit.clock import VirtualClock
from knarr.scheduler.queue import HINTS, MAX_BACKOFF_S, UNSCHEDULABLE_S, SchedulingQueue
from knarr.testing.time import run

FIT = frozenset({"NodeResourcesFit"})


def pod(name: str, priority: int = 0) -> core.Pod:
    return core.Pod(metadata=meta.ObjectMeta(name=name, namespace="ns"), spec=core.PodSpec(priority=priority))


async def names(queue: SchedulingQueue, count: int) -> list[str]:
    return [(await queue.pop()).pod.metadata.name for _ in range(count)]


async def waits_s(queue: SchedulingQueue, clock: VirtualClock) -> float:
    started_s = clock.monotonic_s()
    await queue.pop()
    return clock.monotonic_s() - started_s


def test_priority_first_then_arrival() -> None:
    async def scenario() -> None:
        queue = SchedulingQueue(VirtualClock())
        for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 9)):
            queue.add(pod(name, priority))
        assert await names(queue, 4) == ["d", "b", "a", "c"]

    run(scenario())


def test_a_refused_pod_waits_for_an_event_that_may_help_it() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        queue = SchedulingQueue(clock)
        queue.add(pod("a"))
        queue.failed(await queue.pop(), FIT, moves=queue.moves)
        assert queue.statistics()["unschedulable"] == 1
        queue.event("Node", "labels")
        await clock.sleep(20)
        assert queue.statistics()["unschedulable"] == 1
        queue.event("Pod", DELETED)
        assert await waits_s(queue, clock) == 0

    run(scenario())


def test_an_event_soon_after_a_failure_waits_for_the_back_off() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        queue = SchedulingQueue(clock)
        queue.add(pod("a"))
        held = await queue.pop()
        for wait_s in (1, 2, 4, 8, MAX_BACKOFF_S, MAX_BACKOFF_S):
            queue.failed(held, FIT, moves=queue.moves)
            queue.event("Node", ADDED)
            started_s = clock.monotonic_s()
            held = await queue.pop()
            assert clock.monotonic_s() - started_s == pytest.approx(wait_s)

    run(scenario())


def test_an_event_during_the_try_counts() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        queue = SchedulingQueue(clock)
        queue.add(pod("a"))
        moves = queue.moves
        held = await queue.pop()
        queue.event("Node", ADDED)
        queue.failed(held, FIT, moves=moves)
        assert queue.statistics()["unschedulable"] == 0
        assert await waits_s(queue, clock) == pytest.approx(1)

    run(scenario())


def test_nobody_waits_for_ever() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        queue = SchedulingQueue(clock)
        queue.add(pod("a"))
        queue.failed(await queue.pop(), frozenset({"NodeAffinity"}), moves=queue.moves)
        assert await waits_s(queue, clock) == pytest.approx(UNSCHEDULABLE_S)

    run(scenario())


def test_a_removed_pod_is_not_given_out_and_a_new_one_of_its_name_is() -> None:
    async def scenario() -> None:
        queue = SchedulingQueue(VirtualClock())
        queue.add(pod("a"))
        queue.remove("ns", "a")
        queue.add(pod("b"))
        queue.add(pod("a", priority=-1))
        assert await names(queue, 2) == ["b", "a"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await queue.pop()

    run(scenario())


def test_a_changed_specification_is_tried_at_once_a_changed_status_is_not() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        queue = SchedulingQueue(clock)
        queue.add(pod("a"))
        queue.failed(await queue.pop(), FIT, moves=queue.moves)
        queue.update(pod("a"))
        await clock.sleep(5)
        assert queue.statistics()["unschedulable"] == 1
        queue.add(pod("a", priority=3))
        held = await queue.pop()
        assert held.pod.spec.priority == 3

    run(scenario())


def test_every_hint_names_plugins_that_exist() -> None:
    from knarr.scheduler.plugins import default_plugins

    known = {plugin.name for plugin in default_plugins()} | {"", "VolumeBinding"}
    for plugins in HINTS.values():
        assert plugins <= known
