"""Errors a client sees: ``StatusError`` carries the ``Status`` sent, ``FieldError`` names a field's fault.

Any code below the HTTP layer raises a ``StatusError`` made by one of the constructors here; the HTTP layer
writes its status and code. Clients turn an answer back with ``from_status``. Texts, reasons and codes are
upstream's, because people and programs match on them.

Counterpart upstream: ``apimachinery/pkg/api/errors`` and ``pkg/util/validation/field``. Neighbours:
``validation`` produces ``FieldError``, ``invalid`` makes one answer of many.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from knarr.api import codec
from knarr.api.meta import v1 as meta

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


class FieldError(msgspec.Struct, frozen=True):
    """One fault of one field.

    ``reason`` is the cause's reason, ``body`` the text without the field's path.
    """

    reason: str
    field: str
    body: str

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"


def quote(text: str) -> str:
    """A text in double quotes, as Go's %q prints it."""
    return json.dumps(text, ensure_ascii=False)


def show(value: Any) -> str:
    """A bad value as upstream prints it: numbers and booleans bare, texts quoted, the rest as JSON."""
    if value is None:
        return '"null"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return quote(value)
    return codec.encode(value).decode()


def _tail(detail: str) -> str:
    return f": {detail}" if detail else ""


def required(field: str, detail: str = "") -> FieldError:
    """The field must be given."""
    return FieldError("FieldValueRequired", field, f"Required value{_tail(detail)}")


def invalid_value(field: str, value: Any, detail: str = "") -> FieldError:
    """The field's value is wrong; ``detail`` says how."""
    return FieldError("FieldValueInvalid", field, f"Invalid value: {show(value)}{_tail(detail)}")


def type_invalid(field: str, value: Any, detail: str = "") -> FieldError:
    """The field holds another type than it should (custom resources)."""
    return FieldError("FieldValueTypeInvalid", field, f"Invalid value: {show(value)}{_tail(detail)}")


def not_supported(field: str, value: Any, choices: Iterable[str]) -> FieldError:
    """The field's value is none of the choices, which are listed in order."""
    listed = ", ".join(quote(choice) for choice in sorted(choices))
    detail = f": supported values: {listed}" if listed else ""
    return FieldError("FieldValueNotSupported", field, f"Unsupported value: {show(value)}{detail}")


def duplicate(field: str, value: Any) -> FieldError:
    return FieldError("FieldValueDuplicate", field, f"Duplicate value: {show(value)}")


def too_long(field: str, limit: int) -> FieldError:
    return FieldError("FieldValueTooLong", field, f"Too long: may not be more than {limit} bytes")


def too_many(field: str, count: int, limit: int) -> FieldError:
    noun = "item" if limit == 1 else "items"
    return FieldError("FieldValueTooMany", field, f"Too many: {count}: must have at most {limit} {noun}")


def field_forbidden(field: str, detail: str) -> FieldError:
    """The field must not be given, or not be changed."""
    return FieldError("FieldValueForbidden", field, f"Forbidden: {detail}")


def value_not_found(field: str, value: Any) -> FieldError:
    """The field names something that does not exist."""
    return FieldError("FieldValueNotFound", field, f"Not found: {show(value)}")


class StatusError(Exception):
    """A failure as the client gets it.

    ``status`` is complete; ``code`` and ``reason`` repeat its most asked parts.
    """

    def __init__(self, status: meta.Status) -> None:
        super().__init__(status.message)
        self.status = status

    @property
    def code(self) -> int:
        return self.status.code

    @property
    def reason(self) -> str:
        return self.status.reason


def _error(code: int, reason: str, message: str, details: meta.StatusDetails | None = None) -> StatusError:
    return StatusError(
        meta.Status(status="Failure", message=message, reason=reason, details=details, code=code)
    )


def from_status(status: meta.Status) -> StatusError:
    """The error an answer stands for."""
    return StatusError(status)


def qualified(group: str, name: str) -> str:
    """``deployments.apps``, ``pods``; for kinds ``Deployment.apps``, ``Pod``."""
    return f"{name}.{group}" if group else name


