"""Cron schedules: which minute comes next.

Five fields (minute, hour, day of month, month, day of week) with lists, ranges, steps and names, the
``@daily`` family, and ``@every 1h30m``. If both days are restricted, either may match, as cron has always
had it. Times are found on the clock of the zone: an hour that summer time skips has no runs.

Counterpart upstream: ``robfig/cron``. Neighbours: ``batch.validation`` and the CronJob controller.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

__all__ = ["CronError", "Schedule"]

#: A schedule that does not come up in this time (31 February) never does.
SEARCH_YEARS = 5
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
#: Lowest and highest value of each field, and the names it takes.
FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: index + 1 for index, name in enumerate(MONTHS)}),
    (0, 6, {name: index for index, name in enumerate(DAYS)}),
)
DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class CronError(ValueError):
    """Text that is no schedule."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A parsed schedule: the allowed values of each field, or a fixed period."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool
    every: timedelta | None = None

    @staticmethod
    def parse(text: str) -> Schedule:
        """Raises ``CronError``."""
        text = text.strip()
        if text.startswith("@every "):
            return _every(text.removeprefix("@every ").strip())
        if text.startswith("@"):
            if text not in DESCRIPTORS:
                raise CronError(f"unrecognized descriptor: {text}")
            text = DESCRIPTORS[text]
        parts = text.split()
        if len(parts) != 5:
            raise CronError(f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]")
        minutes, hours, days, months, weekdays = (
            _field(part, low, high, names) for part, (low, high, names) in zip(parts, FIELDS, strict=True)
        )
        return Schedule(minutes, hours, days, months, weekdays, parts[2][0] in "*?", parts[4][0] in "*?")

    def next_after(self, moment: datetime, zone: tzinfo = UTC) -> datetime | None:
        """The first time after ``moment``, in UTC; None if there is none within ``SEARCH_YEARS``."""
        if self.every is not None:
            return moment.replace(microsecond=0).astimezone(UTC) + self.every
        start = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        limit = start.year + SEARCH_YEARS
        while True:
            # Between two changes of the clock, wall time is UTC and a constant.
            offset = _offset(start, zone)
            candidate = self._first_from((start + offset).replace(tzinfo=None), limit)
            if candidate is None:
                return None
            found = (candidate - offset).replace(tzinfo=UTC)
            if _offset(found, zone) == offset:
                return found
            # The clock changes first: go on from there, on the new wall time.
            start = _change_between(start, found, zone)

    def _first_from(self, moment: datetime, limit_year: int) -> datetime | None:
        """The first matching wall time that is not before ``moment``."""
        while moment.year <= limit_year:
            if moment.month not in self.months:
                moment = (moment.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0)
            elif not self._day_matches(moment):
                moment = (moment + timedelta(days=1)).replace(hour=0, minute=0)
            elif moment.hour not in self.hours:
                moment = (moment + timedelta(hours=1)).replace(minute=0)
            elif moment.minute not in self.minutes:
                moment += timedelta(minutes=1)
            else:
                return moment
        return None

    def _day_matches(self, moment: datetime) -> bool:
        day = moment.day in self.days
        weekday = (moment.weekday() + 1) % 7 in self.weekdays
        return day and weekday if self.any_day or self.any_weekday else day or weekday


def _offset(moment: datetime, zone: tzinfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _change_between(low: datetime, high: datetime, zone: tzinfo) -> datetime:
    """The first minute with another offset than ``low`` has, given that ``high`` has another."""
    offset = _offset(low, zone)
    minute = timedelta(minutes=1)
    while high - low > minute:
        middle = low + (high - low) // 2
        middle = middle.replace(second=0, microsecond=0)
        if _offset(middle, zone) == offset:
            low = middle
        else:
            high = middle
    return high


def _every(text: str) -> Schedule:
    pieces = DURATION.findall(text)
    if not pieces or "".join(number + unit for number, unit in pieces) != text:
        raise CronError(f"failed to parse duration @every {text}")
    seconds = max(1, int(sum(float(number) * UNIT_S[unit] for number, unit in pieces)))
    none: frozenset[int] = frozenset()
    return Schedule(none, none, none, none, none, True, True, timedelta(seconds=seconds))


def _field(text: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        values |= _range(part, low, high, names)
    return frozenset(values)


def _range(text: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    body, slash, step_text = text.partition("/")
    step = _number(step_text, {}) if slash else 1
    first, dash, last = body.partition("-")
    if first in ("*", "?") and not dash:
        start, end = low, high
    else:
        start = _number(first, names)
        # 5/15 means from 5 to the end in steps of 15.
        end = _number(last, names) if dash else high if slash else start
    if start < low:
        raise CronError(f"beginning of range ({start}) below minimum ({low}): {text}")
    if end > high:
        raise CronError(f"end of range ({end}) above maximum ({high}): {text}")
    if start > end:
        raise CronError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise CronError(f"step of range should be a positive number: {text}")
    return set(range(start, end + 1, step))


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not text.isascii() or not text.isdigit():
        raise CronError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)
