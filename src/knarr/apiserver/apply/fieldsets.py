"""Sets of field paths, and their JSON form ``FieldsV1``. Pure.

A path is a tuple of steps: ``f:name`` into a struct or map, ``k:{"name":"web"}`` to a list's element by its
keys, ``v:"x"`` to an element of a set. In JSON the steps are nested, and ``.``
says that the path itself is in the set.

Upstream's counterpart is ``structured-merge-diff/fieldpath``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from knarr.api.facts import FieldFacts, definition_name, definitions, fields_of
from knarr.api.shapes import Shape, struct_fields

__all__ = ["Path", "element_step", "from_json", "is_atomic", "readable", "set_of", "to_json"]

Path = tuple[str, ...]

#: A list's key that may be left out, and what it then is.
KEY_DEFAULTS = {"protocol": "TCP"}


def is_atomic(shape: Shape, facts: FieldFacts) -> bool:
    """Whether a value has one owner as a whole."""
    if shape.form == "list":
        return facts.list_type not in ("map", "set")
    if shape.form == "struct":
        name = definition_name(shape.type)
        whole = definitions()[name].get("x-kubernetes-map-type") if name else None
        return "atomic" in (whole, facts.map_type)
    if shape.form == "map":
        return facts.map_type == "atomic"
    return True


def element_step(element: Any, facts: FieldFacts) -> str:
    """The step to an element of a list that is a map or a set."""
    if facts.list_type == "set":
        return "v:" + msgspec.json.encode(element).decode()
    keys = {}
    for key in facts.list_keys:
        value = element.get(key, KEY_DEFAULTS.get(key)) if isinstance(element, dict) else None
        if value is not None:
            keys[key] = value
    return "k:" + msgspec.json.encode(keys, order="sorted").decode()


def set_of(value: Any, shape: Shape, facts: FieldFacts = FieldFacts(), path: Path = ()) -> set[Path]:  # noqa: B008
    """The paths of everything in ``value``."""
    if value is None or is_atomic(shape, facts) or not isinstance(value, dict | list) or not value:
        return {path} if path else set()
    found: set[Path] = set()
    if isinstance(value, dict):
        if shape.form == "struct":
            fields, own = struct_fields(shape.type), fields_of(shape.type)
            for key, item in value.items():
                if key in fields:
                    found |= set_of(item, fields[key], own.get(key, FieldFacts()), (*path, f"f:{key}"))
        else:
            element = shape.element or Shape("any")
            for key, item in value.items():
                found |= set_of(item, element, FieldFacts(), (*path, f"f:{key}"))
        return found
    element = shape.element or Shape("any")
    for item in value:
        step = (*path, element_step(item, facts))
        found.add(step)
        if facts.list_type == "map":
            found |= set_of(item, element, FieldFacts(), step)
    return found


def to_json(paths: Iterable[Path]) -> dict[str, Any]:
    """A set as ``FieldsV1``."""
    root: dict[str, Any] = {}
    ordered = sorted(paths)
    for path in ordered:
        node = root
        for step in path:
            node = node.setdefault(step, {})
        node["."] = {}
    return _without_leaf_dots(root)


def _without_leaf_dots(node: dict[str, Any]) -> dict[str, Any]:
    """A leaf is ``{}``; the dot is only needed where something else stands beside it."""
    if set(node) == {"."}:
        return {}
    return {key: ({} if key == "." else _without_leaf_dots(child)) for key, child in node.items()}


def from_json(node: Any, path: Path = ()) -> set[Path]:
    """A set from ``FieldsV1``; anything else counts as empty."""
    if not isinstance(node, dict):
        return set()
    if not node:
        return {path} if path else set()
    found: set[Path] = set()
    for step, child in node.items():
        if step == ".":
            found.add(path)
        else:
            found |= from_json(child, (*path, step))
    return found


def readable(path: Path) -> str:
    """``.spec.containers[name="web"].image``, as upstream's conflicts name fields."""
    text = ""
    for step in path:
        kind, rest = step[:2], step[2:]
        if kind == "f:":
            text += f".{rest}"
        elif kind == "k:":
            keys = msgspec.json.decode(rest)
            text += (
                "["
                + ",".join(f"{key}={msgspec.json.encode(value).decode()}" for key, value in keys.items())
                + "]"
            )
        else:
            text += f"[={rest}]"
    return text
