"""One service's share of the packet rules of a node. Pure.

A service port becomes at most three chains: ``service-…`` spreads over the cluster's endpoints, ``local-…``
over this node's, ``external-…`` decides which of the two a packet from outside gets and whether its source is
rewritten. Map elements lead to the chains, so that a packet's way is as long among ten services as among ten
thousand.

Upstream counterpart: ``pkg/proxy/nftables/proxier.go`` (policies, masquerade, what is rejected and what
dropped). On purpose different: endpoints take turns (``numgen inc``) instead of being drawn by lot, and they
stand in one map for all services, so that an endpoint that comes or goes changes an element and not a chain
of its own. Neighbours: ``endpoints`` chooses, ``rules`` puts the shares together and computes differences.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.network.endpoints import (
    Chosen,
    Endpoint,
    choose,
    endpoints_of_port,
    is_local_external,
    is_local_internal,
)
from knarr.network.families import Family, family_of

__all__ = ["Balance", "Fragment", "NodeView", "compile_service", "skipped"]

#: Upstream's default for ``sessionAffinityConfig.clientIP.timeoutSeconds``.
AFFINITY_TIMEOUT_S = 10_800
#: Services with this label are left to another proxy.
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
_UNSAFE = re.compile(r"[^A-Za-z0-9/._-]")
#: nft allows 128 bytes for a chain's name.
MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class NodeView:
    """From where the services are looked at."""

    name: str = ""
    zone: str = ""
    node_ports: bool = True


@dataclass(frozen=True, slots=True)
class Balance:
    """The rule that gives each new connection the next of some endpoints. ``targets`` are in nft's words."""

    protocol: str
    targets: tuple[str, ...]


@dataclass(slots=True)
class Fragment:
    """What one service needs: chains with their rules, sets with their declaration, elements with their
    value.
    """

    chains: dict[str, tuple[str | Balance, ...]] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)
    elements: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, where: str, key: str, value: str = "") -> None:
        self.elements.setdefault(where, {})[key] = value


def skipped(service: core.Service) -> bool:
    """Services that have no packet rules."""
    spec = service.spec
    return (
        spec.type == "ExternalName"
        or not spec.clusterIP
        or spec.clusterIP == "None"
        or PROXY_NAME_LABEL in service.metadata.labels
    )


def compile_service(
    service: core.Service,
    slices: Iterable[discovery.EndpointSlice],
    *,
    view: NodeView,
    family: Family,
) -> Fragment:
    """The share of one service; empty when it has no packet rules or no address of this family."""
    fragment = Fragment()
    cluster_ips = _addresses(service.spec.clusterIPs or [service.spec.clusterIP], family)
    if skipped(service) or not cluster_ips:
        return fragment
    fragment.add("cluster-ips", cluster_ips[0])
    slices = list(slices)
    for port in service.spec.ports:
        endpoints = endpoints_of_port(slices, port, address_type=family.name)
        chosen = choose(endpoints, service, node=view.name, zone=view.zone)
        _PortRules(fragment, service, port, chosen=chosen, family=family).add(cluster_ips[0], view)
    return fragment


def _addresses(candidates: Iterable[str], family: Family) -> list[str]:
    return [address for address in candidates if family_of(address) is family and "/" not in address]


def _load_balancer_ips(service: core.Service, family: Family) -> list[str]:
    if service.spec.type != "LoadBalancer":
        return []
    ingress = service.status.loadBalancer.ingress
    return _addresses((item.ip for item in ingress if item.ip and item.ipMode in (None, "", "VIP")), family)


def _hash(text: str) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:8]


