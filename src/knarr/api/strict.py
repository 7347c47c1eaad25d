"""What ``fieldValidation`` objects to: fields a type does not have, and fields written twice.

Nearly every body is without fault, so that is found out at C speed: for unknown fields by converting what was read into a
twin of the type that forbids them and looks at nothing else; for duplicates by writing what was read, which has
fewer quotation marks than the body if anything was dropped. Only a body with a fault is walked for its paths.

Neighbours: ``codec`` decodes; ``shapes`` says where fields lead. Invariant: a twin takes a body exactly if
the walk finds no unknown field in it.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import msgspec

from knarr.api.codec import DecodeError, encode, parse_json
from knarr.api.free_form import FreeForm
from knarr.api.shapes import Shape, struct_fields

__all__ = ["strict_errors", "unknown_fields"]


def strict_errors(cls: type[msgspec.Struct], data: bytes) -> list[str]:
    """What strict field validation has to say about a body, in upstream's words; empty if nothing.

    Raises ``DecodeError`` for what is no JSON.
    """
    parsed = parse_json(data)
    # A quotation mark may also be written by its number, and then counting them proves nothing.
    once = b"\\u" not in data and data.count(b'"') == encode(parsed).count(b'"')
    if not once and not hasattr(cls, "CUSTOM"):
        return _faults(Shape("struct", cls), data)
    unknown = [f'unknown field "{path}"' for path in unknown_fields(cls, parsed)]
    # Upstream prunes a custom resource after it has read it.
    return unknown if once else _faults(Shape("any"), data) + unknown


@cache
def _twin_or_none(cls: type[msgspec.Struct]) -> Any:
    # A type that holds itself (JSONSchemaProps) has no twin.
    return None if _holds_itself(cls, (), set()) else _twin(cls)


def _holds_itself(cls: type, above: tuple[type, ...], clean: set[type]) -> bool:
    if cls in above:
        return True
    if cls not in clean:
        inner = [shape for shape in map(_innermost, struct_fields(cls).values()) if shape.form == "struct"]
        if any(_holds_itself(shape.type, (*above, cls), clean) for shape in inner):
            return True
        clean.add(cls)
    return False


def _innermost(shape: Shape) -> Shape:
    return shape if shape.element is None else _innermost(shape.element)


@cache
def _twin(cls: type[msgspec.Struct]) -> Any:
    """The type with the same fields and no others; what stands in a leaf is of no interest."""
    members = [
        (f"f{number}", _twin_type(shape), msgspec.field(default=None, name=name))
        for number, (name, shape) in enumerate(struct_fields(cls).items())
    ]
    closed = not issubclass(cls, FreeForm)
    return msgspec.defstruct(cls.__name__, members, forbid_unknown_fields=closed, gc=False)


def _twin_type(shape: Shape) -> Any:
    if shape.form == "struct":
        return _twin(shape.type) | None
    if _innermost(shape).form != "struct":
        return Any
    assert shape.element is not None
    element = _twin_type(shape.element)
    return (list[element] if shape.form == "list" else dict[str, element]) | None  # type: ignore[valid-type]


def unknown_fields(cls: type[msgspec.Struct], data: Any) -> list[str]:
    """The paths of fields ``cls`` does not have, in the order they stand: ``spec.containers[0].foo``."""
    if (twin := _twin_or_none(cls)) is not None:
        try:
            msgspec.convert(data, twin)
        except (msgspec.ValidationError, RecursionError):
            pass
        else:
            return []
    found: list[str] = []
    _collect_unknown(data, Shape("struct", cls), "", found)
    return found


def _faults(shape: Shape, data: bytes) -> list[str]:
    """Faults of both kinds, in the order they stand in the body, as a decoder meets them; what it does not know, it skips. Of any
    shape only what is written twice is one.
    """
    found: dict[str, None] = {}
    try:
        _collect_faults(json.loads(data, object_pairs_hook=_Pairs), shape, "", found)
    except (ValueError, RecursionError) as error:
        raise DecodeError("", str(error)) from None
    return list(found)


def _collect_faults(value: Any, shape: Shape, path: str, found: dict[str, None]) -> None:
    if isinstance(value, _Pairs):
        fields = struct_fields(shape.type) if shape.form == "struct" else None
        seen: set[str] = set()
        for key, item in value:
            here = f"{path}.{key}" if path else key
            if fields is not None and key not in fields:
                # However often.
                found[f'unknown field "{here}"'] = None
                continue
            if key in seen:
                found[f'duplicate field "{here}"'] = None
            seen.add(key)
            inner = fields[key] if fields is not None else shape.element
            _collect_faults(item, inner or Shape("any"), here, found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _collect_faults(item, shape.element or Shape("any"), f"{path}[{index}]", found)


def _collect_unknown(value: Any, shape: Shape, path: str, found: list[str]) -> None:
    if shape.form == "struct" and isinstance(value, dict):
        fields = struct_fields(shape.type)
        for key, item in value.items():
            here = f"{path}.{key}" if path else key
            if key not in fields:
                found.append(here)
            else:
                _collect_unknown(item, fields[key], here, found)
    elif shape.form == "list" and isinstance(value, list) and shape.element is not None:
        for index, item in enumerate(value):
            _collect_unknown(item, shape.element, f"{path}[{index}]", found)
    elif shape.form == "map" and isinstance(value, dict) and shape.element is not None:
        for key, item in value.items():
            _collect_unknown(item, shape.element, f"{path}.{key}", found)


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written: with its duplicates."""
