"""Defaults of custom resource definitions.

Counterpart upstream: ``apiextensions/v1/defaults.go``. ``knarr.api.defaulting`` calls through ``DEFAULTERS``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.apiextensions import v1 as apiextensions


def set_definition(definition: apiextensions.CustomResourceDefinition) -> None:
    spec = definition.spec
    names = spec.names
    names.singular = names.singular or names.kind.lower()
    if names.kind:
        names.listKind = names.listKind or f"{names.kind}List"
    if spec.conversion is None:
        spec.conversion = apiextensions.CustomResourceConversion(strategy="None")
    webhook = spec.conversion.webhook
    service = (
        webhook.clientConfig.service if webhook is not None and webhook.clientConfig is not None else None
    )
    if service is not None and service.port is None:
        service.port = 443


DEFAULTERS: dict[Any, Any] = {apiextensions.CustomResourceDefinition: set_definition}
