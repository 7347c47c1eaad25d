"""Ages as people read them: two figures at most, coarser the longer ago.

Counterpart upstream: ``apimachinery/pkg/util/duration``.
"""

from __future__ import annotations

from datetime import datetime

from knarr.kit.clock import parse_rfc3339

INVALID = "<invalid>"
MINUTE_S = 60
HOUR_S = 3600
DAY_H = 24
YEAR_H = 24 * 365


def human_duration(seconds: float) -> str:
    """``45s``, ``3m20s``, ``5h12m``, ``2d4h``, ``3y10d``."""
    whole = int(seconds)
    if whole < -1:
        return INVALID
    if whole < 0:
        return "0s"
    if whole < 2 * MINUTE_S:
        return f"{whole}s"
    minutes, hours = whole // MINUTE_S, whole // HOUR_S
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 3 * 60:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < DAY_H * 8:
        return _two(hours // DAY_H, "d", hours % DAY_H, "h")
    if hours < YEAR_H * 2:
        return f"{hours // DAY_H}d"
    if hours < YEAR_H * 8:
        return _two(hours // YEAR_H, "y", hours // DAY_H % 365, "d")
    return f"{hours // YEAR_H}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def between(start: str, end: str) -> str:
    """From one API time to another."""
    try:
        return human_duration((parse_rfc3339(end) - parse_rfc3339(start)).total_seconds())
    except (ValueError, OverflowError):
        return INVALID


def since(moment: str | None, now: datetime) -> str:
    """How long ago an API time was; ``<unknown>`` for none."""
    if not moment:
        return "<unknown>"
    try:
        return human_duration((now - parse_rfc3339(moment)).total_seconds())
    except (ValueError, OverflowError):
        # The form is checked when an object comes in, but there is a 31 February that passes.
        return INVALID