class _PortRules:
    """Puts the rules of one service port into the service's fragment."""

    def __init__(
        self,
        fragment: Fragment,
        service: core.Service,
        port: core.ServicePort,
        *,
        chosen: Chosen,
        family: Family,
    ) -> None:
        self.fragment = fragment
        self.service = service
        self.port = port
        self.protocol = (port.protocol or "TCP").lower()
        self.chosen = chosen
        self.family = family
        meta = service.metadata
        # Whatever an object is called, its name must not become nft's next word.
        self.full_name = _UNSAFE.sub("_", f"{meta.namespace}/{meta.name}/{self.protocol}/{port.name}")

    def add(self, cluster_ip: str, view: NodeView) -> None:
        external_ips = _addresses(self.service.spec.externalIPs, self.family)
        balancer_ips = _load_balancer_ips(self.service, self.family)
        node_port = self.port.nodePort if view.node_ports else 0
        self._internal(cluster_ip)
        if external_ips or balancer_ips or node_port:
            self._external([*external_ips, *balancer_ips], node_port)
        self._firewall(balancer_ips)
        for endpoint in {*self.chosen.cluster, *self.chosen.local}:
            self.fragment.add("hairpin", f"{endpoint.address} . {endpoint.address}")

    def _name(self, kind: str, more: str = "") -> str:
        return f"{kind}-{_hash(self.full_name + more)}-{self.full_name}{more}"[:MAX_NAME].rstrip("-/.")

    def _key(self, address: str) -> str:
        return f"{address} . {self.protocol} . {self.port.port}"

    def _internal(self, cluster_ip: str) -> None:
        key = self._key(cluster_ip)
        local = is_local_internal(self.service)
        if not self.chosen.exist:
            self.fragment.add("no-endpoint-services", key, "goto reject-now")
        elif local and not self.chosen.local:
            self.fragment.add("no-endpoint-services", key, "drop")
        else:
            self.fragment.add("service-ips", key, f"goto {self._spread(local=local)}")

    def _external(self, addresses: list[str], node_port: int) -> None:
        local = is_local_external(self.service)
        if not self.chosen.exist:
            self._unreachable(addresses, node_port, "goto reject-now")
            return
        chain = self._name("external")
        rules: list[str] = []
        if local:
            rules += self._short_circuit()
            if self.chosen.local:
                rules.append(f"goto {self._spread(local=True)}")
            else:
                self._unreachable(addresses, node_port, "drop")
        else:
            rules += ["jump mark-for-masquerade", f"goto {self._spread(local=False)}"]
        if not rules:
            return
        self.fragment.chains[chain] = tuple(rules)
        for address in addresses:
            self.fragment.add("service-ips", self._key(address), f"goto {chain}")
        if node_port:
            self.fragment.add("service-nodeports", f"{self.protocol} . {node_port}", f"goto {chain}")

    def _short_circuit(self) -> list[str]:
        """Pods and this node may use every endpoint even where strangers get the local ones only."""
        if not self.chosen.cluster:
            return []
        everywhere = self._spread(local=False)
        return [
            f"{self.family.ip} saddr @pod-cidrs goto {everywhere}",
            "fib saddr type local jump mark-for-masquerade",
            f"fib saddr type local goto {everywhere}",
        ]

    def _unreachable(self, addresses: list[str], node_port: int, verdict: str) -> None:
        for address in addresses:
            self.fragment.add("no-endpoint-services", self._key(address), verdict)
        if node_port:
            self.fragment.add("no-endpoint-nodeports", f"{self.protocol} . {node_port}", verdict)

    def _firewall(self, balancer_ips: list[str]) -> None:
        ranges = [part.strip() for part in self.service.spec.loadBalancerSourceRanges]
        allowed = sorted(
            str(ipaddress.ip_network(part, strict=False)) for part in ranges if family_of(part) is self.family
        )
        if not ranges or not balancer_ips:
            return
        chain = self._name("firewall")
        rule = f"{self.family.ip} saddr != {{ {', '.join(allowed)} }} drop" if allowed else "drop"
        self.fragment.chains[chain] = (rule,)
        for address in balancer_ips:
            self.fragment.add("firewall-ips", self._key(address), f"goto {chain}")

    def _spread(self, *, local: bool) -> str:
        """The chain that spreads connections over the chosen endpoints; made when first asked for."""
        chain = self._name("local" if local else "service")
        if chain in self.fragment.chains:
            return chain
        endpoints = self.chosen.local if local else self.chosen.cluster
        if self.service.spec.sessionAffinity == "ClientIP":
            self.fragment.chains[chain] = self._sticky(endpoints)
        else:
            targets = tuple(f"{endpoint.address} . {endpoint.port}" for endpoint in endpoints)
            self.fragment.chains[chain] = (Balance(self.protocol, targets),)
        return chain

    def _sticky(self, endpoints: tuple[Endpoint, ...]) -> tuple[str, ...]:
        """A client known to one of the endpoints goes there again; the others take turns."""
        ip, known, turns = self.family.ip, [], []
        config = self.service.spec.sessionAffinityConfig
        wanted = config.clientIP.timeoutSeconds if config and config.clientIP else None
        timeout_s = wanted or AFFINITY_TIMEOUT_S
        for number, endpoint in enumerate(endpoints):
            target = _target(endpoint)
            # A set's timeout cannot be changed, so it belongs to the name.
            clients = f"affinity-{_hash(f'{self.full_name} {target} {timeout_s}')}"
            chain = self._name("endpoint", f"/{target}").translate(str.maketrans("[]:", "__-"))
            self.fragment.sets[clients] = (
                f"type {self.family.address_type} ; flags dynamic,timeout ; timeout {timeout_s}s ;"
            )
            self.fragment.chains[chain] = (
                f"update @{clients} {{ {ip} saddr }}",
                f"meta l4proto {self.protocol} dnat to {target}",
            )
            known.append(f"{ip} saddr @{clients} goto {chain}")
            turns.append(f"{number} : goto {chain}")
        return (*known, f"numgen inc mod {len(turns)} vmap {{ {', '.join(turns)} }}")


def _target(endpoint: Endpoint) -> str:
    address = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    return f"{address}:{endpoint.port}"
