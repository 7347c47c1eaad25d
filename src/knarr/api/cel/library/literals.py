"""Literals that could only ever fail are refused when an expression is compiled: patterns, moments, lengths of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

from knarr.api.cel.errors import EvaluationError, Issue
from knarr.api.cel.library.formatting import ANYTHING, FormatFault, format_text
from knarr.api.cel.library.regexes import searched
from knarr.api.cel.library.times import parse_duration, parse_timestamp
from knarr.api.cel.syntax import Call, Entry, ListLiteral, Literal, Node

__all__ = ["check_literals"]

_CHECKED: dict[str, Callable[[str], Any]] = {"matches": searched, "timestamp": parse_timestamp, "duration": parse_duration}


def check_literals(tree: Node) -> list[Issue]:
    """Every literal argument that the function will refuse."""
    issues = []
    for call in _calls(tree):
        if call.function == "format":
            issues += _format(call)
            continue
        read = _CHECKED.get(call.function)
        argument = call.args[-1] if call.args else None
        if read is None or not isinstance(argument, Literal):
            continue
        if not isinstance(argument.value, str):
            if call.function == "duration":
                issues.append(Issue(argument.position, "invalid duration argument"))
            continue
        try:
            read(argument.value)
        except EvaluationError:
            issues.append(Issue(argument.position, f"invalid {call.function} argument"))
    return issues


def _format(call: Call) -> list[Issue]:
    """Whether the clauses of a literal text take the literal values they are given."""
    text, listed = call.target, call.args[0] if call.args else None
    if not isinstance(text, Literal) or not isinstance(text.value, str) or not isinstance(listed, ListLiteral):
        return []
    known = [item.value if isinstance(item, Literal) else ANYTHING for item in listed.items]
    try:
        format_text(text.value, known)
    except FormatFault as fault:
        position = call.position if fault.index is None else listed.items[fault.index].position
        return [Issue(position, str(fault))]
    return []


def _calls(node: Any) -> Iterator[Call]:
    if isinstance(node, Call):
        yield node
    if isinstance(node, list | tuple):
        for each in node:
            yield from _calls(each)
    elif isinstance(node, Node | Entry):
        for part in fields(node):
            if part.name not in ("type", "overloads"):
                yield from _calls(getattr(node, part.name))
