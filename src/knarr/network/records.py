"""Which DNS records a service has, per the Kubernetes DNS specification 1.1.0. Pure.

Names are lower case and without the final dot. Where the specification leaves room, CoreDNS' kubernetes
plugin is followed: endpoints without a hostname are named after their address, SRV records also stand under
the service's own name, and a headless service without ready endpoints has no name at all. Neighbours:
``zone`` keeps what is made here and answers from it, ``dns`` hands in what the informers have.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery

__all__ = ["DNS_VERSION", "Record", "namespace_records", "reverse_name", "service_records", "zone_records"]

DNS_VERSION = "1.1.0"


@dataclass(frozen=True, order=True, slots=True)
class Record:
    """One record. ``data`` is an address, a name, a text, or for SRV ``priority weight port target``.

    Type ``""`` only makes the name exist.
    """

    name: str
    type: str
    data: str = ""


@dataclass(frozen=True, slots=True)
class _Target:
    """An endpoint of a service: its label below the service's name, and its named ports."""

    label: str
    address: str
    named: bool
    ports: tuple[tuple[str, str, int], ...]


def zone_records(zone: str, dns_addresses: Iterable[str]) -> list[Record]:
    """What every cluster's zone has."""
    records = [Record(f"dns-version.{zone}", "TXT", DNS_VERSION), Record(zone, "NS", f"ns.dns.{zone}")]
    records += [_address(f"ns.dns.{zone}", address) for address in dns_addresses]
    return [*records, Record(f"svc.{zone}", ""), Record(f"pod.{zone}", "")]


def namespace_records(namespace: str, zone: str) -> list[Record]:
    """A namespace makes two names exist, also while there is nothing below them."""
    return [Record(f"{namespace}.svc.{zone}", ""), Record(f"{namespace}.pod.{zone}", "")]


def service_records(
    service: core.Service, slices: Iterable[discovery.EndpointSlice], *, zone: str
) -> list[Record]:
    """Every record of one service, sorted."""
    name = f"{service.metadata.name}.{service.metadata.namespace}.svc.{zone}".lower()
    spec = service.spec
    if spec.type == "ExternalName":
        return [Record(name, "CNAME", spec.externalName.rstrip(".").lower())] if spec.externalName else []
    targets = _targets(slices, not_ready_too=spec.publishNotReadyAddresses)
    records: set[Record] = set()
    for target in targets:
        own = f"{target.label}.{name}"
        records.add(_address(own, target.address))
        if target.named:
            records.add(Record(reverse_name(target.address), "PTR", own))
    if spec.clusterIP == "None":
        records.update(_address(name, target.address) for target in targets)
        records.update(_headless_ports(name, targets))
    else:
        addresses = [address for address in spec.clusterIPs or [spec.clusterIP] if address]
        records.update(_address(name, address) for address in addresses)
        records.update(Record(reverse_name(address), "PTR", name) for address in addresses)
        if addresses:
            ports = [(port.name, (port.protocol or "TCP").lower(), port.port) for port in spec.ports]
            for key in _port_keys(name, ports):
                matching = [port for port in ports if key in _port_keys(name, [port])]
                weight = _weight(len(matching))
                records.update(Record(key, "SRV", f"0 {weight} {port[2]} {name}") for port in matching)
    return sorted(records)


def _headless_ports(name: str, targets: list[_Target]) -> set[Record]:
    found: dict[str, set[tuple[int, str]]] = {}
    for target in targets:
        for port in target.ports:
            for key in _port_keys(name, [port]):
                found.setdefault(key, set()).add((port[2], f"{target.label}.{name}"))
    return {
        Record(key, "SRV", f"0 {_weight(len(places))} {port} {host}")
        for key, places in found.items()
        for port, host in places
    }


def _port_keys(name: str, ports: Iterable[tuple[str, str, int]]) -> set[str]:
    """The names under which SRV records of these ports stand."""
    return {name} | {f"_{port}._{protocol}.{name}" for port, protocol, _ in ports if port}


def _weight(count: int) -> int:
    return max(100 // count, 1)


def _targets(slices: Iterable[discovery.EndpointSlice], *, not_ready_too: bool) -> list[_Target]:
    targets: dict[tuple[str, str], _Target] = {}
    for piece in slices:
        if piece.addressType not in ("IPv4", "IPv6"):
            continue
        ports = tuple(
            ((port.name or ""), (port.protocol or "TCP").lower(), port.port)
            for port in piece.ports
            if port.port
        )
        for endpoint in piece.endpoints:
            if endpoint.conditions.ready is False and not not_ready_too:
                continue
            for address in endpoint.addresses:
                label = (endpoint.hostname or _dashed(address)).lower()
                before = targets.get((label, address))
                all_ports = ports if before is None else tuple(dict.fromkeys((*before.ports, *ports)))
                targets[label, address] = _Target(label, address, bool(endpoint.hostname), all_ports)
    return list(targets.values())


def _dashed(address: str) -> str:
    return address.replace(".", "-").replace(":", "-")


def _address(name: str, address: str) -> Record:
    return Record(name, "AAAA" if ":" in address else "A", address)


def reverse_name(address: str) -> str:
    """``10.0.0.1`` -> ``1.0.0.10.in-addr.arpa``."""
    return ipaddress.ip_address(address).reverse_pointer
