"""What the fields of an API type are, for code that walks plain JSON beside the types.

``codec`` uses it to drop nulls and to find unknown fields, ``patch`` to know where a merge goes on. A shape
says only struct, list, map or leaf; merge keys and list types stand in ``facts``.

Invariant: a shape is derived from the struct alone and never changes, so it is cached for the life of the
process; there are as many shapes as API types, which bounds the cache.
"""

from __future__ import annotations

import types
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from knarr.api.free_form import FreeForm

__all__ = ["Shape", "moment_fields", "moment_names", "shape_of", "struct_fields"]


class Shape(msgspec.Struct, frozen=True):
    """``form`` is struct, list, map, any, moment or leaf. ``type`` is the struct or the leaf's Python type.

    ``bits`` is the width of a whole number, 0 for anything else; ``micro`` says that a moment is one of microseconds.
    """

    form: str
    type: Any = None
    element: Shape | None = None
    nullable: bool = False
    bits: int = 0
    micro: bool = False


def shape_of(annotation: Any) -> Shape:
    """The shape of a type annotation."""
    if get_origin(annotation) is Annotated:
        base, meta = get_args(annotation)
        bits = 0 if base is not int else 32 if meta.ge == -(2**31) else 64
        return Shape("moment" if meta.min_length else "leaf", base, bits=bits, micro=meta.title == "MicroTime")
    if annotation is Any:
        return Shape("any", nullable=True)
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return _union_shape(get_args(annotation))
    if origin is list:
        return Shape("list", list, shape_of(get_args(annotation)[0]))
    if origin is dict:
        return Shape("map", dict, shape_of(get_args(annotation)[1]))
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct | FreeForm):
        return Shape("struct", annotation)
    return Shape("leaf", annotation)


def _union_shape(options: tuple[Any, ...]) -> Shape:
    real = [option for option in options if option is not type(None)]
    nullable = len(real) < len(options)
    if len(real) == 1:
        inner = shape_of(real[0])
        return msgspec.structs.replace(inner, nullable=nullable)
    # JSONSchemaProps | bool and its like: walk into it only as the struct, and only when it is a map.
    structs = [option for option in real if isinstance(option, type) and issubclass(option, msgspec.Struct)]
    if structs:
        return Shape("struct", structs[0], nullable=nullable)
    return Shape("leaf", real[0], nullable=nullable)


class _Open(dict[str, Shape]):
    """The fields of a kind that takes every further one as it is."""

    def __missing__(self, name: str) -> Shape:
        return _ANY

    def __contains__(self, name: object) -> bool:
        return True

    def get(self, name: str, default: Any = None) -> Any:
        return self[name]


_ANY = Shape("any", nullable=True)


@cache
def struct_fields(cls: type[msgspec.Struct]) -> dict[str, Shape]:
    """Wire name to shape."""
    if issubclass(cls, FreeForm):
        return _Open(struct_fields(cls.KNOWN))
    # The resolver msgspec itself uses: it understands forward references across the generated modules.
    return {field.encode_name: shape_of(field.type) for field in msgspec.structs.fields(cls)}


@cache
def moment_fields(cls: type[msgspec.Struct]) -> tuple[tuple[str, Shape], ...]:
    """The fields, by attribute name, that are moments or lead to some."""
    if issubclass(cls, FreeForm):
        return moment_fields(cls.KNOWN)
    found = []
    for field in msgspec.structs.fields(cls):
        shape = shape_of(field.type)
        if _leads_to_moment(shape, ()):
            found.append((field.name, shape))
    return tuple(found)


@cache
def moment_names(cls: type[msgspec.Struct]) -> tuple[bytes, ...]:
    """How the fields that are moments are written, wherever below ``cls`` they stand: ``"creationTimestamp"``."""
    found: dict[bytes, None] = {}
    _collect_names(cls, found, set())
    return tuple(found)


def _collect_names(cls: type[msgspec.Struct], found: dict[bytes, None], seen: set[type]) -> None:
    if cls in seen:
        return
    seen.add(cls)
    for name, shape in struct_fields(cls).items():
        inner = shape
        while inner.element is not None:
            inner = inner.element
        if inner.form == "moment":
            found[b'"%b"' % name.encode()] = None
        elif inner.form == "struct":
            _collect_names(inner.type, found, seen)


def _leads_to_moment(shape: Shape, above: tuple[type, ...]) -> bool:
    if shape.form == "struct":
        # A type that holds itself (JSONSchemaProps) adds nothing the second time.
        if shape.type in above:
            return False
        inner = struct_fields(shape.type).values()
        return any(_leads_to_moment(part, (*above, shape.type)) for part in inner)
    if shape.element is not None:
        return _leads_to_moment(shape.element, above)
    return shape.form == "moment"
