"""Time, chance, back-off and tasks: what every other part takes for granted."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.kit.backoff import Backoff, KeyedBackoff
from knarr.kit.chance import NAME_ALPHABET, Chance
from knarr.kit.clock import RealClock, VirtualClock, VirtualTimeLoop, parse_rfc3339, rfc3339, rfc3339_micro
from knarr.kit.log import get_logger
from knarr.kit.tasks import TaskSet, every, run_forever
from knarr.testing.time import run

LOG = get_logger("test")


def test_virtual_time_passes_at_once_and_in_order() -> None:
    clock, order = VirtualClock(), []

    async def wake(after_s: float) -> None:
        await clock.sleep(after_s)
        order.append((after_s, clock.monotonic_s()))

    async def scenario() -> None:
        await asyncio.gather(*(wake(after_s) for after_s in (3600, 1, 60)))

    started_s = time.monotonic()
    run(scenario())
    assert [after_s for after_s, _ in order] == [1, 60, 3600]
    assert all(at_s == pytest.approx(after_s) for after_s, at_s in order)
    assert time.monotonic() - started_s < 2


def test_a_virtual_clock_tells_the_date_from_the_loop() -> None:
    async def scenario() -> datetime:
        clock = VirtualClock()
        await clock.sleep(86_400)
        return clock.now()

    assert run(scenario()) == datetime(2026, 1, 2, tzinfo=UTC)


def test_a_virtual_loop_still_hears_other_threads() -> None:
    async def scenario() -> int:
        return await asyncio.to_thread(lambda: 7)

    loop = VirtualTimeLoop()
    try:
        assert loop.run_until_complete(scenario()) == 7
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def test_the_real_clock_is_the_machines() -> None:
    clock = RealClock()
    assert abs((clock.now() - datetime.now(UTC)).total_seconds()) < 1 and clock.now().tzinfo is UTC


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)), st.integers(-12, 14))
def test_a_moment_survives_being_written_and_read(moment: datetime, hours: int) -> None:
    zoned = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert parse_rfc3339(rfc3339_micro(zoned)) == zoned
    assert parse_rfc3339(rfc3339(zoned)) == zoned.replace(microsecond=0)


@pytest.mark.parametrize("text", ["", "now", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "2026-01-01T25:00:00Z"])
def test_a_false_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rfc3339(text)


def test_the_same_seed_gives_the_same_numbers_and_another_gives_others() -> None:
    def draws(seed: int) -> list[object]:
        chance = Chance(seed)
        return [chance.uid(), chance.suffix(), chance.uniform(0, 1), chance.index(1000), chance.shuffled(list(range(9)))]

    assert draws(1) == draws(1) != draws(2)


def test_suffixes_make_no_words_and_uids_are_version_4() -> None:
    chance = Chance(3)
    for _ in range(200):
        assert set(chance.suffix()) <= set(NAME_ALPHABET) and len(chance.suffix(8)) == 8
        assert chance.uid()[14] == "4"
        assert 10 <= chance.jitter(10, 0.5) <= 15


@given(st.floats(0.001, 10), st.floats(1, 5), st.integers(1, 3000))
def test_a_back_off_grows_to_its_ceiling_and_never_overflows(base_s: float, times: float, failures: int) -> None:
    backoff = Backoff(base_s, base_s * times)
    delays = [backoff.next_s() for _ in range(failures)]
    assert delays == sorted(delays) and delays[0] == base_s and delays[-1] <= base_s * times
    backoff.reset()
    assert backoff.next_s() == base_s


def test_keys_back_off_apart_and_are_forgotten() -> None:
    backoff = KeyedBackoff(1, 100)
    assert [backoff.next_s("a"), backoff.next_s("a"), backoff.next_s("b")] == [1, 2, 1]
    backoff.forget("a")
    assert backoff.next_s("a") == 1 and len(backoff) == 2
    backoff.forget("a")
    backoff.forget("b")
    assert len(backoff) == 0


def test_a_failing_task_is_started_again_with_growing_pauses() -> None:
    clock, starts = VirtualClock(), []

    async def step() -> None:
        starts.append(clock.monotonic_s())
        raise ValueError

    async def scenario() -> None:
        task = asyncio.ensure_future(run_forever("x", step, clock=clock, log=LOG, base_s=1, max_s=8))
        await clock.sleep(30)
        task.cancel()

    run(scenario())
    assert starts == pytest.approx([0, 1, 3, 7, 15, 23])


def test_a_series_goes_on_after_a_failure() -> None:
    clock, runs = VirtualClock(), []

    async def step() -> None:
        runs.append(clock.monotonic_s())
        if len(runs) == 2:
            raise ValueError

    async def scenario() -> None:
        task = asyncio.ensure_future(every(10, step, clock=clock, log=LOG, name="x"))
        await clock.sleep(35)
        task.cancel()

    run(scenario())
    assert runs == pytest.approx([0, 10, 20, 30])


def test_a_closed_task_set_has_ended_all_its_tasks_even_late_ones() -> None:
    ended: list[int] = []

    async def scenario() -> None:
        tasks = TaskSet(LOG)

        async def work(number: int) -> None:
            try:
                await asyncio.sleep(1e6)
            finally:
                ended.append(number)
                if number == 0:
                    tasks.spawn(work(9))

        for number in range(3):
            tasks.spawn(work(number))
        await asyncio.sleep(1)
        assert len(tasks) == 3
        await tasks.close()
        assert len(tasks) == 0 and asyncio.all_tasks() == {asyncio.current_task()}

    run(scenario())
    assert {0, 1, 2} <= set(ended)
