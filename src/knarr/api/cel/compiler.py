"""A checked tree to Python closures, one a node, so that a policy is walked once and then only called.

A closure takes the *slots* of one evaluation: the meter first, then the declared variables an expression uses, then those of its loops.
Every loop charges what its body costs each time round; what a call looks through is charged by size.

Semantics that are easily lost: ``||`` and ``&&`` and the loops built on them forgive an error on one side if the other decides; equality
never fails.

Neighbours: ``calls`` has the closures, ``loops`` those of macros, ``operators`` and ``library`` do the work, ``environment`` calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from knarr.api.cel.calls import (
    Code,
    Slots,
    as_optional,
    binary,
    constant,
    equality,
    function,
    has,
    negation,
    optional_select,
    select_other,
    ternary,
)  # fmt: skip
from knarr.api.cel.errors import EvaluationError, no_such_key
from knarr.api.cel.loops import compile_loop, compile_optional_map, decided
from knarr.api.cel.operators import BINARY, negate
from knarr.api.cel.signatures import Functions
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
from knarr.api.cel.values import ABSENT, kind_of

__all__ = ["Code", "Compiler", "Slots"]

#: Makes a value of a message's name and fields.
MakeMessage = Callable[[str, dict[str, Any]], Any]

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
                return constant(node.value), 0
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
            return (lambda slots: has(operand(slots), name, slots[0])), cost
        if node.optional:
            return (lambda slots: optional_select(operand(slots), name, slots[0])), cost + 1

        def select(slots: Slots) -> Any:
            held = operand(slots)
            if type(held) is dict:
                value = held.get(name, ABSENT)
                if value is ABSENT:
                    raise no_such_key(name)
                return value
            return select_other(held, name, slots[0])

        return select, cost + 1

    def _call(self, node: Call) -> tuple[Code, int]:
        args = [node.target, *node.args] if node.target is not None else node.args
        compiled = [self.compile(each) for each in args]
        codes = [code for code, _ in compiled]
        cost = sum(each for _, each in compiled) + 1
        match node.function:
            case "_==_" | "_!=_":
                return equality(codes[0], codes[1], wanted=node.function == "_==_"), cost
            case "_?_:_":
                return ternary(codes[0], codes[1], codes[2]), cost
            case "!_":
                return negation(codes[0]), cost
            case "-_":
                value = codes[0]
                return (lambda slots: negate(value(slots))), cost
        if node.function in BINARY:
            return binary(node.function, codes[0], codes[1]), cost
        overloads = self._functions.find(node.function, member=node.target is not None)
        fitting = [each for each in overloads if len(each.signature.params) == len(codes)]
        return function(node.function, fitting, codes), cost

    def _logic(self, node: Logic) -> tuple[Code, int]:
        compiled = [self.compile(each) for each in node.terms]
        decisive = node.operator == "||"
        codes = [code for code, _ in compiled]

        def logic(slots: Slots) -> bool:
            return decided(codes, slots, decisive=decisive)

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
                    if not as_optional(value).has_value:
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
                    if not as_optional(value).has_value:
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
                    if not as_optional(value).has_value:
                        continue
                    value = value.held
                held[name] = value
            return make(called, held)

        return message, cost
