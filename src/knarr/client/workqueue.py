"""The queue of keys a controller has yet to reconcile, with upstream's three promises.

A key waits at most once, however often it is added; a key being worked on is never handed to a second worker,
but is
handed out again if it was added meanwhile; failures come back later and later.

Neighbours: informer handlers add keys, a controller's workers take them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from knarr.kit.backoff import KeyedBackoff
from knarr.kit.clock import Clock

K = TypeVar("K", bound=Hashable)

#: Upstream's per-item limits: 5 ms doubling up to 1000 s.
RETRY_BASE_S = 0.005
RETRY_MAX_S = 1000.0


class WorkQueue(Generic[K]):
    """Keys in order of arrival. Not thread-safe: one event loop."""

    def __init__(
        self, clock: Clock, *, retry_base_s: float = RETRY_BASE_S, retry_max_s: float = RETRY_MAX_S
    ) -> None:
        self._clock = clock
        self._waiting: OrderedDict[K, None] = OrderedDict()
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._backoff = KeyedBackoff(retry_base_s, retry_max_s)
        self._timers: dict[K, tuple[float, asyncio.TimerHandle]] = {}
        self._wake: asyncio.Event = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: K) -> None:
        """Have ``key`` reconciled soon."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = None
            self._wake.set()

    def add_after(self, key: K, delay_s: float) -> None:
        """Have ``key`` reconciled in ``delay_s`` seconds; of several such wishes the earliest counts."""
        if delay_s <= 0:
            self.add(key)
            return
        due_s = self._clock.monotonic_s() + delay_s
        held = self._timers.get(key)
        if held is not None:
            if held[0] <= due_s:
                return
            held[1].cancel()
        handle = asyncio.get_running_loop().call_later(delay_s, self._timer_fired, key)
        self._timers[key] = (due_s, handle)

    def _timer_fired(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def retry(self, key: K) -> None:
        """Have ``key`` reconciled again after a failure, with back-off."""
        self.add_after(key, self._backoff.next_s(key))

    def forget(self, key: K) -> None:
        """``key`` succeeded: its next failure starts from the shortest delay again."""
        self._backoff.forget(key)

    async def get(self) -> K:
        """The next key; it counts as being worked on until ``done``."""
        while not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        key, _ = self._waiting.popitem(last=False)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """The worker has finished with ``key``, well or badly."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def idle(self) -> bool:
        """Nothing waits and nothing is being worked on (delayed keys may still come)."""
        return not self._waiting and not self._working

    def close(self) -> None:
        """Drop timers, so that nothing is left in the event loop."""
        for _, handle in self._timers.values():
            handle.cancel()
        self._timers.clear()
