"""Which endpoints get the traffic of a service port, seen from one node. Pure.

From a Service and its EndpointSlices to two lists: the endpoints for the cluster's traffic and those on this
node. Upstream counterpart: ``pkg/proxy/topology.go`` and ``pkg/proxy/endpointslicecache.go``, rule for rule:
ready ones; if there are none, those that still serve while terminating; hints for this node or this zone when
every one has hints. Neighbours: ``service_rules`` turns the lists into packet rules, ``proxy`` hands in what
the informers have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.network.families import family_of

__all__ = ["Chosen", "Endpoint", "choose", "endpoints_of_port", "is_local_external", "is_local_internal"]


@dataclass(frozen=True, order=True, slots=True)
class Endpoint:
    """One address and port behind a service port."""

    address: str
    port: int
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    node: str = ""
    nodes: frozenset[str] = field(default=frozenset(), compare=False)
    zones: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True)
class Chosen:
    """``cluster`` for traffic that may go anywhere, ``local`` for traffic that may not leave this node.

    ``exist`` is false when the service port has no usable endpoint anywhere.
    """

    cluster: tuple[Endpoint, ...]
    local: tuple[Endpoint, ...]
    exist: bool


def is_local_internal(service: core.Service) -> bool:
    return service.spec.internalTrafficPolicy == "Local"


def is_local_external(service: core.Service) -> bool:
    return service.spec.externalTrafficPolicy == "Local"


def endpoints_of_port(
    slices: Iterable[discovery.EndpointSlice], port: core.ServicePort, *, address_type: str
) -> list[Endpoint]:
    """Every endpoint the slices name for a service port; ``address_type`` is IPv4 or IPv6."""
    protocol = port.protocol or "TCP"
    found: dict[tuple[str, int], Endpoint] = {}
    for piece in slices:
        if piece.addressType != address_type:
            continue
        for number in _ports(piece, port.name, protocol):
            for item in piece.endpoints:
                # Upstream, too, reads the first address only.
                if item.addresses and _is(item.addresses[0], address_type):
                    found[item.addresses[0], number] = _endpoint(item, number)
    return sorted(found.values())


def _is(address: str, address_type: str) -> bool:
    family = family_of(address)
    return family is not None and family.name == address_type and "/" not in address


def _ports(piece: discovery.EndpointSlice, name: str, protocol: str) -> list[int]:
    return [
        port.port
        for port in piece.ports
        if port.port and (port.name or "") == name and (port.protocol or "TCP") == protocol
    ]


def _endpoint(item: discovery.Endpoint, port: int) -> Endpoint:
    conditions, hints = item.conditions, item.hints
    ready = conditions.ready is None or conditions.ready
    return Endpoint(
        item.addresses[0],
        port,
        ready=ready,
        serving=ready if conditions.serving is None else conditions.serving,
        terminating=bool(conditions.terminating),
        node=item.nodeName or "",
        nodes=frozenset(hint.name for hint in hints.forNodes) if hints else frozenset(),
        zones=frozenset(hint.name for hint in hints.forZones) if hints else frozenset(),
    )


def choose(endpoints: Sequence[Endpoint], service: core.Service, *, node: str, zone: str) -> Chosen:
    """Sort out the endpoints of one service port for ``node``, which lies in ``zone``."""
    cluster = [endpoint for endpoint in _near(endpoints, node, zone) if endpoint.ready]
    if not cluster:
        cluster = [endpoint for endpoint in endpoints if endpoint.serving and endpoint.terminating]
    local: list[Endpoint] = []
    if is_local_internal(service) or is_local_external(service):
        here = [endpoint for endpoint in endpoints if node and endpoint.node == node]
        local = [endpoint for endpoint in here if endpoint.ready]
        if not local:
            local = [endpoint for endpoint in here if endpoint.serving and endpoint.terminating]
    return Chosen(tuple(cluster), tuple(local), exist=bool(cluster or local))


def _near(endpoints: Sequence[Endpoint], node: str, zone: str) -> Sequence[Endpoint]:
    """Those the hints assign to this node or else its zone; all, if one ready endpoint has no hint."""
    ready = [endpoint for endpoint in endpoints if endpoint.ready]
    if node and ready and all(endpoint.nodes for endpoint in ready):
        same_node = [endpoint for endpoint in ready if node in endpoint.nodes]
        if same_node:
            return same_node
    if zone and ready and all(endpoint.zones for endpoint in ready):
        same_zone = [endpoint for endpoint in ready if zone in endpoint.zones]
        if same_zone:
            return same_zone
    return endpoints
