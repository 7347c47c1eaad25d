"""Every engine: what a write leaves behind and what a read finds, now and in the past."""

from __future__ import annotations

import asyncio

import pytest
from store_engines import Engine

from knarr.store.contract import Compacted, FutureRevision, RevisionMismatch, Store, StoreError


def test_an_empty_store_stands_at_revision_1_and_the_first_write_is_2(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        assert await store.revision() == 1
        assert (await store.range("")).revision == 1
        assert await store.put("/a", b"1", expected=0) == 2
        assert await store.revision() == 2

    engine.run(scenario)


def test_a_written_key_is_found_with_its_creation_and_its_last_change(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        created = await store.put("/a", b"1", expected=0)
        changed = await store.put("/a", b"2", expected=created)
        found = await store.get("/a")
        assert found is not None
        assert (found.key, found.value) == ("/a", b"2")
        assert (found.create_revision, found.mod_revision) == (created, changed)

    engine.run(scenario)


def test_a_key_created_again_after_its_deletion_has_a_new_creation(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        await store.put("/a", b"1", expected=0)
        await store.delete("/a", expected=None)
        again = await store.put("/a", b"2", expected=0)
        found = await store.get("/a")
        assert found is not None and found.create_revision == again

    engine.run(scenario)


def test_every_write_takes_the_next_revision(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        seen = [await store.put(f"/{n}", b"", expected=None) for n in range(5)]
        seen.append(await store.delete("/0", expected=None))
        assert seen == [2, 3, 4, 5, 6, 7]

    engine.run(scenario)


def test_a_write_with_a_stale_revision_is_refused_and_shown_what_stands_there(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        first = await store.put("/a", b"1", expected=0)
        second = await store.put("/a", b"2", expected=first)
        with pytest.raises(RevisionMismatch) as refused:
            await store.put("/a", b"3", expected=first)
        assert refused.value.current is not None
        assert refused.value.current.value == b"2"
        assert refused.value.current.mod_revision == second
        with pytest.raises(RevisionMismatch):
            await store.put("/a", b"3", expected=0)
        with pytest.raises(RevisionMismatch) as absent:
            await store.put("/b", b"3", expected=5)
        assert absent.value.current is None
        assert await store.revision() == second

    engine.run(scenario)


def test_a_deletion_needs_the_right_revision_and_something_to_delete(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        with pytest.raises(RevisionMismatch) as nothing:
            await store.delete("/a", expected=None)
        assert nothing.value.current is None
        with pytest.raises(RevisionMismatch):
            await store.delete("/a", expected=0)
        first = await store.put("/a", b"1", expected=0)
        with pytest.raises(RevisionMismatch):
            await store.delete("/a", expected=first + 7)
        with pytest.raises(RevisionMismatch):
            await store.delete("/a", expected=0)
        assert await store.delete("/a", expected=first) == first + 1
        assert await store.get("/a") is None

    engine.run(scenario)


def test_of_many_creations_of_one_key_at_once_exactly_one_succeeds(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        writes = [store.put("/a", str(n).encode(), expected=0) for n in range(50)]
        results = await asyncio.gather(*writes, return_exceptions=True)
        won = [result for result in results if isinstance(result, int)]
        lost = [result for result in results if isinstance(result, RevisionMismatch)]
        assert (len(won), len(lost)) == (1, 49)
        assert all(error.current is not None and error.current.mod_revision == won[0] for error in lost)

    engine.run(scenario)


def test_a_counter_raised_by_many_with_compare_and_set_loses_no_step(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        await store.put("/n", b"0", expected=0)

        async def raise_it() -> None:
            while True:
                found = await store.get("/n")
                assert found is not None
                try:
                    await store.put("/n", str(int(found.value) + 1).encode(), expected=found.mod_revision)
                except RevisionMismatch:
                    continue
                return

        await asyncio.gather(*(raise_it() for _ in range(20)))
        found = await store.get("/n")
        assert found is not None and found.value == b"20"

    engine.run(scenario)


def test_a_write_and_a_deletion_sent_together_happen_in_that_order(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        await asyncio.gather(store.put("/a", b"1", expected=0), store.delete("/a", expected=None))
        assert await store.get("/a") is None
        results = await asyncio.gather(
            store.put("/b", b"1", expected=0),
            store.delete("/b", expected=None),
            store.delete("/b", expected=None),
            store.put("/b", b"2", expected=0),
            return_exceptions=True,
        )
        assert isinstance(results[2], RevisionMismatch)
        found = await store.get("/b")
        assert found is not None and (found.value, found.create_revision) == (b"2", results[3])

    engine.run(scenario)


def test_a_range_has_exactly_the_keys_of_its_prefix_in_order(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        keys = ["/p/", "/p/a", "/p/a/b", "/p/b", "/p0", "/p", "/q/a", "/p/\U0010ffff", "/p/é", "/p/a-", "/o"]
        for key in keys:
            await store.put(key, key.encode(), expected=0)
        page = await store.range("/p/")
        assert [item.key for item in page.items] == sorted(key for key in keys if key.startswith("/p/"))
        assert all(item.value == item.key.encode() for item in page.items)
        assert (page.remaining, page.revision) == (0, len(keys) + 1)
        assert [item.key for item in (await store.range("")).items] == sorted(keys)
        assert [item.key for item in (await store.range("/p/\U0010ffff")).items] == ["/p/\U0010ffff"]
        assert (await store.range("/nothing")).items == []
        assert await store.count("/p/") == 7
        assert await store.count("") == len(keys)
        assert await store.count("/nothing") == 0

    engine.run(scenario)


def test_pages_of_a_range_cover_it_once_and_say_how_much_follows(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        for n in range(250):
            await store.put(f"/p/{n:03}", b"", expected=0)
        await store.put("/q", b"", expected=0)
        start, seen = "", []
        while True:
            page = await store.range("/p/", start=start, limit=100)
            seen += [item.key for item in page.items]
            assert page.remaining == 250 - len(seen)
            if not page.remaining:
                break
            start = page.items[-1].key + "\0"
        assert seen == [f"/p/{n:03}" for n in range(250)]
        assert (await store.range("/p/", start="/p/248")).items[0].key == "/p/248"
        assert (await store.range("/p/", start="/z")).items == []
        assert len((await store.range("/p/", start="/a")).items) == 250

    engine.run(scenario)


def test_a_read_at_a_past_revision_shows_the_past(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        await store.put("/p/a", b"1", expected=0)  # 2
        await store.put("/p/b", b"1", expected=0)  # 3
        await store.put("/p/a", b"2", expected=2)  # 4
        await store.delete("/p/b", expected=3)  # 5
        await store.put("/p/c", b"1", expected=0)  # 6
        await store.put("/p/b", b"2", expected=0)  # 7

        async def at(revision: int) -> dict[str, tuple[bytes, int, int]]:
            page = await store.range("/p/", revision=revision)
            assert page.revision == revision
            assert [item.key for item in page.items] == sorted(item.key for item in page.items)
            for item in page.items:
                assert await store.get(item.key, revision=revision) == item
            return {item.key: (item.value, item.create_revision, item.mod_revision) for item in page.items}

        assert await at(1) == {}
        assert await at(3) == {"/p/a": (b"1", 2, 2), "/p/b": (b"1", 3, 3)}
        assert await at(4) == {"/p/a": (b"2", 2, 4), "/p/b": (b"1", 3, 3)}
        assert await at(5) == {"/p/a": (b"2", 2, 4)}
        assert await at(7) == {"/p/a": (b"2", 2, 4), "/p/b": (b"2", 7, 7), "/p/c": (b"1", 6, 6)}
        assert await store.get("/p/b", revision=5) is None
        assert await store.get("/p/c", revision=5) is None
        page = await store.range("/p/", revision=3, limit=1)
        assert ([item.key for item in page.items], page.remaining) == (["/p/a"], 1)
        page = await store.range("/p/", revision=3, start="/p/b", limit=1)
        assert ([item.key for item in page.items], page.remaining) == (["/p/b"], 0)

    engine.run(scenario)


def test_the_future_cannot_be_read_or_compacted(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        await store.put("/a", b"", expected=0)
        for read in (store.get("/a", revision=9), store.range("/", revision=9), store.compact(9)):
            with pytest.raises(FutureRevision) as refused:
                await read
            assert (refused.value.asked, refused.value.current) == (9, 2)

    engine.run(scenario)


def test_compaction_forgets_the_past_and_keeps_what_stands(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        first = await store.put("/a", b"1", expected=0)
        await store.put("/b", b"1", expected=0)
        await store.delete("/b", expected=None)
        await store.put("/a", b"2", expected=first)  # 5
        await store.put("/a", b"3", expected=None)  # 6
        await store.compact(5)
        for read in (store.get("/a", revision=4), store.range("/", revision=4)):
            with pytest.raises(Compacted) as refused:
                await read
            assert (refused.value.asked, refused.value.oldest) == (4, 5)
        then = await store.get("/a", revision=5)
        assert then is not None and then.value == b"2"
        assert [item.value for item in (await store.range("/")).items] == [b"3"]
        await store.compact(5)
        await store.compact(2)
        then = await store.get("/a", revision=5)
        assert then is not None and then.value == b"2"
        await store.compact(6)
        assert [item.value for item in (await store.range("/", revision=6)).items] == [b"3"]
        assert await store.put("/a", b"4", expected=6) == 7

    engine.run(scenario)


def test_big_values_and_strange_keys_come_back_as_they_went_in(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        big = bytes(range(256)) * 12_000
        keys = ["/a b", "/日本語", "/\x01", "/emoji/🙂", "/quote'\"", "/a\0b", "/%_", "/" + "x" * 3_000]
        for key in keys:
            await store.put(key, big if key == "/日本語" else b"\0" + key.encode(), expected=0)
        await store.put("/empty", b"", expected=0)
        for key in keys:
            found = await store.get(key)
            assert found is not None
            assert found.value == (big if key == "/日本語" else b"\0" + key.encode())
        found = await store.get("/empty")
        assert found is not None and found.value == b""
        assert [item.key for item in (await store.range("/")).items] == sorted([*keys, "/empty"])

    engine.run(scenario)


def test_ten_thousand_keys_are_read_whole(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        await asyncio.gather(*(store.put(f"/p/{n:05}", str(n).encode(), expected=0) for n in range(10_000)))
        page = await store.range("/p/")
        assert [item.value for item in page.items] == [str(n).encode() for n in range(10_000)]
        assert await store.count("/p/0001") == 10
        await asyncio.gather(*(store.delete(f"/p/{n:05}", expected=None) for n in range(0, 10_000, 2)))
        assert await store.count("/p/") == 5_000
        assert len((await store.range("/p/", revision=page.revision)).items) == 10_000

    engine.run(scenario, history_events=100_000)


def test_a_closed_store_refuses_everything(engine: Engine) -> None:
    async def scenario(store: Store) -> None:
        await store.put("/a", b"", expected=0)
        await store.close()
        for call in (
            store.get("/a"),
            store.range("/"),
            store.count("/"),
            store.put("/a", b"", expected=None),
            store.delete("/a", expected=None),
            store.revision(),
            store.compact(1),
        ):
            with pytest.raises(StoreError):
                await call

    engine.run(scenario)
