"""``string.format``: clauses in a text, a value for each."""

from __future__ import annotations

import re
from typing import Any

from knarr.api.cel.errors import EvaluationError
from knarr.api.cel.values import Duration, Timestamp, TypeValue, kind_of

__all__ = ["ANYTHING", "FormatFault", "format_text"]

#: Stands for a value that is not known yet; every clause takes it.
ANYTHING: Any = object()

_CLAUSE = re.compile(r"%(?:(%)|(?:\.(\d+))?(.?))", re.DOTALL)
#: How many digits behind the point may be asked for.
MAX_PRECISION = 1000


class FormatFault(EvaluationError):
    """``index`` is the value that is at fault, None where the text is."""

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


def format_text(text: str, args: list[Any]) -> str:
    """Raises ``FormatFault`` for a clause that is none, or has no value, or one it cannot show."""
    used = 0

    def show(match: re.Match[str]) -> str:
        nonlocal used
        if match[1]:
            return "%"
        if used >= len(args):
            raise FormatFault(f"index {used} out of range")
        value = args[used]
        used += 1
        precision = int(match[2]) if match[2] and len(match[2]) < 9 else MAX_PRECISION + 1 if match[2] else None
        if precision is not None and precision > MAX_PRECISION:
            raise FormatFault(f"precision is limited to {MAX_PRECISION}")
        if value is ANYTHING and (match[3] == "s" or match[3] in _TAKES):
            return ""
        try:
            return _clause(match[3], value, precision)
        except FormatFault as fault:
            fault.index = None if fault.index is None else used - 1
            raise

    return _CLAUSE.sub(show, text)


def _clause(verb: str, value: Any, precision: int | None) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = number and not isinstance(value, float)
    if verb == "s":
        return _string(value)
    if verb == "d" and whole:
        return str(int(value))
    if verb in ("f", "e") and number and not whole:
        digits = 6 if precision is None else precision
        return f"{float(value):.{digits}f}" if verb == "f" else _scientific(float(value), digits)
    if verb == "b" and (whole or isinstance(value, bool)):
        return f"{int(value):b}"
    if verb == "o" and whole:
        return f"{int(value):o}"
    if verb in ("x", "X"):
        if whole:
            return f"{int(value):{verb}}"
        if isinstance(value, str | bytes):
            shown = (value.encode() if isinstance(value, str) else value).hex()
            return shown.upper() if verb == "X" else shown
    if verb not in "sdfeboxX" or not verb:
        raise FormatFault(f'could not parse formatting clause: unrecognized formatting clause "{verb}"')
    raise FormatFault(f"error during formatting: {_TAKES[verb]}, was given {kind_of(value)}", 0)


_TAKES = {
    "d": "decimal clause can only be used on integers",
    "f": "fixed-point clause can only be used on doubles",
    "e": "scientific clause can only be used on doubles",
    "b": "only integers and bools can be formatted as binary",
    "o": "octal clause can only be used on integers",
    "x": "only integers, byte buffers, and strings can be formatted as hex",
    "X": "only integers, byte buffers, and strings can be formatted as hex",
}


_RAISED = str.maketrans("0123456789-+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺")


def _scientific(value: float, digits: int) -> str:
    mantissa, _, power = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}×10{power.removeprefix('+').translate(_RAISED)}" if power else mantissa


def _inner(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value:.6f}" if isinstance(value, float) else _string(value)


def _string(value: Any) -> str:
    from knarr.api.cel.library.conversions import _to_string

    match value:
        case None:
            return "null"
        case list():
            return f"[{', '.join(map(_inner, value))}]"
        case dict():
            return "{" + ", ".join(f"{key}:{shown}" for key, shown in sorted((_inner(k), _inner(v)) for k, v in value.items())) + "}"
        case TypeValue():
            return value.name
        case str() | bool() | int() | float() | bytes() | Timestamp() | Duration():
            return _to_string(value)
    takes = "strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
    raise FormatFault(f"error during formatting: string clause can only be used on {takes}, was given {kind_of(value)}", 0)
