"""Exponential back-off, for one thing or per key. Pure: the caller brings the time."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Delays ``base_s``, twice that, four times that … up to ``max_s``."""

    base_s: float
    max_s: float
    factor: float = 2.0
    failures: int = 0

    def next_s(self) -> float:
        """The delay after one more failure."""
        delay = min(self.base_s * self.factor**self.failures, self.max_s)
        # Stop counting at the ceiling: the power would otherwise overflow after a thousand failures.
        if delay < self.max_s:
            self.failures += 1
        return delay

    def reset(self) -> None:
        self.failures = 0


@dataclass(slots=True)
class KeyedBackoff:
    """One ``Backoff`` a key. ``forget`` a key once it succeeds, or the table grows with every key ever seen.
    """

    base_s: float
    max_s: float
    _entries: dict[Hashable, Backoff] = field(default_factory=dict)

    def next_s(self, key: Hashable) -> float:
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Backoff(self.base_s, self.max_s)
        return entry.next_s()

    def forget(self, key: Hashable) -> None:
        self._entries.pop(key, None)

    def __len__(self) -> int:
        return len(self._entries)
