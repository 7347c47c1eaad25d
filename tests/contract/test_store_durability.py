"""The sqlite engine alone: what survives, what is refused, and what a full disk does."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from store_engines import HandClock, SqliteEngine, take

from knarr.kit.clock import RealClock
from knarr.store.compaction import AutoCompaction
from knarr.store.contract import Compacted, StoreError
from knarr.store.memory import MemoryStore
from knarr.store.open import open_store
from knarr.store.sqlite import SqliteStore

WRITER = """
import asyncio, sys
from knarr.kit.clock import RealClock
from knarr.store.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(sys.argv[1], RealClock())
    async def write(caller):
        n = 0
        while True:
            revision = await store.put(f"/p/{caller}", str(n).encode(), expected=None)
            sys.stdout.write(f"{caller} {n} {revision}\\n")
            sys.stdout.flush()
            if n % 7 == 6:
                await store.compact(await store.revision())
            n += 1
    await asyncio.gather(*(write(caller) for caller in range(8)))

asyncio.run(main())
"""


def killed_writer(path: Path, lines: int) -> dict[str, tuple[int, int]]:
    """Runs a process that writes until it is killed; the last acknowledged number and revision of each
    caller.
    """
    acknowledged: dict[str, tuple[int, int]] = {}
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for _ in range(lines):
        caller, number, revision = writer.stdout.readline().split()
        acknowledged[caller] = (int(number), int(revision))
    writer.send_signal(signal.SIGKILL)
    for line in writer.stdout.read().splitlines(keepends=True):
        if line.endswith("\n"):
            caller, number, revision = line.split()
            acknowledged[caller] = (int(number), int(revision))
    writer.wait()
    return acknowledged


def test_after_kill_9_every_acknowledged_write_is_there_and_no_revision_is_reused(tmp_path: Path) -> None:
    path, newest = tmp_path / "store.db", 1
    for attempt in range(3):
        acknowledged = killed_writer(path, 200 + 137 * attempt)

        async def check(acknowledged: dict[str, tuple[int, int]] = acknowledged) -> int:
            store = await SqliteStore.open(path, RealClock())
            for caller, (number, revision) in acknowledged.items():
                found = await store.get(f"/p/{caller}")
                assert found is not None
                # A write that was durable but not yet acknowledged may be there too.
                assert found.mod_revision >= revision
                assert found.mod_revision > revision or found.value == str(number).encode()
            fresh = await store.put("/fresh", b"", expected=None)
            assert fresh > max(revision for _, revision in acknowledged.values())
            await store.close()
            return fresh

        fresh = asyncio.run(check())
        assert fresh > newest
        newest = fresh


def test_a_deletion_that_was_compacted_away_does_not_give_its_revision_back(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)

    async def main() -> None:
        store = await engine.make()
        await store.put("/a", b"", expected=0)
        gone = await store.delete("/a", expected=None)
        await store.compact(gone)
        await store.close()
        store = await engine.make()
        assert await store.revision() == gone
        assert await store.put("/a", b"", expected=0) == gone + 1
        with pytest.raises(Compacted):
            await store.range("/", revision=gone - 1)
        await store.close()

    asyncio.run(main())


def test_history_can_be_watched_and_read_across_a_restart(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)

    async def main() -> None:
        store = await engine.make()
        for n in range(1_200):
            await store.put(f"/p/{n % 10}", str(n).encode(), expected=None)
        await store.close()
        store = await engine.make()
        watch = store.watch("/p/", after=1)
        events = await take_all(watch, 1_200)
        assert events == list(range(2, 1_202))
        assert (await store.range("/p/", revision=5)).items[-1].value == b"3"
        await store.close()

    async def take_all(watch, count):  # type: ignore[no-untyped-def]
        seen: list[int] = []
        while len(seen) < count:
            seen += [event.revision for event in await anext(watch)]
        return seen

    asyncio.run(main())


def test_a_time_to_live_goes_on_across_a_restart(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)

    async def main() -> None:
        store = await engine.make()
        await store.put("/while-up", b"", expected=0, ttl_s=100)
        await store.put("/while-down", b"", expected=0, ttl_s=10)
        await store.close()
        await engine.clock.advance(50)
        store = await engine.make()
        [event] = await take(store.watch("/", after=3), 1)
        assert (event.key, event.value) == ("/while-down", None)
        await engine.clock.advance(60)
        [event] = await take(store.watch("/", after=4), 1)
        assert (event.key, event.value) == ("/while-up", None)
        await store.close()

    asyncio.run(main())


def test_a_file_that_is_open_is_refused_with_the_reason(tmp_path: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "store.db", RealClock())
        with pytest.raises(StoreError, match=rf"in use by another process \(pid {os.getpid()}\)"):
            await SqliteStore.open(tmp_path / "store.db", RealClock())
        await store.close()
        store = await SqliteStore.open(tmp_path / "store.db", RealClock())
        await store.close()

    asyncio.run(main())


def test_a_file_of_someone_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    text = tmp_path / "text.db"
    text.write_text("not a database at all\n" * 100)

    async def main() -> None:
        for path, why in ((other, "not one of Knarr's"), (text, "cannot be opened"), (tmp_path, "cannot be")):
            with pytest.raises(StoreError, match=why):
                await SqliteStore.open(path, RealClock())

    asyncio.run(main())
    assert text.read_text().startswith("not a database")


def test_a_full_store_refuses_the_write_whole_and_serves_on(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "store.db"
        store = await SqliteStore.open(path, HandClock(), compaction_interval_s=0, quota_bytes=1 << 20)
        kept = await store.put("/kept", b"1", expected=0)
        big = b"x" * 200_000
        results = await asyncio.gather(
            *(store.put(f"/big/{n}", big, expected=0) for n in range(20)), return_exceptions=True
        )
        assert all(isinstance(result, StoreError) for result in results)
        assert (await store.revision(), await store.count("/big/")) == (kept, 0)
        revision = kept
        with pytest.raises(StoreError, match="full"):
            for _ in range(20):
                revision = await store.put("/big/one", big, expected=None)
        assert await store.revision() == revision
        await store.compact(revision)
        assert await store.put("/big/one", big, expected=None) == revision + 1
        await store.close()
        store = await SqliteStore.open(path, HandClock(), compaction_interval_s=0)
        assert await store.count("") == 2
        await store.close()

    asyncio.run(main())


@pytest.mark.e2e
def test_a_full_disk_refuses_the_write_and_nothing_is_lost(tmp_path: Path) -> None:
    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "store.db", HandClock(), compaction_interval_s=0)
        ballast = tmp_path / "ballast"
        ballast.write_bytes(b"x" * (1 << 20))
        written = 1
        with pytest.raises(StoreError, match="nothing was changed"):
            for n in range(1_000):
                written = await store.put(f"/{n}", b"x" * 20_000, expected=0)
        assert await store.revision() == written
        ballast.unlink()
        assert await store.put("/later", b"x" * 20_000, expected=0) == written + 1
        await store.close()
        store = await SqliteStore.open(tmp_path / "store.db", HandClock(), compaction_interval_s=0)
        assert await store.count("/") == written
        assert len((await store.range("/")).items) == written
        await store.close()

    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)], check=True)
    try:
        asyncio.run(main())
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_caller_that_gives_up_does_not_disturb_the_others(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)

    async def main() -> None:
        store = await engine.make()
        writes = [asyncio.ensure_future(store.put(f"/{n}", b"", expected=0)) for n in range(100)]
        await asyncio.sleep(0)
        for task in writes[::2]:
            task.cancel()
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert all(isinstance(result, int) for result in results[1::2])
        assert await store.count("/") >= 50
        await store.close()

    asyncio.run(main())


def test_a_write_sent_before_the_close_is_finished_by_it(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)

    async def main() -> None:
        store = await engine.make()
        writes = [asyncio.ensure_future(store.put(f"/{n}", b"", expected=0)) for n in range(2_000)]
        await asyncio.sleep(0)
        await store.close()
        assert await asyncio.gather(*writes) == list(range(2, 2_002))
        store = await engine.make()
        assert await store.count("/") == 2_000
        await store.close()

    asyncio.run(main())


def test_the_store_goes_on_when_its_disk_process_is_killed(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)

    async def main() -> None:
        store = await engine.make()
        assert isinstance(store, SqliteStore)
        writes = [asyncio.ensure_future(store.put(f"/{n}", b"", expected=0)) for n in range(1_000)]
        await asyncio.sleep(0)
        os.kill(store._disk._process.pid, signal.SIGKILL)
        assert await asyncio.gather(*writes) == list(range(2, 1_002))
        await store.put("/later", b"", expected=0)
        await store.close()

    asyncio.run(main())


def test_the_write_ahead_log_does_not_grow_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("knarr.store.sqlite_checkpoint.CHECKPOINT_BYTES", 1 << 20)
    engine = SqliteEngine(tmp_path)

    async def main() -> None:
        store = await engine.make()

        async def write(caller: int) -> None:
            for n in range(500):
                await store.put(f"/{caller}/{n}", b"x" * 2_000, expected=0)

        await asyncio.gather(*(write(caller) for caller in range(20)))
        assert (tmp_path / "store.db-wal").stat().st_size < 8 << 20
        assert (tmp_path / "store.db").stat().st_size > 15 << 20
        await store.close()
        assert not (tmp_path / "store.db-wal").exists()

    asyncio.run(main())


def test_a_disk_that_fails_to_sync_ends_the_store_and_acknowledges_nothing(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path)

    async def main() -> None:
        store = await engine.make()
        assert isinstance(store, SqliteStore)
        await store.put("/a", b"", expected=0)
        store._disk.sync = lambda done: done(StoreError("failed: I/O error"))  # type: ignore[method-assign]
        for _ in range(2):
            with pytest.raises(StoreError, match="disk failed"):
                await store.put("/b", b"", expected=0)
        with pytest.raises(StoreError, match="disk failed"):
            await store.get("/a")
        await store.close()

    asyncio.run(main())


def test_too_many_waiting_writes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knarr.store.sqlite.MAX_WAITING_WRITES", 10)
    engine = SqliteEngine(tmp_path)

    async def main() -> None:
        store = await engine.make()
        writes = [store.put(f"/{n}", b"", expected=0) for n in range(12)]
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert [isinstance(result, StoreError) for result in results] == [False] * 10 + [True] * 2
        await store.close()

    asyncio.run(main())


def test_compaction_by_the_clock_keeps_one_interval_and_frees_the_file(tmp_path: Path) -> None:
    async def main() -> None:
        clock = HandClock()
        store = await SqliteStore.open(tmp_path / "store.db", clock, compaction_interval_s=300)
        for n in range(3_000):
            await store.put("/a", str(n).encode(), expected=None)
        await clock.advance(301)
        first = await store.revision()
        await store.range("/", revision=first - 1)
        await store.put("/a", b"last", expected=None)
        await clock.advance(300)
        await asyncio.sleep(0.2)
        with pytest.raises(Compacted):
            await store.range("/", revision=first - 1)
        await store.range("/", revision=first)
        await store.close()
        with sqlite3.connect(tmp_path / "store.db") as db:
            assert db.execute("SELECT count(*) FROM log").fetchone()[0] <= 2
        db.close()

    asyncio.run(main())


def test_the_automatic_compaction_serves_any_store() -> None:
    async def main() -> None:
        clock = HandClock()
        store = MemoryStore(clock)
        task = asyncio.create_task(AutoCompaction(store, clock, interval_s=10).run())
        await asyncio.sleep(0)
        for _ in range(3):
            await store.put("/a", b"", expected=None)
            await clock.advance(10)
        with pytest.raises(Compacted):
            await store.get("/a", revision=2)
        task.cancel()
        await store.close()

    asyncio.run(main())


def test_an_address_opens_its_store_and_an_unknown_one_is_explained(tmp_path: Path) -> None:
    async def main() -> None:
        store = await open_store("memory:", RealClock())
        assert isinstance(store, MemoryStore)
        await store.close()
        store = await open_store(f"sqlite://{tmp_path}/sub/store.db", RealClock())
        assert isinstance(store, SqliteStore)
        await store.close()
        assert (tmp_path / "sub" / "store.db").exists()
        for url in ("", "redis://x", "memory", "memory:x", "sqlite:", "sqlite://relative"):
            with pytest.raises(StoreError, match="expected"):
                await open_store(url, RealClock())

    asyncio.run(main())
