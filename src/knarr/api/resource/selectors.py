"""Selectors of devices, judged when a class or a claim is written: each compiles, and is not estimated to cost too much.

Bounds are those of devices in resource slices; an attribute may be anything that is no longer than a text may be there.

Upstream's counterparts are ``dynamic-resource-allocation/cel`` and ``pkg/apis/resource/validation``; list-typed attributes, which are
alpha there, are left out. Nothing here is imported before the first selector is met. Neighbour: ``validation``.
"""

from __future__ import annotations

from knarr.api.cel.environment import Environment
from knarr.api.cel.errors import CompileError
from knarr.api.cel.ranges import Range
from knarr.api.cel.sizes import Sizes, Way
from knarr.api.cel.types import ANY, BOOL, STRING, Field, map_of, object_type, opaque
from knarr.api.errors import FieldError, field_forbidden, invalid_value, too_long

__all__ = ["MAX_BYTES", "MAX_COST", "check_selector"]

MAX_BYTES = 10 * 1024
#: What a selector may be estimated to cost at most.
MAX_COST = 1_000_000
_MAX_DRIVER_CHARACTERS = 63
_MAX_DOMAIN_CHARACTERS = 63
_MAX_NAME_CHARACTERS = 32
_MAX_VALUE_CHARACTERS = 64
_MAX_ENTRIES = 32

_ATTRIBUTES = map_of(STRING, map_of(STRING, ANY))
_CAPACITY = map_of(STRING, map_of(STRING, opaque("kubernetes.Quantity")))
_FIELDS = {"driver": STRING, "allowMultipleAllocations": BOOL, "attributes": _ATTRIBUTES, "capacity": _CAPACITY}
_DEVICE = object_type("kubernetes.DRADevice", {name: Field(kind, name) for name, kind in _FIELDS.items()})
_ENVIRONMENT = Environment({"device": _DEVICE}, binds=True)


def _by_domain(value: Sizes, *, any_field: Sizes | None = None) -> Sizes:
    """Values by domain and name. An attribute's size is known also where it is written as a field."""
    names = Sizes(0, _MAX_ENTRIES, value, Sizes(0, _MAX_NAME_CHARACTERS), any_field=any_field)
    return Sizes(0, _MAX_ENTRIES, names, Sizes(0, _MAX_DOMAIN_CHARACTERS))


_VALUE = Sizes(0, _MAX_VALUE_CHARACTERS)
_SIZES = Sizes(
    0,
    fields={
        "driver": Sizes(0, _MAX_DRIVER_CHARACTERS),
        "allowMultipleAllocations": Sizes(0, 1),
        "attributes": _by_domain(_VALUE, any_field=_VALUE),
        "capacity": _by_domain(Sizes(0)),
    },
)


def _size_at(way: Way) -> Range | None:
    return _SIZES.at(way) if way.steps[:1] == ["device"] else None


def check_selector(field: str, expression: str) -> list[FieldError]:
    if len(expression.encode()) > MAX_BYTES:
        return [too_long(field, MAX_BYTES)]
    try:
        checked = _ENVIRONMENT.check(expression, sizes=_size_at)
    except CompileError as error:
        return [invalid_value(field, expression, f"compilation failed: {error}")]
    if checked.type.kind not in ("bool", "any"):
        return [invalid_value(field, expression, f"must evaluate to bool or the unknown type, not {checked.type.declared()}")]
    assert checked.estimate is not None
    return [field_forbidden(field, "too complex, exceeds cost limit")] if checked.estimate.most > MAX_COST else []
