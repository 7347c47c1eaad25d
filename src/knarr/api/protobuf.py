"""The protobuf form of API objects, read: what Go clients send, as plain data.

A body begins with four magic bytes; then comes an envelope that names the kind and holds the object. Field
numbers come from ``data/protobuf-v1.36.json``, which ``tools/protobuf_numbers`` makes from the public Go
types. Objects come out as the JSON they would have been, so that everything behind works on one form.

Only reading is needed: every Go client accepts JSON answers too. Counterpart upstream:
``apimachinery/pkg/runtime/serializer/protobuf``.
"""

from __future__ import annotations

import base64
import importlib.resources
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from knarr.api.codec import DecodeError

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
#: Messages inside messages; Go's decoder stops at the same depth.
MAX_DEPTH = 100

#: (field name, kind, label) by field number.
_Fields = dict[int, tuple[str, str, str]]


@cache
def _table() -> tuple[dict[str, str], dict[str, dict[str, list[Any]]]]:
    data = importlib.resources.files("knarr.api").joinpath("data/protobuf-v1.36.json").read_bytes()
    content = msgspec.json.decode(data)
    return content["kinds"], content["types"]


@cache
def _fields(name: str) -> _Fields:
    rows = _table()[1][name]
    return {row[0]: (field, row[1], row[2] if len(row) > 2 else "") for field, row in rows.items()}


def to_plain(data: bytes) -> dict[str, Any]:
    """A whole body as plain data with ``apiVersion`` and ``kind``. Raises ``DecodeError``."""
    if not data.startswith(MAGIC):
        raise DecodeError(
            "", "provided data does not appear to be a protobuf message, expected prefix 6b 38 73 00"
        )
    try:
        return _envelope(data[len(MAGIC) :])
    except (IndexError, struct.error, UnicodeDecodeError, OverflowError, RecursionError) as error:
        raise DecodeError("", f"the protobuf message is broken: {error}") from None


def _envelope(data: bytes) -> dict[str, Any]:
    api_version = kind = ""
    raw = b""
    for number, value in _walk(data):
        if number == 1 and isinstance(value, bytes):
            for inner, text in _walk(value):
                if inner == 1 and isinstance(text, bytes):
                    api_version = text.decode()
                elif inner == 2 and isinstance(text, bytes):
                    kind = text.decode()
        elif number == 2 and isinstance(value, bytes):
            raw = value
    kinds, _ = _table()
    # Options are sent under the group they are used in, and are the same everywhere.
    name = kinds.get(f"{api_version} {kind}") or kinds.get(f"v1 {kind}")
    if name is None:
        raise DecodeError("", f'no kind "{kind}" is registered for version "{api_version}"')
    return {"apiVersion": api_version, "kind": kind, **_message(raw, name, 0)}


