"""Moments as Go reads and writes them: which texts are taken, in what words others are refused, and what is then kept.

``metav1.Time`` is read by the layout of RFC 3339: a fraction of any length may stand there, with a comma too, an hour may have one
digit. ``metav1.MicroTime`` wants a fraction of six digits. Either is kept in UTC, the one in whole
seconds, the other in microseconds, as upstream keeps it. On purpose a moment outside the years 1 to 9999 of UTC is refused: no
program here could read it again; and a fraction with a sign, which Go takes by accident. Pure.

The counterpart is ``time.Parse``; ``tests/unit/api/moments.tsv`` holds what it said of each text there.

Neighbours: ``codec.settle_moments`` finds the moments of an object; ``kit.clock`` reads and writes what is well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from knarr.kit.clock import rfc3339, rfc3339_micro

__all__ = ["settled"]

LAYOUT = "2006-01-02T15:04:05Z07:00"
MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"
MICRO_DIGITS = ".000000"

#: What comes before a part, the part as layouts write it, what it is called, and what it lies between; no name: seen to later.
_PARTS = (
    ("-", "01", "month", 1, 12),
    ("-", "02", "", 0, 99),
    ("T", "15", "hour", 0, 23),
    (":", "04", "minute", 0, 59),
    (":", "05", "second", 0, 59),
)
_DIGITS = frozenset("0123456789")
#: What nearly everybody sends, and is kept as it stands: days that every month has, in UTC, without or with six digits.
_PLAIN = re.compile(
    r"(?!0000)\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{6})?Z", re.ASCII
)


class _Unfit(Exception):
    """``rest`` cannot be read as ``part`` of the layout; or ``told`` says what is wrong."""

    def __init__(self, rest: str = "", part: str = "", *, told: str = "") -> None:
        self.rest, self.part, self.told = rest, part, told


def settled(text: str, *, micro: bool) -> str:
    """The moment as it is kept. Raises ``ValueError`` with Go's words for a text that names none."""
    plain = _PLAIN.fullmatch(text)
    if plain is not None and (plain[1] is not None) is micro:
        return text
    layout = MICRO_LAYOUT if micro else LAYOUT
    try:
        moment = _read(text, micro=micro)
    except _Unfit as unfit:
        if unfit.told:
            raise ValueError(f"parsing time {_quote(text)}: {unfit.told}") from None
        raise ValueError(
            f"parsing time {_quote(text)} as {_quote(layout)}: cannot parse {_quote(unfit.rest)} as {_quote(unfit.part)}"
        ) from None
    return rfc3339_micro(moment) if micro else rfc3339(moment)


def _read(text: str, *, micro: bool) -> datetime:
    year, rest = text[:4], text[4:]
    if len(year) < 4 or not _DIGITS.issuperset(year):
        raise _Unfit(text, "2006")
    numbers = [int(year)]
    for before, part, name, lowest, highest in _PARTS:
        if not rest.startswith(before):
            raise _Unfit(rest, before)
        number, rest = _number(rest[1:], part)
        if name and not lowest <= number <= highest:
            raise _Unfit(told=f"{name} out of range")
        numbers.append(number)
    micros, rest = _fraction(rest, micro=micro)
    offset, rest = _offset(rest)
    if rest:
        raise _Unfit(told=f"extra text: {_quote(rest)}")
    return _moment(text, numbers, micros, offset)


def _number(rest: str, part: str) -> tuple[int, str]:
    """Two digits; of an hour one may do."""
    if _DIGITS.issuperset(rest[:2]) and len(rest) >= 2:
        return int(rest[:2]), rest[2:]
    if part == "15" and rest[:1] in _DIGITS:
        return int(rest[0]), rest[1:]
    raise _Unfit(rest, part)


def _fraction(rest: str, *, micro: bool) -> tuple[int, str]:
    """Microseconds. Digits beyond them count for nothing."""
    length = 0
    if rest[:1] in (".", ","):
        length = next((n for n, letter in enumerate(rest[1:]) if letter not in _DIGITS), len(rest) - 1)
    if micro:
        if length < len(MICRO_DIGITS) - 1:
            raise _Unfit(rest, MICRO_DIGITS)
        length = len(MICRO_DIGITS) - 1
    if not length:
        return 0, rest
    return int(rest[1 : length + 1].ljust(6, "0")[:6]), rest[length + 1 :]


def _offset(rest: str) -> tuple[timedelta, str]:
    """What the text's clock is ahead of UTC. Go takes 24 hours and 60 minutes too, as some write them."""
    part = "Z07:00"
    if rest.startswith("Z"):
        return timedelta(), rest[1:]
    hours, minutes = rest[1:3], rest[4:6]
    if len(rest) < 6 or rest[3] != ":" or not _DIGITS.issuperset(hours + minutes):
        raise _Unfit(rest, part)
    if int(minutes) > 60:
        raise _Unfit(told="time zone offset minute out of range")
    if int(hours) > 24:
        raise _Unfit(told="time zone offset hour out of range")
    if rest[0] not in "+-":
        raise _Unfit(rest, part)
    ahead = timedelta(hours=int(hours), minutes=int(minutes))
    return (ahead if rest[0] == "+" else -ahead), rest[6:]


def _moment(text: str, numbers: list[int], micros: int, offset: timedelta) -> datetime:
    year, month, day, hour, minute, second = numbers
    try:
        # A year of the same length, where Python has none: what is asked is whether there is such a day.
        datetime(year or 2000, month, day)
    except ValueError:
        raise _Unfit(told="day out of range") from None
    try:
        return datetime(year, month, day, hour, minute, second, micros, UTC) - offset
    except (ValueError, OverflowError):
        raise _Unfit(text, "2006") from None


def _quote(text: str) -> str:
    """As Go's ``time`` quotes: every byte that is not printable ASCII as a number."""
    return '"' + "".join(_quoted(text)) + '"'


def _quoted(text: str) -> Iterator[str]:
    for letter in text:
        if letter in '"\\':
            yield "\\" + letter
        elif " " <= letter < "\x80":
            yield letter
        else:
            yield "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogatepass"))
