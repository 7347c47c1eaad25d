"""Which writes form the next batch, and which of them find what they expect. Pure.

Deciding before anything is written lets the file take a whole batch blindly. A write sees the writes before
it in the same batch; one that loses to such a write is told so only when that one is durable. Neighbours:
``sqlite`` appends what is decided here and answers the callers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from knarr.store.contract import Event, KeyValue, RevisionMismatch
from knarr.store.sqlite_log import Row

#: How big a batch gets: what waits for one disk access.
MAX_BATCH_WRITES = 512
MAX_BATCH_BYTES = 16 << 20


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

    def row(self) -> Row:
        return Row(
            self.revision, self.key, self.create_revision, self.previous_revision, self.expires_at, self.value
        )

    def refuse(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Batch(msgspec.Struct, eq=False):
    """Writes that go to the disk together, and those that lost to one of them and are told so afterwards."""

    writes: list[Write]
    losers: list[tuple[Write, Write]]
    size_bytes: int = 0

    def refuse(self, error: BaseException) -> None:
        for write in self.writes:
            write.refuse(error)
        for loser, _ in self.losers:
            loser.refuse(error)


def decide(
    waiting: deque[Write], index: Mapping[str, Entry], newest: int, *, read: Callable[[str, Entry], KeyValue]
) -> Batch:
    """Take waiting writes in order and give a revision after ``newest`` to each that finds what it expects.

    ``read`` fetches what stands under a key, for a write that is refused.
    """
    accepted: dict[str, Write] = {}
    batch = Batch([], [])
    while waiting and len(batch.writes) < MAX_BATCH_WRITES and batch.size_bytes < MAX_BATCH_BYTES:
        write = waiting.popleft()
        if write.answer.cancelled():
            continue
        rival = accepted.get(write.key)
        current = index.get(write.key) if rival is None else _entry(rival)
        if not _fits(write, current):
            if rival is None:
                standing = None if current is None else read(write.key, current)
                write.refuse(RevisionMismatch(write.key, write.expected, standing))
            else:
                batch.losers.append((write, rival))
            continue
        write.revision = write.create_revision = newest + len(batch.writes) + 1
        if current is not None:
            write.create_revision, write.previous_revision = current.create_revision, current.mod_revision
            write.previous = rival.value if rival is not None else None
        accepted[write.key] = write
        batch.writes.append(write)
        batch.size_bytes += len(write.key) + len(write.value or b"")
    return batch


def _entry(write: Write) -> Entry | None:
    return None if write.value is None else Entry(write.revision, write.create_revision)


def _fits(write: Write, current: Entry | None) -> bool:
    if current is None:
        # Nothing can be deleted where nothing stands.
        return write.value is not None and not write.expected
    return write.expected is None or write.expected == current.mod_revision
