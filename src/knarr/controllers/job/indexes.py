"""Completion indexes as the API writes them: ``0-3,5,7-9``. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api.core import v1 as core

ANNOTATION = "batch.kubernetes.io/job-completion-index"


def parse(text: str, limit: int) -> set[int]:
    """The indexes a text names, below ``limit``; parts that are no numbers are passed over, as upstream does."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            continue
        end = int(last) if dash else int(first)
        found.update(range(int(first), min(end, limit - 1) + 1))
    return found


def render(indexes: Iterable[int]) -> str:
    """The shortest text for a set of indexes; runs of three or more become ranges, as do runs of two."""
    parts: list[str] = []
    ordered = sorted(set(indexes))
    position = 0
    while position < len(ordered):
        end = position
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        if end == position:
            parts.append(str(ordered[position]))
        elif end == position + 1:
            parts += [str(ordered[position]), str(ordered[end])]
        else:
            parts.append(f"{ordered[position]}-{ordered[end]}")
        position = end + 1
    return ",".join(parts)


def index_of(pod: core.Pod) -> int:
    """The pod's completion index; -1 if it has none."""
    text = pod.metadata.annotations.get(ANNOTATION, "")
    return int(text) if text.isdecimal() else -1
