"""The default engine: a log in one SQLite file, group commit, and an index of keys in memory.

A write waits until the next batch; a batch is decided (who finds the revision it expected), appended to the
file, made durable by a process that waits for the disk, and only then applied to the index, handed to the
watchers, and acknowledged. While one batch is at the disk the next one gathers, so the more callers there
are, the cheaper each write is. Values stay in the file: memory holds the keys and a short history.

Neighbours: ``sqlite_log`` holds all SQL, ``sqlite_batch`` the decisions, ``disk`` the waiting; ``history``,
``watchers``, ``keys`` and ``expiry`` are shared with ``memory``.

Invariants: index, history and watchers only ever show what is durable; one batch is under way at most; a
batch that cannot be appended leaves no trace. A disk that fails to sync ends the store: nobody can tell what
it kept.
"""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path

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
from knarr.store.disk import Disk
from knarr.store.expiry import Expiry
from knarr.store.history import History
from knarr.store.keys import SortedKeys
from knarr.store.sqlite_batch import Batch, Entry, Write, decide
from knarr.store.sqlite_checkpoint import Checkpoints
from knarr.store.sqlite_log import FileLock, SqliteLog
from knarr.store.watchers import StoreWatch, Watchers

#: The short history in memory; watches from further back read the log.
HISTORY_EVENTS = 10_000
HISTORY_BYTES = 16 << 20
#: How many writes may wait for their batch.
MAX_WAITING_WRITES = 20_000
#: Rows read, and revisions looked at, before others on the event loop get their turn.
READ_CHUNK = 250
SCAN_CHUNK = 1_000

log = get_logger("store")


