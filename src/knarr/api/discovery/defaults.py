"""Defaults of the discovery group.

Counterpart upstream: ``pkg/apis/discovery/v1/defaults.go``. ``knarr.api.defaulting`` calls through
``DEFAULTERS``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.discovery import v1 as discovery


def set_endpoint_slice(endpoint_slice: discovery.EndpointSlice) -> None:
    for port in endpoint_slice.ports:
        if port.name is None:
            port.name = ""
        if port.protocol is None:
            port.protocol = "TCP"


DEFAULTERS: dict[Any, Any] = {discovery.EndpointSlice: set_endpoint_slice}
