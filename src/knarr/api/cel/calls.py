"""The closures of calls, signs and selections: what a compiled node does when it runs.

Where types were not known before, they are looked at here: a value that no overload takes is an ``EvaluationError``.

Neighbour: ``compiler`` chooses among these.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from knarr.api.cel.errors import EvaluationError, no_such_key, no_such_overload
from knarr.api.cel.operators import BINARY
from knarr.api.cel.signatures import Overload, charge_sizes
from knarr.api.cel.values import ABSENT, Optional, equal, kind_of

__all__ = [
    "Code",
    "Lazy",
    "Slots",
    "as_optional",
    "binary",
    "constant",
    "equality",
    "function",
    "has",
    "negation",
    "optional_select",
    "select_other",
    "ternary",
]  # fmt: skip

Slots = list[Any]
Code = Callable[[Slots], Any]

_FAST: dict[str, Callable[[Any, Any], Any]] = {
    "_<_": operator.lt, "_<=_": operator.le, "_>_": operator.gt, "_>=_": operator.ge,
}  # fmt: skip
_SIMPLE = frozenset({int, str, float})


class Lazy:
    """A map whose values are computed when first asked for: a policy's ``variables``."""

    __slots__ = ()

    def get(self, name: str, meter: Any) -> Any:
        """The value, or ``ABSENT``."""
        raise NotImplementedError


def constant(value: Any) -> Code:
    return lambda slots: value


def as_optional(value: Any) -> Optional:
    if not isinstance(value, Optional):
        raise EvaluationError(f"cannot initialize optional entry from non-optional value {value}")
    return value


def _look(held: Any, name: str, meter: Any) -> Any:
    """The field, or ``ABSENT``; what has no fields has not this one."""
    if isinstance(held, dict):
        return held.get(name, ABSENT)
    return held.get(name, meter) if isinstance(held, Lazy) else ABSENT


def select_other(held: Any, name: str, meter: Any) -> Any:
    if isinstance(held, Optional):
        return optional_select(held, name, meter)
    value = _look(held, name, meter)
    if value is ABSENT:
        raise no_such_key(name)
    return value


def optional_select(held: Any, name: str, meter: Any) -> Optional:
    if isinstance(held, Optional):
        return optional_select(held.held, name, meter) if held.has_value else held
    return Optional(_look(held, name, meter))


def has(held: Any, name: str, meter: Any) -> bool:
    if isinstance(held, Optional):
        return held.has_value and has(held.held, name, meter)
    return _look(held, name, meter) is not ABSENT


def equality(left: Code, right: Code, *, wanted: bool) -> Code:
    def equality(slots: Slots) -> bool:
        a, b = left(slots), right(slots)
        if type(a) is type(b) and type(a) in _SIMPLE:
            return (a == b) is wanted
        charge_sizes(slots[0], (a, b))
        return equal(a, b) is wanted

    return equality


def ternary(condition: Code, then: Code, otherwise: Code) -> Code:
    def ternary(slots: Slots) -> Any:
        decided = condition(slots)
        if decided is True:
            return then(slots)
        if decided is False:
            return otherwise(slots)
        raise no_such_overload()

    return ternary


def negation(code: Code) -> Code:
    def negation(slots: Slots) -> bool:
        value = code(slots)
        if type(value) is not bool:
            raise no_such_overload()
        return not value

    return negation


def binary(name: str, left: Code, right: Code) -> Code:
    operate, fast = BINARY[name], _FAST.get(name)
    if fast is not None:

        def compared(slots: Slots) -> Any:
            a, b = left(slots), right(slots)
            return fast(a, b) if type(a) is type(b) and type(a) in _SIMPLE else operate(a, b)

        return compared
    if name in ("_+_", "@in"):

        def sized(slots: Slots) -> Any:
            a, b = left(slots), right(slots)
            if type(a) is not int:
                charge_sizes(slots[0], (a, b))
            return operate(a, b)

        return sized
    return lambda slots: operate(left(slots), right(slots))


def function(name: str, overloads: list[Overload], codes: list[Code]) -> Code:
    choices = [(tuple(_accepts(param.kind, param.name) for param in each.signature.params), each) for each in overloads]

    def call(slots: Slots) -> Any:
        args = tuple(code(slots) for code in codes)
        for accepts, overload in choices:
            if all(accept(arg) for accept, arg in zip(accepts, args, strict=True)):
                meter = slots[0]
                if overload.cost is None:
                    charge_sizes(meter, args)
                else:
                    meter.charge(overload.cost(*args))
                return overload.run(meter, *args) if overload.meter else overload.run(*args)
        raise no_such_overload(name, [kind_of(arg) for arg in args])

    return call


_BY_KIND = {
    "bool": "bool", "int": "int", "uint": "uint", "double": "double", "string": "string", "bytes": "bytes", "null": "null_type",
    "list": "list", "map": "map", "timestamp": "google.protobuf.Timestamp", "duration": "google.protobuf.Duration",
    "optional_type": "optional_type", "type": "type",
}  # fmt: skip


def _accepts(kind: str, name: str) -> Callable[[Any], bool]:
    """Whether a value may be given for a parameter of that type."""
    if kind in ("dyn", "any", "param"):
        return lambda value: True
    wanted = _BY_KIND.get(kind, name)
    return lambda value: kind_of(value) == wanted
