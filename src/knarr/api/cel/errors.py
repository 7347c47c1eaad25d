"""What can be wrong with an expression: before it runs (``CompileError``) and while it runs (``EvaluationError``).

Texts are those of upstream's CEL library, since they come back to users inside refusals.

Neighbours: ``parser`` and ``checker`` report ``Issue``, ``environment`` raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["CompileError", "CostExceeded", "EvaluationError", "Issue", "no_such_key", "no_such_overload"]


@dataclass(frozen=True, slots=True)
class Issue:
    """One fault at one place of the text; ``position`` counts characters from 0."""

    position: int
    message: str


class CompileError(Exception):
    """The expression is no valid one; the text shows each fault under its line."""

    def __init__(self, source: str, issues: Sequence[Issue]) -> None:
        self.issues = tuple(issues)
        super().__init__("\n".join(_render(source, issue) for issue in sorted(issues, key=lambda i: i.position)))


def _render(source: str, issue: Issue) -> str:
    if issue.position < 0:
        return f"ERROR: <input>:-1:-1: {issue.message}"
    if not source:
        # Where there is nothing, there is no line to show either.
        return f"ERROR: <input>:1:0: {issue.message}"
    before = source[: issue.position]
    number = before.count("\n")
    column = issue.position - (before.rfind("\n") + 1)
    text = f"ERROR: <input>:{number + 1}:{column + 1}: {issue.message}"
    line = source.split("\n")[number].replace("\t", " ")
    return f"{text}\n | {line}\n | {'.' * column}^"


class EvaluationError(Exception):
    """The expression has no value for these variables."""


class CostExceeded(EvaluationError):
    """The expression would do more than it may."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


def no_such_key(key: object) -> EvaluationError:
    return EvaluationError(f"no such key: {key}")


def no_such_overload(name: str = "", kinds: Sequence[str] = ()) -> EvaluationError:
    """A function met values that it does not take; operators do not say which."""
    return EvaluationError(f"no such overload: {name}({', '.join(kinds)})" if name else "no such overload")
