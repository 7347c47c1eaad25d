"""What a group's validation module says about a kind, and the checks that all of them share.

``Rules`` are pure functions of objects: ``check`` for any object, ``update`` for a change, ``name`` for what
may name it. Faults come back as a list, so that a client hears of all of them at once.

Counterpart upstream: ``apimachinery/pkg/api/validation``. Neighbours: ``validation`` runs the rules,
``errors`` has the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from hashlib import blake2b
from typing import Any

from knarr.api import codec, intstr, names, selectors
from knarr.api.errors import FieldError, field_forbidden, invalid_value, not_supported, required
from knarr.api.meta import v1 as meta

NOT_NEGATIVE = "must be greater than or equal to 0"
POSITIVE = "must be greater than 0"
IMMUTABLE = "field is immutable"
PERCENT_TEXT = "a valid percent string must be a numeric string followed by an ending '%'"

NameCheck = Callable[[str], list[str]]


def nothing_to_check(obj: Any) -> list[FieldError]:
    """For kinds whose types say it all."""
    return []


def any_change(new: Any, old: Any) -> list[FieldError]:
    """For kinds in which everything may change."""
    return []


@dataclass(frozen=True, slots=True)
class Rules:
    """``check`` runs on create and on update, ``update`` on update only, with the new object first.

    ``by_subresource`` replaces ``update`` for changes that come in by a sub-resource; ``check_changed`` replaces ``check`` on update, for
    kinds in which what the old object has may stay.
    """

    check: Callable[[Any], list[FieldError]] = nothing_to_check
    update: Callable[[Any, Any], list[FieldError]] = any_change
    name: NameCheck = names.dns1123_subdomain
    by_subresource: Mapping[str, Callable[[Any, Any], list[FieldError]]] = field(default_factory=dict)
    check_changed: Callable[[Any, Any], list[FieldError]] | None = None


#: Parts remembered as faultless, a check; when it is full, it begins anew. 100 bytes each.
MAX_FAULTLESS = 4096


def remembered(check: Callable[[str, Any], list[FieldError]]) -> Callable[[str, Any], list[FieldError]]:
    """``check``, which must be pure, for parts that come again and again: the pods of one template have one
    specification. A part is known again by the digest of its bytes; only being without fault is remembered.
    """
    faultless: set[tuple[str, bytes]] = set()

    @wraps(check)
    def checked(field: str, value: Any) -> list[FieldError]:
        known = (field, blake2b(codec.encode(value), digest_size=16).digest())
        if known in faultless:
            return []
        faults = check(field, value)
        if not faults:
            if len(faultless) >= MAX_FAULTLESS:
                faultless.clear()
            faultless.add(known)
        return faults

    return checked


def each(field: str, value: Any, problems: Iterable[str]) -> list[FieldError]:
    """One invalid value for every problem."""
    return [invalid_value(field, value, problem) for problem in problems]


def one_of(field: str, value: str, choices: Iterable[str], *, needed: bool = True) -> list[FieldError]:
    """A value from a fixed set. Empty is a missing value, or fine if not ``needed``."""
    if not value:
        return [required(field)] if needed else []
    return [] if value in choices else [not_supported(field, value, choices)]


def not_negative(field: str, value: int | None) -> list[FieldError]:
    return [invalid_value(field, value, NOT_NEGATIVE)] if value is not None and value < 0 else []


def positive(field: str, value: int | None) -> list[FieldError]:
    return [invalid_value(field, value, POSITIVE)] if value is not None and value <= 0 else []


def unchanged(field: str, new: Any, old: Any) -> list[FieldError]:
    """The field must be what it was."""
    return [] if new == old else [invalid_value(field, new, IMMUTABLE)]


def unchanged_forbidden(field: str, new: Any, old: Any, *, text: str) -> list[FieldError]:
    return [] if new == old else [field_forbidden(field, text)]


def name_field(field: str, value: str, check: NameCheck) -> list[FieldError]:
    """A required name of another object."""
    return each(field, value, check(value)) if value else [required(field)]


@remembered
def labels(field: str, values: Mapping[str, str]) -> list[FieldError]:
    faults = []
    for key, value in values.items():
        faults += each(field, key, names.qualified_name(key))
        faults += each(field, value, names.label_value(value))
    return faults


def label_selector(field: str, selector: meta.LabelSelector | None) -> list[FieldError]:
    """The structured form: keys, operators and how many values each takes."""
    if selector is None:
        return []
    faults = labels(f"{field}.matchLabels", selector.matchLabels)
    for index, expression in enumerate(selector.matchExpressions):
        faults += _expression(f"{field}.matchExpressions[{index}]", expression)
    return faults


def _expression(field: str, expression: meta.LabelSelectorRequirement) -> list[FieldError]:
    faults = []
    match expression.operator:
        case "In" | "NotIn":
            if not expression.values:
                text = "must be specified when `operator` is 'In' or 'NotIn'"
                faults.append(required(f"{field}.values", text))
        case "Exists" | "DoesNotExist":
            if expression.values:
                text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                faults.append(field_forbidden(f"{field}.values", text))
        case _:
            text = "not a valid selector operator"
            faults.append(invalid_value(f"{field}.operator", expression.operator, text))
    faults += each(f"{field}.key", expression.key, names.qualified_name(expression.key))
    for index, value in enumerate(expression.values):
        faults += each(f"{field}.values[{index}]", value, names.label_value(value))
    return faults


def selects(selector: meta.LabelSelector, values: Mapping[str, str]) -> bool:
    """Whether a selector takes these labels; a malformed one takes none."""
    try:
        return selectors.from_label_selector(selector).matches(values)
    except selectors.SelectorError:
        return False


def count_or_percent(field: str, value: int | str | None) -> list[FieldError]:
    """A number that is not negative, or a percentage."""
    if value is None:
        return []
    if isinstance(value, int):
        return not_negative(field, value)
    if intstr.is_percent(value):
        return []
    pattern = names.regex_problem(PERCENT_TEXT, "[0-9]+%", "1%", "93%")
    return [invalid_value(field, value, pattern)]


def at_most_all(field: str, value: int | str | None) -> list[FieldError]:
    """A percentage of no more than 100."""
    if isinstance(value, str) and intstr.is_percent(value) and int(value[:-1]) > 100:
        return [invalid_value(field, value, "must not be greater than 100%")]
    return []


def is_zero(value: int | str | None) -> bool:
    """Whether a number or percentage comes to nothing; absent does too."""
    if isinstance(value, str):
        return intstr.is_percent(value) and int(value[:-1]) == 0
    return not value
