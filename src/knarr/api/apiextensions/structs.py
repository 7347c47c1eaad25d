"""From a structural schema to structs: custom resources are decoded, checked and pruned as built-in kinds
are, at C speed.

Each object with properties becomes a struct, built once per version of a definition. Everything is optional
and None when absent, for a custom resource has no zero values.
``x-kubernetes-preserve-unknown-fields`` leaves plain data where nothing is named, else it makes a ``FreeForm``. An embedded resource has
typed metadata.

Neighbours: ``schema`` sets defaults and judges what types cannot say; ``custom`` puts both behind a resource.
"""

from __future__ import annotations

import keyword
from functools import partial
from typing import Any

import msgspec

from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.facts import FieldFacts
from knarr.api.fields import Struct
from knarr.api.free_form import FreeForm
from knarr.api.meta import v1 as meta

__all__ = ["build_type"]

_SCALARS: dict[str, Any] = {"string": str, "integer": int, "number": int | float, "boolean": bool}


def build_type(kind: str, api_version: str, schema: apiextensions.JSONSchemaProps) -> Any:
    """The struct of one kind, or its ``FreeForm`` if the root preserves unknown fields; ``FACTS`` on it and on its parts
    tell list types, as ``api.facts`` does for built-in ones.
    """
    members: list[Any] = [
        ("apiVersion", str, msgspec.field(default_factory=partial(str, api_version))),
        ("kind", str, msgspec.field(default_factory=partial(str, kind))),
        ("metadata", meta.ObjectMeta, msgspec.field(default_factory=meta.ObjectMeta)),
    ]
    own, facts = _members(kind, {k: v for k, v in schema.properties.items() if k not in _OWN})
    members += own
    return _made(kind, members, facts, schema)


def _made(name: str, members: list[Any], facts: dict[str, FieldFacts], schema: apiextensions.JSONSchemaProps) -> Any:
    """The struct, or its ``FreeForm`` where what is not named is kept."""
    built = msgspec.defstruct(
        name,
        members,
        bases=(Struct,),
        kw_only=True,
        omit_defaults=True,
        namespace={"FACTS": facts},
        module=__name__,
    )
    return _free_form(name, built, facts) if schema.xKubernetesPreserveUnknownFields else built


def _free_form(name: str, built: Any, facts: dict[str, FieldFacts]) -> Any:
    """Named fields come under their rules all the same; what has no name is kept."""
    fields = (*built.__struct_fields__, "_rest")
    namespace = {"__slots__": (), "__module__": __name__, "KNOWN": built, "FACTS": facts}
    return type(name, (FreeForm,), {**namespace, "__struct_fields__": fields})


_OWN = ("apiVersion", "kind", "metadata")


def _members(
    name: str, properties: dict[str, apiextensions.JSONSchemaProps]
) -> tuple[list[Any], dict[str, FieldFacts]]:
    members: list[Any] = []
    facts: dict[str, FieldFacts] = {}
    for number, (field, schema) in enumerate(properties.items()):
        usable = field.isidentifier() and not keyword.iskeyword(field) and not field.startswith("_")
        attribute = field if usable and field not in ("FACTS", "CUSTOM") else f"field{number}_"
        kind = _type(f"{name}_{attribute}", schema)
        members.append(
            (attribute, kind if kind is Any else kind | None, msgspec.field(default=None, name=field))
        )
        facts[field] = FieldFacts(
            list_type=schema.xKubernetesListType or "",
            list_keys=tuple(schema.xKubernetesListMapKeys),
            map_type=schema.xKubernetesMapType or "",
            required=False,
        )
    return members, facts


def _type(name: str, schema: apiextensions.JSONSchemaProps) -> Any:
    if schema.xKubernetesIntOrString:
        return int | str
    named = schema.properties or schema.xKubernetesEmbeddedResource
    if schema.xKubernetesPreserveUnknownFields and not named:
        return Any
    if schema.type == "object":
        if named:
            return _object(name, schema)
        if isinstance(schema.additionalProperties, apiextensions.JSONSchemaProps):
            return dict[str, _type(name, schema.additionalProperties)]  # type: ignore[misc]
        return dict[str, Any] if schema.additionalProperties else _empty(name)
    if schema.type == "array":
        items = schema.items
        element = _type(name, items) if isinstance(items, apiextensions.JSONSchemaProps) else Any
        return list[element]  # type: ignore[valid-type]
    return _SCALARS.get(schema.type, Any)


def _object(name: str, schema: apiextensions.JSONSchemaProps) -> Any:
    embedded = schema.xKubernetesEmbeddedResource
    properties = schema.properties
    if embedded:
        properties = {field: inner for field, inner in properties.items() if field not in _OWN}
    members, facts = _members(name, properties)
    if embedded:
        own = (("apiVersion", str), ("kind", str), ("metadata", meta.ObjectMeta))
        members = [*((field, kind | None, None) for field, kind in own), *members]
    return _made(name, members, facts, schema)


def _empty(name: str) -> Any:
    return msgspec.defstruct(
        name, [], bases=(Struct,), kw_only=True, namespace={"FACTS": {}}, module=__name__
    )
