"""Keys that delete themselves: which are due, and the task that deletes them.

The time a key dies is wall-clock time, for it has to survive a restart. Upstream counterpart: etcd's lessor,
which the API server uses for events and for leases of API servers. Neighbours: both built-in engines own one
``Expiry``.

Invariants: only the write that set the time is deleted, never a newer one (the deletion is conditional); a
deletion that fails is tried again.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Protocol

from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.store.contract import RevisionMismatch, StoreError

#: The longest sleep: a wall clock that is set forward is noticed after this.
MAX_SLEEP_S = 60.0
#: How long to wait after a deletion that failed, a full disk for example.
RETRY_S = 1.0
#: How many deletions are on their way at once.
MAX_DELETIONS = 512

log = get_logger("store")


class Deletes(Protocol):
    async def delete(self, key: str, *, expected: int | None) -> int: ...


class Deadlines:
    """Which key dies when. Pure."""

    def __init__(self) -> None:
        self._live: dict[str, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, str]] = []

    def __len__(self) -> int:
        return len(self._live)

    def note(self, key: str, revision: int, *, expires_at: float) -> None:
        """A write happened: ``expires_at`` in seconds of wall-clock time, 0 for never."""
        if not expires_at:
            self._live.pop(key, None)
            return
        self._live[key] = (expires_at, revision)
        heapq.heappush(self._heap, (expires_at, revision, key))
        if len(self._heap) > 64 + 4 * len(self._live):
            # A key renewed again and again leaves its old entries behind.
            self._heap = [(when, at, name) for name, (when, at) in self._live.items()]
            heapq.heapify(self._heap)

    def next_at(self) -> float | None:
        """When the next key dies."""
        while self._heap:
            when, revision, key = self._heap[0]
            if self._live.get(key) == (when, revision):
                return when
            heapq.heappop(self._heap)
        return None

    def due(self, now: float, limit: int) -> list[tuple[str, int]]:
        """Keys whose time has come, with the revision that set it. They stay noted until the deletion is."""
        found: list[tuple[str, int]] = []
        entries: list[tuple[float, int, str]] = []
        while len(found) < limit and (when := self.next_at()) is not None and when <= now:
            entry = heapq.heappop(self._heap)
            entries.append(entry)
            found.append((entry[2], entry[1]))
        for entry in entries:
            heapq.heappush(self._heap, entry)
        return found


class Expiry:
    """Deletes keys of ``store`` when their time has come. The task starts with the first key that has one."""

    def __init__(self, store: Deletes, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._deadlines = Deadlines()
        self._task: asyncio.Task[None] | None = None
        self._sooner = asyncio.Event()

    def at(self, ttl_s: int) -> float:
        """The moment a key written now with this time to live dies; 0 for never."""
        return self._clock.now().timestamp() + ttl_s if ttl_s else 0.0

    def note(self, key: str, revision: int, *, expires_at: float) -> None:
        """A write of ``key`` is durable."""
        if not expires_at and not self._deadlines:
            return
        known = self._deadlines.next_at()
        self._deadlines.note(key, revision, expires_at=expires_at)
        if expires_at:
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._run(), name="store-expiry")
            elif known is None or expires_at < known:
                self._sooner.set()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            self._sooner.clear()
            now = self._clock.now().timestamp()
            due = self._deadlines.due(now, MAX_DELETIONS)
            if due:
                done = await asyncio.gather(*(self._delete(key, revision) for key, revision in due))
                if not all(done):
                    await self._clock.sleep(RETRY_S)
                continue
            following = self._deadlines.next_at()
            await self._nap(MAX_SLEEP_S if following is None else min(following - now, MAX_SLEEP_S))

    async def _nap(self, seconds: float) -> None:
        """Sleep, but not past a key that was written meanwhile and dies sooner."""
        sleep = asyncio.ensure_future(self._clock.sleep(seconds))
        sooner = asyncio.ensure_future(self._sooner.wait())
        try:
            await asyncio.wait([sleep, sooner], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            sooner.cancel()

    async def _delete(self, key: str, revision: int) -> bool:
        try:
            await self._store.delete(key, expected=revision)
        except RevisionMismatch:
            return True
        except StoreError as error:
            log.warning("expired key could not be deleted", key=key, error=error)
            return False
        return True