class SqliteStore:
    """Opened by ``await SqliteStore.open(path, clock)``; belongs to the event loop it was opened on."""

    def __init__(self, file: SqliteLog, disk: Disk, *, lock: FileLock, clock: Clock) -> None:
        """For ``open`` only."""
        self._file = file
        self._lock = lock
        self._clock = clock
        self._index: dict[str, Entry] = {}
        self._keys = SortedKeys()
        self._compacted = file.mark("compacted")
        self._watchers = Watchers()
        self._expiry = Expiry(self, clock)
        self._waiting: deque[Write] = deque()
        self._flush_planned = False
        self._under_way: Batch | None = None
        self._idle = asyncio.Event()
        self._ended: StoreError | None = None
        self._closed = False
        self._compaction: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._disk = disk
        self._checkpoints = Checkpoints(disk, self._flush)
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
        """Open or create the file. Compaction interval 0 means never by itself, ``quota_bytes`` 0 no limit.

        Raises ``StoreError`` when another process has it open, or it is no store of this version.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
        except OSError as error:
            raise StoreError(f"{path} cannot be opened as a store: {error}") from error
        try:
            file = SqliteLog(path, quota_bytes=quota_bytes)
            store = cls(file, await Disk.start(path, file.wal), lock=lock, clock=clock)
            await store._load(history_events)
        except BaseException:
            lock.release()
            raise
        if compaction_interval_s:
            policy = AutoCompaction(store, clock, interval_s=compaction_interval_s)
            store._compaction = asyncio.create_task(policy.run(), name="store-compaction")
        return store

    async def _load(self, history_events: int) -> None:
        at, expiring = 0, {}
        while changes := self._file.changes(at, SCAN_CHUNK):
            for change in changes:
                if change.deleted:
                    self._index.pop(change.key, None)
                else:
                    self._index[change.key] = Entry(change.revision, change.create_revision)
                expiring[change.key] = change if change.expires_at and not change.deleted else None
            at = changes[-1].revision
            await self._clock.sleep(0)
        self._keys = SortedKeys(self._index)
        self.history = History(self._file.newest(), max_events=history_events, max_bytes=HISTORY_BYTES)
        for last in expiring.values():
            if last is not None:
                self._expiry.note(last.key, last.revision, expires_at=last.expires_at)

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
            at = revision or self.history.last
            if at == self.history.last:
                keys = self._keys.under(prefix, start, limit=limit)
                remaining = self._keys.count(prefix, start) - len(keys) if limit else 0
                stood = {key: self._index[key] for key in keys}
            else:
                stood = await self._stood(prefix, start, revision=at)
                keys = sorted(stood)
                remaining = max(len(keys) - limit, 0) if limit else 0
                keys = keys[:limit] if limit else keys
            items = await self._fetch(keys, stood)
            if items is not None:
                return Page(items, at, remaining)
            # Rows were compacted away between our look at the index and the read: look again, or be refused.

    async def count(self, prefix: str) -> int:
        self._check(0)
        return self._keys.count(prefix)

    async def revision(self) -> int:
        self._check(0)
        return self.history.last

    async def _stood(self, prefix: str, start: str, *, revision: int) -> dict[str, Entry]:
        """What stood at a past revision: what stands now, with every key that changed since put back."""
        now = self.history.last
        stood = {key: self._index[key] for key in self._keys.under(prefix, start)}
        seen: set[str] = set()
        at = revision
        while at < now and (changes := self._file.changes(at, SCAN_CHUNK)):
            for change in changes:
                if change.key in seen or change.key < start or not change.key.startswith(prefix):
                    continue
                # Its first change after the revision asked for names what stood then.
                seen.add(change.key)
                if change.previous:
                    stood[change.key] = Entry(change.previous, change.create_revision)
                else:
                    stood.pop(change.key, None)
            at = changes[-1].revision
            await self._clock.sleep(0)
        self._check(revision)
        return stood

    async def _fetch(self, keys: list[str], stood: dict[str, Entry]) -> list[KeyValue] | None:
        """The values of some keys; None when one of them has been compacted away meanwhile."""
        items: list[KeyValue] = []
        for at in range(0, len(keys), READ_CHUNK):
            if at:
                await self._clock.sleep(0)
                self._check(0)
            chunk = keys[at : at + READ_CHUNK]
            values = self._file.values([stood[key].mod_revision for key in chunk])
            for key in chunk:
                entry = stood[key]
                value = values.get(entry.mod_revision)
                if value is None:
                    return None
                items.append(KeyValue(key, value, entry.create_revision, entry.mod_revision))
        return items

    def _read(self, key: str, entry: Entry) -> KeyValue:
        recent = self.history.at(entry.mod_revision)
        value = recent.value if recent is not None else self._file.value(entry.mod_revision)
        assert value is not None, f"{key} stands at {entry.mod_revision} but its row is gone"
        return KeyValue(key, value, entry.create_revision, entry.mod_revision)

    def _check(self, revision: int) -> None:
        if self._ended is not None:
            raise self._ended
        if revision > self.history.last:
            raise FutureRevision(revision, self.history.last)
        if revision and revision < self._compacted:
            raise Compacted(revision, self._compacted)

    # -- writing --

    async def put(self, key: str, value: bytes, *, expected: int | None, ttl_s: int = 0) -> int:
        return await self._write(Write(key, value, expected, self._expiry.at(ttl_s), self._answer()))

    async def delete(self, key: str, *, expected: int | None) -> int:
        return await self._write(Write(key, None, expected, 0.0, self._answer()))

    def _answer(self) -> asyncio.Future[int]:
        return self._loop.create_future()

    def _write(self, write: Write) -> asyncio.Future[int]:
        self._check(0)
        if len(self._waiting) >= MAX_WAITING_WRITES:
            raise StoreError(f"too many writes are waiting (limit {MAX_WAITING_WRITES})")
        self._waiting.append(write)
        if self._under_way is None and not self._flush_planned:
            # Let everyone who is ready now join this batch.
            self._flush_planned = True
            self._loop.call_soon(self._flush)
        return write.answer

    def _flush(self) -> None:
        """Start the next batch, unless one is under way or the tidying thread needs the file for itself."""
        self._flush_planned = False
        if self._under_way is not None or self._checkpoints.alone():
            return
        while self._waiting:
            batch = decide(self._waiting, self._index, self.history.last, read=self._read)
            if batch.writes and self._append(batch):
                self._under_way = batch
                self._disk.sync(self._synced)
                return
        self._idle.set()

    def _append(self, batch: Batch) -> bool:
        """Complete a batch with what it replaces and put it into the file."""
        try:
            unknown = []
            for write in batch.writes:
                if write.previous_revision and write.previous is None:
                    recent = self.history.at(write.previous_revision)
                    write.previous = recent.value if recent is not None else None
                    if write.previous is None:
                        unknown.append(write)
            values = self._file.values([write.previous_revision for write in unknown]) if unknown else {}
            for write in unknown:
                write.previous = values[write.previous_revision]
            self._file.append([write.row() for write in batch.writes])
        except StoreError as error:
            log.error("batch failed", writes=len(batch.writes), error=error)
            batch.refuse(error)
            return False
        return True

    def _synced(self, error: StoreError | None) -> None:
        """Back on the loop: the batch is durable, or the disk has failed."""
        batch, self._under_way = self._under_way, None
        assert batch is not None
        if error is None:
            self._apply(batch)
            self._checkpoints.wrote(batch.size_bytes)
        else:
            log.error("disk failed, the store ends", writes=len(batch.writes), error=error)
            self._ended = StoreError(f"the disk failed, open the store again: {error}")
            batch.refuse(self._ended)
            for write in self._waiting:
                write.refuse(self._ended)
            self._waiting.clear()
            self._watchers.close()
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

    # -- watching --

    def watch(self, prefix: str, *, after: int) -> Watch:
        return StoreWatch(self, self._watchers, prefix, after=after)

    async def replay(self, prefix: str, after: int) -> tuple[list[Event], int]:
        """Changes further back than the history in memory reaches."""
        self._check(0)
        upto = min(after + READ_CHUNK, self.history.last)
        events = self._file.events(prefix, after, upto=upto)
        await self._clock.sleep(0)
        return events, upto

    # -- tidying up --

    async def compact(self, revision: int) -> None:
        self._check(0)
        if revision > self.history.last:
            raise FutureRevision(revision, self.history.last)
        if revision <= self._compacted or revision == 1:
            # Revision 1 is the empty store: there is no history before it to forget.
            return
        self._compacted = revision
        while self._ended is None and self._file.compact_step(self._compacted, step=READ_CHUNK):
            await self._clock.sleep(0)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._expiry.close()
        if self._compaction is not None:
            self._compaction.cancel()
            await asyncio.wait([self._compaction])
        # Whatever is still waiting was accepted before the close and is finished; new calls are refused.
        self._ended = self._ended or StoreError("the store is closed")
        while self._waiting or self._under_way is not None:
            self._idle.clear()
            await self._idle.wait()
        self._watchers.close()
        await self._disk.close()
        self._file.close()
        self._lock.release()
