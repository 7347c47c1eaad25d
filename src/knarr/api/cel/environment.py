"""Where expressions are compiled: the variables, functions and types they may use.

``Environment(...).compile(text)`` gives a ``Program`` or raises ``CompileError``; ``Program.evaluate(values)`` gives a value or raises
``EvaluationError``. Both are pure; a program may be kept and used by many.

Neighbours: ``parser``, ``checker`` and ``compiler`` do the work; ``library`` has Kubernetes' functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from knarr.api.cel.checker import Checker
from knarr.api.cel.compiler import Code, Compiler
from knarr.api.cel.costs import estimate
from knarr.api.cel.errors import CompileError, EvaluationError, Issue
from knarr.api.cel.library import STANDARD, check_literals
from knarr.api.cel.limits import MAX_NESTING, Meter
from knarr.api.cel.parser import SyntaxFault, parse
from knarr.api.cel.ranges import Range
from knarr.api.cel.signatures import Functions
from knarr.api.cel.sizes import SizeAt
from knarr.api.cel.syntax import Node
from knarr.api.cel.types import DYN, Type, list_of, map_of, opaque, optional_of, type_of
from knarr.api.cel.values import ABSENT, TypeValue

__all__ = ["Checked", "Environment", "Program"]

_TYPE_NAMES = (
    "bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type", "optional_type",
    "google.protobuf.Timestamp", "google.protobuf.Duration", "net.IP", "net.CIDR",
)  # fmt: skip
#: The names of types, which are variables of every environment.
_TYPES: dict[str, Any] = {name: TypeValue(name) for name in _TYPE_NAMES}
_GENERIC = {"list": list_of(DYN), "map": map_of(DYN, DYN), "optional_type": optional_of(DYN)}
_TYPE_OF_TYPES = {name: type_of(_GENERIC.get(name, opaque(name))) for name in _TYPE_NAMES}


def _no_messages(name: str) -> None:
    return None


class Program:
    """A compiled expression."""

    def __init__(
        self, source: str, kind: Type, code: Code, cost: int, *, used: Mapping[str, int], size: int, estimate: Range | None = None
    ) -> None:
        self.source = source
        self.type = kind
        self.estimate = estimate
        """What it costs at least and at most, as upstream counts it; None where nobody asked."""
        self._code = code
        self._cost = cost
        self._used = tuple((name, at) for name, at in used.items())
        self._size = size

    def uses(self, name: str) -> bool:
        """Whether the expression mentions a declared variable."""
        return any(name == each for each, _ in self._used)

    def evaluate(self, variables: Mapping[str, Any], meter: Meter | None = None) -> Any:
        """The value. Raises ``EvaluationError``, and its ``CostExceeded`` when the meter's limit is reached."""
        slots: list[Any] = [ABSENT] * self._size
        slots[0] = meter = meter or Meter()
        for name, at in self._used:
            slots[at] = variables.get(name, ABSENT) if name not in _TYPES else variables.get(name, _TYPES[name])
        meter.charge(self._cost)
        try:
            return self._code(slots)
        except RecursionError:
            raise EvaluationError(f"expression recursion limit exceeded: {MAX_NESTING}") from None


@dataclass(frozen=True, slots=True)
class Checked:
    """An expression that is sound: its tree, its type and, where it was asked for, what it costs at least and at most."""

    tree: Node
    type: Type
    estimate: Range | None


class Environment:
    """Declares what expressions may use.

    ``messages`` gives, for the name of a message, the types of its fields; ``make_message`` builds one. ``binds`` says whether there is
    ``cel.bind``, in expressions that are only checked.
    """

    def __init__(
        self,
        variables: Mapping[str, Type],
        functions: Functions = STANDARD,
        *,
        messages: Callable[[str], Callable[[str], Type | None] | None] = _no_messages,
        make_message: Callable[[str, dict[str, Any]], Any] = lambda name, fields: fields,
        binds: bool = False,
    ) -> None:
        self._variables = {**_TYPE_OF_TYPES, **variables}
        self._functions = functions
        self._messages = messages
        self._make_message = make_message
        self._binds = binds

    def check(self, source: str, *, sizes: SizeAt | None = None) -> Checked:
        """The expression as far as it can be known without running it; with ``sizes`` its cost is estimated. Raises ``CompileError``."""
        with _told(source):
            tree = parse(source, binds=self._binds)
            checker = Checker(self._variables, self._functions, self._messages)
            kind = checker.check(tree)
            if checker.issues:
                raise CompileError(source, checker.issues)
            if faults := check_literals(tree):
                raise CompileError(source, faults)
            return Checked(tree, kind, estimate(tree, checker.final, sizes) if sizes is not None else None)

    def compile(self, source: str, *, sizes: SizeAt | None = None) -> Program:
        """Raises ``CompileError``. ``sizes`` as for ``check``."""
        assert not self._binds, "what is bound by cel.bind is only checked"
        checked = self.check(source, sizes=sizes)
        with _told(source):
            compiler = Compiler(self._functions, self._make_message)
            code, cost = compiler.compile(checked.tree)
        return Program(source, checked.type, code, cost, used=compiler.used, size=compiler.size, estimate=checked.estimate)


@contextmanager
def _told(source: str) -> Iterator[None]:
    """What goes wrong with an expression is told as one kind of error."""
    try:
        yield
    except SyntaxFault as fault:
        raise CompileError(source, fault.issues) from None
    except RecursionError:
        raise CompileError(source, [Issue(-1, f"expression recursion limit exceeded: {MAX_NESTING}")]) from None
