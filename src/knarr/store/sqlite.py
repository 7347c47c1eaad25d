"""The default engine: a log in one SQLite file, group commit, and an index of keys in memory.

A write waits until the next batch; a batch is decided on the event loop (who finds the revision it expected),
made durable by one thread in one transaction, and only then applied to the index, handed to the watchers, and
acknowledged. While one batch is at the disk the next one gathers, so the more callers there are, the cheaper
each write is.

Values stay in the file: memory holds the keys and a short history. Small reads are answered on the loop from
the page cache, big ones by a reading thread. Neighbours: ``sqlite_log`` holds all SQL, ``worker`` the
threads, ``history``, ``watchers``, ``keys`` and ``expiry`` are shared with ``memory``.

Invariants: index, history and watchers only ever show what is durable; one batch is under way at most; a
batch that fails leaves no trace and its revisions are given out again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.store.compaction import COMPACTION_INTERVAL_S, AutoCompaction
from knarr.store.contract import (
    Compacted,
    Event,
    FutureRevision,
    KeyValue,
    Page,
    RevisionMismatch,
    StoreError,
    Watch,
)
from knarr.store.expiry import Expiry
from knarr.store.history import History
from knarr.store.keys import SortedKeys
from knarr.store.sqlite_log import FileLock, Row, SqliteLog
from knarr.store.watchers import StoreWatch, Watchers
from knarr.store.worker import Worker

#: The short history in memory; watches from further back read the log.
HISTORY_EVENTS = 10_000
HISTORY_BYTES = 16 << 20
#: How many writes may wait for their batch, and how big a batch gets.
MAX_WAITING_WRITES = 20_000
MAX_BATCH_WRITES = 512
MAX_BATCH_BYTES = 16 << 20
#: Reads of more keys than this go to the reading thread.
INLINE_READ_KEYS = 32
#: Changes a watch reads from the log at a time.
REPLAY_EVENTS = 500

log = get_logger("store")


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Where a key stands in the log."""

    mod_revision: int
    create_revision: int


