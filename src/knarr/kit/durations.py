"""Durations as Go writes them: ``1m30s``. Flags, query parameters and annotations hold them."""

from __future__ import annotations

import re

__all__ = ["go_duration", "parse_duration_s"]

_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration_s(text: str) -> float:
    """Seconds in a duration such as ``1m30s``. Raises ``ValueError``."""
    if text == "0":
        return 0.0
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"expected a duration such as 2m0s, got {text!r}")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def go_duration(seconds: float) -> str:
    """``10s``, ``1m20s``, ``1h0m0s``: whole seconds as Go prints them."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
