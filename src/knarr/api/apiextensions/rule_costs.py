"""What the rules of one schema may be estimated to cost: each, and all together.

A rule is multiplied by how often what it is asked of can be in one object. A message is not, since a rule that fails is told of once.

Upstream's counterparts are ``getExpressionCost`` and ``TotalCost`` in ``apis/apiextensions/validation``. Neighbours: ``cel.costs``
estimates, ``expression_validation`` knows the rules.
"""

from __future__ import annotations

from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.cel.ranges import capped
from knarr.api.errors import FieldError, field_forbidden

__all__ = ["RULE_COST_LIMIT", "SCHEMA_COST_LIMIT", "RuleCosts", "multiplied"]

Schema = apiextensions.JSONSchemaProps

#: What a rule or a message may be estimated to cost at most.
RULE_COST_LIMIT = 10_000_000
#: What all rules and messages of a schema may be estimated to cost at most.
SCHEMA_COST_LIMIT = 100_000_000
#: So many of the dearest are told of, if each is at least a hundredth of the limit.
_DEAREST = 4
_WORTH_TELLING = SCHEMA_COST_LIMIT // 100

_ADVICE = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"


def multiplied(times: int | None, schema: Schema) -> int | None:
    """How often a part of what ``schema`` describes can be in one object, if the whole can be ``times``; None without a bound."""
    if schema.type == "array":
        bound = schema.maxItems
    elif schema.type == "object" and schema.additionalProperties is not None:
        bound = schema.maxProperties
    else:
        return times
    return None if times is None or bound is None else capped(times * max(bound, 0))


class RuleCosts:
    """Adds up. ``each`` says whether a single rule is refused: in a schema that was there before it stays."""

    def __init__(self, *, each: bool) -> None:
        self._each = each
        self._total = 0
        self._dearest: list[tuple[int, str]] = []

    def rule(self, field: str, cost: int) -> list[FieldError]:
        return self._count(field, cost, "estimated rule cost")

    def message(self, field: str, cost: int) -> list[FieldError]:
        return self._count(field, cost, "estimated messageExpression cost")

    def _count(self, field: str, cost: int, what: str) -> list[FieldError]:
        self._total = capped(self._total + cost)
        if cost >= _WORTH_TELLING:
            self._dearest.append((cost, field))
        if not self._each or cost <= RULE_COST_LIMIT:
            return []
        return [field_forbidden(field, _exceeds(what, cost, RULE_COST_LIMIT))]

    def total_faults(self, field: str) -> list[FieldError]:
        """What all together are too dear for, once all were counted."""
        if self._total <= SCHEMA_COST_LIMIT:
            return []
        text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        dearest = sorted(self._dearest, key=lambda each: -each[0])[:_DEAREST]
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        whole = field_forbidden(field, _exceeds(what, self._total, SCHEMA_COST_LIMIT))
        return [*(field_forbidden(where, text) for _, where in dearest), whole]


def _exceeds(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    # Close to the limit one digit would read as if it were not exceeded.
    shown = "more than 100x" if factor > 100 else f"{factor:.6f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{what} exceeds budget by factor of {shown} {_ADVICE}"
