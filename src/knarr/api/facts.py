"""What the API description says about fields beyond their types: merge keys, list types, required fields.

Read once from the stripped OpenAPI file beside this module, when first asked for: only patching, server-side
apply and the OpenAPI endpoints need it. ``definitions()`` is the whole file as plain data,
``fields_of(cls)`` one type's fields.

Counterpart upstream: the struct tags ``patchStrategy``, ``patchMergeKey`` and ``+listType``. Neighbours:
``patch``; the API server's field management and OpenAPI handlers.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import msgspec

__all__ = ["FieldFacts", "definition_name", "definitions", "fields_of", "names_by_kind"]

DATA_FILE = "openapi-v1.36.json"


class FieldFacts(msgspec.Struct, frozen=True):
    """One field.

    ``list_type`` is atomic, set or map; empty where the description is silent (atomic for lists).
    """

    list_type: str = ""
    list_keys: tuple[str, ...] = ()
    map_type: str = ""
    merge_key: str = ""
    strategies: frozenset[str] = frozenset()
    required: bool = False


@cache
def _document() -> dict[str, Any]:
    data = resources.files("knarr.api").joinpath("data", DATA_FILE).read_bytes()
    document: dict[str, Any] = msgspec.json.decode(data)
    return document


def definitions() -> dict[str, Any]:
    """Every definition by its full name, without descriptions. Shared: do not change it."""
    found: dict[str, Any] = _document()["definitions"]
    return found


@cache
def names_by_kind() -> dict[tuple[str, str, str], str]:
    """(folder, version, type) to the full name of its definition."""
    result = {}
    for name in definitions():
        parts = name.split(".")
        result[(parts[-3], parts[-2], parts[-1])] = name
    return result


def definition_name(cls: type[Any]) -> str | None:
    """The full name of a struct's definition; None for types written by hand."""
    parts = cls.__module__.split(".")
    return names_by_kind().get((parts[-2], parts[-1], cls.__name__))


@cache
def fields_of(cls: type[Any]) -> dict[str, FieldFacts]:
    """Wire name to facts; empty for a type without a definition."""
    own: dict[str, FieldFacts] | None = getattr(cls, "FACTS", None)
    if own is not None:
        # A custom resource brings its own.
        return own
    name = definition_name(cls)
    if name is None:
        return {}
    definition = definitions()[name]
    required = set(definition.get("required", ()))
    return {
        field: _facts(schema, required=field in required)
        for field, schema in definition.get("properties", {}).items()
    }


def _facts(schema: dict[str, Any], *, required: bool) -> FieldFacts:
    strategies = schema.get("x-kubernetes-patch-strategy", "")
    return FieldFacts(
        list_type=schema.get("x-kubernetes-list-type", ""),
        list_keys=tuple(schema.get("x-kubernetes-list-map-keys", ())),
        map_type=schema.get("x-kubernetes-map-type", ""),
        merge_key=schema.get("x-kubernetes-patch-merge-key", ""),
        strategies=frozenset(strategies.split(",")) - {""},
        required=required,
    )