def _walk(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in the order they stand: number, and a number or bytes."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield number, value
        elif wire == _BYTES:
            length, position = _varint(data, position)
            if position + length > end:
                raise IndexError("a field is longer than its message")
            yield number, data[position : position + length]
            position += length
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
            yield number, data[position : position + size]
            position += size
        else:
            raise IndexError(f"wire type {wire} is not used by this format")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise IndexError("a number is too long")


def _message(data: bytes, name: str, depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        raise RecursionError("messages are nested too deeply")
    fields = _fields(name)
    result: dict[str, Any] = {}
    for number, value in _walk(data):
        known = fields.get(number)
        if known is None:
            continue
        field, kind, label = known
        if label == "inline":
            result.update(_message(_expect_bytes(value), kind, depth + 1))
        elif label == "map":
            key, item = _entry(_expect_bytes(value), kind, depth)
            result.setdefault(field, {})[key] = item
        elif label == "repeated":
            result.setdefault(field, []).append(_value(value, kind, depth))
        else:
            decoded = _value(value, kind, depth)
            if decoded is not None:
                result[field] = decoded
    return result


def _entry(data: bytes, kind: str, depth: int) -> tuple[str, Any]:
    key = ""
    item: Any = _ZERO.get(kind, {})
    for number, value in _walk(data):
        if number == 1:
            key = _expect_bytes(value).decode()
        elif number == 2:
            item = _value(value, kind, depth)
    return key, item


_ZERO: dict[str, Any] = {
    "string": "",
    "bytes": "",
    "quantity": "0",
    "int": 0,
    "bool": False,
    "items:string": [],
}


def _expect_bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise IndexError("a number stands where a message is expected")
    return value


def _value(value: int | bytes, kind: str, depth: int) -> Any:
    """One field's value in its JSON form; None where Go's JSON has null (the zero time)."""
    if kind == "int":
        assert isinstance(value, int), "numbers are varints"
        return value - (1 << 64) if value >= 1 << 63 else value
    if kind == "bool":
        return bool(value)
    data = _expect_bytes(value)
    if kind == "string":
        return data.decode()
    if kind == "bytes":
        return base64.b64encode(data).decode()
    if kind == "double":
        number: float = struct.unpack("<d", data)[0]
        return number
    special: Callable[[bytes], Any] | None = _SPECIAL.get(kind)
    if special is not None:
        return special(data)
    if kind.startswith("items:"):
        return [_value(item, kind[6:], depth + 1) for number, item in _walk(data) if number == 1]
    return _message(data, kind, depth + 1)


def _numbers(data: bytes) -> dict[int, int]:
    return {number: value for number, value in _walk(data) if isinstance(value, int)}


def _text(data: bytes, number: int) -> str:
    return next(
        (value.decode() for at, value in _walk(data) if at == number and isinstance(value, bytes)), ""
    )


def _time(data: bytes, *, timespec: str = "seconds") -> str | None:
    if not data:
        return None
    parts = _numbers(data)
    seconds, nanos = parts.get(1, 0), parts.get(2, 0)
    seconds = seconds - (1 << 64) if seconds >= 1 << 63 else seconds
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.replace(microsecond=nanos // 1000, tzinfo=None).isoformat(timespec=timespec) + "Z"


def _micro_time(data: bytes) -> str | None:
    return _time(data, timespec="microseconds")


def _int_or_string(data: bytes) -> int | str:
    parts = _numbers(data)
    if parts.get(1, 0) == 1:
        return _text(data, 3)
    number = parts.get(2, 0)
    return number - (1 << 64) if number >= 1 << 63 else number


def _raw(data: bytes) -> Any:
    """JSON inside protobuf: custom data, managed fields."""
    content = next((value for number, value in _walk(data) if number == 1 and isinstance(value, bytes)), b"")
    try:
        return msgspec.json.decode(content) if content else None
    except msgspec.DecodeError as error:
        raise DecodeError("", str(error)) from None


def _schema_or_bool(data: bytes) -> Any:
    return _schema(data, 2) or bool(_numbers(data).get(1, 0))


def _schema_or_array(data: bytes) -> Any:
    return _schema(data, 1) or [_message(item, _SCHEMA, 1) for item in _all(data, 2)]


def _schema_or_strings(data: bytes) -> Any:
    return _schema(data, 1) or [item.decode() for item in _all(data, 2)]


def _schema(data: bytes, number: int) -> dict[str, Any] | None:
    return next((_message(item, _SCHEMA, 1) for item in _all(data, number)), None)


def _all(data: bytes, number: int) -> list[bytes]:
    return [value for at, value in _walk(data) if at == number and isinstance(value, bytes)]


_SCHEMA = "apiextensions/v1.JSONSchemaProps"
_SPECIAL = {
    "schemaOrBool": _schema_or_bool,
    "schemaOrArray": _schema_or_array,
    "schemaOrStrings": _schema_or_strings,
    "time": _time,
    "microtime": _micro_time,
    "quantity": lambda data: _text(data, 1) or "0",
    "intstr": _int_or_string,
    "raw": _raw,
    "duration": lambda data: f"{_numbers(data).get(1, 0) / 1e9:g}s",
}
