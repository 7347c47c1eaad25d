"""Lists: sorted, summed, searched; and lists taken as sets."""

from __future__ import annotations

from functools import cmp_to_key
from typing import Any

from knarr.api.cel.errors import EvaluationError
from knarr.api.cel.limits import Meter, weight
from knarr.api.cel.operators import add
from knarr.api.cel.signatures import function
from knarr.api.cel.values import Duration, UInt, compare, contains, equal

__all__ = ["FUNCTIONS"]

COMPARABLE = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
SUMMABLE = ("int", "uint", "double", "duration")


def _is_sorted(items: list[Any]) -> bool:
    return all(compare(items[at], items[at + 1]) <= 0 for at in range(len(items) - 1))


def _sum(items: list[Any]) -> Any:
    if not items:
        return 0
    zeros: dict[type[Any], Any] = {int: 0, UInt: UInt(0), float: 0.0, Duration: Duration(0)}
    if type(items[0]) not in zeros:
        raise EvaluationError("no such overload")
    total = zeros[type(items[0])]
    for item in items:
        total = add(total, item)
    return total


def _extreme(name: str, sign: int) -> Any:
    def extreme(items: list[Any]) -> Any:
        if not items:
            raise EvaluationError(f"{name} called on empty list")
        best = items[0]
        for item in items[1:]:
            if compare(item, best) == sign:
                best = item
        return best

    return extreme


def _index_of(items: list[Any], wanted: Any) -> int:
    return next((at for at, item in enumerate(items) if equal(item, wanted)), -1)


def _last_index_of(items: list[Any], wanted: Any) -> int:
    return next((at for at in range(len(items) - 1, -1, -1) if equal(items[at], wanted)), -1)


def _of(names: tuple[str, ...], text: str) -> list[str]:
    return [text.replace("T", name) for name in names]


def _all_in(left: list[Any], right: list[Any]) -> bool:
    return all(contains(left, item) for item in right)


def _product(left: list[Any], right: list[Any]) -> int:
    """Each element of one is looked for among those of the other."""
    return len(left) * len(right)


def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise EvaluationError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise EvaluationError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if end > len(items):
        raise EvaluationError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return items[start:end]


def _flatten(items: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise EvaluationError("level must be non-negative")
    result: list[Any] = []
    for item in items:
        result += _flatten(item, depth - 1) if isinstance(item, list) and depth else [item]
    return result


def _distinct(items: list[Any]) -> list[Any]:
    result: list[Any] = []
    for item in items:
        if not contains(result, item):
            result.append(item)
    return result


def _by_key(left: tuple[Any, Any], right: tuple[Any, Any]) -> int:
    return compare(left[0], right[0])


def sort(items: list[Any], keys: list[Any]) -> list[Any]:
    """The items in the order of their keys. Raises ``EvaluationError`` where keys have no order among them."""
    for key in keys[1:]:
        compare(keys[0], key)
    pairs = sorted(zip(keys, items, strict=True), key=cmp_to_key(_by_key))
    return [item for _, item in pairs]


def _range(meter: Meter, count: int) -> list[int]:
    meter.charge(max(count, 0))
    return list(range(count))


def _square(items: list[Any]) -> int:
    return len(items) ** 2


FUNCTIONS = [
    function(_slice, "<list(A)>.slice(int, int): list(A)"),
    function(_flatten, "<list(list(A))>.flatten(): list(A)", "<list(dyn)>.flatten(int): list(dyn)", cost=lambda items, *_: weight(items)),
    function(_distinct, "<list(A)>.distinct(): list(A)", cost=_square),
    function(lambda items: items[::-1], "<list(A)>.reverse(): list(A)"),
    function(lambda items: sort(items, items), *_of(COMPARABLE, "<list(T)>.sort(): list(T)"), cost=_square),
    function(_range, "lists.range(int): list(int)", meter=True),
    function(_is_sorted, *_of(COMPARABLE, "<list(T)>.isSorted(): bool")),
    function(_sum, *_of(SUMMABLE, "<list(T)>.sum(): T")),
    function(_extreme("min", -1), *_of(COMPARABLE, "<list(T)>.min(): T")),
    function(_extreme("max", 1), *_of(COMPARABLE, "<list(T)>.max(): T")),
    function(_index_of, "<list(A)>.indexOf(A): int"),
    function(_last_index_of, "<list(A)>.lastIndexOf(A): int"),
    function(_all_in, "sets.contains(list(A), list(A)): bool", cost=_product),
    function(
        lambda left, right: _all_in(left, right) and _all_in(right, left),
        "sets.equivalent(list(A), list(A)): bool",
        cost=lambda left, right: 2 * _product(left, right),
    ),
    function(
        lambda left, right: any(contains(right, item) for item in left),
        "sets.intersects(list(A), list(A)): bool",
        cost=_product,
    ),
]
