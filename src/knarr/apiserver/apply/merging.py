"""Merging what is applied into what stands there, removing what is no longer applied, and comparing. Pure, on
plain data.

Upstream's counterpart is ``structured-merge-diff/typed``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from knarr.api.facts import FieldFacts
from knarr.api.shapes import Shape
from knarr.api.strategic import NO_FACTS, child_of, copy_plain
from knarr.apiserver.apply.fieldsets import Path, element_step, is_atomic

__all__ = ["merge", "remove", "value_at"]


def merge(live: Any, applied: Any, shape: Shape, facts: FieldFacts = NO_FACTS) -> Any:
    """``live`` with everything in ``applied`` set; neither is changed."""
    if live is None or applied is None or is_atomic(shape, facts):
        return copy_plain(applied)
    if isinstance(applied, dict) and isinstance(live, dict):
        result = dict(live)
        for key, value in applied.items():
            child, own = child_of(shape, key)
            result[key] = merge(live.get(key), value, child, own)
        return result
    if isinstance(applied, list) and isinstance(live, list):
        return _merge_list(live, applied, shape, facts)
    return copy_plain(applied)


def _merge_list(live: list[Any], applied: list[Any], shape: Shape, facts: FieldFacts) -> list[Any]:
    """Elements that stand there keep their order; new ones come in the order they are applied."""
    element = shape.element or Shape("any")
    wanted = {element_step(item, facts): item for item in applied}
    result = []
    for item in live:
        step = element_step(item, facts)
        if step in wanted:
            item = merge(item, wanted.pop(step), element) if facts.list_type == "map" else item
        result.append(item)
    return [*result, *(copy_plain(item) for item in wanted.values())]


def remove(value: Any, paths: Iterable[Path], shape: Shape) -> Any:
    """``value`` without what stands at ``paths``; parents that are left empty by it go too."""
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        node["."] = True
    return _remove(copy_plain(value), tree, shape, NO_FACTS)


_GONE = object()


def _remove(value: Any, tree: dict[str, Any], shape: Shape, facts: FieldFacts) -> Any:
    if "." in tree and (not isinstance(value, dict) or not _keeps_something(value, tree)):
        return _GONE
    if isinstance(value, dict):
        for step, below in tree.items():
            key = step[2:]
            if step == "." or key not in value:
                continue
            child, own = child_of(shape, key)
            left = _remove(value[key], below, child, own)
            if left is _GONE or (left in ({}, []) and value[key] not in ({}, [])):
                del value[key]
            else:
                value[key] = left
        return value
    if isinstance(value, list):
        element = shape.element or Shape("any")
        kept = []
        for item in value:
            below = tree.get(element_step(item, facts))
            left = item if below is None else _remove(item, below, element, NO_FACTS)
            if left is not _GONE:
                kept.append(left)
        return kept
    return value


def _keeps_something(value: dict[str, Any], tree: dict[str, Any]) -> bool:
    """An element that others have put fields into stays when one owner leaves it."""
    named = {step[2:] for step in tree if step != "."}
    return any(key not in named for key in value)


def value_at(value: Any, path: Path, shape: Shape, facts: FieldFacts = NO_FACTS) -> Any:
    """What stands at ``path``; None if nothing does."""
    for step in path:
        if step.startswith("f:"):
            if not isinstance(value, dict):
                return None
            value = value.get(step[2:])
            shape, facts = child_of(shape, step[2:])
        else:
            if not isinstance(value, list):
                return None
            value = next((item for item in value if element_step(item, facts) == step), None)
            shape, facts = shape.element or Shape("any"), NO_FACTS
        if value is None:
            return None
    return value
