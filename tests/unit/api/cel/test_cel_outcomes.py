"""What an expression gives here is what it gives upstream: the same value, the same error, the same refusal.

``outcomes.tsv`` was written by upstream's own environment (``MustBaseEnvSet`` of v1.36): expression, kind of outcome, outcome.
``tools/upstream_outcomes.py`` writes it again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from knarr.api.cel.environment import Environment
from knarr.api.cel.errors import CompileError, EvaluationError
from knarr.api.cel.library.conversions import double_text
from knarr.api.cel.types import DYN, INT, STRING, list_of
from knarr.api.cel.values import kind_of

POD = {
    "metadata": {"name": "web", "labels": {"app": "x", "tier": "y"}},
    "spec": {
        "replicas": 3,
        "containers": [{"name": f"c{number}", "image": f"reg/a:{number}", "ports": [{"containerPort": 80}]} for number in range(3)],
    },
}
VALUES: dict[str, Any] = {"object": POD, "x": 1, "s": "str", "l": [1, 2]}
ENVIRONMENT = Environment({"object": DYN, "x": INT, "s": STRING, "l": list_of(INT)})


def _unescaped(text: str) -> str:
    return text.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t").replace("\0", "\\")


ROWS = [
    tuple(_unescaped(cell) for cell in line.split("\t"))
    for line in Path(__file__).with_name("outcomes.tsv").read_text().split("\n")
    if line
]


def _outcome(expression: str) -> tuple[str, str]:
    try:
        value = ENVIRONMENT.compile(expression).evaluate(VALUES)
    except CompileError as error:
        return "refused", str(error)
    except EvaluationError as error:
        return "fails", str(error)
    if isinstance(value, bool):
        return "bool", str(value).lower()
    if value is None:
        return "null_type", "NULL_VALUE"
    return kind_of(value), double_text(value) if isinstance(value, float) else str(int(value) if isinstance(value, int) else value)


def test_the_table_is_there() -> None:
    assert len(ROWS) > 500 and {kind for _, kind, _ in ROWS} >= {"refused", "fails", "bool", "int", "string", "double"}


@pytest.mark.parametrize(("expression", "kind", "text"), ROWS, ids=[row[0][:60] for row in ROWS])
def test_an_expression_means_what_it_means_upstream(expression: str, kind: str, text: str) -> None:
    assert _outcome(expression) == (kind, text)
