"""The part of JSONPath that printer columns and scale paths use: ``.spec.replicas``,
``.status.conditions[?(@.type=="Ready")].status``,
``.spec.list[0]``, ``.metadata.labels['a.b/c']``, ``[*]``. Pure, on plain data.

Upstream's counterpart is ``client-go/util/jsonpath``.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

__all__ = ["PathError", "find"]

_STEP = re.compile(
    r"""\.([A-Za-z_][\w-]*)            # .name
      | \[\?\(@\.([\w.-]+)\s*==\s*(?:"([^"]*)"|'([^']*)')\)\]   # [?(@.type=="Ready")]
      | \[(\d+)\]                      # [0]
      | \[(\*)\]                       # [*]
      | \[(?:"([^"]*)"|'([^']*)')\]    # ['a.b/c']
    """,
    re.VERBOSE,
)


class PathError(ValueError):
    """A path that cannot be read."""


@cache
def _steps(path: str) -> tuple[tuple[str, str, str], ...]:
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = text.replace("\\.", "\x00")
    if text and text[0] not in ".[":
        text = "." + text
    steps, position = [], 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise PathError(f"unrecognized character in path {path!r} at {position}")
        name, key, double, single, index, star, quoted, other = match.groups()
        if name is not None:
            steps.append(("name", name.replace("\x00", "."), ""))
        elif key is not None:
            steps.append(("filter", key, double if double is not None else single))
        elif index is not None:
            steps.append(("index", index, ""))
        elif star is not None:
            steps.append(("all", "", ""))
        else:
            steps.append(("name", quoted if quoted is not None else other, ""))
        position = match.end()
    return tuple(steps)


def find(data: Any, path: str) -> list[Any]:
    """Everything ``path`` leads to. Raises ``PathError``."""
    found = [data]
    for kind, name, value in _steps(path):
        following: list[Any] = []
        for item in found:
            if kind == "name" and isinstance(item, dict) and name in item:
                following.append(item[name])
            elif kind == "index" and isinstance(item, list) and int(name) < len(item):
                following.append(item[int(name)])
            elif kind == "all" and isinstance(item, list | dict):
                following.extend(item.values() if isinstance(item, dict) else item)
            elif kind == "filter" and isinstance(item, list):
                following.extend(each for each in item if find(each, f".{name}") == [value])
        found = following
    return found
