"""So many at once, and then so many a second: token buckets, one alone or one for each of many keys. Pure; the caller brings the time.

Counterpart upstream: ``golang.org/x/time/rate``, and the caches of limiters in front of events. Neighbours: ``client.events`` and the API
server's ``EventRateLimit``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

__all__ = ["TokenBucket", "TokenBuckets"]


class TokenBucket:
    """Full with ``burst`` tokens at ``now_s``; ``per_second`` come back, up to ``burst``."""

    __slots__ = ("_burst", "_filled_s", "_per_second", "_tokens")

    def __init__(self, per_second: float, burst: float, *, now_s: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = float(burst)
        self._filled_s = now_s

    def take(self, now_s: float) -> bool:
        """Take a token if there is one."""
        self._fill(now_s)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def reserve(self, now_s: float) -> float:
        """Take the next token there will be; returns the seconds until it is there."""
        self._fill(now_s)
        self._tokens -= 1
        return max(0.0, -self._tokens / self._per_second)

    def _fill(self, now_s: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now_s - self._filled_s) * self._per_second)
        self._filled_s = now_s


class TokenBuckets:
    """A bucket a key, of the ``limit`` keys that were asked for last; one that was forgotten starts anew, full."""

    def __init__(self, per_second: float, burst: float, *, limit: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._limit = limit
        self._held: OrderedDict[Hashable, TokenBucket] = OrderedDict()

    def take(self, key: Hashable, now_s: float) -> bool:
        """Take a token of the key's bucket if there is one."""
        bucket = self._held.get(key)
        if bucket is None:
            bucket = self._held[key] = TokenBucket(self._per_second, self._burst, now_s=now_s)
            if len(self._held) > self._limit:
                self._held.popitem(last=False)
        else:
            self._held.move_to_end(key)
        return bucket.take(now_s)
