"""Defaults of the apiregistration group.

Counterpart upstream: ``kube-aggregator/pkg/apis/apiregistration/v1/defaults.go``. ``knarr.api.defaulting``
calls through ``DEFAULTERS``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.apiregistration import v1 as apiregistration


def set_api_service(api_service: apiregistration.APIService) -> None:
    service = api_service.spec.service
    if service is not None and service.port is None:
        service.port = 443


DEFAULTERS: dict[Any, Any] = {apiregistration.APIService: set_api_service}
