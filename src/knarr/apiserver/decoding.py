"""Request bodies: which format, which type, which fields.

``fieldValidation`` decides what becomes of unknown and duplicate fields: Ignore drops them, Warn drops them
with a warning header,
Strict refuses the request. Upstream's default on the server is Warn.

Neighbours: ``api.codec`` decodes; ``registry.generic`` calls this first.
"""

from __future__ import annotations

from typing import Any

import msgspec

from knarr.api import codec, protobuf, scheme, strict
from knarr.api.errors import (
    StatusError,
    bad_request,
    invalid,
    not_supported,
    request_entity_too_large,
    unsupported_media_type,
)
from knarr.api.scheme import Resource
from knarr.apiserver.request import Request
from knarr.apiserver.yaml_input import repeated_keys
from knarr.apiserver.yaml_input import yaml_to_json as yaml_to_json

#: Upstream's limit for a request body.
MAX_BODY_BYTES = 3 * 1024 * 1024
#: etcd refuses larger values, and so does every store here.
MAX_OBJECT_BYTES = 1536 * 1024
#: Warnings beyond this are left out of the answer, as upstream.
MAX_WARNINGS = 32

JSON_TYPES = ("application/json", "")
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";", 1)[0].strip().lower()


def to_json(request: Request) -> bytes:
    """The body as JSON bytes. Raises ``StatusError`` 415 for a format not spoken, 400 for what cannot be
    read.
    """
    kind = media_type(request)
    if len(request.body) > MAX_BODY_BYTES:
        raise request_entity_too_large(f"limit is {MAX_BODY_BYTES}")
    if kind in JSON_TYPES:
        return well_formed(request.body)
    if kind in YAML_TYPES:
        return yaml_to_json(request.body)
    if kind == protobuf.MEDIA_TYPE:
        try:
            return msgspec.json.encode(protobuf.to_plain(request.body))
        except codec.DecodeError as error:
            raise bad_request(str(error)) from None
    raise unsupported_media_type(["application/json", "application/yaml", protobuf.MEDIA_TYPE])


def well_formed(body: bytes) -> bytes:
    """Each byte that is no UTF-8 becomes U+FFFD, as in Go's JSON decoder."""
    if body.isascii():
        return body
    try:
        body.decode()
    except UnicodeDecodeError:
        text = body.decode(errors="surrogateescape")
        return "".join("\ufffd" if "\udc80" <= each <= "\udcff" else each for each in text).encode()
    return body


def decode_object(request: Request, resource: Resource, kind: type[Any]) -> Any:
    """The body as a ``kind``, under the request's ``fieldValidation``. Raises ``StatusError``."""
    data = to_json(request)
    if not data.strip():
        raise bad_request("EOF")
    expected = _check_kind(data, resource, kind)
    try:
        obj = codec.decode(kind, data)
        codec.settle_moments(obj, data)
    except codec.DecodeError as error:
        raise _unreadable(kind, resource, error) from None
    # An empty text is as good as none.
    obj.apiVersion, obj.kind = expected, kind.__name__
    if problem := check_fields(request, kind, data):
        raise bad_request(
            f'{kind.__name__} in version "{resource.version}" cannot be handled as a {kind.__name__}: {problem}'
        )
    return obj


def check_fields(request: Request, kind: type[Any], data: bytes | dict[str, Any]) -> str:
    """Warn of unknown and duplicate fields; under Strict, say what is wrong instead (empty: nothing).

    Raises ``StatusError`` 422 for a level that does not exist.
    """
    level = field_validation(request)
    if level == "Ignore":
        return ""
    if isinstance(data, bytes):
        found = strict.strict_errors(kind, data)
        if media_type(request) in YAML_TYPES and (repeated := repeated_keys(request.body)):
            found.insert(0, repeated)
    else:
        found = [f'unknown field "{path}"' for path in strict.unknown_fields(kind, data)]
    if not found:
        return ""
    if level == "Strict":
        return f"strict decoding error: {', '.join(found)}"
    request.warnings.extend(found[:MAX_WARNINGS])
    return ""


def field_validation(request: Request) -> str:
    """How the fields of a body are looked at: Ignore, Warn or Strict. Raises ``StatusError`` 422 for another level."""
    level = request.query.get("fieldValidation") or "Warn"
    if level not in ("Ignore", "Warn", "Strict"):
        fault = not_supported("fieldValidation", level, ("", "Ignore", "Strict", "Warn"))
        raise invalid("meta.k8s.io", OPTIONS.get(request.method, "CreateOptions"), "", [fault])
    return level


#: What upstream calls the options of each kind of write.
OPTIONS = {
    "POST": "CreateOptions",
    "PUT": "UpdateOptions",
    "PATCH": "PatchOptions",
    "DELETE": "DeleteOptions",
}


class _TypeMeta(msgspec.Struct):
    apiVersion: str | None = None
    kind: str | None = None


def _check_kind(data: bytes, resource: Resource, kind: type[Any]) -> str:
    """A body that says what it is must say the right thing; one that says nothing is taken for it.

    Returns the version it is of.
    """
    try:
        said = msgspec.json.decode(data, type=_TypeMeta)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise _unreadable(kind, resource, error) from None
    wanted_kind = kind.__name__
    if said.kind and said.kind != wanted_kind:
        version = said.apiVersion or resource.api_version
        raise bad_request(
            f'{wanted_kind} in version "{resource.version}" cannot be handled as a {wanted_kind}: '
            f'no kind "{said.kind}" is registered for version "{version}" in this path'
        )
    expected: str = resource.api_version if kind is resource.type else kind().apiVersion
    if said.apiVersion and said.apiVersion != expected:
        if scheme.type_of(said.apiVersion, wanted_kind) is None:
            version = said.apiVersion.rpartition("/")[2]
            raise bad_request(
                f'{wanted_kind} in version "{version}" cannot be handled as a {wanted_kind}: '
                f'no kind "{wanted_kind}" is registered for version "{said.apiVersion}" in this path'
            )
        raise bad_request(
            f"the API version in the data ({said.apiVersion}) does not match the expected API version ({expected})"
        )
    return expected


def _unreadable(kind: type[Any], resource: Resource, error: Exception) -> StatusError:
    return bad_request(
        f'{kind.__name__} in version "{resource.version}" cannot be handled as a {kind.__name__}: {error}'
    )
