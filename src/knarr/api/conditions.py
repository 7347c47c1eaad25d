"""Conditions: the list of ``type``/``status`` pairs in which every kind says how it is.

The condition types of the groups differ by a field or two; these functions need only what they share.
Counterpart upstream: ``apimachinery/pkg/api/meta/conditions.go`` and its many cousins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar


class Condition(Protocol):
    type: str
    status: str
    reason: str
    message: str
    lastTransitionTime: str | None


C = TypeVar("C", bound=Condition)


def get(conditions: Sequence[C], kind: str) -> C | None:
    """The condition of that type."""
    return next((condition for condition in conditions if condition.type == kind), None)


def is_true(conditions: Sequence[Any], kind: str) -> bool:
    return any(condition.type == kind and condition.status == "True" for condition in conditions)


def put(conditions: list[C], new: C) -> bool:
    """Add or replace a condition in place; whether anything changed.

    The time of the last transition moves only with the status: a new reason or message keeps the old time.
    """
    for index, old in enumerate(conditions):
        if old.type != new.type:
            continue
        if old.status == new.status:
            new.lastTransitionTime = old.lastTransitionTime
        changed = old != new
        conditions[index] = new
        return changed
    conditions.append(new)
    return True


def remove(conditions: list[C], kind: str) -> bool:
    """Drop the condition of that type in place; whether it was there."""
    before = len(conditions)
    conditions[:] = [condition for condition in conditions if condition.type != kind]
    return len(conditions) != before
