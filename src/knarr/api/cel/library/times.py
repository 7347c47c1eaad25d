"""Moments and lengths of time: read, written, taken apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from knarr.api.cel.errors import EvaluationError
from knarr.api.cel.signatures import Function, function
from knarr.api.cel.values import Duration, Timestamp

__all__ = ["FUNCTIONS", "duration_text", "parse_duration", "parse_timestamp", "timestamp_text"]

SECOND = 10**9
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
_PART = re.compile(r"(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)")
_MOMENT = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(?:\.(\d+))?(Z|[+-]\d{2}:\d{2})")
_OFFSET = re.compile(r"([+-]?)(\d{1,2}):(\d{2})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Time zones remembered by name.
ZONES_KEPT = 64
#: How many digits of a length of time are read; more say nothing a nanosecond could.
_DIGITS = 30


def parse_duration(text: str) -> Duration:
    """A length as Go writes it: ``1h30m``, ``-1.5s``. Raises ``EvaluationError``."""
    fault = EvaluationError(f'time: invalid duration "{text}"')
    body = text.lstrip("+-") if text[:1] in ("+", "-") and len(text) - len(text.lstrip("+-")) == 1 else text
    if body == "0":
        return Duration(0)
    total, at = 0, 0
    while at < len(body):
        part = _PART.match(body, at)
        if part is None or not (part[1] or part[2]) or len(part[1] + (part[2] or "")) > _DIGITS:
            raise fault
        whole, fraction, unit = part[1] or "0", part[2] or "", _UNITS[part[3]]
        total += int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
        at = part.end()
    if not body:
        raise fault
    return Duration(-total if text.startswith("-") else total)


def duration_text(value: Duration) -> str:
    """In seconds: ``5400s``, ``0.5s``."""
    whole, rest = divmod(abs(value.ns), SECOND)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{'-' if value.ns < 0 else ''}{whole}{fraction}s"


def parse_timestamp(text: str) -> Timestamp:
    """A moment of RFC 3339. Raises ``EvaluationError``."""
    match = _MOMENT.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        zone = "+00:00" if match[4] == "Z" else match[4]
        moment = datetime.fromisoformat(f"{match[1]}T{match[2]}{zone}")
        seconds = (moment - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        layout = "2006-01-02T15:04:05Z07:00"
        raise EvaluationError(f'parsing time "{text}" as "{layout}": cannot parse "{text}" as "2006"') from None
    offset = moment.utcoffset() or timedelta()
    return Timestamp(seconds * SECOND + int((match[3] or "0")[:9].ljust(9, "0")), round(offset.total_seconds()))


def timestamp_text(value: Timestamp) -> str:
    moment, rest = _moment(value, timezone(timedelta(seconds=value.offset_s)))
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    zone = moment.isoformat()[-6:] if value.offset_s else "Z"
    return f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}T{moment.time().isoformat('seconds')}{fraction}{zone}"


def _moment(value: Timestamp, zone: tzinfo) -> tuple[datetime, int]:
    seconds, rest = divmod(value.ns, SECOND)
    return (_EPOCH + timedelta(seconds=seconds)).astimezone(zone), rest


@lru_cache(maxsize=ZONES_KEPT)
def _zone(name: str) -> tzinfo:
    match = _OFFSET.fullmatch(name)
    if match is not None:
        minutes = int(match[2]) * 60 + int(match[3])
        return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise EvaluationError(f"unknown time zone {name}") from None


_PARTS: dict[str, Callable[[datetime, int], int]] = {
    "getFullYear": lambda moment, rest: moment.year,
    "getMonth": lambda moment, rest: moment.month - 1,
    "getDayOfYear": lambda moment, rest: moment.timetuple().tm_yday - 1,
    "getDayOfMonth": lambda moment, rest: moment.day - 1,
    "getDate": lambda moment, rest: moment.day,
    "getDayOfWeek": lambda moment, rest: moment.isoweekday() % 7,
    "getHours": lambda moment, rest: moment.hour,
    "getMinutes": lambda moment, rest: moment.minute,
    "getSeconds": lambda moment, rest: moment.second,
    "getMilliseconds": lambda moment, rest: rest // 10**6,
}
#: Of a length of time: all of it in that unit.
_LENGTHS: dict[str, Callable[[int], int]] = {
    "getHours": lambda ns: ns // (3600 * SECOND),
    "getMinutes": lambda ns: ns // (60 * SECOND),
    "getSeconds": lambda ns: ns // SECOND,
    "getMilliseconds": lambda ns: ns // 10**6,
}


def _part(name: str) -> Function:
    read = _PARTS[name]

    def part(value: Any, zone: str = "UTC") -> int:
        try:
            return read(*_moment(value, UTC if zone == "UTC" else _zone(zone)))
        except OverflowError:
            raise EvaluationError("timestamp overflow") from None

    return function(part, f"<timestamp>.{name}(): int", f"<timestamp>.{name}(string): int")


def _length(name: str) -> Function:
    read = _LENGTHS[name]

    def length(value: Duration) -> int:
        return -read(-value.ns) if value.ns < 0 else read(value.ns)

    return function(length, f"<duration>.{name}(): int")


FUNCTIONS = [*map(_part, _PARTS), *map(_length, _LENGTHS)]
