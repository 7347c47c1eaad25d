"""The rules that a definition's author wrote (``x-kubernetes-validations``), asked of an object.

Every schema node that has rules, or has one below it, becomes a ``Node``, compiled when the first object is written. A rule that mentions
``oldSelf`` is asked only where there is an old value it can be compared with: below properties, in maps, and in lists that are maps. What
fails although nothing changed there is a warning instead (ratcheting): a new rule does not make old objects unchangeable.

Upstream's counterpart is ``apiextensions-apiserver/pkg/apiserver/schema/cel``. Neighbours: ``declared`` gives types and values,
``expression_validation`` compiles the same rules when a definition is written.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apiextensions.declared import declared_type, reader
from knarr.api.apiextensions.field_paths import field_path
from knarr.api.apiextensions.schema import mentions_rules
from knarr.api.cel.environment import Environment, Program
from knarr.api.cel.errors import CompileError, CostExceeded, EvaluationError
from knarr.api.cel.limits import MAX_MESSAGE_BYTES, PAUSE_AFTER_COST, REQUEST_COST_BUDGET, Meter
from knarr.api.cel.sizes import SizeAt
from knarr.api.cel.types import Type, optional_of
from knarr.api.cel.values import Optional
from knarr.api.errors import FieldError, duplicate, field_forbidden, invalid_value, required

__all__ = ["CompiledRule", "ExpressionRules", "compile_rule"]

Schema = apiextensions.JSONSchemaProps
_OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


@dataclass(slots=True)
class CompiledRule:
    """A rule and its programs; ``fault`` says why there is none."""

    rule: apiextensions.ValidationRule
    program: Program | None = None
    message: Program | None = None
    fault: str = ""
    message_fault: str = ""

    @property
    def uses_old(self) -> bool:
        return self.program is not None and self.program.uses("oldSelf")

    @property
    def shown(self) -> str:
        return (self.rule.message or self.rule.rule).strip()


def compile_rule(rule: apiextensions.ValidationRule, kind: Type, sizes: SizeAt | None = None) -> CompiledRule:
    """Compile one rule, and the expression of its message; with ``sizes`` of what it is asked of, costs are estimated."""
    compiled = CompiledRule(rule)
    old = optional_of(kind) if rule.optionalOldSelf else kind
    environment = Environment({"self": kind, "oldSelf": old})
    try:
        program = environment.compile(rule.rule, sizes=sizes)
    except CompileError as error:
        compiled.fault = f"compilation failed: {error}"
        return compiled
    if program.type.kind != "bool":
        compiled.fault = "cel expression must evaluate to a bool"
        return compiled
    compiled.program = program
    if rule.messageExpression:
        try:
            message = environment.compile(rule.messageExpression, sizes=sizes)
        except CompileError as error:
            compiled.message_fault = f"messageExpression compilation failed: {error}"
            return compiled
        if message.type.kind != "string":
            compiled.message_fault = "messageExpression must evaluate to a string"
        else:
            compiled.message = message
    return compiled


@dataclass(slots=True)
class _Node:
    schema: Schema
    rules: list[CompiledRule]
    read: Callable[[Any], Any] | None
    properties: dict[str, _Node] = field(default_factory=dict)
    items: _Node | None = None
    extra: _Node | None = None


def _build(schema: Schema, *, root: bool) -> _Node | None:
    if not mentions_rules(schema):
        return None
    kind = declared_type(schema, root=root)
    if kind is None:
        return None
    node = _Node(schema, [compile_rule(rule, kind) for rule in schema.xKubernetesValidations], reader(schema, root=root))
    for name, child in schema.properties.items():
        if (built := _build(child, root=child.xKubernetesEmbeddedResource)) is not None:
            node.properties[name] = built
    if isinstance(schema.items, Schema):
        node.items = _build(schema.items, root=schema.items.xKubernetesEmbeddedResource)
    if isinstance(schema.additionalProperties, Schema):
        node.extra = _build(schema.additionalProperties, root=schema.additionalProperties.xKubernetesEmbeddedResource)
    return node


@dataclass(slots=True)
class _Correlation:
    """A value and its old value; None stands for what cannot be correlated."""

    new: Any
    old: Any
    _same: bool | None = None

    @property
    def same(self) -> bool:
        if self._same is None:
            self._same = bool(self.new == self.old)
        return self._same


@dataclass(frozen=True, slots=True)
class _Ratchet:
    """Where in the object we are, and the nearest place above that has an old value."""

    current: _Correlation | None = None
    above: _Correlation | None = None

    @property
    def holds(self) -> bool:
        judged = self.current or self.above
        return judged is not None and judged.same

    def down(self, new: Any, old: Any) -> _Ratchet:
        if self.current is None:
            return self
        return _Ratchet(_Correlation(new, old) if old is not None else None, self.current)


class _Stop(Exception):
    """Nothing more may be spent."""


class ExpressionRules:
    """The rules of one version of a definition; of a part of it where ``root`` is False."""

    def __init__(self, schema: Schema, *, root: bool = True) -> None:
        self._root = _build(schema, root=root)

    def judge(
        self, new: Any, old: Any, *, warn: Callable[[str], None], path: str = "", ratcheting: bool = True
    ) -> Generator[None, None, list[FieldError]]:
        """Every fault of an object, plain data as JSON has it; ``old`` is what it was, None on creation. ``path`` is where it stands.

        Yields where others may have a turn, after each ``PAUSE_AFTER_COST``.
        """
        if self._root is None:
            return []
        run = _Run(warn)
        ratchet = _Ratchet(_Correlation(new, old)) if ratcheting and old is not None else _Ratchet()
        try:
            yield from run.visit(self._root, path, new, old, ratchet)
        except _Stop:
            pass
        return run.faults


class _Run:
    """One object being judged."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.faults: list[FieldError] = []
        self._warn = warn
        self._budget = REQUEST_COST_BUDGET
        self._pause_at = REQUEST_COST_BUDGET - PAUSE_AFTER_COST

    def visit(self, node: _Node, path: str, new: Any, old: Any, ratchet: _Ratchet) -> Iterator[None]:
        if new is None:
            return
        if node.rules:
            yield from self._ask(node, path, new, old, ratchet)
        if isinstance(new, list):
            if node.items is not None:
                held = _by_key(node.schema, old)
                for index, item in enumerate(new):
                    was = held(item)
                    yield from self.visit(node.items, f"{path}[{index}]", item, was, ratchet.down(item, was))
        elif isinstance(new, dict):
            before = old if isinstance(old, dict) else {}
            for key, value in new.items():
                was = before.get(key)
                if node.extra is not None:
                    yield from self.visit(node.extra, f"{path}[{key}]", value, was, ratchet.down(value, was))
                child = node.properties.get(key)
                if child is not None:
                    yield from self.visit(child, f"{path}.{key}" if path else key, value, was, ratchet.down(value, was))

    def _ask(self, node: _Node, path: str, new: Any, old: Any, ratchet: _Ratchet) -> Iterator[None]:
        read = node.read or (lambda value: value)
        seen = read(new)
        before = read(old) if old is not None and any(rule.uses_old for rule in node.rules) else None
        for compiled in node.rules:
            rule = compiled.rule
            if self._budget < self._pause_at:
                self._pause_at = self._budget - PAUSE_AFTER_COST
                yield
            if compiled.program is None:
                if compiled.fault:
                    self._fault(node, path, f"rule compile error: {compiled.fault}")
                continue
            if compiled.uses_old and old is None and not rule.optionalOldSelf:
                continue
            values = {"self": seen}
            if rule.optionalOldSelf:
                values["oldSelf"] = Optional(before) if old is not None else Optional()
            elif old is not None:
                values["oldSelf"] = before
            if self._holds(node, path, compiled, values):
                continue
            fault = self._failed(node, path, compiled, values, new)
            if ratchet.holds and not compiled.uses_old:
                self._warn(str(fault))
            else:
                self.faults.append(fault)

    def _fault(self, node: _Node, path: str, text: str) -> None:
        self.faults.append(invalid_value(path or "<nil>", node.schema.type, text))

    def _spend(self, node: _Node, path: str, meter: Meter, text: str) -> None:
        self._budget -= meter.spent
        if self._budget < 0:
            self._fault(node, path, text)
            raise _Stop

    def _holds(self, node: _Node, path: str, compiled: CompiledRule, values: dict[str, Any]) -> bool:
        """Whether the rule holds; True as well where that could not be said and a fault tells why."""
        assert compiled.program is not None
        if self._budget <= 0:
            self._fault(node, path, _OUT_OF_BUDGET)
            raise _Stop
        meter = Meter()
        try:
            held = compiled.program.evaluate(values, meter)
        except CostExceeded as error:
            tail = "no further validation rules will be run due to call cost exceeds limit for rule"
            self._fault(node, path, f"'{error}': {tail}: {compiled.shown}")
            raise _Stop from None
        except EvaluationError as error:
            self._spend(node, path, meter, _OUT_OF_BUDGET)
            if str(error).startswith("no such overload"):
                tail = "call arguments did not match a supported operator, function or macro signature for rule"
                self._fault(node, path, f"'{error}': {tail}: {compiled.shown}")
            else:
                self._fault(node, path, f"{error} evaluating rule: {compiled.shown}")
            return True
        self._spend(node, path, meter, _OUT_OF_BUDGET)
        return held is True

    def _failed(self, node: _Node, path: str, compiled: CompiledRule, values: dict[str, Any], value: Any) -> FieldError:
        rule = compiled.rule
        text = self._message(node, path, compiled, values)
        if not text:
            text = rule.message.strip() if rule.message else f"failed rule: {compiled.shown}"
        below = field_path(rule.fieldPath, node.schema) if rule.fieldPath else ""
        where = f"{path}.{below}" if path and below else path or below or "<nil>"
        # The value is shown where it is short.
        whole = node.schema.type in ("object", "array")
        match rule.reason:
            case "FieldValueForbidden":
                return field_forbidden(where, text)
            case "FieldValueRequired":
                return required(where, text)
            case "FieldValueDuplicate":
                return FieldError("FieldValueDuplicate", where, "Duplicate value" if whole else duplicate(where, value).body)
        return FieldError("FieldValueInvalid", where, f"Invalid value: {text}") if whole else invalid_value(where, value, text)

    def _message(self, node: _Node, path: str, compiled: CompiledRule, values: dict[str, Any]) -> str:
        """What the message's expression says; empty where it says nothing fit to be told."""
        if compiled.message is None:
            return ""
        meter = Meter()
        try:
            said = compiled.message.evaluate(values, meter)
        except CostExceeded:
            tail = "no further validation rules will be run due to call cost exceeds limit for messageExpression"
            self._fault(node, path, f'{tail}: "{compiled.rule.messageExpression}"')
            raise _Stop from None
        except EvaluationError:
            said = ""
        text = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run"
        self._spend(node, path, meter, text)
        said = said.strip() if isinstance(said, str) else ""
        return "" if "\n" in said or len(said.encode()) > MAX_MESSAGE_BYTES else said


def _by_key(schema: Schema, old: Any) -> Callable[[Any], Any]:
    """Finds the old item of a list that is a map; in other lists items have no identity."""
    keys = schema.xKubernetesListMapKeys
    if schema.xKubernetesListType != "map" or not keys or not isinstance(old, list):
        return lambda item: None

    def key(item: Any) -> str:
        return repr([item.get(name) if isinstance(item, dict) else None for name in keys])

    held = {key(item): item for item in old}
    return lambda item: held.get(key(item))

