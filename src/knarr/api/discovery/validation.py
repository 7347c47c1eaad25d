"""The rules for endpoint slices.

Counterpart upstream: ``pkg/apis/discovery/validation``. ``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from knarr.api import names
from knarr.api.core.container_validation import PROTOCOLS
from knarr.api.discovery import v1 as discovery
from knarr.api.errors import FieldError, duplicate, invalid_value, required, too_many
from knarr.api.rules import Rules, each, one_of, unchanged

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
MAX_ENDPOINTS, MAX_PORTS, MAX_ADDRESSES = 1000, 20000, 100


def check_slice(endpoint_slice: discovery.EndpointSlice) -> list[FieldError]:
    faults = one_of("addressType", endpoint_slice.addressType, ADDRESS_TYPES)
    if len(endpoint_slice.endpoints) > MAX_ENDPOINTS:
        faults.append(too_many("endpoints", len(endpoint_slice.endpoints), MAX_ENDPOINTS))
        return faults
    for index, endpoint in enumerate(endpoint_slice.endpoints):
        faults += _check_endpoint(f"endpoints[{index}]", endpoint, endpoint_slice.addressType)
    return faults + _check_ports(endpoint_slice.ports)


def _check_endpoint(field: str, endpoint: discovery.Endpoint, address_type: str) -> list[FieldError]:
    faults: list[FieldError] = []
    if not endpoint.addresses:
        faults.append(required(f"{field}.addresses", "must contain at least 1 address"))
    elif len(endpoint.addresses) > MAX_ADDRESSES:
        faults.append(too_many(f"{field}.addresses", len(endpoint.addresses), MAX_ADDRESSES))
    for index, address in enumerate(endpoint.addresses):
        faults += _check_address(f"{field}.addresses[{index}]", address, address_type)
    if endpoint.nodeName is not None:
        faults += each(f"{field}.nodeName", endpoint.nodeName, names.dns1123_subdomain(endpoint.nodeName))
    if endpoint.hostname is not None:
        faults += each(f"{field}.hostname", endpoint.hostname, names.dns1123_label(endpoint.hostname))
    return faults


def _check_address(field: str, address: str, address_type: str) -> list[FieldError]:
    if address_type == "FQDN":
        return each(field, address, names.dns1123_subdomain(address))
    if faults := each(field, address, names.ip_address(address)):
        return faults
    version = ipaddress.ip_address(address).version
    if address_type in ("IPv4", "IPv6") and f"IPv{version}" != address_type:
        return [invalid_value(field, address, f"must be an {address_type} address")]
    return []


def _check_ports(ports: list[discovery.EndpointPort]) -> list[FieldError]:
    if len(ports) > MAX_PORTS:
        return [too_many("ports", len(ports), MAX_PORTS)]
    faults: list[FieldError] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        here = f"ports[{index}]"
        if port.name:
            faults += each(f"{here}.name", port.name, names.dns1123_label(port.name))
        if (port.name or "") in seen:
            faults.append(duplicate(f"{here}.name", port.name))
        seen.add(port.name or "")
        faults += one_of(f"{here}.protocol", port.protocol or "", PROTOCOLS)
        if port.appProtocol is not None:
            faults += each(f"{here}.appProtocol", port.appProtocol, names.qualified_name(port.appProtocol))
    return faults


def check_slice_update(new: discovery.EndpointSlice, old: discovery.EndpointSlice) -> list[FieldError]:
    return unchanged("addressType", new.addressType, old.addressType)


RULES: dict[Any, Rules] = {discovery.EndpointSlice: Rules(check_slice, check_slice_update)}
