"""``ConversionReview``: how the API server asks a webhook to convert custom resources between versions.

The OpenAPI file leaves it out, since nobody posts it to the API server.
Counterpart upstream: ``apiextensions/v1/types.go``. Neighbours: ``v1``, the generated types of the group.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from knarr.api.fields import Struct, empty_list
from knarr.api.meta import v1 as meta


class ConversionRequest(Struct, kw_only=True):
    uid: str = msgspec.field(default_factory=str)
    desiredAPIVersion: str = msgspec.field(default_factory=str)
    objects: list[Any] = msgspec.field(default_factory=empty_list)


class ConversionResponse(Struct, kw_only=True):
    uid: str = msgspec.field(default_factory=str)
    convertedObjects: list[Any] = msgspec.field(default_factory=empty_list)
    result: meta.Status = msgspec.field(default_factory=meta.Status)


class ConversionReview(Struct, kw_only=True):
    apiVersion: str = msgspec.field(default_factory=partial(str, "apiextensions.k8s.io/v1"))
    kind: str = msgspec.field(default_factory=partial(str, "ConversionReview"))
    request: ConversionRequest | None = None
    response: ConversionResponse | None = None
