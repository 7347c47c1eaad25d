"""The annotation by which a workload asks to be restarted when a ConfigMap or Secret it uses changes.

Neighbours: a controller does it; the API server warns of a value that asks for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from knarr.api.errors import quote

__all__ = ["ASKED", "problem_of", "restarts_on_change"]

ASKED = "knarr.dev/restart-on-change"


def restarts_on_change(annotations: Mapping[str, str]) -> bool:
    return annotations.get(ASKED) == "true"


def problem_of(annotations: Mapping[str, str]) -> str:
    """What is wrong with the value; empty if it says yes or no."""
    text = annotations.get(ASKED, "false")
    return "" if text in ("true", "false") else f'{ASKED}: expected "true" or "false", got {quote(text)}'
