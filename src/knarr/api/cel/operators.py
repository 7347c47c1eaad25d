"""Signs: what they take, and arithmetic that tells when it runs over.

64-bit integers never wrap, division truncates towards zero, as the CEL specification has it. Each function raises
``EvaluationError`` for what it cannot do. Neighbours: ``checker`` reads ``SIGNATURES``, ``compiler`` calls the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from knarr.api.cel.errors import EvaluationError, no_such_key, no_such_overload
from knarr.api.cel.signatures import Signature, parse_type
from knarr.api.cel.values import (
    ABSENT,
    INT_MAX,
    INT_MIN,
    UINT_MAX,
    Duration,
    ListMap,
    ListSet,
    Optional,
    Timestamp,
    UInt,
    compare,
    contains,
    find,
    kind_of,
)  # fmt: skip

__all__ = ["BINARY", "SIGNATURES", "as_int", "as_uint", "index", "is_in", "negate", "optional_index"]

_NUMBERS = ("int", "uint", "double")


def _table() -> dict[str, list[Signature]]:
    table: dict[str, list[Signature]] = {}

    def add(name: str, result: str, *params: str) -> None:
        signature = Signature(name, False, tuple(parse_type(each) for each in params), parse_type(result))
        table.setdefault(name, []).append(signature)

    for kind in _NUMBERS:
        for sign in "+-*/":
            add(f"_{sign}_", kind, kind, kind)
    for kind in ("int", "uint"):
        add("_%_", kind, kind, kind)
    for kind in ("string", "bytes", "duration", "list(A)"):
        add("_+_", kind, kind, kind)
    add("_+_", "timestamp", "timestamp", "duration")
    add("_+_", "timestamp", "duration", "timestamp")
    add("_-_", "duration", "timestamp", "timestamp")
    add("_-_", "timestamp", "timestamp", "duration")
    add("_-_", "duration", "duration", "duration")
    for kind in ("int", "double"):
        add("-_", kind, kind)
    add("!_", "bool", "bool")
    for sign in ("<", "<=", ">", ">="):
        for kind in ("bool", "string", "bytes", "timestamp", "duration"):
            add(f"_{sign}_", "bool", kind, kind)
        for left in _NUMBERS:
            for right in _NUMBERS:
                add(f"_{sign}_", "bool", left, right)
    for sign in ("==", "!="):
        add(f"_{sign}_", "bool", "A", "A")
    add("@in", "bool", "A", "list(A)")
    add("@in", "bool", "A", "map(A, B)")
    for name, wrap in (("_[_]", "{}"), ("_[?_]", "optional({})")):
        add(name, wrap.format("A"), "list(A)", "int")
        add(name, wrap.format("B"), "map(A, B)", "A")
        add(name, "optional(A)", "optional(list(A))", "int")
        add(name, "optional(B)", "optional(map(A, B))", "A")
    add("_?_:_", "A", "bool", "A", "A")
    return table


SIGNATURES = _table()


def as_int(value: int) -> int:
    """A signed integer of 64 bits. Raises ``EvaluationError``."""
    if not INT_MIN <= value <= INT_MAX:
        raise EvaluationError("integer overflow")
    return value


def as_uint(value: int) -> UInt:
    """An unsigned integer of 64 bits. Raises ``EvaluationError``."""
    if not 0 <= value <= UINT_MAX:
        raise EvaluationError("unsigned integer overflow")
    return UInt(value)


def _numeric(on_ints: Callable[[int, int], int], on_doubles: Callable[[float, float], float] | None) -> Callable[[Any, Any], Any]:
    def operate(left: Any, right: Any) -> Any:
        kind = type(left)
        if kind is not type(right):
            raise no_such_overload()
        if kind is int:
            return as_int(on_ints(left, right))
        if kind is UInt:
            return as_uint(on_ints(int(left), int(right)))
        if kind is float and on_doubles is not None:
            return on_doubles(left, right)
        raise no_such_overload()

    return operate


def _truncated(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("division by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _rest(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("modulus by zero")
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def _divide_doubles(left: float, right: float) -> float:
    if right != 0:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


_add_numbers = _numeric(lambda a, b: a + b, lambda a, b: a + b)
_subtract_numbers = _numeric(lambda a, b: a - b, lambda a, b: a - b)


def add(left: Any, right: Any) -> Any:
    if type(left) is int and type(right) is int:
        return as_int(left + right)
    if isinstance(left, list) and isinstance(right, list):
        return _add_lists(left, right)
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    if isinstance(left, bytes) and isinstance(right, bytes):
        return left + right
    match left, right:
        case (Timestamp(), Duration()) | (Duration(), Timestamp()):
            return Timestamp(left.ns + right.ns, left.offset_s if isinstance(left, Timestamp) else 0)
        case Duration(), Duration():
            return Duration(left.ns + right.ns)
    return _add_numbers(left, right)


def _add_lists(left: list[Any], right: list[Any]) -> list[Any]:
    if isinstance(left, ListSet):
        return ListSet([*left, *(item for item in right if not contains(left, item))])
    if isinstance(left, ListMap):
        # As server-side apply merges: what has the same key is replaced where it stood.
        merged = {left.key(item): item for item in left}
        merged.update((left.key(item), item) for item in right)
        return ListMap(list(merged.values()), left.keys)
    return [*left, *right]


def subtract(left: Any, right: Any) -> Any:
    match left, right:
        case (Timestamp(), Timestamp()) | (Duration(), Duration()):
            return Duration(left.ns - right.ns)
        case Timestamp(), Duration():
            return Timestamp(left.ns - right.ns, left.offset_s)
    return _subtract_numbers(left, right)


def negate(value: Any) -> Any:
    if type(value) is int:
        return as_int(-value)
    if type(value) is float:
        return -value
    raise no_such_overload()


def is_in(value: Any, held: Any) -> bool:
    if isinstance(held, list):
        return contains(held, value)
    if isinstance(held, dict):
        return find(held, value) is not ABSENT
    raise no_such_overload()


def index(held: Any, key: Any) -> Any:
    """``held[key]``. Raises ``EvaluationError`` where there is nothing."""
    if isinstance(held, dict):
        found = find(held, key)
        if found is ABSENT:
            raise no_such_key(key)
        return found
    if isinstance(held, list):
        place = _place(key)
        if not 0 <= place < len(held):
            raise EvaluationError(f"index out of bounds: {place}")
        return held[place]
    if isinstance(held, Optional):
        return optional_index(held, key)
    raise no_such_overload()


def _place(key: Any) -> int:
    if isinstance(key, bool) or not isinstance(key, int | float):
        raise EvaluationError(f"unsupported index type '{kind_of(key)}' in list")
    if key != key // 1:
        raise EvaluationError(f"unsupported index value {key} in list")
    return int(key)


def optional_index(held: Any, key: Any) -> Optional:
    """``held[?key]``: none where there is nothing."""
    if isinstance(held, Optional):
        return optional_index(held.held, key) if held.has_value else held
    if isinstance(held, dict):
        return Optional(find(held, key))
    if isinstance(held, list):
        place = _place(key)
        return Optional(held[place]) if 0 <= place < len(held) else Optional()
    raise no_such_overload()


#: What a sign between two values does; equality and logic are the compiler's.
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "_+_": add,
    "_-_": subtract,
    "_*_": _numeric(lambda a, b: a * b, lambda a, b: a * b),
    "_/_": _numeric(_truncated, _divide_doubles),
    "_%_": _numeric(_rest, None),
    "_<_": lambda a, b: compare(a, b) < 0,
    "_<=_": lambda a, b: compare(a, b) <= 0,
    "_>_": lambda a, b: compare(a, b) > 0,
    "_>=_": lambda a, b: compare(a, b) >= 0,
    "@in": is_in,
    "_[_]": index,
    "_[?_]": optional_index,
}
