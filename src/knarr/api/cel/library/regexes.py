"""Regular expressions of RE2's syntax. They never backtrack, so no pattern takes longer than its text is long."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

from knarr.api.cel.errors import EvaluationError
from knarr.api.cel.signatures import function

__all__ = ["FUNCTIONS", "searched"]

#: Compiled patterns remembered.
PATTERNS_KEPT = 512


@lru_cache(maxsize=PATTERNS_KEPT)
def searched(pattern: str) -> Any:
    """The compiled pattern. Raises ``EvaluationError``."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        text = error.args[0] if error.args else ""
        shown = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        fault, colon, part = shown.partition(": ")
        fault = fault.replace("missing )", "missing closing )").replace("missing ]", "missing closing ]")
        raise EvaluationError(f"error parsing regexp: {fault}: `{part}`" if colon else f"error parsing regexp: {fault}") from None


def _find(text: str, pattern: str) -> str:
    match = searched(pattern).search(text)
    return "" if match is None else str(match.group(0))


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    found = []
    for match in searched(pattern).finditer(text):
        found.append(str(match.group(0)))
        if len(found) == limit:
            break
    return found


FUNCTIONS = [
    function(_find, "<string>.find(string): string"),
    function(_find_all, "<string>.findAll(string): list(string)", "<string>.findAll(string, int): list(string)"),
]
