"""Protocol buffers for CRI: bytes from structs and back, driven by the table of field numbers in
``data/cri-v1.json``.

Seven scalar types, enumerations, maps, repeated fields and nested messages are all CRI uses; that is
small enough to write out, and saves a kubelet the protobuf runtime. A message is either a struct of
``contract`` with the table's name or, for requests and responses that carry one or two fields, a plain
dict.

Upstream counterpart: ``k8s.io/cri-api/pkg/apis/runtime/v1/api.pb.go`` (generated).
Neighbours: ``contract`` (the structs), ``cri`` (the calls).

Invariants: unknown fields are skipped, so a newer runtime is understood; a default value is not written,
as proto3 says; a wrapper message (``Int64Value``, ``UInt64Value``) is the number it wraps, or None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import msgspec

from knarr.kubelet.runtime import contract

__all__ = ["CriCodec", "ProtocolError", "Table", "load_table"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_SCALARS = frozenset({"string", "bytes", "bool", "int32", "int64", "uint32", "uint64"})
_WRAPPERS = frozenset({"Int64Value", "UInt64Value"})


class ProtocolError(ValueError):
    """The bytes are no message of the expected kind."""


class Table(msgspec.Struct):
    """``messages``: name -> field -> [number, type]; ``services``: name -> method -> [request, response]."""

    package: str
    services: dict[str, dict[str, tuple[str, str]]]
    enums: dict[str, dict[str, int]]
    messages: dict[str, dict[str, tuple[int, str]]]


def load_table(name: str = "cri-v1.json") -> Table:
    data = resources.files("knarr.kubelet.runtime").joinpath("data", name).read_bytes()
    return msgspec.json.decode(data, type=Table)


class _Field(msgspec.Struct):
    name: str
    number: int
    kind: str  # a scalar's name, "enum", "message", "wrapper" or "map"
    repeated: bool
    type_name: str


class CriCodec:
    """Encodes and decodes the messages of one table. ``module`` holds the structs that share the messages'
    names.
    """

    def __init__(self, table: Table, *, module: object | None = contract) -> None:
        self.table = table
        self._structs: dict[str, type[msgspec.Struct]] = {
            name: struct
            for name in table.messages
            if isinstance(struct := getattr(module, name, None), type) and issubclass(struct, msgspec.Struct)
        }
        self._by_name: dict[str, list[_Field]] = {}
        self._by_number: dict[str, dict[int, _Field]] = {}
        self._absent_means_zero: dict[str, list[_Field]] = {}
        self._enum_names = {name: {v: k for k, v in values.items()} for name, values in table.enums.items()}

    def encoder(self, message: str) -> Callable[[Any], bytes]:
        return lambda value: self.encode(message, value)

    def decoder(self, message: str) -> Callable[[bytes], Any]:
        return lambda data: self.decode(message, data)

    def encode(self, message: str, value: Any) -> bytes:
        """``value`` is a dict or a struct; fields that it lacks, or that hold their default, are left out."""
        out = bytearray()
        is_dict = isinstance(value, dict)
        for field in self._fields(message):
            item = value.get(field.name) if is_dict else getattr(value, field.name, None)
            if item is None or (not item and field.kind not in ("wrapper", "message")):
                continue
            if field.kind == "map":
                for key, content in item.items():
                    entry = _tagged(1, str(key).encode()) + _tagged(2, str(content).encode())
                    out += _tagged(field.number, entry)
            elif field.repeated:
                for element in item:
                    out += self._one(field, element)
            else:
                out += self._one(field, item, skip_default=True)
        return bytes(out)

    def decode(self, message: str, data: bytes) -> Any:
        """A struct where one of that name exists, else a dict; absent fields hold their defaults."""
        values: dict[str, Any] = {}
        fields = self._numbers(message)
        for number, wire, content in _entries(data):
            field = fields.get(number)
            if field is None:
                continue
            if field.kind == "map":
                pair = {n: c for n, _, c in _entries(_expect_bytes(content, wire))}
                target = values.setdefault(field.name, {})
                target[_text(pair.get(1, b""))] = _text(pair.get(2, b""))
            elif field.repeated:
                values.setdefault(field.name, []).extend(self._elements(field, wire, content))
            else:
                values[field.name] = self._value(field, wire, content)
        struct = self._structs.get(message)
        if struct is None:
            return self._with_defaults(message, values)
        return self._build(struct, message, values)

    def _build(self, struct: type[msgspec.Struct], message: str, values: dict[str, Any]) -> Any:
        known = struct.__struct_fields__
        arguments = {name: value for name, value in values.items() if name in known}
        for field in self._filled_in(struct, message):
            if field.name not in arguments:
                empty = self.decode(field.type_name, b"") if field.kind == "message" else self._default(field)
                arguments[field.name] = empty
        return struct(**arguments)

    def _filled_in(self, struct: type[msgspec.Struct], message: str) -> list[_Field]:
        """The fields whose absence on the wire is a value: scalars, and messages the struct requires.

        A struct's own defaults are for those who write requests; proto3's are zeros, and it knows no
        "required".
        """
        fields = self._absent_means_zero.get(message)
        if fields is None:
            required = {field.name for field in msgspec.structs.fields(struct) if field.required}
            fields = self._absent_means_zero[message] = [
                field
                for field in self._fields(message)
                if field.name in struct.__struct_fields__
                and not field.repeated
                and (field.kind in _SCALARS or field.kind == "enum" or field.name in required)
            ]
        return fields

    def _with_defaults(self, message: str, values: dict[str, Any]) -> dict[str, Any]:
        for field in self._fields(message):
            if field.name not in values:
                values[field.name] = self._default(field)
        return values

    def _default(self, field: _Field) -> Any:
        if field.kind == "map":
            return {}
        if field.repeated:
            return []
        if field.kind == "enum":
            return self._enum_names[field.type_name].get(0, "")
        return {"string": "", "bytes": b"", "bool": False, "message": None, "wrapper": None}.get(
            field.kind, 0
        )

    def _one(self, field: _Field, value: Any, *, skip_default: bool = False) -> bytes:
        kind = field.kind
        if kind == "string":
            return _tagged(field.number, value.encode())
        if kind == "bytes":
            return _tagged(field.number, value)
        if kind in ("message", "wrapper"):
            inner = self.encode(field.type_name, {"value": value} if kind == "wrapper" else value)
            return _tagged(field.number, inner)
        number = self.table.enums[field.type_name][value] if kind == "enum" else int(value)
        if number == 0 and skip_default:
            return b""
        return _varint(field.number << 3 | VARINT) + _varint(number)

    def _value(self, field: _Field, wire: int, content: int | bytes) -> Any:
        kind = field.kind
        if kind in ("message", "wrapper", "string", "bytes"):
            data = _expect_bytes(content, wire)
            if kind == "string":
                return data.decode("utf-8", "replace")
            if kind == "bytes":
                return data
            decoded = self.decode(field.type_name, data)
            return decoded["value"] if kind == "wrapper" else decoded
        if not isinstance(content, int):
            raise ProtocolError(f"expected a number for field {field.name}, got {len(content)} bytes")
        if kind == "enum":
            return self._enum_names[field.type_name].get(content, str(content))
        if kind == "bool":
            return bool(content)
        if kind in ("int32", "int64") and content >= 1 << 63:
            return content - (1 << 64)
        return content

    def _elements(self, field: _Field, wire: int, content: int | bytes) -> Iterator[Any]:
        packed = wire == BYTES and field.kind in _SCALARS - {"string", "bytes"}
        if not packed:
            yield self._value(field, wire, content)
            return
        data, at = _expect_bytes(content, wire), 0
        while at < len(data):
            number, at = _read_varint(data, at)
            yield self._value(field, VARINT, number)

    def _fields(self, message: str) -> list[_Field]:
        fields = self._by_name.get(message)
        if fields is None:
            table = self.table.messages[message]
            fields = [self._field(name, number, kind) for name, (number, kind) in table.items()]
            self._by_name[message] = fields
            self._by_number[message] = {field.number: field for field in fields}
        return fields

    def _numbers(self, message: str) -> dict[int, _Field]:
        self._fields(message)
        return self._by_number[message]

    def _field(self, name: str, number: int, kind: str) -> _Field:
        repeated = kind.startswith("repeated ")
        type_name = kind.removeprefix("repeated ")
        if type_name.startswith("map<"):
            return _Field(name, number, "map", False, type_name)
        if type_name in _SCALARS:
            return _Field(name, number, type_name, repeated, type_name)
        if type_name in self.table.enums:
            return _Field(name, number, "enum", repeated, type_name)
        return _Field(name, number, "wrapper" if type_name in _WRAPPERS else "message", repeated, type_name)


def _tagged(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | BYTES) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    if 0 <= number < 0x80:
        return bytes((number,))
    number &= (1 << 64) - 1  # negative numbers travel as ten bytes of two's complement
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ProtocolError("expected a varint, the message ends within it")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def _entries(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Each field of a message as (number, wire type, content)."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _read_varint(data, at)
        wire = tag & 7
        if wire == VARINT:
            number, at = _read_varint(data, at)
            yield tag >> 3, wire, number
            continue
        if wire == BYTES:
            length, at = _read_varint(data, at)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            raise ProtocolError(f"expected wire type 0, 1, 2 or 5, got {wire}")
        if at + length > end:
            raise ProtocolError("expected more bytes, the message ends within a field")
        yield tag >> 3, wire, data[at : at + length]
        at += length


def _expect_bytes(content: int | bytes, wire: int) -> bytes:
    if isinstance(content, int):
        raise ProtocolError(f"expected bytes, got a number (wire type {wire})")
    return content


def _text(content: int | bytes) -> str:
    return content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
