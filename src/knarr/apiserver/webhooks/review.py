"""An ``AdmissionReview``: what a webhook is asked, and what of its answer counts. Pure.

The first of the webhook's ``admissionReviewVersions`` that is known here is spoken; v1 and v1beta1 differ in what an answer must
repeat. An answer that does not fit is a failure of the webhook, for its ``failurePolicy`` to judge; one that says no is a denial.

Upstream's counterpart is ``admission/plugin/webhook/request/admissionreview.go`` and ``webhook/errors``.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

import msgspec

from knarr.api import codec
from knarr.api.admission import v1 as admission
from knarr.api.authentication import v1 as authentication
from knarr.api.errors import StatusError, quote
from knarr.api.meta import v1 as meta
from knarr.apiserver.admission.chain import Attributes, kind_of, resource_of

__all__ = ["Unfit", "Verdict", "admission_request", "denial", "make_review", "read_verdict", "version_for"]

GROUP = "admission.k8s.io"
KNOWN = ("v1", "v1beta1")


class Unfit(Exception):
    """The answer cannot be used; the text is upstream's."""


@dataclass(slots=True)
class Verdict:
    """What a webhook decided."""

    allowed: bool
    patch: bytes = b""
    patch_type: str = ""
    status: meta.Status | None = None
    warnings: list[str] = field(default_factory=list)
    audit_annotations: dict[str, str] = field(default_factory=dict)


def version_for(accepted: list[str]) -> str:
    """The version both sides speak. Raises ``Unfit``."""
    for version in accepted:
        if version in KNOWN:
            return version
    raise Unfit("webhook does not accept known AdmissionReview versions (v1, v1beta1)")


def make_review(seen: Attributes, request: Attributes, *, uid: str, version: str) -> bytes:
    """The review to post. ``seen`` is ``request`` in the version in which the webhook wants to see it."""
    asked = admission_request(seen, request)
    asked.uid = uid
    asked.object, asked.oldObject = _raw(seen.obj), _raw(seen.old)
    return codec.encode(admission.AdmissionReview(apiVersion=f"{GROUP}/{version}", request=asked))


def admission_request(seen: Attributes, request: Attributes) -> admission.AdmissionRequest:
    """What is said of a request besides its objects, to webhooks and to expressions."""
    user = request.ctx.user
    return admission.AdmissionRequest(
        kind=kind_of(seen.resource, seen.subresource),
        resource=resource_of(seen.resource),
        subResource=seen.subresource,
        requestKind=kind_of(request.resource, request.subresource),
        requestResource=resource_of(request.resource),
        requestSubResource=request.subresource,
        name=request.name,
        namespace=request.request_namespace,
        operation=request.operation,
        userInfo=authentication.UserInfo(
            username=user.name,
            uid=user.uid,
            groups=list(user.groups),
            extra={key: list(values) for key, values in user.extra.items()},
        ),
        dryRun=request.dry_run,
        options=request.options,
    )


def _raw(obj: Any) -> Any:
    return None if obj is None else msgspec.Raw(codec.encode(obj))


def read_verdict(body: bytes, *, uid: str, version: str, mutating: bool) -> Verdict:
    """The answer to the review of that UID. Raises ``Unfit``."""
    try:
        said = codec.parse_json(body)
        review = codec.decode(admission.AdmissionReview, body)
    except codec.DecodeError as error:
        raise Unfit(f"couldn't get version/kind; json parse error: {error}") from None
    response = review.response
    if response is None:
        raise Unfit("webhook response was absent")
    if version == "v1":
        _check_identity(said, response, uid)
        _check_patch(response, mutating=mutating)
    try:
        patch = base64.b64decode(response.patch or "", validate=True) if mutating else b""
    except (binascii.Error, ValueError) as error:
        raise Unfit(f"illegal base64 data in response.patch: {error}") from None
    return Verdict(
        allowed=response.allowed,
        patch=patch,
        # The older version has one type, and need not name it.
        patch_type=(response.patchType or "" if version == "v1" else "JSONPatch") if patch else "",
        status=response.status,
        warnings=response.warnings,
        audit_annotations=response.auditAnnotations,
    )


def _check_identity(said: Any, response: admission.AdmissionResponse, uid: str) -> None:
    if response.uid != uid:
        raise Unfit(f"expected response.uid={quote(uid)}, got {quote(response.uid)}")
    # Not from the struct, whose defaults would say the right thing for a webhook that said nothing.
    api_version, kind = said.get("apiVersion") or "", said.get("kind") or ""
    if (api_version, kind) != (f"{GROUP}/v1", "AdmissionReview"):
        found = api_version if "/" in api_version else f"/{api_version}"
        raise Unfit(
            f"expected webhook response of {GROUP}/v1, Kind=AdmissionReview, got {found}, Kind={kind}"
        )


def _check_patch(response: admission.AdmissionResponse, *, mutating: bool) -> None:
    if not mutating:
        if response.patch:
            raise Unfit("validating webhook may not return response.patch")
        if response.patchType is not None:
            raise Unfit("validating webhook may not return response.patchType")
        return
    if response.patch and response.patchType is None:
        raise Unfit("webhook returned response.patch but not response.patchType")
    if not response.patch and response.patchType is not None:
        raise Unfit("webhook returned response.patchType but not response.patch")
    if response.patch and not response.patchType:
        raise Unfit(f"webhook returned invalid response.patchType of {quote(response.patchType or '')}")


def denial(name: str, status: meta.Status | None) -> StatusError:
    """What the client is told when the webhook of that name says no."""
    said = codec.copy(status) if status is not None else meta.Status()
    denied = f"admission webhook {quote(name)} denied the request"
    # A denial is a failure whatever the webhook calls it.
    if said.code < 400:
        said.code = 400
    if said.status in ("", "Success"):
        said.status = "Failure"
    if said.message or said.reason:
        said.message = f"{denied}: {said.message or said.reason}"
    else:
        said.message = f"{denied} without explanation"
    return StatusError(said)
