"""Paths as a rule's ``fieldPath`` and a version's ``selectableFields`` write them: ``.spec.foo``, ``.labels['a.b']``.

Upstream's counterpart is ``schema/cel.ValidFieldPath``.
"""

from __future__ import annotations

import re

from knarr.api.apiextensions import v1 as apiextensions

__all__ = ["PathFault", "field_path", "resolve"]

Schema = apiextensions.JSONSchemaProps
_TOKEN = re.compile(r"'(?:\\.|[^'\\])*'|[.\[\]]|[^.\[\]']+|'")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


class PathFault(ValueError):
    """The path is none, or leads nowhere in the schema."""


def field_path(text: str, schema: Schema) -> str:
    """The path as faults show it, without a leading dot. Raises ``PathFault``."""
    return resolve(text, schema)[0]


def resolve(text: str, schema: Schema, *, brackets: bool = True) -> tuple[str, Schema]:
    """The path, and the schema of what it leads to. Without ``brackets`` only dots are taken. Raises ``PathFault``."""
    shown = ""
    tokens = _TOKEN.findall(text)
    while tokens:
        sign = tokens.pop(0)
        if sign not in (".", "["):
            raise PathFault(f"expected [ or . but got: {sign}")
        if sign == "[" and not brackets:
            raise PathFault("array notation is not allowed")
        if not tokens:
            raise PathFault("unexpected end of JSON path")
        name = tokens.pop(0)
        if sign == "[":
            if len(name) < 2 or name[0] != "'" or name[-1] != "'":
                raise PathFault(f"expected single quoted string but got {name}")
            name = _ESCAPE.sub(_unescape, name[1:-1])
        if schema.properties:
            child: object = schema.properties.get(name)
            shown = f"{shown}.{name}" if shown else name
        else:
            child = schema.additionalProperties
            shown = f"{shown}[{name}]"
        if not isinstance(child, Schema):
            raise PathFault("does not refer to a valid field")
        schema = child
        if sign == "[" and (not tokens or (close := tokens.pop(0)) != "]"):
            raise PathFault("unexpected end of JSON path" if not tokens else f"expected ] but got {close}")
    return shown, schema


def _unescape(match: re.Match[str]) -> str:
    if match[1] not in _ESCAPED:
        raise PathFault(f"invalid string literal: invalid escape char {match[0]}")
    return _ESCAPED[match[1]]
