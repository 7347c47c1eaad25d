"""The rules of a definition, judged when the definition is written: each is whole, compiles against its part of the schema, and is not
estimated to cost too much.

Upstream's counterpart is the part of ``apis/apiextensions/validation`` on ``x-kubernetes-validations``. Neighbours: ``expression_rules``
runs them, ``rule_costs`` has the limits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apiextensions.declared import declared_type
from knarr.api.apiextensions.expression_rules import CompiledRule, ExpressionRules, compile_rule
from knarr.api.apiextensions.field_paths import PathFault, field_path
from knarr.api.apiextensions.rule_costs import RuleCosts, multiplied
from knarr.api.apiextensions.sizes import instances, sizes_of
from knarr.api.cel.ranges import capped
from knarr.api.errors import FieldError, field_forbidden, invalid_value, not_supported, required

__all__ = ["check_rules"]

Schema = apiextensions.JSONSchemaProps
Rule = apiextensions.ValidationRule

REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_LINE_BREAK = re.compile(r"[\n\r]+")


def check_rules(field: str, schema: Schema, *, unchanged: bool = False) -> list[FieldError]:
    """Every fault of every rule below a version's schema, whose path is ``field``. In a schema that is ``unchanged`` a single rule may cost
    what it cost before; all together may not.
    """
    if faults := _misplaced(field, schema):
        return faults
    costs = RuleCosts(each=not unchanged)
    judge = _Judge(costs)
    faults = judge.check(_Place(field, schema, root=True)) + judge.faults + costs.total_faults(field)
    return faults or _defaults(field, schema, root=True)


def _defaults(field: str, schema: Schema, *, root: bool) -> list[FieldError]:
    """A default is a value like any other, and must not break a rule."""
    faults: list[FieldError] = []
    if schema.default is not None:
        here = f"{field}.default"
        rules = ExpressionRules(schema, root=root)
        judged = rules.judge(schema.default, schema.default, warn=lambda text: None, path=here, ratcheting=False)
        # Nobody needs a turn here: a definition is written rarely.
        faults += _finished(judged)
    parts = [(f"{field}.properties[{name}]", child) for name, child in schema.properties.items()]
    parts += [
        (f"{field}.{name}", child)
        for name, child in (("items", schema.items), ("additionalProperties", schema.additionalProperties))
        if isinstance(child, Schema)
    ]
    for where, child in parts:
        faults += _defaults(where, child, root=child.xKubernetesEmbeddedResource)
    return faults


def _finished(steps: Generator[None, None, list[FieldError]]) -> list[FieldError]:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: list[FieldError] = end.value
            return found


def _misplaced(field: str, schema: Schema, *, logical: bool = False) -> list[FieldError]:
    """Rules belong to the structure, not to what only combines conditions."""
    faults: list[FieldError] = []
    if logical and schema.xKubernetesValidations:
        faults.append(field_forbidden(f"{field}.x-kubernetes-validations", "must be empty to be structural"))
    for name, child in schema.properties.items():
        faults += _misplaced(f"{field}.properties[{name}]", child, logical=logical)
    for part, below in (("items", schema.items), ("additionalProperties", schema.additionalProperties)):
        if isinstance(below, Schema):
            faults += _misplaced(f"{field}.{part}", below, logical=logical)
    for part, several in (("allOf", schema.allOf), ("anyOf", schema.anyOf), ("oneOf", schema.oneOf)):
        for index, each in enumerate(several):
            faults += _misplaced(f"{field}.{part}[{index}]", each, logical=True)
    if schema.not_ is not None:
        faults += _misplaced(f"{field}.not", schema.not_, logical=True)
    return faults


@dataclass(frozen=True, slots=True)
class _Place:
    """A part of the schema. ``uncorrelatable`` is the nearest list above whose items have no identity; ``times`` is how often the part can be
    in one object, None where nothing says.
    """

    field: str
    schema: Schema
    root: bool = False
    uncorrelatable: str = ""
    times: int | None = 1

    def below(self, name: str, child: Schema, *, lost: str = "") -> _Place:
        return _Place(
            f"{self.field}.{name}",
            child,
            root=child.xKubernetesEmbeddedResource,
            uncorrelatable=self.uncorrelatable or lost,
            times=multiplied(self.times, self.schema),
        )

    def children(self) -> Iterator[_Place]:
        schema = self.schema
        for name, child in schema.properties.items():
            yield self.below(f"properties[{name}]", child)
        if isinstance(schema.additionalProperties, Schema):
            yield self.below("additionalProperties", schema.additionalProperties)
        if isinstance(schema.items, Schema):
            yield self.below("items", schema.items, lost="" if schema.xKubernetesListType == "map" else self.field)


class _Judge:
    """Goes through one schema. ``faults`` are those of expressions, which are told after those of their surroundings."""

    def __init__(self, costs: RuleCosts) -> None:
        self._costs = costs
        self.faults: list[FieldError] = []

    def check(self, place: _Place) -> list[FieldError]:
        """The faults of what is around expressions, here and below."""
        faults = [fault for child in place.children() for fault in self.check(child)]
        faults += _shapes(place.field, place.schema)
        # What does not hang together is not compiled: that would only add faults that say less.
        if not faults and place.schema.xKubernetesValidations:
            self._compile(place)
        return faults

    def _compile(self, place: _Place) -> None:
        kind, sizes = declared_type(place.schema, root=place.root), sizes_of(place.schema, root=place.root)
        if kind is None or sizes is None:
            text = "internal error: failed to construct type information for x-kubernetes-validations rules: "
            text += "unable to convert structural schema to CEL declarations"
            where = f"{place.field}.x-kubernetes-validations"
            self.faults.append(FieldError("InternalError", where, f"Internal error: {text}"))
            return
        times = place.times if place.times is not None else instances(sizes.least_bytes)
        for index, rule in enumerate(place.schema.xKubernetesValidations):
            compiled = compile_rule(rule, kind, sizes.at)
            here = f"{place.field}.x-kubernetes-validations[{index}]"
            self.faults += self._cost(here, compiled, times)
            self.faults += _faults(here, compiled, place.uncorrelatable)

    def _cost(self, here: str, compiled: CompiledRule, times: int) -> list[FieldError]:
        faults = []
        if compiled.program is not None and compiled.program.estimate is not None:
            faults += self._costs.rule(f"{here}.rule", capped(compiled.program.estimate.most * times))
        if compiled.message is not None and compiled.message.estimate is not None:
            faults += self._costs.message(f"{here}.messageExpression", compiled.message.estimate.most)
        return faults


def _shapes(field: str, schema: Schema) -> list[FieldError]:
    faults: list[FieldError] = []
    for index, rule in enumerate(schema.xKubernetesValidations):
        faults += _shape(f"{field}.x-kubernetes-validations[{index}]", rule, schema)
    return faults


def _shape(here: str, rule: Rule, schema: Schema) -> list[FieldError]:
    faults: list[FieldError] = []
    text, message = rule.rule.strip(), rule.message.strip()
    if not text:
        faults.append(required(f"{here}.rule", "rule is not specified"))
    elif rule.message and not message:
        faults.append(invalid_value(f"{here}.message", rule.message, "must be non-empty if specified"))
    elif _LINE_BREAK.search(message):
        faults.append(invalid_value(f"{here}.message", rule.message, "must not contain line breaks"))
    elif _LINE_BREAK.search(text) and not message:
        faults.append(required(f"{here}.message", "message must be specified if rule contains line breaks"))
    if rule.messageExpression and not rule.messageExpression.strip():
        faults.append(required(f"{here}.messageExpression", "messageExpression must be non-empty if specified"))
    if rule.reason is not None and rule.reason not in REASONS:
        faults.append(not_supported(f"{here}.reason", rule.reason, REASONS))
    if rule.fieldPath:
        faults += _path(f"{here}.fieldPath", rule.fieldPath, schema)
    return faults


def _path(field: str, path: str, schema: Schema) -> list[FieldError]:
    faults = []
    if not path.strip():
        faults.append(invalid_value(field, path, "must be non-empty if specified"))
    if _LINE_BREAK.search(path):
        faults.append(invalid_value(field, path, "must not contain line breaks"))
    try:
        field_path(path, schema)
    except PathFault:
        faults.append(invalid_value(field, path, "must be a valid path"))
    return faults


def _faults(here: str, compiled: CompiledRule, uncorrelatable: str) -> list[FieldError]:
    rule, faults = compiled.rule, []
    if compiled.fault:
        faults.append(_invalid(f"{here}.rule", rule, compiled.fault))
    if compiled.message_fault:
        faults.append(_invalid(f"{here}.messageExpression", rule, compiled.message_fault))
    if compiled.uses_old and uncorrelatable:
        text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelatable}"
        faults.append(invalid_value(f"{here}.rule", rule.rule, text))
    elif not compiled.uses_old and rule.optionalOldSelf is not None:
        faults.append(invalid_value(f"{here}.optionalOldSelf", rule.optionalOldSelf, "may not be set if oldSelf is not used in rule"))
    return faults


def _invalid(field: str, rule: Rule, text: str) -> FieldError:
    """Upstream shows the whole rule as the value, in the form it has inside the server."""
    shown = {
        "Rule": rule.rule,
        "Message": rule.message,
        "MessageExpression": rule.messageExpression,
        "Reason": rule.reason,
        "FieldPath": rule.fieldPath,
        "OptionalOldSelf": rule.optionalOldSelf,
    }
    value = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&":
        value = value.replace(sign, f"\\u{ord(sign):04x}")
    return FieldError("FieldValueInvalid", field, f"Invalid value: {value}: {text}")