def not_found(group: str, resource: str, name: str) -> StatusError:
    details = meta.StatusDetails(name=name, group=group, kind=resource)
    return _error(404, "NotFound", f"{qualified(group, resource)} {quote(name)} not found", details)


def path_not_found() -> StatusError:
    """There is nothing at this URL."""
    text = "the server could not find the requested resource"
    return _error(404, "NotFound", text, meta.StatusDetails())


def already_exists(group: str, resource: str, name: str) -> StatusError:
    details = meta.StatusDetails(name=name, group=group, kind=resource)
    return _error(409, "AlreadyExists", f"{qualified(group, resource)} {quote(name)} already exists", details)


def generate_name_conflict(group: str, resource: str, name: str) -> StatusError:
    """A generated name was taken; the client may try again at once."""
    details = meta.StatusDetails(name=name, group=group, kind=resource, retryAfterSeconds=1)
    text = "already exists, the server was not able to generate a unique name for the object"
    return _error(409, "AlreadyExists", f"{qualified(group, resource)} {quote(name)} {text}", details)


def conflict(group: str, resource: str, name: str, detail: str = MODIFIED) -> StatusError:
    """The object is not as the client thought."""
    details = meta.StatusDetails(name=name, group=group, kind=resource)
    message = f"Operation cannot be fulfilled on {qualified(group, resource)} {quote(name)}: {detail}"
    return _error(409, "Conflict", message, details)


def apply_conflict(causes: Sequence[meta.StatusCause], message: str) -> StatusError:
    """Server-side apply met fields that others own."""
    return _error(409, "Conflict", message, meta.StatusDetails(causes=list(causes)))


def invalid(group: str, kind: str, name: str, faults: Sequence[FieldError]) -> StatusError:
    """The object is well-formed and wrong: one cause a fault."""
    causes = [meta.StatusCause(reason=f.reason, message=f.body, field=f.field) for f in faults]
    details = meta.StatusDetails(name=name, group=group, kind=kind, causes=causes)
    texts = list(dict.fromkeys(str(fault) for fault in faults))
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    message = f"{qualified(group, kind)} {quote(name)} is invalid{_tail(listed if texts else '')}"
    return _error(422, "Invalid", message, details)


def bad_request(message: str) -> StatusError:
    return _error(400, "BadRequest", message)


def untyped_patch(what: str, fault: str) -> StatusError:
    """500: what is applied does not fit its kind. Upstream has no reason of its own for it."""
    return _error(500, "", f"failed to create typed patch object ({what}): {fault}")


def patch_rejected() -> StatusError:
    """A JSON patch did not apply."""
    return _error(422, "Invalid", "the server rejected our request due to an error in our request")


def unauthorized(message: str = "Unauthorized") -> StatusError:
    return _error(401, "Unauthorized", message)


def forbidden(group: str, resource: str, name: str, detail: str) -> StatusError:
    """The user may not do this, or admission refuses it."""
    details = meta.StatusDetails(name=name, group=group, kind=resource)
    if not resource:
        message = f"forbidden: {detail}"
    elif not name:
        message = f"{qualified(group, resource)} is forbidden: {detail}"
    else:
        message = f"{qualified(group, resource)} {quote(name)} is forbidden: {detail}"
    return _error(403, "Forbidden", message, details)


def method_not_allowed(group: str, resource: str, action: str) -> StatusError:
    details = meta.StatusDetails(group=group, kind=resource)
    message = f"{action} is not supported on resources of kind {quote(qualified(group, resource))}"
    return _error(405, "MethodNotAllowed", message, details)


def not_acceptable(accepted: Sequence[str]) -> StatusError:
    """No form the client accepts can be produced."""
    return _error(406, "NotAcceptable", f"only the following media types are accepted: {', '.join(accepted)}")


def not_acceptable_form(message: str) -> StatusError:
    """The form the client accepts is none of this object's."""
    return _error(406, "NotAcceptable", message)


