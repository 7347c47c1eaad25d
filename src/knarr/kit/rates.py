"""How fast a counter runs: two readings of a total, or one and the moment it began at zero. Pure.

Neighbours: the kubelet's statistics and the API server's resource metrics decide when to read; metrics-server's storage is upstream's
counterpart.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Rate", "Reading", "rate"]


class Reading(NamedTuple):
    """A total as it stood at a moment. ``since_s`` is when it began at zero; before all time where nobody knows."""

    at_s: float
    total: float
    since_s: float = float("-inf")


class Rate(NamedTuple):
    """Units a second, over the ``window_s`` before the later reading."""

    per_second: float
    window_s: float


def rate(before: Reading | None, now: Reading, *, youngest_s: float, oldest_s: float) -> Rate | None:
    """None where nothing can be said: no earlier reading of the same run, and the run is younger than ``youngest_s`` (its start
    would be most of what is seen) or older than ``oldest_s`` (its past would be).
    """
    same_run = before is not None and now.since_s <= before.at_s < now.at_s and before.total <= now.total
    if before is not None and same_run:
        window_s = now.at_s - before.at_s
        return Rate((now.total - before.total) / window_s, window_s)
    age_s = now.at_s - now.since_s
    if 0 < youngest_s <= age_s <= oldest_s:
        return Rate(now.total / age_s, age_s)
    return None
