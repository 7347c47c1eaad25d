"""What rules are estimated to cost decides which definitions are accepted, so it is what upstream estimates, to the last digit.

``cost_outcomes.jsonl`` was written by upstream's own compilation of v1.36: a schema, and of each rule the least and the most it costs and
how many of such values a request can hold. ``tools/upstream_outcomes.py`` writes it again. Definitions that are refused for their costs
are in ``rule_outcomes.jsonl``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from definition_objects import definition

from knarr.api import codec
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apiextensions.declared import declared_type
from knarr.api.apiextensions.rule_costs import RULE_COST_LIMIT, SCHEMA_COST_LIMIT, RuleCosts
from knarr.api.apiextensions.sizes import instances, sizes_of
from knarr.api.cel.environment import Environment
from knarr.api.cel.ranges import MOST
from knarr.api.validation import validate

ROWS = [json.loads(line) for line in Path(__file__).with_name("cost_outcomes.jsonl").read_text().splitlines()]
CASES = [(row["schema"], row["root"], rule, costs) for row in ROWS for rule, costs in row["costs"].items()]


def estimated(schema: dict[str, Any], root: bool, rule: str) -> list[int]:
    parsed = codec.from_dict(apiextensions.JSONSchemaProps, schema)
    kind, sizes = declared_type(parsed, root=root), sizes_of(parsed, root=root)
    assert kind is not None and sizes is not None
    estimate = Environment({"self": kind, "oldSelf": kind}).compile(rule, sizes=sizes.at).estimate
    assert estimate is not None
    return [estimate.least, estimate.most, instances(sizes.least_bytes)]


@pytest.mark.parametrize(("schema", "root", "rule", "costs"), CASES, ids=[case[2] for case in CASES])
def test_a_rule_is_estimated_as_upstream_estimates_it(schema: dict[str, Any], root: bool, rule: str, costs: list[int]) -> None:
    assert estimated(schema, root, rule) == costs


def test_a_rule_that_costs_just_what_it_may_is_accepted() -> None:
    costs = RuleCosts(each=True)
    assert not costs.rule("here", RULE_COST_LIMIT)
    assert costs.rule("here", RULE_COST_LIMIT + 1)


def test_rules_that_cost_just_what_they_may_together_are_accepted() -> None:
    costs = RuleCosts(each=True)
    costs.rule("here", SCHEMA_COST_LIMIT)
    assert not costs.total_faults("there")
    costs.rule("here", 1)
    assert [fault.field for fault in costs.total_faults("there")] == ["here", "there"]


def test_loops_in_loops_without_bounds_are_as_dear_as_can_be() -> None:
    rule = "self.a.all(x, " * 40 + "true" + ")" * 40
    _, most, _ = estimated({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}, False, rule)
    assert most == MOST


def dear(limit: int | None) -> dict[str, Any]:
    names: dict[str, Any] = {"type": "array", "items": {"type": "string", "maxLength": 10}}
    if limit is not None:
        names["maxItems"] = limit
    rules = [{"rule": "self.names.all(x, self.names.exists_one(y, x == y))"}]
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": {"names": names}, "x-kubernetes-validations": rules}}}


def test_a_definition_from_before_may_be_changed_elsewhere_although_its_rule_would_be_refused_today() -> None:
    old, new = definition(dear(2000)), definition(dear(2000))
    new.spec.names.shortNames = ["f"]
    assert ["names.all" in str(fault) or "estimated rule cost" in str(fault) for fault in validate(new)] == [True]
    assert not validate(new, old)


def test_only_versions_that_stay_as_they_are_keep_a_dear_rule() -> None:
    old, new = definition(dear(2000), dear(100)), definition(dear(2000), dear(2001))
    assert [fault.field.partition(".schema")[0] for fault in validate(new, old)] == ["spec.versions[1]"]
