"""Objects to bytes and back.

Every body, every stored value and every copy goes through here. Decoding checks types and drops unknown
fields; amounts become canonical; what a Go decoder takes for absent (null where no pointer is) is absent
here too.

Counterpart upstream: ``apimachinery/pkg/runtime/serializer/json``. Neighbours: ``strict`` finds unknown and duplicate fields, ``shapes`` for walking,
``scheme`` for finding the type of a kind. Invariant: ``decode(type(x), encode(x)) == x``.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from knarr.api.free_form import FreeForm
from knarr.api.moments import settled
from knarr.api.quantity import Quantity, canonical
from knarr.api.shapes import Shape, moment_fields, moment_names, struct_fields

__all__ = [
    "DecodeError",
    "api_version_of",
    "copy",
    "decode",
    "encode",
    "from_dict",
    "parse_json",
    "settle_moments",
    "to_dict",
]

T = TypeVar("T")
AT_PATH = re.compile(r"(?s)(.*) - at `(?:key` in `)?\$(.*)`")
EXPECTED = re.compile(r"Expected `([^`]+)`(?:, got `([^`]+)`| [<>]=)")
#: How Go calls what JSON holds.
JSON_NAMES = {"str": "string", "int": "number", "float": "number"}
GO_LEAVES = {str: "string", bool: "bool", Quantity: "resource.Quantity"}


class DecodeError(ValueError):
    """Input that is no such object.

    ``path`` is the field (``spec.replicas``, empty for the whole), ``text`` the fault.
    """

    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self.path = path
        self.text = text


def _enc_hook(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, FreeForm):
        return {**msgspec.to_builtins(value._known, enc_hook=_enc_hook), **value._rest}
    raise TypeError(f"cannot encode {type(value).__name__}")


def _dec_hook(expected: Any, value: Any) -> Any:
    if expected is Quantity:
        if isinstance(value, str):
            return canonical(value.strip())
        if isinstance(value, int | float) and not isinstance(value, bool):
            return canonical(repr(value))
        raise ValueError(f"cannot unmarshal {type(value).__name__} into Quantity")
    if isinstance(expected, type) and issubclass(expected, FreeForm):
        return _free_form(expected, value)
    raise NotImplementedError(f"no decoder for {expected!r}")


def _free_form(cls: type[FreeForm], value: Any) -> FreeForm:
    """What the schema names as a struct, the rest as it is."""
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {type(value).__name__}")
    names = struct_fields(cls.KNOWN)
    known = {key: item for key, item in value.items() if key in names}
    return cls(from_dict(cls.KNOWN, known), {key: item for key, item in value.items() if key not in names})


_encoder = msgspec.json.Encoder(enc_hook=_enc_hook)


class _Decoders(dict[Any, msgspec.json.Decoder[Any]]):
    """A decoder a type, made when first asked for: building one walks all types below it."""

    def __missing__(self, cls: Any) -> msgspec.json.Decoder[Any]:
        decoder = self[cls] = msgspec.json.Decoder(cls, dec_hook=_dec_hook)
        return decoder


_decoders = _Decoders()


def encode(obj: Any) -> bytes:
    """The JSON of a struct, or of plain data."""
    return _encoder.encode(obj)


def decode(cls: type[T], data: bytes | str | dict[str, Any]) -> T:
    """An object of type ``cls`` from JSON or from plain data. Raises ``DecodeError``."""
    if isinstance(data, dict):
        return from_dict(cls, data)
    try:
        decoded: T = _decoders[cls].decode(data)
        return decoded
    except msgspec.ValidationError:
        # Rare enough to pay for twice: a null where Go has no pointer, or a fault to be explained.
        return from_dict(cls, parse_json(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError("", str(error)) from None


def from_dict(cls: type[T], data: Any) -> T:
    """An object of type ``cls`` from plain data. Raises ``DecodeError``."""
    try:
        return msgspec.convert(data, cls, dec_hook=_dec_hook)
    except msgspec.ValidationError:
        pass
    try:
        if isinstance(cls, type) and issubclass(cls, msgspec.Struct):
            data = _without_nulls(data, Shape("struct", cls))
        return msgspec.convert(data, cls, dec_hook=_dec_hook)
    except msgspec.ValidationError as error:
        raise _explain(cls, data, str(error)) from None


def to_dict(obj: Any) -> dict[str, Any]:
    """The object as plain data, as it would stand in JSON."""
    result = msgspec.to_builtins(obj, enc_hook=_enc_hook)
    assert isinstance(result, dict)
    return result


def copy(obj: T) -> T:
    """A deep copy that shares nothing with the original."""
    twin: T = _decoders[type(obj)].decode(_encoder.encode(obj))
    return twin


class _Version(msgspec.Struct):
    apiVersion: str = ""


_version_decoder = msgspec.json.Decoder(_Version)


def api_version_of(data: bytes) -> str:
    """What an encoded object says it is; empty for what says nothing. Raises msgspec's errors for what is no object."""
    return _version_decoder.decode(data).apiVersion


