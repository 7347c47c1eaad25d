"""Answers of others, remembered for a while: each has its own end, and there is a limit to how many are kept.

Neighbours: the token and the authorization webhook.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from knarr.kit.clock import Clock

__all__ = ["ExpiringCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ExpiringCache(Generic[K, V]):
    """Keeps at most ``limit`` values; the ones put in first go first."""

    def __init__(self, clock: Clock, limit: int) -> None:
        self._clock = clock
        self._limit = limit
        self._held: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K) -> V | None:
        found = self._held.get(key)
        if found is None:
            return None
        if found[0] <= self._clock.monotonic_s():
            del self._held[key]
            return None
        return found[1]

    def put(self, key: K, value: V, lifetime_s: float) -> None:
        if lifetime_s <= 0:
            return
        self._held[key] = (self._clock.monotonic_s() + lifetime_s, value)
        self._held.move_to_end(key)
        while len(self._held) > self._limit:
            self._held.popitem(last=False)
