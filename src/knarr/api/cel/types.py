"""The types of expressions, and when one may stand for another.

``Inference`` holds what type parameters turned out to be while one expression is checked (an empty list is a list of
something, until it is compared with a list of int).

Upstream's counterpart is ``cel-go/common/types`` and the checker's substitution. Neighbours: ``checker`` asks,
``signatures`` reads types from text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "ANY", "BOOL", "BYTES", "DOUBLE", "DURATION", "DYN", "ERROR", "INT", "NULL", "STRING", "TIMESTAMP", "UINT",
    "Field", "Inference", "Type", "list_of", "map_of", "object_type", "opaque", "optional_of", "type_of",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Type:
    """``kind`` is the form; ``name`` tells objects, opaque types and type parameters apart."""

    kind: str
    name: str = ""
    params: tuple[Type, ...] = ()
    fields: Mapping[str, Field] | None = field(default=None, compare=False, hash=False, repr=False)
    """What an object has, by the name an expression uses; None where anything goes."""

    def __str__(self) -> str:
        shown = self.name or self.kind
        return f"{shown}({', '.join(map(str, self.params))})" if self.params else shown

    def declared(self) -> str:
        """The name as it is declared, which is not how a fault shows it: ``google.protobuf.Timestamp``."""
        shown = _DECLARED.get(self.kind, self.name or self.kind)
        return f"{shown}({', '.join(each.declared() for each in self.params)})" if self.params else shown


_DECLARED = {"any": "google.protobuf.Any", "null": "null_type", "timestamp": "google.protobuf.Timestamp", "duration": "google.protobuf.Duration"}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an object: its type, and its key in the data (names that are no identifiers are escaped)."""

    type: Type
    key: str


DYN = Type("dyn")
ANY = Type("any")
BOOL = Type("bool")
INT = Type("int")
UINT = Type("uint")
DOUBLE = Type("double")
STRING = Type("string")
BYTES = Type("bytes")
NULL = Type("null")
TIMESTAMP = Type("timestamp")
DURATION = Type("duration")
ERROR = Type("error", "!error!")

_DYNAMIC = ("dyn", "error", "any")
#: What may be null as well.
_NULLABLE = ("object", "opaque", "timestamp", "duration", "optional_type")


def list_of(element: Type) -> Type:
    return Type("list", "", (element,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", "", (key, value))


def optional_of(value: Type) -> Type:
    return Type("optional_type", "", (value,))


def type_of(value: Type) -> Type:
    return Type("type", "", (value,))


def opaque(name: str) -> Type:
    """A type whose values only functions look into."""
    return Type("opaque", name)


def object_type(name: str, fields: Mapping[str, Field] | None) -> Type:
    return Type("object", name, (), fields)


class Inference:
    """What is known of type parameters."""

    def __init__(self) -> None:
        self._known: dict[Type, Type] = {}
        self._count = 0

    def fresh(self) -> Type:
        self._count += 1
        return Type("param", f"_var{self._count}")

    def renamed(self, types: tuple[Type, ...]) -> tuple[Type, ...]:
        """The same types with parameters nobody else has: for one use of a generic function."""
        names: dict[str, Type] = {}

        def rename(one: Type) -> Type:
            if one.kind == "param":
                if one.name not in names:
                    names[one.name] = self.fresh()
                return names[one.name]
            return Type(one.kind, one.name, tuple(map(rename, one.params)), one.fields) if one.params else one

        return tuple(map(rename, types))

    def resolve(self, one: Type, *, final: bool = False) -> Type:
        """The type with what is known put in; ``final`` makes the rest dynamic."""
        if one.kind == "param":
            known = self._known.get(one)
            if known is not None:
                return self.resolve(known, final=final)
            return DYN if final else one
        if not one.params:
            return one
        return Type(one.kind, one.name, tuple(self.resolve(p, final=final) for p in one.params), one.fields)

    def fits(self, pairs: list[tuple[Type, Type]]) -> bool:
        """Whether each (wanted, given) can be; if so, what follows for parameters is kept."""
        held = dict(self._known)
        if all(self._fits(wanted, given) for wanted, given in pairs):
            return True
        self._known = held
        return False

    def join(self, left: Type, right: Type) -> Type:
        """One type for both, dynamic if there is none."""
        if self.fits([(left, right)]):
            return right if right.kind in _DYNAMIC else left
        if self.fits([(right, left)]):
            return right
        return DYN

    def _fits(self, wanted: Type, given: Type) -> bool:
        if wanted == given:
            return True
        if given.kind == "param":
            return self._bind(given, wanted)
        if wanted.kind == "param":
            return self._bind(wanted, given)
        if wanted.kind in _DYNAMIC or given.kind in _DYNAMIC:
            return True
        if given.kind == "null":
            return wanted.kind in _NULLABLE
        if wanted.kind == "null":
            return given.kind in _NULLABLE
        if wanted.kind == "type" and given.kind == "type":
            return True
        if wanted.kind != given.kind or wanted.name != given.name or len(wanted.params) != len(given.params):
            return False
        return all(map(self._fits, wanted.params, given.params))

    def _bind(self, parameter: Type, other: Type) -> bool:
        known = self._known.get(parameter)
        if known is not None:
            if not self._fits(known, other):
                return False
            # The more general of both is what the parameter is from now on.
            if (other.kind in _DYNAMIC and known.kind not in _DYNAMIC) or (other.kind in _NULLABLE and known.kind == "null"):
                self._known[parameter] = other
            return True
        other = self.resolve(other)
        if other == parameter:
            return True
        if _mentions(other, parameter):
            return False
        self._known[parameter] = other
        return True


def _mentions(one: Type, parameter: Type) -> bool:
    return one == parameter or any(_mentions(each, parameter) for each in one.params)
