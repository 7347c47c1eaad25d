"""The engine for tests and in-process clusters: everything in memory, no threads, virtual time welcome.

Its history is bounded: beyond ``HISTORY_EVENTS`` changes the oldest are compacted by themselves.
Neighbours: ``keys``, ``history``, ``watchers``, ``expiry`` are the parts it is put together from; ``sqlite``
is the same from the same parts with a log on disk.

Invariant: no method awaits between reading and writing the state, so every call is one step of the event
loop.
"""

from __future__ import annotations

from knarr.kit.clock import Clock
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
from knarr.store.history import History, before, rewind
from knarr.store.keys import SortedKeys
from knarr.store.watchers import StoreWatch, Watchers

#: How many changes are kept for watches and for reads of the past, and how many bytes of values.
HISTORY_EVENTS = 100_000
HISTORY_BYTES = 256 << 20


class MemoryStore:
    """A store that forgets everything when its process ends."""

    def __init__(self, clock: Clock, *, history_events: int = HISTORY_EVENTS) -> None:
        self._state: dict[str, KeyValue] = {}
        self._keys = SortedKeys()
        self._compacted = 0
        self._watchers = Watchers()
        self._expiry = Expiry(self, clock)
        self.history = History(1, max_events=history_events, max_bytes=HISTORY_BYTES)

    @property
    def oldest(self) -> int:
        # Revision 1 is the empty store: nothing happened before it, so nothing is lost to a reader from the
        # beginning.
        return 0 if self.history.floor == 1 else max(self._compacted, self.history.floor)

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        self._check(revision)
        found = self._state.get(key)
        if not revision or (found is not None and found.mod_revision <= revision):
            return found
        for event in self.history.after(max(revision, self.history.floor)):
            if event.key == key:
                return before(event)
        return found

    async def range(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        self._check(revision)
        if not revision or revision == self.history.last:
            keys = self._keys.under(prefix, start, limit=limit)
            remaining = self._keys.count(prefix, start) - len(keys) if limit else 0
            return Page([self._state[key] for key in keys], self.history.last, remaining)
        earlier = rewind(self.history.after(max(revision, self.history.floor)), prefix)
        items = [self._state[key] for key in self._keys.under(prefix, start) if key not in earlier]
        items += [item for item in earlier.values() if item is not None and item.key >= start]
        items.sort(key=lambda item: item.key)
        page = items[:limit] if limit else items
        return Page(page, revision, len(items) - len(page))

    async def count(self, prefix: str) -> int:
        self._check(0)
        return self._keys.count(prefix)

    async def put(self, key: str, value: bytes, *, expected: int | None, ttl_s: int = 0) -> int:
        current = self._expect(key, expected)
        revision = self.history.last + 1
        created = current.create_revision if current is not None else revision
        if current is None:
            self._keys.add(key)
        self._state[key] = KeyValue(key, value, created, revision)
        self._happened(key, value, created, current)
        self._expiry.note(key, revision, expires_at=self._expiry.at(ttl_s))
        return revision

    async def delete(self, key: str, *, expected: int | None) -> int:
        current = self._expect(key, expected)
        if current is None:
            raise RevisionMismatch(key, expected, None)
        del self._state[key]
        self._keys.remove(key)
        self._happened(key, None, current.create_revision, current)
        self._expiry.note(key, self.history.last, expires_at=0)
        return self.history.last

    def watch(self, prefix: str, *, after: int) -> Watch:
        return StoreWatch(self, self._watchers, prefix, after=after)

    async def replay(self, prefix: str, after: int) -> tuple[list[Event], int]:
        """A watch from before the first revision: there is nothing to replay."""
        return [], self.history.floor

    async def revision(self) -> int:
        self._check(0)
        return self.history.last

    async def compact(self, revision: int) -> None:
        self._check(0)
        if revision > self.history.last:
            raise FutureRevision(revision, self.history.last)
        self._compacted = max(self._compacted, revision)
        self.history.forget(revision)

    async def close(self) -> None:
        await self._expiry.close()
        self._watchers.close()

    def _expect(self, key: str, expected: int | None) -> KeyValue | None:
        self._check(0)
        current = self._state.get(key)
        if expected is not None and expected != (0 if current is None else current.mod_revision):
            raise RevisionMismatch(key, expected, current)
        return current

    def _check(self, revision: int) -> None:
        if self._watchers.closed:
            raise StoreError("the store is closed")
        if revision > self.history.last:
            raise FutureRevision(revision, self.history.last)
        if revision and revision < self.oldest:
            raise Compacted(revision, self.oldest)

    def _happened(self, key: str, value: bytes | None, created: int, current: KeyValue | None) -> None:
        previous, at = (None, 0) if current is None else (current.value, current.mod_revision)
        events = [Event(key, self.history.last + 1, value, created, previous, at)]
        self.history.append(events)
        self._watchers.publish(events)
