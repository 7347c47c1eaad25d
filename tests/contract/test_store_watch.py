"""Every engine: what a watcher sees."""

from __future__ import annotations

import asyncio
import gc

import pytest
from store_engines import Engine, silent, take

from knarr.store.contract import Compacted, Event, Store, StoreError


def test_a_watch_from_the_past_replays_and_then_follows(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        await store.put("/p/a", b"1", expected=0)  # 2
        await store.put("/q/a", b"1", expected=0)  # 3
        await store.put("/p/a", b"2", expected=None)  # 4
        await store.delete("/p/a", expected=None)  # 5
        watch = store.watch("/p/", after=1)
        assert await take(watch, 3) == [
            Event("/p/a", 2, b"1", 2, None, 0),
            Event("/p/a", 4, b"2", 2, b"1", 2),
            Event("/p/a", 5, None, 2, b"2", 4),
        ]
        await store.put("/p/a", b"3", expected=0)
        await store.put("/q/a", b"2", expected=None)
        await store.put("/p/b", b"1", expected=0)
        assert [event.key for event in await take(watch, 2)] == ["/p/a", "/p/b"]
        assert await silent(watch)

    engine.run(scenario)


@pytest.mark.parametrize("after", range(1, 7))
def test_a_watch_has_only_what_came_after(engine: Engine, after: int) -> None:
    async def scenario(store: Store) -> None:
        for n in range(5):
            await store.put(f"/{n}", b"", expected=0)
        watch = store.watch("/", after=after)
        await store.put("/last", b"", expected=0)
        expected = list(range(after + 1, 8))
        assert [event.revision for event in await take(watch, len(expected))] == expected

    engine.run(scenario)


def test_a_watch_from_zero_has_everything_since_the_beginning(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        await store.put("/a", b"", expected=0)
        assert [event.revision for event in await take(store.watch("/", after=0), 1)] == [2]

    engine.run(scenario)


def test_a_watch_from_the_future_leaves_out_what_comes_before(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        watch = store.watch("/", after=3)
        waiting = asyncio.ensure_future(take(watch, 1))
        await asyncio.sleep(0.01)
        for n in range(3):
            await store.put(f"/{n}", b"", expected=0)
        assert [event.revision for event in await waiting] == [4]

    engine.run(scenario)


def test_watchers_of_nested_prefixes_each_see_their_part_once(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        prefixes = ["", "/", "/p/", "/p/a", "/p/a/", "/p", "/p/ab", "/q/"]
        watches = {prefix: store.watch(prefix, after=1) for prefix in prefixes}
        waiting = {prefix: asyncio.ensure_future(anext(watch)) for prefix, watch in watches.items()}
        await asyncio.sleep(0.02)
        keys = ["/p/a", "/p/a/x", "/p/ab", "/p", "/pp", "/r"]
        await asyncio.gather(*(store.put(key, b"", expected=0) for key in keys))
        for prefix in prefixes:
            wanted = [key for key in keys if key.startswith(prefix)]
            if not wanted:
                waiting[prefix].cancel()
                continue
            got = list(await waiting[prefix])
            if len(got) < len(wanted):
                got += await take(watches[prefix], len(wanted) - len(got))
            assert [event.key for event in got] == wanted

    engine.run(scenario)


def test_nobody_sees_a_change_twice_or_out_of_order_while_many_write(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        total = 600

        async def write(number: int) -> None:
            for n in range(total // 20):
                await store.put(f"/p/{number}", str(n).encode(), expected=None)

        async def follow(after: int) -> list[Event]:
            watch = store.watch("/p/", after=after)
            return await take(watch, total + 1 - after)

        early = [asyncio.ensure_future(follow(1)) for _ in range(3)]
        writing = asyncio.gather(*(write(number) for number in range(20)))
        await anext(store.watch("/p/1", after=1))
        late = asyncio.ensure_future(follow(50))
        await writing
        for task, after in [*((task, 1) for task in early), (late, 50)]:
            assert [event.revision for event in await task] == list(range(after + 1, total + 2))

    engine.run(scenario)


def test_previous_is_what_stood_there_even_within_one_batch(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        await asyncio.gather(*(store.put("/a", str(n).encode(), expected=None) for n in range(10)))
        events = await take(store.watch("/", after=1), 10)
        assert [event.previous for event in events] == [None, *(str(n).encode() for n in range(9))]
        assert [event.previous_revision for event in events] == [0, *range(2, 11)]

    engine.run(scenario)


def test_a_watch_after_a_compacted_revision_is_refused(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        for n in range(8):
            await store.put("/a", str(n).encode(), expected=None)
        await store.compact(5)
        with pytest.raises(Compacted) as refused:
            await take(store.watch("/", after=4), 1)
        assert (refused.value.asked, refused.value.oldest) == (4, 5)
        assert [event.revision for event in await take(store.watch("/", after=5), 4)] == [6, 7, 8, 9]

    engine.run(scenario)


def test_compaction_does_not_disturb_a_watcher_that_keeps_up(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        watch = store.watch("/", after=1)
        for n in range(50):
            await store.put("/a", str(n).encode(), expected=None)
            assert [event.revision for event in await take(watch, 1)] == [n + 2]
            await store.compact(await store.revision())

    engine.run(scenario)


def test_a_watcher_too_slow_is_cut_off_and_the_others_are_not(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(store: Store) -> None:
        store._watchers._limit = 10  # type: ignore[attr-defined]
        slow, quick = store.watch("/", after=1), store.watch("/", after=1)
        await store.put("/a", b"", expected=None)
        await take(slow, 1)
        await take(quick, 1)
        for n in range(11):
            await store.put(f"/{n}", b"", expected=None)
            await take(quick, 1)
        with pytest.raises(Compacted):
            await take(slow, 11)
        assert await silent(quick)

    engine.run(scenario)


def test_closing_or_dropping_a_watch_releases_it(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        watchers = store._watchers  # type: ignore[attr-defined]
        kept, dropped = store.watch("/", after=1), store.watch("/", after=1)
        for watch in (kept, dropped):
            assert await silent(watch, 0.01)
        assert len(watchers) == 2
        await kept.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(kept)
        del dropped, watch
        gc.collect()
        assert len(watchers) == 0

    engine.run(scenario)


def test_a_waiting_watcher_is_told_when_the_store_closes(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        waiting = asyncio.ensure_future(anext(store.watch("/", after=1)))
        await asyncio.sleep(0.01)
        await store.close()
        with pytest.raises(StoreError):
            await waiting

    engine.run(scenario)


def test_a_change_is_readable_as_soon_as_a_watcher_has_seen_it(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        watch = store.watch("/", after=1)
        for n in range(20):
            writing = asyncio.ensure_future(store.put(f"/{n}", b"", expected=0))
            [event] = await take(watch, 1)
            found = await store.get(f"/{n}")
            assert found is not None and found.mod_revision == event.revision
            assert await store.revision() >= event.revision
            await writing

    engine.run(scenario)


def test_a_key_with_a_time_to_live_deletes_itself(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        watch = store.watch("/", after=1)
        await store.put("/short", b"1", expected=0, ttl_s=10)
        await store.put("/long", b"1", expected=0, ttl_s=1_000)
        await store.put("/forever", b"1", expected=0)
        await take(watch, 3)
        await engine.clock.advance(9)
        assert await silent(watch)
        await engine.clock.advance(2)
        [event] = await take(watch, 1)
        assert (event.key, event.value, event.previous, event.revision) == ("/short", None, b"1", 5)
        assert await store.get("/short") is None
        await engine.clock.advance(1_000)
        [event] = await take(watch, 1)
        assert event.key == "/long"
        assert [item.key for item in (await store.range("/")).items] == ["/forever"]

    engine.run(scenario)


def test_writing_again_renews_or_lifts_the_time_to_live(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        await store.put("/renewed", b"", expected=0, ttl_s=10)
        await store.put("/lifted", b"", expected=0, ttl_s=10)
        await store.put("/gone", b"", expected=0, ttl_s=10)
        await engine.clock.advance(6)
        await store.put("/renewed", b"", expected=None, ttl_s=10)
        await store.put("/lifted", b"", expected=None)
        await store.delete("/gone", expected=None)
        await store.put("/gone", b"", expected=0)
        await engine.clock.advance(6)
        assert await store.count("/") == 3
        await engine.clock.advance(6)
        assert [item.key for item in (await store.range("/")).items] == ["/gone", "/lifted"]

    engine.run(scenario)


def test_a_shorter_time_to_live_written_later_is_kept(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        await store.put("/long", b"", expected=0, ttl_s=50)
        await asyncio.sleep(0.01)
        await store.put("/short", b"", expected=0, ttl_s=5)
        await asyncio.sleep(0.01)
        await engine.clock.advance(6)
        assert [item.key for item in (await store.range("/")).items] == ["/long"]

    engine.run(scenario)


def test_a_thousand_keys_die_at_once(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        await asyncio.gather(*(store.put(f"/{n}", b"", expected=0, ttl_s=5) for n in range(1_000)))
        await engine.clock.advance(5)
        for _ in range(500):
            if not await store.count("/"):
                break
            await asyncio.sleep(0.01)
        assert await store.count("/") == 0
        assert await store.revision() == 2_001

    engine.run(scenario)
