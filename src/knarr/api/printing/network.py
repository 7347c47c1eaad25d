"""Services, endpoints, ingresses, network policies and addresses.

Counterpart upstream: ``printService`` and its siblings. Neighbours: ``columns``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from knarr.api.printing.columns import (
    NONE,
    UNSET,
    Printer,
    age,
    columns,
    joined,
    labels_text,
    listed,
    or_none,
    selector_text,
)


def _load_balancer(ingress: Iterable[Any]) -> list[str]:
    return sorted({entry.ip or entry.hostname for entry in ingress if entry.ip or entry.hostname})


def _external_ip(service: Any) -> str:
    spec = service.spec
    match spec.type:
        case "LoadBalancer":
            addresses = [*_load_balancer(service.status.loadBalancer.ingress), *spec.externalIPs]
            return ",".join(addresses) or "<pending>"
        case "ExternalName":
            return str(spec.externalName)
        case "ClusterIP" | "NodePort":
            return joined(spec.externalIPs)
    return "<unknown>"


def _service_port(port: Any) -> str:
    outside = f":{port.nodePort}" if port.nodePort else ""
    return f"{port.port}{outside}/{port.protocol}"


def service_row(service: Any, now: datetime) -> list[Any]:
    spec = service.spec
    return [
        service.metadata.name,
        spec.type,
        spec.clusterIPs[0] if spec.clusterIPs else or_none(spec.clusterIP),
        _external_ip(service),
        joined(_service_port(port) for port in spec.ports),
        age(service, now),
        labels_text(spec.selector),
    ]


def _subset_addresses(subsets: Iterable[Any]) -> list[str]:
    found = []
    for subset in subsets:
        for address in subset.addresses:
            host = f"[{address.ip}]" if ":" in address.ip else address.ip
            found += [f"{host}:{port.port}" for port in subset.ports] or [address.ip]
    return found


def endpoints_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, listed(_subset_addresses(obj.subsets), empty=NONE), age(obj, now)]


def endpoint_slice_row(obj: Any, now: datetime) -> list[Any]:
    ports = [str(port.port) if port.port is not None else port.name or "*" for port in obj.ports]
    addresses = [address for endpoint in obj.endpoints for address in endpoint.addresses]
    return [
        obj.metadata.name,
        obj.addressType,
        listed(ports, empty=UNSET),
        listed(addresses, empty=UNSET),
        age(obj, now),
    ]


def ingress_row(obj: Any, now: datetime) -> list[Any]:
    hosts = [rule.host for rule in obj.spec.rules if rule.host]
    return [
        obj.metadata.name,
        or_none(obj.spec.ingressClassName),
        listed(hosts, empty="*"),
        ",".join(_load_balancer(obj.status.loadBalancer.ingress)),
        "80, 443" if obj.spec.tls else "80",
        age(obj, now),
    ]


def ingress_class_row(obj: Any, now: datetime) -> list[Any]:
    parameters = obj.spec.parameters
    text = NONE
    if parameters is not None:
        group = f".{parameters.apiGroup}" if parameters.apiGroup else ""
        text = f"{parameters.kind}{group}/{parameters.name}"
    return [obj.metadata.name, obj.spec.controller, text, age(obj, now)]


def network_policy_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, selector_text(obj.spec.podSelector), age(obj, now)]


def ip_address_row(obj: Any, now: datetime) -> list[Any]:
    parent = obj.spec.parentRef
    place = [part for part in (parent.group, parent.resource, parent.namespace, parent.name) if part]
    return [obj.metadata.name, "/".join(place), age(obj, now)]


def service_cidr_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, ",".join(obj.spec.cidrs), age(obj, now)]


PRINTERS = (
    Printer(
        "",
        "services",
        columns("Name | Type | Cluster-IP | External-IP | Port(s) | Age | *Selector"),
        service_row,
    ),
    Printer("", "endpoints", columns("Name | Endpoints | Age"), endpoints_row),
    Printer(
        "discovery.k8s.io",
        "endpointslices",
        columns("Name | AddressType | Ports | Endpoints | Age"),
        endpoint_slice_row,
    ),
    Printer(
        "networking.k8s.io",
        "ingresses",
        columns("Name | Class | Hosts | Address | Ports | Age"),
        ingress_row,
    ),
    Printer(
        "networking.k8s.io",
        "ingressclasses",
        columns("Name | Controller | Parameters | Age"),
        ingress_class_row,
    ),
    Printer("networking.k8s.io", "networkpolicies", columns("Name | Pod-Selector | Age"), network_policy_row),
    Printer("networking.k8s.io", "ipaddresses", columns("Name | ParentRef | Age"), ip_address_row),
    Printer("networking.k8s.io", "servicecidrs", columns("Name | CIDRs | Age"), service_cidr_row),
)
