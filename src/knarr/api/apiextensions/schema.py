"""What a structural schema says beyond types: defaults, limits, patterns, choices, required fields. Pure, on
plain data.

Rules in CEL (``x-kubernetes-validations``) are ``expression_rules``'.

Upstream's counterpart is ``apiextensions-apiserver/pkg/apiserver/schema`` and
``kube-openapi/pkg/validation``.
"""

from __future__ import annotations

import copy
import re
from functools import cache
from typing import Any

from knarr.api import codec
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.errors import FieldError, duplicate, invalid_value, not_supported, required, show, too_many

__all__ = ["check", "has_defaults", "mentions_rules", "set_defaults"]

Schema = apiextensions.JSONSchemaProps


def set_defaults(value: Any, schema: Schema) -> None:
    """Fill in defaults, in place; a default inside an object that is absent is not set."""
    if isinstance(value, dict):
        for name, child in schema.properties.items():
            if name not in value and child.default is not None:
                value[name] = copy.deepcopy(child.default)
            if name in value:
                set_defaults(value[name], child)
        if isinstance(schema.additionalProperties, Schema):
            for name, item in value.items():
                if name not in schema.properties:
                    set_defaults(item, schema.additionalProperties)
    elif isinstance(value, list) and isinstance(schema.items, Schema):
        for item in value:
            set_defaults(item, schema.items)


def has_defaults(schema: Schema) -> bool:
    """Whether ``set_defaults`` could do anything."""
    inner = [*schema.properties.values(), schema.additionalProperties, schema.items]
    return any(isinstance(each, Schema) and (each.default is not None or has_defaults(each)) for each in inner)


def mentions_rules(schema: Schema) -> bool:
    """Whether there are rules in CEL anywhere in the schema."""
    if schema.xKubernetesValidations:
        return True
    children = [*schema.properties.values(), schema.items, schema.additionalProperties, schema.not_]
    children += [*schema.allOf, *schema.anyOf, *schema.oneOf]
    return any(isinstance(child, Schema) and mentions_rules(child) for child in children)


def check(value: Any, schema: Schema, path: str = "") -> list[FieldError]:
    """Every fault of ``value`` under ``schema``."""
    faults: list[FieldError] = []
    if schema.enum and value not in schema.enum:
        shown = [each if isinstance(each, str) else codec.encode(each).decode() for each in schema.enum]
        faults.append(not_supported(path, value, shown))
    if isinstance(value, bool):
        return faults + _combined(value, schema, path)
    if isinstance(value, int | float):
        faults += _number(value, schema, path)
    elif isinstance(value, str):
        faults += _text(value, schema, path)
    elif isinstance(value, list):
        faults += _list(value, schema, path)
    elif isinstance(value, dict):
        faults += _object(value, schema, path)
    return faults + _combined(value, schema, path)


def _number(value: float, schema: Schema, path: str) -> list[FieldError]:
    faults = []
    if schema.minimum is not None and (
        value <= schema.minimum if schema.exclusiveMinimum else value < schema.minimum
    ):
        word = "greater than" if schema.exclusiveMinimum else "greater than or equal to"
        faults.append(invalid_value(path, value, f"{path} in body should be {word} {schema.minimum}"))
    if schema.maximum is not None and (
        value >= schema.maximum if schema.exclusiveMaximum else value > schema.maximum
    ):
        word = "less than" if schema.exclusiveMaximum else "less than or equal to"
        faults.append(invalid_value(path, value, f"{path} in body should be {word} {schema.maximum}"))
    if schema.multipleOf and value % schema.multipleOf:
        faults.append(
            invalid_value(path, value, f"{path} in body should be a multiple of {schema.multipleOf}")
        )
    return faults


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _text(value: str, schema: Schema, path: str) -> list[FieldError]:
    faults = []
    if schema.minLength is not None and len(value) < schema.minLength:
        text = f"{path} in body should be at least {schema.minLength} chars long"
        faults.append(invalid_value(path, value, text))
    if schema.maxLength is not None and len(value) > schema.maxLength:
        text = f"may not be more than {schema.maxLength} bytes"
        faults.append(FieldError("FieldValueTooLong", path, f"Too long: {text}"))
    if schema.pattern and _compiled(schema.pattern).search(value) is None:
        faults.append(invalid_value(path, value, f"{path} in body should match '{schema.pattern}'"))
    return faults


def _list(value: list[Any], schema: Schema, path: str) -> list[FieldError]:
    faults: list[FieldError] = []
    if schema.minItems is not None and len(value) < schema.minItems:
        text = f"{path} in body should have at least {schema.minItems} items"
        faults.append(FieldError("FieldValueInvalid", path, f"Invalid value: {len(value)}: {text}"))
    if schema.maxItems is not None and len(value) > schema.maxItems:
        faults.append(too_many(path, len(value), schema.maxItems))
    seen: list[Any] = []
    for index, item in enumerate(value):
        here = f"{path}[{index}]"
        if isinstance(schema.items, Schema):
            faults += check(item, schema.items, here)
        key = _key(item, schema)
        if key is not None:
            if key in seen:
                faults.append(duplicate(here, key))
            seen.append(key)
    return faults


def _key(item: Any, schema: Schema) -> Any:
    """What must not come twice in a list that is a set or a map."""
    if schema.xKubernetesListType == "set":
        return item
    if schema.xKubernetesListType == "map" and isinstance(item, dict):
        return {key: item.get(key) for key in schema.xKubernetesListMapKeys}
    return None


def _object(value: dict[str, Any], schema: Schema, path: str) -> list[FieldError]:
    faults = [
        required(f"{path}.{name}" if path else name) for name in schema.required if value.get(name) is None
    ]
    if schema.minProperties is not None and len(value) < schema.minProperties:
        text = f"{path} in body should have at least {schema.minProperties} properties"
        faults.append(FieldError("FieldValueInvalid", path, f"Invalid value: {show(value)}: {text}"))
    if schema.maxProperties is not None and len(value) > schema.maxProperties:
        faults.append(too_many(path, len(value), schema.maxProperties))
    if schema.xKubernetesEmbeddedResource:
        # What it is it must say itself; its metadata may be left out.
        faults += [required(f"{path}.{name}", "must not be empty") for name in ("apiVersion", "kind") if not value.get(name)]
    extra = schema.additionalProperties if isinstance(schema.additionalProperties, Schema) else None
    for name, item in value.items():
        child = schema.properties.get(name, extra)
        if child is not None:
            faults += check(item, child, f"{path}.{name}" if path else name)
    return faults


def _combined(value: Any, schema: Schema, path: str) -> list[FieldError]:
    """``allOf``, ``anyOf``, ``oneOf`` and ``not``: here they only judge values, types are the structural
    part's.
    """
    faults: list[FieldError] = []
    for each in schema.allOf:
        faults += check(value, each, path)
    if schema.anyOf and all(check(value, each, path) for each in schema.anyOf):
        faults.append(
            invalid_value(
                path, value, f"{path or '<root>'} in body must validate at least one schema (anyOf)"
            )
        )
    if schema.oneOf and sum(1 for each in schema.oneOf if not check(value, each, path)) != 1:
        faults.append(
            invalid_value(
                path, value, f"{path or '<root>'} in body must validate one and only one schema (oneOf)"
            )
        )
    if schema.not_ is not None and not check(value, schema.not_, path):
        faults.append(
            invalid_value(path, value, f"{path or '<root>'} in body must not validate the schema (not)")
        )
    return faults
