"""Sizes, types, and from one type to another. Texts of numbers and moments are those of Go."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

from knarr.api.cel.errors import EvaluationError
from knarr.api.cel.library.times import duration_text, parse_duration, parse_timestamp, timestamp_text
from knarr.api.cel.operators import as_int, as_uint
from knarr.api.cel.signatures import function
from knarr.api.cel.values import INT_MAX, INT_MIN, UINT_MAX, Duration, Timestamp, TypeValue, UInt, kind_of

__all__ = ["FUNCTIONS", "double_text"]

T = TypeVar("T")


def double_text(value: float) -> str:
    """A double as Go prints it at its shortest: ``1``, ``1.5``, ``1e+06``."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits))
    power = len(text) + exponent - 1
    minus = "-" if sign else ""
    if power < -4 or power >= 6:
        fraction = f".{text[1:]}" if len(text) > 1 else ""
        return f"{minus}{text[0]}{fraction}e{'-' if power < 0 else '+'}{abs(power):02d}"
    return minus + format(Decimal((0, digits, exponent)), "f")


def _to_int(value: Any) -> int:
    if isinstance(value, Timestamp):
        return value.ns // 10**9
    if isinstance(value, Duration):
        return value.ns
    if isinstance(value, float):
        if not -(2.0**63) < value < 2.0**63:
            raise EvaluationError("integer overflow")
        return int(value)
    if isinstance(value, str):
        return _parse_int(value, "int", INT_MIN, INT_MAX)
    return as_int(int(value))


def _to_uint(value: Any) -> UInt:
    if isinstance(value, float):
        if not 0 <= value < 2.0**64:
            raise EvaluationError("unsigned integer overflow")
        return UInt(int(value))
    if isinstance(value, str):
        return UInt(_parse_int(value, "uint", 0, UINT_MAX))
    return as_uint(int(value))


def _unconverted(kind: str) -> EvaluationError:
    return EvaluationError(f"type conversion error from 'string' to '{kind}'")


def _parse_int(text: str, name: str, low: int, high: int) -> int:
    digits = text.removeprefix("-").removeprefix("+") if low else text
    if not digits.isascii() or not digits.isdigit() or text.count("-") + text.count("+") > 1:
        raise _unconverted(name)
    # Python refuses to read very long numbers, and none of them fits.
    number = int(text) if len(digits) <= 20 else high + 1
    if not low <= number <= high:
        raise _unconverted(name)
    return number


def _to_double(value: Any) -> float:
    if not isinstance(value, str):
        return float(value)
    try:
        if "_" in value or value != value.strip():
            raise ValueError
        return float(value)
    except ValueError:
        raise _unconverted("double") from None


def _to_string(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return double_text(value)
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None
        case Timestamp():
            return timestamp_text(value)
        case Duration():
            return duration_text(value)
        case int():
            return str(int(value))
    return str(value)


_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise _unconverted("bool")


def _read(parse: Callable[[str], T], text: str, kind: str) -> T:
    try:
        return parse(text)
    except EvaluationError:
        raise _unconverted(kind) from None


def _to_timestamp(value: Any) -> Timestamp:
    if isinstance(value, str):
        return _read(parse_timestamp, value, "google.protobuf.Timestamp")
    return value if isinstance(value, Timestamp) else Timestamp(value * 10**9)


def _to_duration(value: Any) -> Duration:
    if isinstance(value, str):
        return _read(parse_duration, value, "google.protobuf.Duration")
    if not isinstance(value, Duration):
        # The signature is there, the conversion is not: so it is upstream.
        raise EvaluationError("type conversion error from 'int' to 'google.protobuf.Duration'")
    return value


def _type(value: Any) -> TypeValue:
    return TypeValue(kind_of(value))


def _one(*_: Any) -> int:
    return 1


FUNCTIONS = [
    function(
        len, "size(string): int", "size(bytes): int", "size(list(A)): int", "size(map(A, B)): int",
        "<string>.size(): int", "<bytes>.size(): int", "<list(A)>.size(): int", "<map(A, B)>.size(): int", cost=_one,
    ),
    function(_type, "type(A): type(A)", cost=_one),
    function(lambda value: value, "dyn(A): dyn", cost=_one),
    function(_to_int, "int(int): int", "int(uint): int", "int(double): int", "int(string): int", "int(timestamp): int", "int(duration): int"),
    function(_to_uint, "uint(uint): uint", "uint(int): uint", "uint(double): uint", "uint(string): uint"),
    function(_to_double, "double(double): double", "double(int): double", "double(uint): double", "double(string): double"),
    function(
        _to_string, "string(string): string", "string(bool): string", "string(int): string", "string(uint): string",
        "string(double): string", "string(bytes): string", "string(timestamp): string", "string(duration): string",
    ),
    function(lambda value: value if isinstance(value, bytes) else value.encode(), "bytes(bytes): bytes", "bytes(string): bytes"),
    function(_to_bool, "bool(bool): bool", "bool(string): bool"),
    function(_to_timestamp, "timestamp(timestamp): timestamp", "timestamp(string): timestamp", "timestamp(int): timestamp"),
    function(_to_duration, "duration(duration): duration", "duration(string): duration", "duration(int): duration"),
]  # fmt: skip