def no_table(group: str, resource: str) -> StatusError:
    """The kind has no metadata, and so nothing a table's rows could be made of."""
    return _error(
        406,
        "NotAcceptable",
        f"the resource {qualified(group, resource)} does not support being converted to a Table",
    )


def gone(message: str) -> StatusError:
    return _error(410, "Gone", message)


def expired(message: str = "The resourceVersion for the provided watch is too old.") -> StatusError:
    """The revision asked for is no longer kept: the client lists again."""
    return _error(410, "Expired", message)


def request_entity_too_large(message: str) -> StatusError:
    return _error(413, "RequestEntityTooLarge", f"Request entity too large: {message}")


def unsupported_media_type(accepted: Sequence[str]) -> StatusError:
    """The body is in a form this endpoint does not take."""
    text = "the body of the request was in an unknown format - accepted media types include: "
    return _error(415, "UnsupportedMediaType", text + ", ".join(accepted))


def too_many_requests(
    message: str, *, retry_after_s: int = 1, causes: Sequence[meta.StatusCause] = ()
) -> StatusError:
    """Try again later: overload, or an eviction that a disruption budget refuses."""
    details = meta.StatusDetails(retryAfterSeconds=retry_after_s, causes=list(causes))
    return _error(429, "TooManyRequests", message, details)


def internal_error(detail: str) -> StatusError:
    details = meta.StatusDetails(causes=[meta.StatusCause(message=detail)])
    return _error(500, "InternalError", f"Internal error occurred: {detail}", details)


def unforeseen(message: str) -> StatusError:
    """What upstream's code tells as a bare error of Go's: it has no reason and no details."""
    return StatusError(meta.Status(status="Failure", message=message, code=500))


def server_timeout(group: str, resource: str, operation: str, *, retry_after_s: int = 1) -> StatusError:
    """The server could not finish in time; nothing is wrong with the request."""
    details = meta.StatusDetails(group=group, kind=resource, name=operation, retryAfterSeconds=retry_after_s)
    message = (
        f"The {operation} operation against {qualified(group, resource)} could not be completed "
        "at this time, please try again."
    )
    return _error(500, "ServerTimeout", message, details)


def service_unavailable(message: str) -> StatusError:
    return _error(503, "ServiceUnavailable", message)


def timeout(message: str, *, retry_after_s: int = 0) -> StatusError:
    """The request ran out of its own time."""
    return _error(504, "Timeout", f"Timeout: {message}", meta.StatusDetails(retryAfterSeconds=retry_after_s))


def answer_text(code: int, said: str) -> str:
    """What client-go says of another server's answer that is no success and no Status; ``said`` is what the answer does."""
    if code >= 500 and code not in (503, 504):
        return f"an error on the server ({quote(said or 'unknown')}) has prevented the request from succeeding"
    known = _ANSWERS.get(code)
    if known is not None:
        return known
    return f"the server responded with the status code {code} but did not return more information"


def answer_reason(code: int) -> str:
    """The reason that client-go gives such an answer."""
    return _ANSWER_REASONS.get(code, "InternalError" if code >= 500 else "")


def refused_by_backend(code: int, resource: str, name: str, said: str) -> StatusError:
    """The same as an answer of this server, about an object whose request another server refused."""
    if code == 400:
        return bad_request(said)
    if code == 500:
        return internal_error(said)
    text = said if code == 403 else answer_text(code, said)
    # Upstream has no verb to put before the resource, and leaves its space.
    return _error(code, answer_reason(code), f"{text} ( {resource} {name})", meta.StatusDetails(name=name, kind=resource))


_ANSWER_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    429: "TooManyRequests",
    503: "ServiceUnavailable",
    504: "Timeout",
}
_ANSWERS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    403: "the server does not allow access to the requested resource",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    406: "the server was unable to respond with a content type that the client supports",
    409: "the server reported a conflict",
    410: "the server has indicated the resource is no longer available",
    413: "the request was rejected because it was too large",
    415: "the server was unable to respond with a content type that the client supports",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}