class Write(msgspec.Struct, eq=False):
    """A put (or with ``value`` None a deletion) on its way. The lower half is known once it is in a batch."""

    key: str
    value: bytes | None
    expected: int | None
    expires_at: float
    answer: asyncio.Future[int]
    revision: int = 0
    create_revision: int = 0
    previous_revision: int = 0
    previous: bytes | None = None

    def standing(self) -> KeyValue | None:
        """What stands under the key once this is durable."""
        return (
            None
            if self.value is None
            else KeyValue(self.key, self.value, self.create_revision, self.revision)
        )

    def event(self) -> Event:
        return Event(
            self.key, self.revision, self.value, self.create_revision, self.previous, self.previous_revision
        )

    def refuse(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Batch(msgspec.Struct, eq=False):
    """Writes that go to the disk together, and those that lost to one of them and are told so afterwards."""

    writes: list[Write]
    losers: list[tuple[Write, Write]]


class SqliteStore:
    """Opened by ``await SqliteStore.open(path, clock)``; belongs to the event loop it was opened on."""

    def __init__(self, log_file: SqliteLog, inline: SqliteLog, reading: SqliteLog, *, clock: Clock) -> None:
        """For ``open`` only: three connections to the same file."""
        self._log = log_file
        self._inline = inline
        self._reading = reading
        self._index: dict[str, Entry] = {}
        self._keys = SortedKeys()
        self._compacted = 0
        self._watchers = Watchers()
        self._expiry = Expiry(self, clock)
        self._waiting: deque[Write] = deque()
        self._flush_planned = False
        self._under_way: Batch | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._lock: FileLock | None = None
        self._compaction: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._writer: Worker
        self._reader: Worker
        self.history: History

    @classmethod
    async def open(
        cls,
        path: str | Path,
        clock: Clock,
        *,
        compaction_interval_s: float = COMPACTION_INTERVAL_S,
        quota_bytes: int = 0,
        history_events: int = HISTORY_EVENTS,
    ) -> SqliteStore:
        """Open or create the file. ``compaction_interval_s`` 0 means never by itself, ``quota_bytes`` 0 no
        limit.

        Raises ``StoreError`` when another process has it open, or it is no store of this version.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
        except OSError as error:
            raise StoreError(f"{path} cannot be opened as a store: {error}") from error
        try:
            files = [SqliteLog(path, quota_bytes=quota_bytes), SqliteLog(path), SqliteLog(path)]
        except BaseException:
            lock.release()
            raise
        store = cls(*files, clock=clock)
        store._lock = lock
        store._writer, store._reader = Worker("store-writer"), Worker("store-reader")
        await store._load(history_events)
        if compaction_interval_s:
            policy = AutoCompaction(store, clock, interval_s=compaction_interval_s)
            store._compaction = asyncio.create_task(policy.run(), name="store-compaction")
        return store

    async def _load(self, history_events: int) -> None:
        newest, self._compacted, standing = await self._reader.call(
            lambda: (self._reading.newest(), self._reading.mark("compacted"), list(self._reading.standing()))
        )
        self._index = {item.key: Entry(item.revision, item.create_revision) for item in standing}
        self._keys = SortedKeys(self._index)
        self.history = History(newest, max_events=history_events, max_bytes=HISTORY_BYTES)
        for item in standing:
            self._expiry.note(item.key, item.revision, expires_at=item.expires_at)

    @property
    def oldest(self) -> int:
        return self._compacted

    # -- reading --

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        self._check(revision)
        entry = self._index.get(key)
        if not revision or (entry is not None and entry.mod_revision <= revision):
            return None if entry is None else self._read(key, entry)
        # Keys are rarely read in the past and one at a time; a range of one does.
        page = await self.range(key, start=key, limit=1, revision=revision)
        return page.items[0] if page.items and page.items[0].key == key else None

    async def range(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        while True:
            self._check(revision)
            page = await self._range(prefix, start, limit=limit, revision=revision)
            if page is not None:
                return page
            # A row was compacted away between our look at the index and the read: look again.

    async def count(self, prefix: str) -> int:
        self._check(0)
        return self._keys.count(prefix)

    async def revision(self) -> int:
        self._check(0)
        return self.history.last

    async def _range(self, prefix: str, start: str, *, limit: int, revision: int) -> Page | None:
        now = self.history.last
        if revision and revision < now:
            return await self._range_then(prefix, start, limit=limit, revision=revision)
        keys = self._keys.under(prefix, start, limit=limit)
        remaining = self._keys.count(prefix, start) - len(keys) if limit else 0
        entries = [self._index[key] for key in keys]
        if len(keys) <= INLINE_READ_KEYS:
            return Page(list(map(self._read, keys, entries)), now, remaining)
        items = await self._reader.call(partial(_fetch, self._reading, keys, entries))
        return None if items is None else Page(items, now, remaining)

    async def _range_then(self, prefix: str, start: str, *, limit: int, revision: int) -> Page | None:
        keys = self._keys.under(prefix, start)
        index = {key: self._index[key] for key in keys}

        def read() -> Page | None:
            for key, (at, created) in self._reading.changed_after(prefix, revision).items():
                if at:
                    index[key] = Entry(at, created)
                else:
                    index.pop(key, None)
            stood = sorted(key for key in index if key >= start)
            page = stood[:limit] if limit else stood
            items = _fetch(self._reading, page, [index[key] for key in page])
            return None if items is None else Page(items, revision, len(stood) - len(page))

        page = await self._reader.call(read)
        self._check(revision)
        return page

    def _read(self, key: str, entry: Entry) -> KeyValue:
        recent = self.history.at(entry.mod_revision)
        value = recent.value if recent is not None else self._inline.value(entry.mod_revision)
        assert value is not None, f"{key} stands at {entry.mod_revision} but its row is gone"
        return KeyValue(key, value, entry.create_revision, entry.mod_revision)

    def _check(self, revision: int) -> None:
        if self._closing:
            raise StoreError("the store is closed")
        if revision > self.history.last:
            raise FutureRevision(revision, self.history.last)
        if revision and revision < self._compacted:
            raise Compacted(revision, self._compacted)

    # -- writing --

    async def put(self, key: str, value: bytes, *, expected: int | None, ttl_s: int = 0) -> int:
        return await self._write(key, value, expected=expected, expires_at=self._expiry.at(ttl_s))

    async def delete(self, key: str, *, expected: int | None) -> int:
        return await self._write(key, None, expected=expected, expires_at=0.0)

    def _write(
        self, key: str, value: bytes | None, *, expected: int | None, expires_at: float
    ) -> asyncio.Future[int]:
        self._check(0)
        if len(self._waiting) >= MAX_WAITING_WRITES:
            raise StoreError(f"too many writes are waiting (limit {MAX_WAITING_WRITES})")
        answer: asyncio.Future[int] = self._loop.create_future()
        self._waiting.append(Write(key, value, expected, expires_at, answer))
        if self._under_way is None and not self._flush_planned:
            # Let everyone who is ready now join this batch.
            self._flush_planned = True
            self._loop.call_soon(self._flush)
        return answer

    def _flush(self) -> None:
        self._flush_planned = False
        if self._under_way is not None:
            return
        while self._waiting:
            batch = self._decide()
            if batch.writes:
                self._under_way = batch
                self._idle.clear()
                self._writer.submit(partial(_commit, self._log, batch.writes), self._committed)
                return
        self._idle.set()

    def _decide(self) -> Batch:
        """Take waiting writes in order and give a revision to each that finds what it expects."""
        accepted: dict[str, Write] = {}
        batch = Batch([], [])
        size, revision = 0, self.history.last
        while self._waiting and len(batch.writes) < MAX_BATCH_WRITES and size < MAX_BATCH_BYTES:
            write = self._waiting.popleft()
            if write.answer.cancelled():
                continue
            rival = accepted.get(write.key)
            current = self._index.get(write.key) if rival is None else _entry(rival)
            if not _fits(write, current):
                if rival is None:
                    standing = None if current is None else self._read(write.key, current)
                    write.refuse(RevisionMismatch(write.key, write.expected, standing))
                else:
                    batch.losers.append((write, rival))
                continue
            revision += 1
            write.revision = write.create_revision = revision
            if current is not None:
                write.create_revision, write.previous_revision = current.create_revision, current.mod_revision
                recent = self.history.at(current.mod_revision)
                write.previous = (
                    rival.value if rival is not None else recent.value if recent is not None else None
                )
            accepted[write.key] = write
            batch.writes.append(write)
            size += len(write.value or b"")
        return batch

    def _committed(self, _: Any, error: BaseException | None) -> None:
        """Back on the loop: the batch is durable, or nothing of it happened."""
        batch, self._under_way = self._under_way, None
        assert batch is not None
        if error is None:
            self._apply(batch)
        else:
            log.error("batch failed", writes=len(batch.writes), error=error)
            refusal = error if isinstance(error, StoreError) else StoreError(f"write failed: {error!r}")
            for write in batch.writes:
                write.refuse(refusal)
            for loser, _rival in batch.losers:
                loser.refuse(refusal)
        self._flush()

    def _apply(self, batch: Batch) -> None:
        for write in batch.writes:
            known = write.key in self._index
            if write.value is None:
                if known:
                    del self._index[write.key]
                    self._keys.remove(write.key)
            else:
                self._index[write.key] = Entry(write.revision, write.create_revision)
                if not known:
                    self._keys.add(write.key)
            self._expiry.note(write.key, write.revision, expires_at=write.expires_at)
        events = [write.event() for write in batch.writes]
        self.history.append(events)
        self._watchers.publish(events)
        for write in batch.writes:
            if not write.answer.done():
                write.answer.set_result(write.revision)
        for loser, rival in batch.losers:
            loser.refuse(RevisionMismatch(loser.key, loser.expected, rival.standing()))

    # -- watching, forgetting, ending --

    def watch(self, prefix: str, *, after: int) -> Watch:
        return StoreWatch(self, self._watchers, prefix, after=after)

    async def replay(self, prefix: str, after: int) -> tuple[list[Event], int]:
        """Changes further back than the history in memory reaches."""
        self._check(0)
        upto = self.history.last
        events = await self._reader.call(
            partial(self._reading.events, prefix, after, upto=upto, limit=REPLAY_EVENTS)
        )
        return events, upto

    async def compact(self, revision: int) -> None:
        self._check(0)
        if revision > self.history.last:
            raise FutureRevision(revision, self.history.last)
        if revision <= self._compacted or revision == 1:
            # Revision 1 is the empty store: there is no history before it to forget.
            return
        self._compacted = revision
        while not self._closing and await self._writer.call(partial(self._log.compact_step, self._compacted)):
            pass

    async def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        await self._expiry.close()
        if self._compaction is not None:
            self._compaction.cancel()
            await asyncio.wait([self._compaction])
        while self._waiting or self._under_way is not None:
            self._idle.clear()
            await self._idle.wait()
        self._watchers.close()
        await self._reader.close()
        await self._writer.close()
        for file in (self._inline, self._reading, self._log):
            file.close()
        if self._lock is not None:
            self._lock.release()


def _entry(write: Write) -> Entry | None:
    return None if write.value is None else Entry(write.revision, write.create_revision)


def _fits(write: Write, current: Entry | None) -> bool:
    if current is None:
        # Nothing can be deleted where nothing stands.
        return write.value is not None and not write.expected
    return write.expected is None or write.expected == current.mod_revision


def _commit(file: SqliteLog, writes: list[Write]) -> None:
    """In the writing thread: complete the batch with what it replaces, and make it durable."""
    unknown = [write for write in writes if write.previous_revision and write.previous is None]
    if unknown:
        values = file.values([write.previous_revision for write in unknown])
        for write in unknown:
            write.previous = values[write.previous_revision]
    file.append(
        [
            Row(w.revision, w.key, w.create_revision, w.previous_revision, w.expires_at, w.value)
            for w in writes
        ]
    )


def _fetch(file: SqliteLog, keys: list[str], entries: list[Entry]) -> list[KeyValue] | None:
    """The values of some keys; None when one of them has been compacted away meanwhile."""
    values = file.values([entry.mod_revision for entry in entries])
    if len(values) < len(keys):
        return None
    return [
        KeyValue(key, values[entry.mod_revision], entry.create_revision, entry.mod_revision)
        for key, entry in zip(keys, entries, strict=True)
    ]
