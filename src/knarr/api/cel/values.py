"""The values expressions work on, where Python has none of its own, and what equality and order mean among them.

int, double, string, bytes, bool, null, list and map are Python's own; unsigned ints, moments, lengths of time, types and
optionals are here. Moments and lengths count nanoseconds, as upstream's do.

Neighbours: ``operators`` calculates; ``library`` has functions on them.
"""

from __future__ import annotations

from typing import Any

from knarr.api.cel.errors import EvaluationError, no_such_overload

__all__ = [
    "ABSENT", "Duration", "ListMap", "ListSet", "Opaque", "Optional", "Timestamp", "TypeValue", "UInt",
    "compare", "contains", "equal", "find", "kind_of",
]  # fmt: skip

INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1
#: 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999999Z, from 1970.
TIMESTAMP_MIN_NS, TIMESTAMP_MAX_NS = -62135596800 * 10**9, 253402300800 * 10**9 - 1
#: What no map holds: the answer of a look-up that found nothing.
ABSENT: Any = object()


class UInt(int):
    """An unsigned integer of 64 bits."""

    __slots__ = ()


class Nanoseconds:
    """A count of nanoseconds that means something."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        self.ns = ns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Nanoseconds) and type(other) is type(self) and other.ns == self.ns

    def __hash__(self) -> int:
        return hash((type(self), self.ns))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.ns})"


class Timestamp(Nanoseconds):
    """A moment, in nanoseconds since 1970. ``offset_s`` is how far from UTC it was written; it is shown so again."""

    __slots__ = ("offset_s",)

    def __init__(self, ns: int, offset_s: int = 0) -> None:
        if not TIMESTAMP_MIN_NS <= ns <= TIMESTAMP_MAX_NS:
            raise EvaluationError("timestamp overflow")
        super().__init__(ns)
        self.offset_s = offset_s


class Duration(Nanoseconds):
    """A length of time."""

    __slots__ = ()

    def __init__(self, ns: int) -> None:
        if not INT_MIN <= ns <= INT_MAX:
            raise EvaluationError("duration overflow")
        super().__init__(ns)


class TypeValue:
    """A type as a value: what ``type(x)`` gives."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeValue) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return self.name


class Optional:
    """A value, or none. ``Optional()`` is none."""

    __slots__ = ("held",)

    def __init__(self, held: Any = ABSENT) -> None:
        self.held = held

    @property
    def has_value(self) -> bool:
        return self.held is not ABSENT


class Opaque:
    """Base of values that only functions look into; ``kind`` is the type's name."""

    __slots__ = ()
    kind = ""

    def same(self, other: Any) -> bool:
        return self is other


class ListSet(list[Any]):
    """A list whose order means nothing (``x-kubernetes-list-type: set``)."""


class ListMap(list[Any]):
    """A list of objects that keys tell apart (``x-kubernetes-list-type: map``)."""

    def __init__(self, items: list[Any], keys: tuple[str, ...]) -> None:
        super().__init__(items)
        self.keys = keys

    def key(self, item: Any) -> str:
        return repr([item.get(name) if isinstance(item, dict) else None for name in self.keys])


_KINDS: dict[type[Any], str] = {
    int: "int", UInt: "uint", float: "double", str: "string", bytes: "bytes", bool: "bool", type(None): "null_type",
    list: "list", ListSet: "list", ListMap: "list", dict: "map", Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration", TypeValue: "type", Optional: "optional_type",
}  # fmt: skip


def kind_of(value: Any) -> str:
    """The name of a value's type, as errors and ``type()`` say it."""
    found = _KINDS.get(type(value))
    if found is not None:
        return found
    if isinstance(value, Opaque):
        return value.kind
    return "map" if isinstance(value, dict) else type(value).__name__


_PLAIN = (str, int, bytes)


def equal(left: Any, right: Any) -> bool:
    """Numbers compare by value across their types; anything else of two types is unequal."""
    kind = type(left)
    if kind is type(right):
        if kind in _PLAIN or kind is bool:
            return bool(left == right)
        if isinstance(left, list):
            return _equal_lists(left, right)
        if isinstance(left, dict):
            return _equal_maps(left, right)
        if kind is Optional:
            if not left.has_value or not right.has_value:
                return bool(left.has_value == right.has_value)
            return equal(left.held, right.held)
        if isinstance(left, Opaque):
            return left.same(right)
        return bool(left == right)
    if _is_number(left) and _is_number(right):
        return bool(left == right)
    if isinstance(left, list) and isinstance(right, list):
        return _equal_lists(left, right)
    if isinstance(left, dict) and isinstance(right, dict):
        return _equal_maps(left, right)
    return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal_lists(left: list[Any], right: list[Any]) -> bool:
    if len(left) != len(right):
        return False
    if isinstance(left, ListSet) or isinstance(right, ListSet):
        return all(contains(right, item) for item in left)
    keyed = left if isinstance(left, ListMap) else right if isinstance(right, ListMap) else None
    if keyed is not None:
        by_key = {keyed.key(item): item for item in right}
        return all(equal(item, by_key.get(keyed.key(item), ABSENT)) for item in left)
    return all(map(equal, left, right))


def _equal_maps(left: dict[Any, Any], right: dict[Any, Any]) -> bool:
    if len(left) != len(right):
        return False
    return all((other := find(right, key)) is not ABSENT and equal(value, other) for key, value in left.items())


def contains(values: list[Any], wanted: Any) -> bool:
    return any(equal(value, wanted) for value in values)


def find(held: dict[Any, Any], key: Any) -> Any:
    """The value under ``key``, or ``ABSENT``. Python would take True for 1; expressions must not."""
    if type(key) is str:
        return held.get(key, ABSENT)
    if isinstance(key, bool) or not isinstance(key, int | float):
        return next((v for k, v in held.items() if type(k) is type(key) and k == key), ABSENT)
    return next((v for k, v in held.items() if _is_number(k) and k == key), ABSENT)


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1. Raises ``EvaluationError`` for what has no order."""
    if _is_number(left) and _is_number(right):
        return int(left > right) - int(left < right)
    if type(left) is not type(right):
        raise no_such_overload()
    if isinstance(left, str | bytes | bool):
        return int(left > right) - int(left < right)
    if isinstance(left, Nanoseconds):
        return int(left.ns > right.ns) - int(left.ns < right.ns)
    raise no_such_overload()
