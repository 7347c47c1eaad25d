"""From a committed batch of changes to everyone who watches.

A batch is sorted by prefix once, whatever the number of watchers; all watchers of a prefix get the same list
object. A watch first catches up (from ``history``, or from the engine's log when it starts further back) and
then hangs its feed into ``Watchers``. Upstream counterpart: etcd's synced and unsynced watcher groups.

Invariants: a feed holds at most ``WATCH_BUFFER_EVENTS`` changes, one more cuts it off; between the last look
into the history and the opening of the feed nothing can be committed, for both happen in one step of the
event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from knarr.store.contract import WATCH_BUFFER_EVENTS, Compacted, Event, StoreError
from knarr.store.history import History


class Replay(Protocol):
    """What a watch needs of its engine."""

    @property
    def history(self) -> History: ...

    @property
    def oldest(self) -> int:
        """The compacted revision: a watch after less than this has lost changes."""
        ...

    async def replay(self, prefix: str, after: int) -> tuple[list[Event], int]:
        """Some changes under ``prefix`` after a revision that the history no longer reaches, and how far they
        go.
        """
        ...


class Feed:
    """The changes that wait for one watcher."""

    __slots__ = ("_batches", "_limit", "_size", "_waiter", "closed", "overflowed", "prefix")

    def __init__(self, prefix: str, limit: int) -> None:
        self.prefix = prefix
        self.overflowed = False
        self.closed = False
        self._limit = limit
        self._size = 0
        self._batches: deque[list[Event]] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def push(self, batch: list[Event]) -> None:
        if self.overflowed:
            return
        self._size += len(batch)
        if self._size > self._limit:
            self.overflowed = True
            self._batches.clear()
        else:
            self._batches.append(batch)
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> list[Event] | None:
        """The next batch; None when the feed was cut off or closed."""
        while not self._batches:
            if self.overflowed or self.closed:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        batch = self._batches.popleft()
        self._size -= len(batch)
        return batch


class Watchers:
    """All feeds of a store, grouped by prefix."""

    def __init__(self, limit: int = WATCH_BUFFER_EVENTS) -> None:
        self._limit = limit
        self._groups: dict[str, dict[Feed, None]] = {}
        # Prefixes that end in a slash are found by walking a key's own slashes; the few others by their
        # length.
        self._odd_lengths: tuple[int, ...] = ()
        self.closed = False

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def open(self, prefix: str) -> Feed:
        feed = Feed(prefix, self._limit)
        feed.closed = self.closed
        self._groups.setdefault(prefix, {})[feed] = None
        self._note_lengths()
        return feed

    def release(self, feed: Feed) -> None:
        feed.closed = True
        feed.wake()
        group = self._groups.get(feed.prefix)
        if group is not None:
            group.pop(feed, None)
            if not group:
                del self._groups[feed.prefix]
                self._note_lengths()

    def publish(self, events: Sequence[Event]) -> None:
        """Hand a committed batch to every feed it concerns."""
        if not self._groups:
            return
        sorted_out: dict[str, list[Event]] = {}
        for event in events:
            for prefix in self._prefixes(event.key):
                sorted_out.setdefault(prefix, []).append(event)
        for prefix, batch in sorted_out.items():
            for feed in self._groups[prefix]:
                feed.push(batch)

    def close(self) -> None:
        self.closed = True
        for group in self._groups.values():
            for feed in group:
                feed.closed = True
                feed.wake()

    def _prefixes(self, key: str) -> list[str]:
        groups = self._groups
        heads = (key[:length] for length in self._odd_lengths if length <= len(key))
        found = [head for head in heads if head in groups and not head.endswith("/")]
        at = key.find("/")
        while at >= 0:
            head = key[: at + 1]
            if head in groups:
                found.append(head)
            at = key.find("/", at + 1)
        return found

    def _note_lengths(self) -> None:
        self._odd_lengths = tuple({len(prefix) for prefix in self._groups if not prefix.endswith("/")})


class StoreWatch:
    """The iterator an engine's ``watch`` returns."""

    def __init__(self, engine: Replay, watchers: Watchers, prefix: str, *, after: int) -> None:
        self._engine = engine
        self._watchers = watchers
        self._prefix = prefix
        self._after = after
        self._feed: Feed | None = None
        self._closed = False

    def __aiter__(self) -> AsyncIterator[Sequence[Event]]:
        return self

    async def __anext__(self) -> Sequence[Event]:
        while not self._closed:
            if self._watchers.closed:
                raise StoreError("the store is closed")
            batch = await (self._follow(self._feed) if self._feed is not None else self._catch_up())
            if batch and batch[0].revision <= self._after:
                batch = [event for event in batch if event.revision > self._after]
            if batch:
                self._after = batch[-1].revision
                return batch
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._release()

    def __del__(self) -> None:
        self._release()

    def _release(self) -> None:
        self._closed = True
        if self._feed is not None:
            self._watchers.release(self._feed)

    async def _follow(self, feed: Feed) -> list[Event]:
        batch = await feed.take()
        if batch is None and feed.overflowed:
            raise Compacted(self._after, self._engine.history.last)
        return batch or []

    async def _catch_up(self) -> list[Event]:
        if self._after < self._engine.oldest:
            raise Compacted(self._after, self._engine.oldest)
        history = self._engine.history
        if self._after >= history.floor:
            self._feed = self._watchers.open(self._prefix)
            return [event for event in history.after(self._after) if event.key.startswith(self._prefix)]
        events, upto = await self._engine.replay(self._prefix, self._after)
        if self._after < self._engine.oldest:
            raise Compacted(self._after, self._engine.oldest)
        if not events:
            self._after = upto
        return events
