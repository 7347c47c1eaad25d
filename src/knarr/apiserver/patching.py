"""PATCH: three ways to say a change, applied to the object as it stands.

JSON patch, merge patch and strategic merge patch work on the object's JSON form; what comes out is decoded,
validated and written like an update. A server-side apply (``application/apply-patch+yaml``) is only read
here; the ``apply`` room does it.

Neighbours: ``api.patch`` does the arithmetic.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from knarr.api import codec, strict
from knarr.api import patch as patches
from knarr.api.apiextensions.custom import CustomResource
from knarr.api.errors import (
    StatusError,
    bad_request,
    invalid,
    invalid_value,
    patch_rejected,
    request_entity_too_large,
    required,
    unsupported_media_type,
    untyped_patch,
)
from knarr.api.scheme import Resource
from knarr.api.shapes import struct_fields
from knarr.api.strategic import PatchError, strategic_merge
from knarr.apiserver.decoding import (
    MAX_BODY_BYTES,
    MAX_WARNINGS,
    check_fields,
    field_validation,
    media_type,
    well_formed,
    yaml_to_json,
)
from knarr.apiserver.request import Request
from knarr.apiserver.yaml_input import repeated_keys

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
ACCEPTED = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)

#: Upstream's limit for the operations of one JSON patch.
MAX_JSON_PATCH_OPERATIONS = 10_000


def read_patch(request: Request) -> tuple[str, Any]:
    """The patch's type and content. Raises ``StatusError`` 415, 413, 400."""
    kind = media_type(request)
    if kind not in ACCEPTED:
        raise unsupported_media_type(ACCEPTED)
    if len(request.body) > MAX_BODY_BYTES:
        raise request_entity_too_large(f"limit is {MAX_BODY_BYTES}")
    try:
        content = msgspec.json.decode(well_formed(request.body))
    except msgspec.DecodeError as error:
        raise bad_request(f"error decoding patch: {error}") from None
    if kind == JSON_PATCH:
        if not isinstance(content, list):
            raise bad_request(
                "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch"
            )
        if len(content) > MAX_JSON_PATCH_OPERATIONS:
            raise request_entity_too_large(
                f"The allowed maximum operations in a JSON patch is {MAX_JSON_PATCH_OPERATIONS}, got {len(content)}"
            )
    elif not isinstance(content, dict):
        raise bad_request("error decoding patch: expected an object")
    return kind, content


def read_apply(request: Request, resource: Resource) -> tuple[dict[str, Any], bool]:
    """What a server-side apply applies, and whether it takes fields over. Raises ``StatusError`` 400, 413,
    422.
    """
    if len(request.body) > MAX_BODY_BYTES:
        raise request_entity_too_large(f"limit is {MAX_BODY_BYTES}")
    if not request.query.get("fieldManager"):
        raise invalid(
            "meta.k8s.io", "PatchOptions", "", [required("fieldManager", "is required for apply patch")]
        )
    content = msgspec.json.decode(yaml_to_json(request.body))
    if not isinstance(content, dict):
        raise bad_request("error decoding YAML: expected an object")
    said = (content.get("apiVersion"), content.get("kind"))
    if said != (resource.api_version, resource.kind):
        raise bad_request(
            f"Incorrect version specified in apply patch. Specified patch version: {said[0]}, expected: {resource.api_version}"
        )
    metadata = content.get("metadata")
    if metadata is None:
        metadata = content["metadata"] = {}
    if not isinstance(metadata, dict):
        raise untyped_patch(_of(resource, {}), f".metadata: expected map, got &{{{_go_text(metadata)}}}")
    name, namespace = request.info.name, request.info.namespace if resource.namespaced else ""
    if metadata.get("name") not in (None, "", name):
        raise bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
        )
    if namespace and metadata.get("namespace") not in (None, "", namespace):
        raise bad_request(
            f"the namespace of the object ({metadata['namespace']}) does not match the namespace on the URL ({namespace})"
        )
    metadata["name"] = name
    _check_declared(request, resource, content)
    if namespace:
        metadata["namespace"] = namespace
    return content, request.query.flag("force")


