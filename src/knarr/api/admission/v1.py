"""The types of admission.k8s.io/v1, by hand: the OpenAPI file leaves them out, since nobody posts them to the API server.

The API server posts an ``AdmissionReview`` with ``request`` to a webhook and reads one with ``response``.
Counterpart upstream: ``k8s.io/api/admission/v1``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from knarr.api.authentication import v1 as authentication
from knarr.api.fields import Struct
from knarr.api.meta import v1 as meta


class GroupVersionKind(Struct, kw_only=True):
    group: str = msgspec.field(default_factory=str)
    version: str = msgspec.field(default_factory=str)
    kind: str = msgspec.field(default_factory=str)


class GroupVersionResource(Struct, kw_only=True):
    group: str = msgspec.field(default_factory=str)
    version: str = msgspec.field(default_factory=str)
    resource: str = msgspec.field(default_factory=str)


class AdmissionRequest(Struct, kw_only=True):
    uid: str = msgspec.field(default_factory=str)
    kind: GroupVersionKind = msgspec.field(default_factory=GroupVersionKind)
    resource: GroupVersionResource = msgspec.field(default_factory=GroupVersionResource)
    subResource: str = ""
    requestKind: GroupVersionKind | None = None
    requestResource: GroupVersionResource | None = None
    requestSubResource: str = ""
    name: str = ""
    namespace: str = ""
    operation: str = msgspec.field(default_factory=str)
    userInfo: authentication.UserInfo = msgspec.field(default_factory=authentication.UserInfo)
    object: Any = msgspec.field(default_factory=lambda: None)
    oldObject: Any = msgspec.field(default_factory=lambda: None)
    dryRun: bool | None = None
    options: Any = msgspec.field(default_factory=lambda: None)


class AdmissionResponse(Struct, kw_only=True):
    """``patch`` is base64 of a JSON patch, ``patchType`` says so."""

    uid: str = msgspec.field(default_factory=str)
    allowed: bool = msgspec.field(default_factory=bool)
    status: meta.Status | None = None
    patch: str | None = None
    patchType: str | None = None
    auditAnnotations: dict[str, str] = {}
    warnings: list[str] = []


class AdmissionReview(Struct, kw_only=True):
    apiVersion: str = msgspec.field(default_factory=partial(str, "admission.k8s.io/v1"))
    kind: str = msgspec.field(default_factory=partial(str, "AdmissionReview"))
    request: AdmissionRequest | None = None
    response: AdmissionResponse | None = None
