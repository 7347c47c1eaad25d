"""The engines under contract, and a clock that a test moves by hand."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from knarr.store.contract import Event, Store, Watch
from knarr.store.memory import MemoryStore
from knarr.store.sqlite import SqliteStore


class HandClock:
    """Time stands still until the test calls ``advance``."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self.moment

    def monotonic_s(self) -> float:
        return self.moment.timestamp()

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self.moment + timedelta(seconds=seconds), id(waiter), waiter)
        heapq.heappush(self._sleepers, entry)
        await waiter

    async def advance(self, seconds: float) -> None:
        """Move on, waking sleepers in their order and giving each the time to act."""
        goal = self.moment + timedelta(seconds=seconds)
        while self._sleepers and self._sleepers[0][0] <= goal:
            self.moment, _, waiter = heapq.heappop(self._sleepers)
            if not waiter.done():
                waiter.set_result(None)
                await asyncio.sleep(0.01)
        self.moment = goal
        await asyncio.sleep(0.01)


class Engine:
    """Opens one kind of store. ``history_events`` makes the memory of the past short."""

    durable = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = HandClock()

    async def make(self, *, history_events: int = 10_000) -> Store:
        return MemoryStore(self.clock, history_events=history_events)

    @asynccontextmanager
    async def store(self, *, history_events: int = 10_000) -> AsyncIterator[Store]:
        opened = await self.make(history_events=history_events)
        try:
            yield opened
        finally:
            await opened.close()

    def run(self, scenario: Callable[[Store], Awaitable[None]], *, history_events: int = 10_000) -> None:
        async def main() -> None:
            async with self.store(history_events=history_events) as opened:
                await asyncio.wait_for(scenario(opened), 60)

        asyncio.run(main())


class SqliteEngine(Engine):
    durable = True

    async def make(self, *, history_events: int = 10_000) -> Store:
        return await SqliteStore.open(
            self.folder / "store.db", self.clock, compaction_interval_s=0, history_events=history_events
        )


class SqliteLogEngine(SqliteEngine):
    """The sqlite engine with next to no history in memory, so that every look back goes to the log."""

    async def make(self, *, history_events: int = 10_000) -> Store:
        return await super().make(history_events=2)


ENGINES = {"memory": Engine, "sqlite": SqliteEngine, "sqlite-from-log": SqliteLogEngine}


async def take(watch: Watch, count: int) -> list[Event]:
    """The next ``count`` changes."""
    events: list[Event] = []
    while len(events) < count:
        batch: Sequence[Event] = await asyncio.wait_for(anext(watch), 10)
        events += batch
    assert len(events) == count, f"expected {count} changes, got {events}"
    return events


async def silent(watch: Watch, seconds: float = 0.05) -> bool:
    """Whether nothing arrives for a while."""
    try:
        await asyncio.wait_for(anext(watch), seconds)
    except TimeoutError:
        return True
    return False
