"""The OpenAPI v2 document in protobuf, for clients that read it in no other form: kubectl up to 1.28.

A description in JSON goes in, its bytes come out. The messages and their field numbers are those of the public ``openapi.v2``
format; only what Knarr's own documents hold is here. Vendor extensions and other free values travel as YAML, which JSON is.

Neighbours: ``openapi`` makes the document and asks for this form when a client accepts it.
"""

from __future__ import annotations

import struct
from operator import itemgetter
from typing import Any

import msgspec

#: How it is named in answers; in requests there is an ``@`` that no parser of media types takes.
MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

_VARINT, _FIXED64, _BYTES = 0, 1, 2

#: By message and name in JSON: field number and form. A form is a scalar's name, ``any``, a message's name, ``[form]`` for
#: each of a list, ``{form}`` for a map of named values, and what else is in ``_field``.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "document": {"swagger": (1, "string"), "info": (2, "info"), "paths": (8, "paths"), "definitions": (9, "{schema}")},
    "info": {"title": (1, "string"), "version": (2, "string")},
    "path": {
        "get": (2, "operation"),
        "put": (3, "operation"),
        "post": (4, "operation"),
        "delete": (5, "operation"),
        "patch": (8, "operation"),
    },
    "operation": {
        "description": (3, "string"),
        "operationId": (5, "string"),
        "parameters": (8, "[parameter]"),
        "responses": (9, "responses"),
    },
    "query": {"required": (1, "bool"), "in": (2, "string"), "description": (3, "string"), "name": (4, "string"), "type": (6, "string")},
    "response": {"description": (1, "string"), "schema": (2, "schemaItem")},
    "schema": {
        "$ref": (1, "string"),
        "format": (2, "string"),
        "title": (3, "string"),
        "description": (4, "string"),
        "default": (5, "any"),
        "multipleOf": (6, "double"),
        "maximum": (7, "double"),
        "exclusiveMaximum": (8, "bool"),
        "minimum": (9, "double"),
        "exclusiveMinimum": (10, "bool"),
        "maxLength": (11, "int"),
        "minLength": (12, "int"),
        "pattern": (13, "string"),
        "maxItems": (14, "int"),
        "minItems": (15, "int"),
        "uniqueItems": (16, "bool"),
        "maxProperties": (17, "int"),
        "minProperties": (18, "int"),
        "required": (19, "[string]"),
        "enum": (20, "[any]"),
        "additionalProperties": (21, "schemaOrBool"),
        "type": (22, "types"),
        "items": (23, "items"),
        "allOf": (24, "[schema]"),
        "properties": (25, "{schema}"),
        "example": (30, "any"),
    },
}
#: Where a message keeps its vendor extensions.
_EXTENSIONS = {"document": 16, "operation": 13, "schema": 31}


def encode(document: dict[str, Any]) -> bytes:
    """A description of the second version as an ``openapi.v2.Document``."""
    return _message(document, "document")


def _message(content: dict[str, Any], name: str) -> bytes:
    fields = _MESSAGES[name]
    known = sorted(((*fields[key], value) for key, value in content.items() if key in fields), key=itemgetter(0))
    parts = [_field(*each) for each in known]
    extensions = _EXTENSIONS.get(name, 0)
    if extensions:
        parts += [
            _bytes(extensions, _named(key, _any(value))) for key, value in content.items() if key.startswith("x-")
        ]
    return b"".join(parts)


def _field(number: int, form: str, value: Any) -> bytes:
    if form.startswith("["):
        return b"".join(_field(number, form[1:-1], item) for item in value)
    if form == "bool":
        return _key(number, _VARINT) + (b"\1" if value else b"\0")
    if form == "int":
        return _key(number, _VARINT) + _varint(int(value))
    if form == "double":
        return _key(number, _FIXED64) + struct.pack("<d", value)
    return _bytes(number, _content(form, value))


def _content(form: str, value: Any) -> bytes:
    """The bytes of whatever has a length."""
    match form:
        case "string":
            return str(value).encode()
        case "any":
            return _any(value)
        case "paths":
            return b"".join(_bytes(2, _named(path, _message(item, "path"))) for path, item in value.items())
        case "parameter":
            # Each is one of several kinds, and that one of several again; all of ours stand in the query.
            return _bytes(1, _bytes(2, _bytes(3, _message(value, "query"))))
        case "responses":
            answers = ((code, _bytes(1, _message(item, "response"))) for code, item in value.items())
            return b"".join(_bytes(1, _named(code, answer)) for code, answer in answers)
        case "schemaItem" | "items":
            return _bytes(1, _message(value, "schema"))
        case "schemaOrBool":
            return _field(2, "bool", value) if isinstance(value, bool) else _bytes(1, _message(value, "schema"))
        case "types":
            return b"".join(_field(1, "string", item) for item in (value if isinstance(value, list) else [value]))
        case "{schema}":
            return b"".join(_bytes(1, _named(name, _message(item, "schema"))) for name, item in value.items())
    return _message(value, form)


def _any(value: Any) -> bytes:
    return _bytes(2, msgspec.json.encode(value))


def _named(name: str, value: bytes) -> bytes:
    return _bytes(1, name.encode()) + _bytes(2, value)


def _bytes(number: int, content: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(content)) + content


def _key(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