def _check_declared(request: Request, resource: Resource, content: dict[str, Any]) -> None:
    """An unknown field has no owner to be given to, so an apply refuses it at every level of validation, as upstream does.
    Raises ``StatusError`` 400, 500.
    """
    level = field_validation(request)
    unknown = strict.unknown_fields(resource.type, content)
    if level == "Warn":
        request.warnings.extend(f'unknown field "{path}"' for path in unknown[:MAX_WARNINGS])
    if level != "Ignore" and (repeated := repeated_keys(request.body)):
        told = f"error converting YAML to JSON: {repeated}"
        if level == "Strict":
            raise bad_request(f"error strict decoding YAML: {told}")
        request.warnings.append(told)
    if unknown:
        faults = [f".{path}: field not declared in schema" for path in unknown]
        listed = faults[0] if len(faults) == 1 else "errors:\n" + "\n".join(f"  {fault}" for fault in faults)
        raise untyped_patch(_of(resource, content["metadata"]), listed)
    try:
        codec.decode(resource.type, content)
    except codec.DecodeError as error:
        raise untyped_patch(_of(resource, content["metadata"]), str(error)) from None


def _of(resource: Resource, metadata: dict[str, Any]) -> str:
    """Which object was sent, as upstream names it here: the group's slash stays where there is no group."""
    name = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
    return f"{name}; {resource.group}/{resource.version}, Kind={resource.kind}"


def apply_patch(request: Request, resource: Resource, current: Any, kind: str, content: Any) -> Any:
    """``current``, which is consumed, with the patch applied. Raises ``StatusError`` 400, 422."""
    if kind == STRATEGIC_PATCH and isinstance(resource, CustomResource):
        # A definition says nothing of merge keys in that sense; upstream refuses it too.
        raise unsupported_media_type((JSON_PATCH, MERGE_PATCH, APPLY_PATCH))
    after, obj = patched(current, kind, content)
    if obj.kind != resource.kind or obj.apiVersion != resource.api_version:
        raise bad_request(
            f"the patch changes the object's kind or apiVersion to {obj.apiVersion}, {obj.kind}"
        )
    if problem := check_fields(request, resource.type, after):
        raise _unfit(kind, content, {**codec.to_dict(obj), **after}, problem)
    return obj


def patched(current: Any, kind: str, content: Any) -> tuple[dict[str, Any], Any]:
    """What a JSON, merge or strategic patch makes of ``current``, which is consumed: as plain data, where a part that the patch does
    not touch may be left out, and as an object of its type.

    Raises ``StatusError`` 400, 422.
    """
    cls: type[msgspec.Struct] = type(current)
    if kind != JSON_PATCH and _plain_names(cls) >= content.keys():
        try:
            return _patched_in_part(current, kind, content)
        except (PatchError, codec.DecodeError):
            # What is wrong is told with the whole object.
            pass
    before = codec.to_dict(current)
    try:
        after = patches.json_patch(before, content) if kind == JSON_PATCH else _merged(before, content, kind, type(current))
    except PatchError as error:
        raise patch_rejected() if kind == JSON_PATCH else bad_request(str(error)) from None
    if not isinstance(after, dict):
        raise bad_request("the patch leaves something that is not an object")
    try:
        obj = codec.decode(type(current), after)
        codec.settle_moments(obj)
    except codec.DecodeError as error:
        raise _unfit(kind, content, after, str(error)) from None
    return after, obj


@cache
def _plain_names(cls: type[msgspec.Struct]) -> frozenset[str]:
    """The top-level fields whose attributes have their names; none of a custom resource, whose fields may be required."""
    if hasattr(cls, "CUSTOM"):
        return frozenset()
    return frozenset(struct_fields(cls).keys() & set(cls.__struct_fields__))


def _patched_in_part(current: Any, kind: str, content: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """A patch of some top-level fields, as most are: of the status, or of the metadata. The others stay as they are, and need not
    become plain data and be read again. Raises ``PatchError`` and ``DecodeError``, and has then changed nothing.
    """
    kept = type(current)(**{name: getattr(current, name) for name in content})
    after = _merged(codec.to_dict(kept), content, kind, type(current))
    part = codec.decode(type(current), after)
    codec.settle_moments(part)
    for name in content:
        setattr(current, name, getattr(part, name))
    return after, current


def _merged(before: dict[str, Any], content: dict[str, Any], kind: str, cls: type[msgspec.Struct]) -> Any:
    return patches.merge_patch(before, content) if kind == MERGE_PATCH else strategic_merge(before, content, cls)


def _unfit(kind: str, content: Any, after: Any, problem: str) -> StatusError:
    """The patched object is none of its kind. Upstream quotes a strategic patch itself, for the others the
    outcome.
    """
    value = _go_text(content) if kind == STRATEGIC_PATCH else msgspec.json.encode(after).decode()
    return invalid("", "", "", [invalid_value("patch", value, problem)])


def _go_text(value: Any) -> str:
    """A JSON value as Go prints it with %+v."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_go_text(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(_go_text(item) for item in value) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)
