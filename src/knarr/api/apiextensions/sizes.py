"""How large the values can be that a structural schema allows, and how often they can be in one object.

Where the schema sets no bound, the request does: so many of the smallest values there are as fit into it. Only bounds of the node itself
count, not those of ``allOf`` and the like.

Upstream's counterparts are ``apiserver/pkg/cel/common`` and the cardinality in ``apis/apiextensions/validation``. Neighbours: ``declared``
says what types the same values have, ``rule_costs`` asks.
"""

from __future__ import annotations

from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apiextensions.declared import escaped, rooted
from knarr.api.cel.sizes import Sizes

__all__ = ["MAX_REQUEST_BYTES", "instances", "sizes_of"]

Schema = apiextensions.JSONSchemaProps

MAX_REQUEST_BYTES = 3 * 1024 * 1024
#: A pair of quotes, of brackets or of braces.
_PAIR = 2
_MAX_CHARACTER_BYTES = 4
#: The least and the most a text of some format takes, quotes included.
_FORMATS = {"duration": (3, 32), "date": (12, 12), "date-time": (21, 32)}
_SCALARS = {"boolean": Sizes(4), "number": Sizes(1), "integer": Sizes(1)}
#: The length of keys is not estimated.
_KEYS = Sizes(_PAIR)
_INT_OR_STRING_BYTES = 1
#: What a key of a map takes at least, with its colon and a comma.
_ENTRY_BYTES = 6
#: What the name of a required field takes, besides its letters.
_FIELD_BYTES = 4


def sizes_of(schema: Schema, *, root: bool = False) -> Sizes | None:
    """The sizes of values under a schema; None if expressions cannot see them."""
    if schema.xKubernetesIntOrString:
        return Sizes(_INT_OR_STRING_BYTES, _text_length(schema))
    if root:
        schema = rooted(schema)
    match schema.type:
        case "array":
            return _list_sizes(schema)
        case "object":
            return _object_sizes(schema)
        case "string":
            return _text_sizes(schema)
    return _SCALARS.get(schema.type)


def instances(least_bytes: int) -> int:
    """How many values that are at least so large fit into a request, with a comma between them."""
    return MAX_REQUEST_BYTES // (least_bytes + 1)


def _list_sizes(schema: Schema) -> Sizes | None:
    element = _below(schema.items)
    if element is None:
        return None
    most = _bound(schema.maxItems)
    return Sizes(_PAIR, (MAX_REQUEST_BYTES - _PAIR) // (element.least_bytes + 1) if most is None else most, element)


def _object_sizes(schema: Schema) -> Sizes | None:
    if isinstance(schema.additionalProperties, Schema):
        value = _below(schema.additionalProperties)
        if value is None:
            return None
        most = _bound(schema.maxProperties)
        if most is None:
            most = (MAX_REQUEST_BYTES - _PAIR) // (value.least_bytes + _ENTRY_BYTES)
        return Sizes(_PAIR, most, value, _KEYS)
    least_bytes, fields = _PAIR, {}
    for name, child in schema.properties.items():
        sizes = _below(child)
        if sizes is None:
            continue
        if (shown := escaped(name)) is not None:
            fields[shown] = sizes
        if name in schema.required and child.default is None:
            # What has a default need not be sent.
            least_bytes += len(name.encode()) + sizes.least_bytes + _FIELD_BYTES
    return Sizes(least_bytes, fields=fields)


def _text_sizes(schema: Schema) -> Sizes:
    if schema.format == "byte":
        most = _bound(schema.maxLength)
        return Sizes(_PAIR, MAX_REQUEST_BYTES - _PAIR if most is None else most)
    if schema.format in _FORMATS:
        return Sizes(*_FORMATS[schema.format])
    if schema.maxLength is None and schema.enum:
        return Sizes(_PAIR, max(len(each.encode()) if isinstance(each, str) else 0 for each in schema.enum))
    return Sizes(_PAIR, _text_length(schema))


def _text_length(schema: Schema) -> int:
    most = _bound(schema.maxLength)
    return MAX_REQUEST_BYTES - _PAIR if most is None else most * _MAX_CHARACTER_BYTES


def _below(schema: Schema | bool | list[Schema] | None) -> Sizes | None:
    return sizes_of(schema, root=schema.xKubernetesEmbeddedResource) if isinstance(schema, Schema) else None


def _bound(most: int | None) -> int | None:
    return None if most is None else max(most, 0)
