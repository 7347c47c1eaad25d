"""Lengths of time in Go's notation: ``1m20s``, ``15.012s``.

Counterpart upstream: Go's ``time.Duration``. Neighbours: flags and API fields that hold one; CEL has its own, which counts nanoseconds.
"""

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
    """As Go prints it, to the millisecond: ``10s``, ``5m0s``, ``1h0m0.5s``, ``20ms``."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    if whole == 0:
        return f"{milliseconds}ms" if milliseconds else "0s"
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    shown = f"{rest}.{milliseconds:03d}".rstrip("0") if milliseconds else str(rest)
    if hours:
        return f"{hours}h{minutes}m{shown}s"
    return f"{minutes}m{shown}s" if minutes else f"{shown}s"
