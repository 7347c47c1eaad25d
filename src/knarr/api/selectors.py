"""Label and field selectors: the text a client sends, the objects that match.

``parse_labels`` reads the grammar of ``-l`` (``app in (a,b),!canary,tier!=web``), ``from_label_selector``
the structured form that specs hold, ``parse_fields`` the grammar of ``--field-selector``. Each gives a
compiled, immutable selector with ``matches``. ``str`` gives the canonical text: requirements by key, values
sorted.

Counterpart upstream: ``apimachinery/pkg/labels`` and ``pkg/fields``. Neighbours: ``field_labels`` says which
fields a kind has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from knarr.api import errors, names
from knarr.api.meta import v1 as meta

__all__ = [
    "EVERYTHING",
    "NOTHING",
    "FieldSelector",
    "LabelSelector",
    "Requirement",
    "SelectorError",
    "from_label_selector",
    "from_map",
    "parse_fields",
    "parse_labels",
]

OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
TOKEN = re.compile(r"\s*(==|!=|[=<>!(),]|[^\s=<>!(),]+)")


class SelectorError(ValueError):
    """Text that is no selector; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label. ``operator`` is =, ==, !=, in, notin, exists, !, gt or lt."""

    key: str
    operator: str
    values: frozenset[str]

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "=" | "==" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        (bound,) = self.values
        try:
            return int(value) > int(bound) if self.operator == "gt" else int(value) < int(bound)
        except ValueError:
            return False

    def __str__(self) -> str:
        listed = ",".join(sorted(self.values))
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({listed})"
            case "gt" | "lt":
                return f"{self.key}{'>' if self.operator == 'gt' else '<'}{listed}"
        return f"{self.key}{self.operator}{listed}"


class LabelSelector:
    """All requirements hold, or, for ``NOTHING``, none can."""

    __slots__ = ("_exact", "_rest", "requirements", "selects_nothing")

    def __init__(self, requirements: Iterable[Requirement] = (), *, selects_nothing: bool = False) -> None:
        self.requirements = tuple(sorted(requirements, key=lambda requirement: requirement.key))
        self.selects_nothing = selects_nothing
        # Almost every selector is a handful of equalities: those are compared without a call each.
        single = [r for r in self.requirements if r.operator in ("=", "==", "in") and len(r.values) == 1]
        self._exact = tuple((r.key, next(iter(r.values))) for r in single)
        self._rest = tuple(r for r in self.requirements if r not in single)

    @property
    def empty(self) -> bool:
        """Whether everything matches."""
        return not self.requirements and not self.selects_nothing

    @property
    def exact(self) -> tuple[tuple[str, str], ...]:
        """Labels that must have one value each: a part of what must match."""
        return self._exact

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.selects_nothing:
            return False
        for key, value in self._exact:
            if labels.get(key) != value:
                return False
        return all(requirement.matches(labels) for requirement in self._rest)

    def required_value(self, key: str) -> str | None:
        """The one value that ``key`` must have, if the selector says so; for indexes."""
        return next((value for exact, value in self._exact if exact == key), None)

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)

    def __repr__(self) -> str:
        return f"LabelSelector({'<nothing>' if self.selects_nothing else str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LabelSelector):
            return NotImplemented
        return (self.requirements, self.selects_nothing) == (other.requirements, other.selects_nothing)

    def __hash__(self) -> int:
        return hash((self.requirements, self.selects_nothing))


EVERYTHING = LabelSelector()
NOTHING = LabelSelector(selects_nothing=True)


def from_map(labels: Mapping[str, str]) -> LabelSelector:
    """Every label as given:

    the selectors of services and replication controllers. An empty map matches everything.
    """
    return LabelSelector(Requirement(key, "=", frozenset({value})) for key, value in labels.items())


def from_label_selector(selector: meta.LabelSelector | None) -> LabelSelector:
    """The structured form compiled:

    None matches nothing, an empty one everything. Raises ``SelectorError``.
    """
    if selector is None:
        return NOTHING
    requirements = [Requirement(k, "=", frozenset({v})) for k, v in selector.matchLabels.items()]
    for expression in selector.matchExpressions:
        operator = OPERATORS.get(expression.operator)
        if operator is None:
            raise SelectorError(f"{errors.quote(expression.operator)} is not a valid label selector operator")
        requirements.append(_requirement(expression.key, operator, expression.values))
    return LabelSelector(requirements)


def _requirement(key: str, operator: str, values: Sequence[str]) -> Requirement:
    """A checked requirement."""
    faults = (
        [errors.invalid_value("key", key, "; ".join(found))] if (found := names.qualified_name(key)) else []
    )
    if operator in ("in", "notin") and not values:
        faults.append(
            errors.invalid_value(
                "values", list(values), "for 'in', 'notin' operators, values set can't be empty"
            )
        )
    if operator in ("exists", "!") and values:
        faults.append(
            errors.invalid_value(
                "values", list(values), "values set must be empty for exists and does not exist"
            )
        )
    if operator in ("gt", "lt") and not all(value.lstrip("-").isdigit() for value in values):
        text = "for 'Gt', 'Lt' operators, the value must be an integer"
        faults.append(errors.invalid_value("values[0]", values[0], text))
    for index, value in enumerate(values):
        if found := names.label_value(value):
            faults.append(errors.invalid_value(f"values[{index}][{key}]", value, "; ".join(found)))
    if faults:
        raise SelectorError(str(faults[0]) if len(faults) == 1 else f"[{', '.join(str(f) for f in faults)}]")
    return Requirement(key, operator, frozenset(values))


class _Parser:
    """Reads label selector text from left to right."""

    def __init__(self, text: str) -> None:
        self.tokens = TOKEN.findall(text)
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def fail(self, found: str, expected: str) -> SelectorError:
        return SelectorError(f"unable to parse requirement: found '{found}', expected: {expected}")

    def requirements(self) -> list[Requirement]:
        result = []
        while self.peek():
            result.append(self.requirement())
            separator = self.take()
            if not separator:
                break
            if separator != ",":
                raise self.fail(separator, "',' or 'end of string'")
            if not _is_word(self.peek()) and self.peek() != "!":
                raise self.fail(self.peek(), "identifier after ','")
        return result

    def requirement(self) -> Requirement:
        negated = self.peek() == "!"
        if negated:
            self.take()
        key = self.take()
        if not _is_word(key):
            raise self.fail(key, "identifier" if negated else "!, identifier, or 'end of string'")
        if negated:
            return self.checked(key, "!", [])
        if self.peek() in ("", ","):
            return self.checked(key, "exists", [])
        operator = self.take()
        match operator:
            case "in" | "notin":
                return self.checked(key, operator, self.values())
            case "=" | "==" | "!=":
                return self.checked(key, operator, [self.exact_value()])
            case ">" | "<":
                return self.checked(key, "gt" if operator == ">" else "lt", [self.exact_value()])
        raise self.fail(operator, "in, notin, =, ==, !=, gt, lt")

    def checked(self, key: str, operator: str, values: list[str]) -> Requirement:
        return _requirement(key, operator, values)

    def exact_value(self) -> str:
        if self.peek() in ("", ","):
            return ""
        value = self.take()
        if not _is_word(value):
            raise self.fail(value, "identifier")
        return value

    def values(self) -> list[str]:
        opening = self.take()
        if opening != "(":
            raise self.fail(opening, "'('")
        found: list[str] = []
        expecting_value = True
        while True:
            token = self.take()
            if token == ")":
                # ``in (a,)`` names the empty value; ``in ()`` names none.
                return [*found, ""] if expecting_value and found else found
            if token == ",":
                if expecting_value:
                    found.append("")
                expecting_value = True
            elif _is_word(token):
                found.append(token)
                expecting_value = False
            else:
                raise self.fail(token, "',', ')' or identifier")


def _is_word(token: str) -> bool:
    return bool(token) and token not in ("==", "!=", "=", "<", ">", "!", "(", ")", ",")


def parse_labels(text: str) -> LabelSelector:
    """The selector a text stands for; an empty text matches everything. Raises ``SelectorError``."""
    return LabelSelector(_Parser(text).requirements())


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """One equality (or inequality) on one field."""

    field: str
    value: str
    negated: bool


class FieldSelector:
    """All terms hold. Fields that an object does not have count as empty."""

    __slots__ = ("terms",)

    def __init__(self, terms: Iterable[FieldTerm] = ()) -> None:
        self.terms = tuple(terms)

    @property
    def empty(self) -> bool:
        return not self.terms

    def matches(self, fields: Mapping[str, str]) -> bool:
        return all((fields.get(term.field, "") == term.value) is not term.negated for term in self.terms)

    def required_value(self, field: str) -> str | None:
        """The one value that ``field`` must have, if the selector says so; for indexes and single-object
        watches.
        """
        return next((t.value for t in self.terms if t.field == field and not t.negated), None)

    def __str__(self) -> str:
        return ",".join(
            f"{term.field}{'!=' if term.negated else '='}{_escape(term.value)}" for term in self.terms
        )


def _escape(value: str) -> str:
    return re.sub(r"([\\,=])", r"\\\1", value)


def parse_fields(text: str) -> FieldSelector:
    """The selector a text stands for. ``\\,`` and ``\\=`` stand for themselves. Raises ``SelectorError``."""
    terms = []
    for part in re.findall(r"(?:\\.|[^,\\])+", text):
        match = re.fullmatch(r"((?:\\.|[^=!\\])*)(==|!=|=)(.*)", part, re.DOTALL)
        if match is None:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{part}'")
        value = re.sub(r"\\([\\,=])", r"\1", match[3])
        terms.append(FieldTerm(match[1].strip(), value, match[2] == "!="))
    return FieldSelector(terms)