def parse_json(data: bytes | str) -> Any:
    """Plain data. Raises ``DecodeError``."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError("", str(error)) from None


def _without_nulls(value: Any, shape: Shape) -> Any:
    """The data without nulls, but for those inside free-form parts, where null is a value."""
    if shape.form == "struct" and isinstance(value, dict):
        fields = struct_fields(shape.type)
        return {
            key: _without_nulls(item, fields[key]) if key in fields else item
            for key, item in value.items()
            if item is not None or (key in fields and fields[key].form == "any")
        }
    if shape.form == "list" and isinstance(value, list) and shape.element is not None:
        # Go decodes a null element as the empty element.
        return [_without_nulls(_empty(shape.element) if i is None else i, shape.element) for i in value]
    if shape.form == "map" and isinstance(value, dict) and shape.element is not None:
        element = shape.element
        if element.form == "any":
            return value
        return {k: _without_nulls(_empty(element) if v is None else v, element) for k, v in value.items()}
    return value


def _empty(shape: Shape) -> Any:
    if shape.form in ("struct", "map"):
        return {}
    if shape.form == "list":
        return []
    return "0" if shape.type is Quantity else shape.type() if shape.type in (str, int, bool) else None


def _explain(cls: Any, data: Any, message: str) -> DecodeError:
    """The fault in the words of a Go decoder, with the path of the field."""
    match = AT_PATH.fullmatch(message)
    text, raw = (match[1], match[2]) if match else (message, "")
    path = raw.removeprefix(".").replace("[...]", "")
    if text.startswith("Expected `str` matching regex"):
        return DecodeError(path, "illegal base64 data at input byte 0")
    if text.startswith("Expected `str` of length"):
        return DecodeError(path, _moment_problem(cls, data, raw))
    expected = EXPECTED.match(text)
    if expected is None or not (isinstance(cls, type) and issubclass(cls, msgspec.Struct)):
        return DecodeError(path, text)
    owner, shape = _walk(cls, raw.removeprefix("."))
    got = JSON_NAMES.get(expected[2] or "int", expected[2])
    if got == "number" and shape.bits:
        # Go quotes the number only when the field takes numbers, but not this one.
        got = f"number {next((each for each in _values_at(data, raw) if not _fits(each, shape.bits)), '')}"
    plain = re.sub(r"\[[^\]]*\]", "", path)
    target = _go_type(shape)
    if not plain:
        return DecodeError(path, f"json: cannot unmarshal {got} into Go value of type {target}")
    where = f"Go struct field {owner}.{plain}"
    return DecodeError(path, f"json: cannot unmarshal {got} into {where} of type {target}")


def _moment_problem(cls: Any, data: Any, path: str) -> str:
    """What Go says of a text that is too short for a moment."""
    micro = _walk(cls, path.removeprefix("."))[1].micro
    for text in filter(lambda value: isinstance(value, str), _values_at(data, path)):
        try:
            settled(text, micro=micro)
        except ValueError as error:
            return str(error)
    raise AssertionError("nothing so short is a moment")


def _fits(value: Any, bits: int) -> bool:
    """Whether a whole number is within its width; anything else is not what the fault is about."""
    return not isinstance(value, int | float) or (isinstance(value, int) and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1))


def _values_at(data: Any, path: str) -> list[Any]:
    """What stands at a path. ``[...]`` is some key of a map, it is not said which."""
    found = [data]
    for part in re.findall(r"\[[^\]]*\]|[^.\[\]]+", path):
        if part == "[...]":
            found = [item for each in found if isinstance(each, dict) for item in each.values()]
        elif part.startswith("["):
            index = int(part[1:-1])
            found = [each[index] for each in found if isinstance(each, list) and index < len(each)]
        else:
            found = [each[part] for each in found if isinstance(each, dict) and part in each]
    return found


def _walk(cls: type[msgspec.Struct], path: str) -> tuple[str, Shape]:
    """The struct that owns the field at ``path``, by name, and the field's shape."""
    owner, shape = cls.__name__, Shape("struct", cls)
    for part in re.findall(r"\[[^\]]*\]|[^.\[\]]+", path):
        if part.startswith("["):
            shape = shape.element or Shape("any")
        elif shape.form == "struct":
            owner = shape.type.__name__
            shape = struct_fields(shape.type).get(part, Shape("any"))
        else:
            shape = shape.element or Shape("any")
    return owner, shape


def _go_type(shape: Shape) -> str:
    if shape.form == "list":
        return f"[]{_go_type(shape.element or Shape('any'))}"
    if shape.form == "map":
        return f"map[string]{_go_type(shape.element or Shape('any'))}"
    if shape.form == "struct":
        return f"{shape.type.__module__.rsplit('.', 1)[-1]}.{shape.type.__name__}"
    if shape.bits:
        return f"int{shape.bits}"
    return GO_LEAVES.get(shape.type, "interface {}")


def settle_moments(obj: msgspec.Struct, data: bytes = b"\\") -> None:
    """Read every moment in an object that came from a client, and write it as it is kept. ``data`` is what the object was read
    from, if that is known: where no name of such a field stands, none is looked for.

    Raises ``DecodeError`` for the first bad one.
    """
    # A name may also be written with escapes; then it is not found this way.
    if b"\\" not in data and not any(name in data for name in moment_names(type(obj))):
        return
    _settle_moments(obj, Shape("struct", type(obj)), "")


def _settle_moments(value: Any, shape: Shape, path: str) -> None:
    if shape.form == "struct":
        for name, inner in moment_fields(shape.type):
            if (part := getattr(value, name)) is None:
                continue
            place = f"{path}.{name}" if path else name
            if inner.form == "moment":
                setattr(value, name, _settled(part, inner, place))
            else:
                _settle_moments(part, inner, place)
    elif shape.element is not None:
        keys = enumerate(value) if shape.form == "list" else value.items()
        for key, item in keys:
            _settle_moments(item, shape.element, f"{path}[{key}]")


def _settled(text: str, shape: Shape, path: str) -> str:
    try:
        return settled(text, micro=shape.micro)
    except ValueError as error:
        raise DecodeError(path, str(error)) from None
