"""Rules of definitions: refused when they are wrong, and asked of objects as upstream asks them.

``rule_outcomes.jsonl`` was written by upstream's own validation of v1.36: a schema, in some rows the schema it replaces, the new and the old
object, and every fault of the definition and of the object. ``tools/upstream_outcomes.py`` writes it again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from definition_objects import definition

from knarr.api import codec
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apiextensions.expression_rules import ExpressionRules
from knarr.api.apiextensions.validation import check_definition
from knarr.api.errors import FieldError

ROWS = [json.loads(line) for line in Path(__file__).with_name("rule_outcomes.jsonl").read_text().splitlines()]


def judged(rules: ExpressionRules, new: dict[str, Any], old: dict[str, Any] | None, warn: Any = lambda text: None) -> tuple[list[FieldError], int]:
    """The faults, and how often others had a turn."""
    steps, turns = rules.judge(new, old, warn=warn), 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, turns
        turns += 1


def schema_of(data: dict[str, Any]) -> apiextensions.JSONSchemaProps:
    return codec.from_dict(apiextensions.JSONSchemaProps, data)


def names(row: dict[str, Any]) -> str:
    return json.dumps(row["schema"])[40:110]


@pytest.mark.parametrize("row", ROWS, ids=names)
def test_a_definition_is_judged_as_upstream_judges_it(row: dict[str, Any]) -> None:
    before = definition(row["before"]) if "before" in row else None
    assert sorted(map(str, check_definition(definition(row["schema"]), before))) == row["definition"]


@pytest.mark.parametrize("row", [row for row in ROWS if row["new"]], ids=names)
def test_an_object_is_judged_as_upstream_judges_it(row: dict[str, Any]) -> None:
    faults, _ = judged(ExpressionRules(schema_of(row["schema"])), row["new"], row["old"])
    assert sorted(map(str, faults)) == row["object"]


def rule(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer", **more}}}},
            "x-kubernetes-validations": [{"rule": text}]}  # fmt: skip


def test_versions_that_differ_are_told_apart() -> None:
    faults = check_definition(definition(rule("self.spec.n > 0"), rule("self.spec.m > 0")))
    assert [fault.field for fault in faults] == ["spec.versions[1].schema.openAPIV3Schema.x-kubernetes-validations[0].rule"]


def test_what_did_not_change_warns_and_does_not_refuse() -> None:
    schema = rule("true")
    schema["properties"]["spec"]["properties"]["n"]["x-kubernetes-validations"] = [{"rule": "self > 5", "message": "too small"}]
    rules = ExpressionRules(schema_of(schema))
    warnings: list[str] = []
    assert judged(rules, {"spec": {"n": 1}, "x": 2}, {"spec": {"n": 1}, "x": 1}, warnings.append)[0] == []
    assert warnings == ["spec.n: Invalid value: 1: too small"]
    assert len(judged(rules, {"spec": {"n": 2}}, {"spec": {"n": 1}}, warnings.append)[0]) == 1


def test_rules_that_cost_too_much_together_end_the_judgement() -> None:
    text = "self.l.all(a, self.l.all(b, a + b >= 0))"
    items = {"type": "array", "items": {"type": "integer"}}
    node = {"type": "object", "properties": {"l": items}, "x-kubernetes-validations": [{"rule": text}] * 60}
    faults, turns = judged(
        ExpressionRules(schema_of({"type": "object", "properties": {"spec": node}})), {"spec": {"l": list(range(200))}}, None
    )
    assert turns > 20, "others had a turn in between"
    assert [str(fault) for fault in faults] == [
        'spec: Invalid value: "object": validation failed due to running out of cost budget, no further validation rules will be run'
    ]


def test_one_rule_that_costs_too_much_ends_the_judgement() -> None:
    items = {"type": "array", "items": {"type": "integer"}}
    rules = [{"rule": "self.l.all(a, self.l.all(b, a + b >= 0))"}, {"rule": "false"}]
    node = {"type": "object", "properties": {"l": items}, "x-kubernetes-validations": rules}
    faults, _ = judged(
        ExpressionRules(schema_of({"type": "object", "properties": {"spec": node}})), {"spec": {"l": list(range(2000))}}, None
    )
    assert len(faults) == 1 and "call cost exceeds limit for rule: self.l.all" in str(faults[0])
