"""A checked tree to Python closures, one a node, so that a policy is walked once and then only called.

A closure takes the *slots* of one evaluation: the meter first, then the declared variables an expression uses, then those of its loops.
Every loop charges what its body costs each time round; what a call looks through is charged by size.

Semantics that are easily lost: ``||`` and ``&&`` and the loops built on them forgive an error on one side if the other decides; equality
never fails.

Neighbours: ``loops`` for macros, ``operators`` and ``library`` do the work, ``environment`` calls.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from knarr.api.cel.errors import CostExceeded, EvaluationError, no_such_key, no_such_overload
from knarr.api.cel.loops import compile_loop, compile_optional_map
from knarr.api.cel.operators import BINARY, negate
from knarr.api.cel.signatures import Functions, Overload, charge_sizes
from knarr.api.cel.syntax import (
    Call,
    Ident,
    ListLiteral,
    Literal,
    Logic,
    Loop,
    MapLiteral,
    Message,
    Node,
    OptionalMap,
    Select,
)
from knarr.api.cel.values import ABSENT, Optional, equal, kind_of

__all__ = ["Code", "Compiler", "Slots"]

Slots = list[Any]
Code = Callable[[Slots], Any]
#: Makes a value of a message's name and fields.
MakeMessage = Callable[[str, dict[str, Any]], Any]

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


class Compiler:
    """Compiles one expression."""

    def __init__(self, functions: Functions, make_message: MakeMessage) -> None:
        self._functions = functions
        self._make_message = make_message
        self.size = 1
        self.used: dict[str, int] = {}
        """Declared variables the expression uses, and the slot of each."""
        self._scopes: list[tuple[str, int]] = []

    def slot(self, name: str) -> int:
        """A new slot for a variable of a loop, until ``leave``."""
        number = self.size
        self.size += 1
        self._scopes.append((name, number))
        return number

    def leave(self, count: int) -> None:
        del self._scopes[len(self._scopes) - count :]

    def compile(self, node: Node) -> tuple[Code, int]:
        """The closure, and what one run costs without loops and sizes."""
        match node:
            case Literal():
                return _constant(node.value), 0
            case Ident():
                return self._variable(node.name), 1
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case Logic():
                return self._logic(node)
            case ListLiteral():
                return self._list(node)
            case MapLiteral():
                return self._map(node)
            case Loop():
                return compile_loop(self, node)
            case OptionalMap():
                return compile_optional_map(self, node)
            case Message():
                return self._message(node)
        raise AssertionError(node)

    def _variable(self, name: str) -> Code:
        for held, number in reversed(self._scopes):
            if held == name:
                return lambda slots: slots[number]
        at = self.used.get(name)
        if at is None:
            at = self.used[name] = self.size
            self.size += 1

        def variable(slots: Slots) -> Any:
            value = slots[at]
            if value is ABSENT:
                raise EvaluationError(f"no such attribute(s): {name}")
            return value

        return variable

    def _select(self, node: Select) -> tuple[Code, int]:
        if node.qualified:
            return self._variable(node.qualified), 1
        operand, cost = self.compile(node.operand)
        name = node.key or node.name
        if node.test:
            return (lambda slots: _has(operand(slots), name, slots[0])), cost
        if node.optional:
            return (lambda slots: _optional_select(operand(slots), name, slots[0])), cost + 1

        def select(slots: Slots) -> Any:
            held = operand(slots)
            if type(held) is dict:
                value = held.get(name, ABSENT)
                if value is ABSENT:
                    raise no_such_key(name)
                return value
            return _select_other(held, name, slots[0])

        return select, cost + 1

    def _call(self, node: Call) -> tuple[Code, int]:
        args = [node.target, *node.args] if node.target is not None else node.args
        compiled = [self.compile(each) for each in args]
        codes = [code for code, _ in compiled]
        cost = sum(each for _, each in compiled) + 1
        match node.function:
            case "_==_" | "_!=_":
                return _equality(codes[0], codes[1], wanted=node.function == "_==_"), cost
            case "_?_:_":
                return _ternary(codes[0], codes[1], codes[2]), cost
            case "!_":
                return _negation(codes[0]), cost
            case "-_":
                value = codes[0]
                return (lambda slots: negate(value(slots))), cost
        if node.function in BINARY:
            return _binary(node.function, codes[0], codes[1]), cost
        overloads = self._functions.find(node.function, member=node.target is not None)
        fitting = [each for each in overloads if len(each.signature.params) == len(codes)]
        return _function(node.function, fitting, codes), cost

    def _logic(self, node: Logic) -> tuple[Code, int]:
        compiled = [self.compile(each) for each in node.terms]
        decisive = node.operator == "||"
        codes = [code for code, _ in compiled]

        def logic(slots: Slots) -> bool:
            error: EvaluationError | None = None
            for code in codes:
                try:
                    value = code(slots)
                except CostExceeded:
                    raise
                except EvaluationError as raised:
                    error = error or raised
                    continue
                if value is decisive:
                    return bool(decisive)
                if type(value) is not bool:
                    error = error or no_such_overload()
            if error is not None:
                raise error
            return not decisive

        return logic, sum(cost for _, cost in compiled)

    def _list(self, node: ListLiteral) -> tuple[Code, int]:
        compiled = [self.compile(each) for each in node.items]
        codes = [code for code, _ in compiled]
        cost = sum(each for _, each in compiled) + 10
        if not node.optional:
            return (lambda slots: [code(slots) for code in codes]), cost
        marked = [(code, number in node.optional) for number, code in enumerate(codes)]

        def listed(slots: Slots) -> list[Any]:
            result = []
            for code, optional in marked:
                value = code(slots)
                if optional:
                    if not _optional(value).has_value:
                        continue
                    value = value.held
                result.append(value)
            return result

        return listed, cost

    def _map(self, node: MapLiteral) -> tuple[Code, int]:
        entries = [(self.compile(each.key), self.compile(each.value), each.optional) for each in node.entries]
        cost = sum(key[1] + value[1] for key, value, _ in entries) + 30

        def mapped(slots: Slots) -> dict[Any, Any]:
            result: dict[Any, Any] = {}
            for (key, _), (code, _), optional in entries:
                name, value = key(slots), code(slots)
                if optional:
                    if not _optional(value).has_value:
                        continue
                    value = value.held
                if not isinstance(name, str | int | float):
                    raise EvaluationError(f"unsupported key type: {kind_of(name)}")
                result[name] = value
            return result

        return mapped, cost

    def _message(self, node: Message) -> tuple[Code, int]:
        fields = [(name, *self.compile(value), optional) for _, name, value, optional in node.fields]
        cost = sum(each[2] for each in fields) + 40
        make, called = self._make_message, node.name

        def message(slots: Slots) -> Any:
            held: dict[str, Any] = {}
            for name, code, _, optional in fields:
                value = code(slots)
                if optional:
                    if not _optional(value).has_value:
                        continue
                    value = value.held
                held[name] = value
            return make(called, held)

        return message, cost


def _constant(value: Any) -> Code:
    return lambda slots: value


def _optional(value: Any) -> Optional:
    if not isinstance(value, Optional):
        raise EvaluationError(f"cannot initialize optional entry from non-optional value {value}")
    return value


def _look(held: Any, name: str, meter: Any) -> Any:
    """The field, or ``ABSENT``; what has no fields has not this one."""
    if isinstance(held, dict):
        return held.get(name, ABSENT)
    return held.get(name, meter) if isinstance(held, Lazy) else ABSENT


def _select_other(held: Any, name: str, meter: Any) -> Any:
    if isinstance(held, Optional):
        return _optional_select(held, name, meter)
    value = _look(held, name, meter)
    if value is ABSENT:
        raise no_such_key(name)
    return value


def _optional_select(held: Any, name: str, meter: Any) -> Optional:
    if isinstance(held, Optional):
        return _optional_select(held.held, name, meter) if held.has_value else held
    return Optional(_look(held, name, meter))


def _has(held: Any, name: str, meter: Any) -> bool:
    if isinstance(held, Optional):
        return held.has_value and _has(held.held, name, meter)
    return _look(held, name, meter) is not ABSENT


def _equality(left: Code, right: Code, *, wanted: bool) -> Code:
    def equality(slots: Slots) -> bool:
        a, b = left(slots), right(slots)
        if type(a) is type(b) and type(a) in _SIMPLE:
            return (a == b) is wanted
        charge_sizes(slots[0], (a, b))
        return equal(a, b) is wanted

    return equality


def _ternary(condition: Code, then: Code, otherwise: Code) -> Code:
    def ternary(slots: Slots) -> Any:
        decided = condition(slots)
        if decided is True:
            return then(slots)
        if decided is False:
            return otherwise(slots)
        raise no_such_overload()

    return ternary


def _negation(code: Code) -> Code:
    def negation(slots: Slots) -> bool:
        value = code(slots)
        if type(value) is not bool:
            raise no_such_overload()
        return not value

    return negation


def _binary(name: str, left: Code, right: Code) -> Code:
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


def _function(name: str, overloads: list[Overload], codes: list[Code]) -> Code:
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
