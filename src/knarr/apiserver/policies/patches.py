"""What the expressions of a mutation made, applied to an object. Pure.

Upstream's counterpart is ``apiserver/pkg/admission/plugin/policy/mutating/patch``.
"""

from __future__ import annotations

import base64
from typing import Any

from knarr.api import codec
from knarr.api.admissionregistration.expressions import ObjectValue
from knarr.api.cel.library.times import duration_text, timestamp_text
from knarr.api.cel.values import Duration, Optional, Timestamp
from knarr.api.errors import internal_error, quote
from knarr.api.facts import FieldFacts
from knarr.api.patch import PatchError, json_patch
from knarr.api.shapes import Shape
from knarr.api.strategic import NO_FACTS, child_of
from knarr.api.strict import unknown_fields
from knarr.apiserver.apply.fieldsets import is_atomic
from knarr.apiserver.apply.merging import merge

__all__ = ["Unpatched", "apply_configuration", "apply_json_patch"]


class Unpatched(Exception):
    """The patch cannot be applied; the text is upstream's where it is not that of a library."""


def apply_json_patch(obj: Any, operations: list[Any]) -> Any:
    """The object as the operations leave it; the object itself where a ``test`` among them does not hold.

    Raises ``Unpatched``, and ``StatusError`` 500 where what is left is no such object.
    """
    plain = []
    for operation in operations:
        shown = {key: value for key, value in operation.items() if key != "value"}
        if "value" in operation:
            value = operation["value"]
            if isinstance(value, ObjectValue):
                _check_names(value, value.name)
            shown["value"] = _json(value)
        plain.append(shown)
    before = codec.to_dict(obj)
    try:
        after = json_patch(before, plain)
    except PatchError as error:
        if _is_failed_test(before, plain):
            return obj
        raise Unpatched(f"JSON Patch: {error}") from None
    return _decoded(type(obj), after)


def _is_failed_test(document: Any, operations: list[dict[str, Any]]) -> bool:
    """Whether the first operation that cannot be done is a test."""
    for operation in operations:
        try:
            document = json_patch(document, [operation])
        except PatchError:
            return operation.get("op") == "test"
    return False


def apply_configuration(obj: Any, wanted: ObjectValue) -> Any:
    """The object with every field of ``wanted`` set, as server-side apply would. Raises ``Unpatched``."""
    _check_names(wanted, "Object")
    cls: Any = type(obj)
    patch = _json(wanted)
    patch["apiVersion"], patch["kind"] = obj.apiVersion, obj.kind
    lead = "error applying patch: "
    unknown = unknown_fields(cls, patch)
    if unknown:
        raise Unpatched(f"{lead}failed to convert patch object to typed object: .{unknown[0]}: field not declared in schema")
    shape = Shape("struct", cls)
    if atomics := _atomics(patch, shape, NO_FACTS, ""):
        raise Unpatched(f"{lead}invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {', '.join(atomics)}")
    try:
        return codec.from_dict(cls, merge(codec.to_dict(obj), patch, shape))
    except codec.DecodeError as error:
        raise Unpatched(f"{lead}failed to convert patch object to typed object: {error}") from None


def _decoded(cls: Any, data: Any) -> Any:
    if not isinstance(data, dict):
        raise internal_error("the patch leaves something that is no object")
    if unknown := unknown_fields(cls, data):
        raise internal_error("strict decoding error: " + ", ".join(f"unknown field {quote(path)}" for path in unknown))
    try:
        return codec.from_dict(cls, data)
    except codec.DecodeError as error:
        raise internal_error(str(error)) from None


def _check_names(value: Any, path: str) -> None:
    """An object stands only where its name says: ``Object.spec{}`` is the value of ``spec``."""
    if isinstance(value, ObjectValue):
        if value.name != path:
            text = f"unexpected type name {quote(value.name)}, expected {quote(path)}"
            raise Unpatched(f"type mismatch: {text}, which matches field name path from root Object type")
        for key, inner in value.items():
            _check_names(inner, f"{path}.{key}")
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_names(inner, path)


def _json(value: Any) -> Any:
    """A value of an expression as JSON has it."""
    match value:
        case dict():
            return {str(key): _json(item) for key, item in value.items()}
        case list():
            return [_json(item) for item in value]
        case Timestamp():
            return timestamp_text(value)
        case Duration():
            return duration_text(value)
        case bytes():
            return base64.b64encode(value).decode()
        case None | bool() | float() | str():
            return value
        case int():
            return int(value)
        case Optional():
            return _json(value.held) if value.has_value else None
    raise Unpatched(f"expression made a {type(value).__name__}, which JSON does not have")


def _atomics(value: Any, shape: Shape, facts: FieldFacts, path: str) -> list[str]:
    """Lists, maps and structs that could only be replaced as a whole: nobody is let to do that unawares."""
    if not isinstance(value, dict | list) or shape.form == "any":
        return []
    found = [path] if path and is_atomic(shape, facts) else []
    if isinstance(value, dict):
        for key, item in value.items():
            child, own = child_of(shape, key)
            found += _atomics(item, child, own, f"{path}.{key}")
    else:
        for index, item in enumerate(value):
            found += _atomics(item, shape.element or Shape("any"), NO_FACTS, f"{path}[{index}]")
    return found
