"""Defaults of dynamic resource allocation: how many devices a request asks for.

Counterpart upstream: ``pkg/apis/resource/v1/defaults.go``. ``knarr.api.defaulting`` calls through
``DEFAULTERS``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.resource import v1 as resource


def _set_request(request: Any) -> None:
    request.allocationMode = request.allocationMode or "ExactCount"
    if request.allocationMode == "ExactCount" and request.count == 0:
        request.count = 1


def _set_spec(spec: resource.ResourceClaimSpec) -> None:
    for request in spec.devices.requests:
        if request.exactly is not None:
            _set_request(request.exactly)
        for alternative in request.firstAvailable:
            _set_request(alternative)


def set_claim(claim: resource.ResourceClaim) -> None:
    _set_spec(claim.spec)


def set_template(template: resource.ResourceClaimTemplate) -> None:
    _set_spec(template.spec.spec)


DEFAULTERS: dict[Any, Any] = {
    resource.ResourceClaim: set_claim,
    resource.ResourceClaimTemplate: set_template,
}
