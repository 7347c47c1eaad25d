"""What a structural schema is to expressions: a type to check them by, and values in place of JSON.

A field without a name that expressions can spell is escaped (``foo-bar`` is ``foo__dash__bar``); a part whose form is not known
(``x-kubernetes-preserve-unknown-fields`` without properties) is not to be seen. Texts of a known format become moments, lengths of time and
bytes; numbers doubles; lists know whether they are sets or maps. An int-or-string is either.

Upstream's counterpart is ``apiserver/pkg/cel/common`` (``SchemaDeclType``, ``UnstructuredToVal``). Neighbour: ``expression_rules``.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

import msgspec

from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.cel.errors import EvaluationError
from knarr.api.cel.library.times import parse_duration, parse_timestamp
from knarr.api.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    Field,
    Type,
    list_of,
    map_of,
    object_type,
)  # fmt: skip
from knarr.api.cel.values import ListMap, ListSet

__all__ = ["declared_type", "escaped", "reader", "rooted"]

Schema = apiextensions.JSONSchemaProps
#: Turns plain data into what expressions see; None where that is the same.
Reader = Callable[[Any], Any]

_RESERVED = frozenset(
    ["true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace", "return", "var", "void", "while"]
)
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_NAME = re.compile(r"[A-Za-z_.\-/][A-Za-z0-9_.\-/]*")
_ESCAPED = re.compile(r"__|[./-]")
_TEXT = Schema(type="string")
_META = Schema(type="object", properties={"name": _TEXT, "generateName": _TEXT})
_FORMATS = {"byte": BYTES, "duration": DURATION, "date": TIMESTAMP, "date-time": TIMESTAMP}
_SCALARS = {"boolean": BOOL, "number": DOUBLE, "integer": INT}


def escaped(name: str) -> str | None:
    """The identifier an expression uses for a property; None if there is none."""
    if name in _RESERVED:
        return f"__{name}__"
    return _ESCAPED.sub(lambda match: _ESCAPES[match[0]], name) if _NAME.fullmatch(name) else None


def rooted(schema: Schema) -> Schema:
    """The schema of a whole resource: its kind and its name can always be seen."""
    properties = {**schema.properties, "apiVersion": _TEXT, "kind": _TEXT, "metadata": _META}
    return msgspec.structs.replace(schema, properties=properties)


def declared_type(schema: Schema, *, root: bool = False) -> Type | None:
    """The type of values under a schema; None if expressions cannot see them."""
    if schema.xKubernetesIntOrString:
        return DYN
    if root:
        schema = rooted(schema)
    if schema.type == "array":
        element = declared_type(schema.items, root=schema.items.xKubernetesEmbeddedResource) if isinstance(schema.items, Schema) else None
        return list_of(element) if element is not None else None
    if schema.type == "object":
        extra = schema.additionalProperties
        if isinstance(extra, Schema):
            value = declared_type(extra, root=extra.xKubernetesEmbeddedResource)
            return map_of(STRING, value) if value is not None else None
        return object_type("object", _fields(schema))
    if schema.type == "string":
        return _FORMATS.get(schema.format, STRING)
    return _SCALARS.get(schema.type)


def _fields(schema: Schema) -> dict[str, Field]:
    fields = {}
    for name, child in schema.properties.items():
        kind = declared_type(child, root=child.xKubernetesEmbeddedResource)
        shown = escaped(name)
        if kind is not None and shown is not None:
            fields[shown] = Field(kind, name)
    return fields


def reader(schema: Schema, *, root: bool = False) -> Reader | None:
    """How plain data under a schema is turned into values."""
    if schema.xKubernetesIntOrString:
        return None
    if root:
        schema = rooted(schema)
    if schema.type == "array" and isinstance(schema.items, Schema):
        return _list_reader(schema, reader(schema.items, root=schema.items.xKubernetesEmbeddedResource))
    if schema.type == "object":
        extra = schema.additionalProperties
        if isinstance(extra, Schema):
            return _map_reader(reader(extra, root=extra.xKubernetesEmbeddedResource))
        parts = {
            name: read
            for name, child in schema.properties.items()
            if (read := reader(child, root=child.xKubernetesEmbeddedResource)) is not None
        }
        return _object_reader(parts) if parts else None
    if schema.type == "number":
        return lambda value: float(value) if type(value) is int else value
    return _text_reader(schema.format) if schema.type == "string" else None


def _list_reader(schema: Schema, element: Reader | None) -> Reader | None:
    def read(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        items = value if element is None else [element(item) for item in value]
        if schema.xKubernetesListType == "set":
            return ListSet(items)
        if schema.xKubernetesListType == "map":
            return ListMap(items, tuple(schema.xKubernetesListMapKeys))
        return items

    return read if element is not None or schema.xKubernetesListType in ("set", "map") else None


def _map_reader(element: Reader | None) -> Reader | None:
    if element is None:
        return None
    return lambda value: {k: element(v) for k, v in value.items()} if isinstance(value, dict) else value


def _object_reader(parts: dict[str, Reader]) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: parts[name](item) if name in parts else item for name, item in value.items()}

    return read


def _text_reader(form: str) -> Reader | None:
    parsers: dict[str, Callable[[str], Any]] = {
        "byte": base64.b64decode,
        "duration": parse_duration,
        "date": lambda text: parse_timestamp(f"{text}T00:00:00Z"),
        "date-time": parse_timestamp,
    }
    parse = parsers.get(form)
    if parse is None:
        return None

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return parse(value)
        except (ValueError, EvaluationError):
            # Not of its format: other rules say so. Expressions see the text, and fail where they need more.
            return value

    return read
