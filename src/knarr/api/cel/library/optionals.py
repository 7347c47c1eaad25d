"""Values that may be absent."""

from __future__ import annotations

from typing import Any

from knarr.api.cel.errors import EvaluationError
from knarr.api.cel.signatures import function
from knarr.api.cel.values import Duration, Optional

__all__ = ["FUNCTIONS"]


def _non_zero(value: Any) -> Optional:
    zero = value is None or value == 0 or value in ("", b"", [], {}) or (isinstance(value, Duration) and not value.ns)
    return Optional() if zero else Optional(value)


def _value(optional: Optional) -> Any:
    if not optional.has_value:
        raise EvaluationError("optional.none() dereference")
    return optional.held


def _unwrap(items: list[Any]) -> list[Any]:
    return [item.held for item in items if isinstance(item, Optional) and item.has_value]


FUNCTIONS = [
    function(Optional, "optional.of(A): optional(A)"),
    function(_non_zero, "optional.ofNonZeroValue(A): optional(A)"),
    function(Optional, "optional.none(): optional(A)"),
    function(_value, "<optional(A)>.value(): A"),
    function(lambda optional: optional.has_value, "<optional(A)>.hasValue(): bool"),
    function(lambda optional, other: optional if optional.has_value else other, "<optional(A)>.or(optional(A)): optional(A)"),
    function(lambda optional, other: optional.held if optional.has_value else other, "<optional(A)>.orValue(A): A"),
    function(_unwrap, "optional.unwrap(list(optional(A))): list(A)", "<list(optional(A))>.unwrapOpt(): list(A)"),
    function(lambda items: Optional(items[0]) if items else Optional(), "<list(A)>.first(): optional(A)"),
    function(lambda items: Optional(items[-1]) if items else Optional(), "<list(A)>.last(): optional(A)"),
]
