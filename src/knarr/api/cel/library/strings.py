"""Texts: the standard functions and the extended ones."""

from __future__ import annotations

from typing import Any

from knarr.api.cel.errors import EvaluationError
from knarr.api.cel.library.formatting import format_text
from knarr.api.cel.library.regexes import searched
from knarr.api.cel.limits import SIZE_PER_UNIT, Meter, weight
from knarr.api.cel.signatures import function

__all__ = ["FUNCTIONS"]


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return text[index : index + 1]


def _index_of(text: str, part: str, offset: int = 0) -> int:
    if not part:
        return offset
    if offset < 0:
        raise EvaluationError(f"index out of range: {offset}")
    return text.find(part, offset)


def _last_index_of(text: str, part: str, offset: int | None = None) -> int:
    if offset is None:
        return text.rfind(part) if part else len(text)
    if not part:
        return offset
    if offset < 0:
        raise EvaluationError(f"index out of range: {offset}")
    if offset >= len(text):
        return -1
    return text.rfind(part, 0, offset + len(part))


def _substring(text: str, start: int, end: int | None = None) -> str:
    end = len(text) if end is None else end
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    if not 0 <= end <= len(text):
        raise EvaluationError(f"index out of range: {end}")
    if start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    return text[start:end]


def _replace(meter: Meter, text: str, old: str, new: str, count: int = -1) -> str:
    found = text.count(old) if count < 0 else min(text.count(old), count)
    meter.charge((len(text) + found * len(new)) // SIZE_PER_UNIT)
    return text.replace(old, new, count if count >= 0 else -1)


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if not separator:
        parts = list(text)
        return parts if limit < 0 or len(parts) <= limit else [*parts[: limit - 1], "".join(parts[limit - 1 :])]
    return text.split(separator, limit - 1 if limit > 0 else -1)


def _join(meter: Meter, parts: list[Any], separator: str = "") -> str:
    meter.charge((weight(parts) + len(separator) * len(parts)) // SIZE_PER_UNIT)
    if not all(isinstance(part, str) for part in parts):
        raise EvaluationError("no such overload")
    return separator.join(parts)


_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
_QUOTED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\", '"': '\\"'}


def _quote(text: str) -> str:
    return '"' + "".join(_QUOTED.get(character, character) for character in text) + '"'


def _format(meter: Meter, text: str, args: list[Any]) -> str:
    meter.charge((len(text) + weight(args)) // SIZE_PER_UNIT)
    return format_text(text, args)


FUNCTIONS = [
    function(lambda text, part: part in text, "<string>.contains(string): bool"),
    function(str.startswith, "<string>.startsWith(string): bool"),
    function(str.endswith, "<string>.endsWith(string): bool"),
    function(lambda text, pattern: searched(pattern).search(text) is not None, "<string>.matches(string): bool", "matches(string, string): bool"),
    function(_char_at, "<string>.charAt(int): string"),
    function(_index_of, "<string>.indexOf(string): int", "<string>.indexOf(string, int): int"),
    function(_last_index_of, "<string>.lastIndexOf(string): int", "<string>.lastIndexOf(string, int): int"),
    function(lambda text: text.translate(_LOWER), "<string>.lowerAscii(): string"),
    function(lambda text: text.translate(_UPPER), "<string>.upperAscii(): string"),
    function(_replace, "<string>.replace(string, string): string", "<string>.replace(string, string, int): string", meter=True),
    function(_split, "<string>.split(string): list(string)", "<string>.split(string, int): list(string)"),
    function(_substring, "<string>.substring(int): string", "<string>.substring(int, int): string"),
    function(str.strip, "<string>.trim(): string"),
    function(_join, "<list(string)>.join(): string", "<list(string)>.join(string): string", meter=True),
    function(_format, "<string>.format(list(dyn)): string", meter=True),
    function(_quote, "strings.quote(string): string"),
]
