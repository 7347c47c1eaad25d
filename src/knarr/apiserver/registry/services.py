"""Services: addresses and node ports, given from pools without ever giving one twice.

An address is taken by creating its IPAddress object and a node port by creating its key: whoever creates it
first has it,
also when several API servers run side by side. What a failed write took is given back at once.

Upstream's counterpart is ``pkg/registry/core/service``.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError, internal_error, invalid, invalid_value
from knarr.api.meta import v1 as meta
from knarr.api.networking import v1 as networking
from knarr.api.scheme import Resource, by_type
from knarr.apiserver.registry.strategy import Context, Release, Strategy, facts_for
from knarr.kit.clock import rfc3339
from knarr.store.contract import RevisionMismatch, Store

NODE_PORTS = range(30000, 32768)
#: Random draws before the pool is searched from one end.
RANDOM_DRAWS = 32
NODE_PORT_PREFIX = "/registry/knarr/nodeports/"


class AddressPool:
    """The addresses of a service range, taken by IPAddress objects."""

    def __init__(self, store: Store, cidr: str) -> None:
        self._store = store
        self._network = ipaddress.ip_network(cidr)
        self._prefix = by_type(networking.IPAddress).storage_prefix + "/"

    @property
    def cidr(self) -> str:
        return str(self._network)

    def holds(self, address: str) -> bool:
        return ipaddress.ip_address(address) in self._network

    async def take(self, ctx: Context, service: core.Service, address: str) -> bool:
        """Take one address; False if it is taken."""
        obj = networking.IPAddress(
            metadata=meta.ObjectMeta(
                name=address,
                uid=ctx.chance.uid(),
                creationTimestamp=rfc3339(ctx.clock.now()),
                labels={
                    "ipaddress.kubernetes.io/ip-family": "IPv4",
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                },
            ),
            spec=networking.IPAddressSpec(
                parentRef=networking.ParentReference(
                    resource="services", namespace=service.metadata.namespace, name=service.metadata.name
                )
            ),
        )
        try:
            await self._store.put(self._prefix + address, codec.encode(obj), expected=0)
        except RevisionMismatch:
            return False
        return True

    async def draw(self, ctx: Context, service: core.Service) -> str:
        """Take any free address, from the upper part of the range as upstream does, so that the lower stays
        for chosen ones.
        """
        count = self._network.num_addresses
        reserved = min(max(16, count // 16), 256)
        for _ in range(RANDOM_DRAWS):
            address = str(self._network[reserved + ctx.chance.index(max(count - reserved - 1, 1))])
            if await self.take(ctx, service, address):
                return address
        for offset in range(1, count - 1):
            if await self.take(ctx, service, str(self._network[offset])):
                return str(self._network[offset])
        raise internal_error("failed to allocate a serviceIP: range is full")

    async def give_back(self, address: str) -> None:
        try:
            await self._store.delete(self._prefix + address, expected=None)
        except RevisionMismatch:
            pass


class NodePortPool:
    """The node ports, one key each."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def take(self, port: int, owner: str) -> bool:
        try:
            await self._store.put(f"{NODE_PORT_PREFIX}{port}", owner.encode(), expected=0)
        except RevisionMismatch:
            return False
        return True

    async def draw(self, ctx: Context, owner: str) -> int:
        for _ in range(RANDOM_DRAWS):
            port = NODE_PORTS[ctx.chance.index(len(NODE_PORTS))]
            if await self.take(port, owner):
                return port
        for port in NODE_PORTS:
            if await self.take(port, owner):
                return port
        raise internal_error("failed to allocate a nodePort: range is full")

    async def give_back(self, port: int) -> None:
        try:
            await self._store.delete(f"{NODE_PORT_PREFIX}{port}", expected=None)
        except RevisionMismatch:
            pass


class Services(Strategy):
    """The strategy of services, with the two pools."""

    def __init__(self, resource: Resource, *, addresses: AddressPool, node_ports: NodePortPool) -> None:
        Strategy.__init__(self, resource, **facts_for(resource))
        self._addresses = addresses
        self._node_ports = node_ports

    def prepare_create(self, ctx: Context, obj: core.Service) -> None:
        obj.status = core.ServiceStatus()
        self._normalize(obj, None)

    def prepare_update(self, ctx: Context, obj: core.Service, old: core.Service) -> None:
        obj.status = old.status
        if obj.spec.type != "ExternalName" and old.spec.type != "ExternalName":
            # A client that leaves the address out means the one the service has.
            obj.spec.clusterIP = obj.spec.clusterIP or old.spec.clusterIP
            obj.spec.clusterIPs = obj.spec.clusterIPs or list(old.spec.clusterIPs)
        _drop_with_type(obj.spec, old.spec)
        self._normalize(obj, old)

    def _normalize(self, obj: core.Service, old: core.Service | None) -> None:
        spec = obj.spec
        if spec.type == "ExternalName":
            spec.clusterIP, spec.clusterIPs = "", []
            spec.ipFamilies, spec.ipFamilyPolicy, spec.internalTrafficPolicy = [], None, None
            return
        if spec.clusterIP and (
            not spec.clusterIPs or (old is not None and spec.clusterIP != old.spec.clusterIP)
        ):
            spec.clusterIPs = [spec.clusterIP]
        elif spec.clusterIPs and not spec.clusterIP:
            spec.clusterIP = spec.clusterIPs[0]
        spec.ipFamilies = spec.ipFamilies or ["IPv4"]
        spec.ipFamilyPolicy = spec.ipFamilyPolicy or "SingleStack"
        if old is not None and _has_node_ports(spec):
            _keep_node_ports(spec.ports, old.spec.ports)

    async def reserve(self, ctx: Context, obj: core.Service, old: core.Service | None) -> Release:
        taken_addresses: list[str] = []
        taken_ports: list[int] = []

        async def release() -> None:
            for address in taken_addresses:
                await self._addresses.give_back(address)
            for port in taken_ports:
                await self._node_ports.give_back(port)

        try:
            await self._reserve_address(ctx, obj, old, taken_addresses)
            await self._reserve_ports(ctx, obj, old, taken_ports)
        except BaseException:
            await release()
            raise
        if old is not None and not ctx.dry_run:
            await self._give_back_unused(obj, old)
        return release

    async def _reserve_address(
        self, ctx: Context, obj: core.Service, old: core.Service | None, taken: list[str]
    ) -> None:
        spec = obj.spec
        if spec.type == "ExternalName" or spec.clusterIP == "None":
            return
        if old is not None and old.spec.clusterIP == spec.clusterIP and spec.clusterIP:
            return
        if not spec.clusterIP:
            spec.clusterIP = await self._addresses.draw(ctx, obj)
        else:
            self._check_address(obj)
            if not await self._addresses.take(ctx, obj, spec.clusterIP):
                raise self._bad_address(
                    obj, f"failed to allocate IP {spec.clusterIP}: provided IP is already allocated"
                )
        taken.append(spec.clusterIP)
        spec.clusterIPs = [spec.clusterIP]

    def _check_address(self, obj: core.Service) -> None:
        try:
            inside = self._addresses.holds(obj.spec.clusterIP)
        except ValueError:
            raise self._bad_address(
                obj, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            ) from None
        if not inside:
            raise self._bad_address(
                obj,
                f"failed to allocate IP {obj.spec.clusterIP}: the provided IP ({obj.spec.clusterIP}) is not in the valid "
                f"range. The range of valid IPs is {self._addresses.cidr}",
            )

    def _bad_address(self, obj: core.Service, detail: str) -> StatusError:
        return invalid(
            "", "Service", obj.metadata.name, [invalid_value("spec.clusterIPs", obj.spec.clusterIPs, detail)]
        )

    async def _reserve_ports(
        self, ctx: Context, obj: core.Service, old: core.Service | None, taken: list[int]
    ) -> None:
        if obj.spec.type not in ("NodePort", "LoadBalancer"):
            return
        if obj.spec.type == "LoadBalancer" and obj.spec.allocateLoadBalancerNodePorts is False:
            return
        held = {port.nodePort for port in old.spec.ports} if old is not None else set()
        owner = f"{obj.metadata.namespace}/{obj.metadata.name}"
        mine: set[int] = set()
        for index, port in enumerate(obj.spec.ports):
            wanted = port.nodePort
            if not wanted:
                port.nodePort = await self._node_ports.draw(ctx, owner)
                taken.append(port.nodePort)
            elif wanted not in held and wanted not in mine:
                problem = ""
                if wanted not in NODE_PORTS:
                    problem = f"provided port is not in the valid range. The range of valid ports is {NODE_PORTS.start}-{NODE_PORTS.stop - 1}"
                elif not await self._node_ports.take(wanted, owner):
                    problem = "provided port is already allocated"
                if problem:
                    field = f"spec.ports[{index}].nodePort"
                    raise invalid("", "Service", obj.metadata.name, [invalid_value(field, wanted, problem)])
                taken.append(wanted)
            mine.add(port.nodePort)

    async def _give_back_unused(self, obj: core.Service, old: core.Service) -> None:
        kept = {port.nodePort for port in obj.spec.ports}
        for port in old.spec.ports:
            if port.nodePort and port.nodePort not in kept:
                await self._node_ports.give_back(port.nodePort)
        if old.spec.clusterIP not in ("", "None") and old.spec.clusterIP != obj.spec.clusterIP:
            await self._addresses.give_back(old.spec.clusterIP)

    async def released(self, obj: Any) -> None:
        if obj.spec.clusterIP not in ("", "None"):
            await self._addresses.give_back(obj.spec.clusterIP)
        for port in obj.spec.ports:
            if port.nodePort:
                await self._node_ports.give_back(port.nodePort)


def _has_node_ports(spec: core.ServiceSpec) -> bool:
    balanced = spec.type == "LoadBalancer" and spec.allocateLoadBalancerNodePorts is not False
    return spec.type == "NodePort" or balanced


def _is_reached_from_outside(spec: core.ServiceSpec) -> bool:
    return spec.type in ("NodePort", "LoadBalancer") or (spec.type == "ClusterIP" and bool(spec.externalIPs))


def _has_health_port(spec: core.ServiceSpec) -> bool:
    return spec.type == "LoadBalancer" and spec.externalTrafficPolicy == "Local"


def _drop_with_type(new: core.ServiceSpec, old: core.ServiceSpec) -> None:
    """What the server chose for the old type goes with it, if the client left it as it was; what a client changed is its own."""
    if new.type == "ExternalName" and old.type != "ExternalName" and new.clusterIP == old.clusterIP:
        new.clusterIP, new.clusterIPs = "", []
    if _has_node_ports(old) and not _has_node_ports(new) and _node_ports(new) == _node_ports(old):
        for port in new.ports:
            port.nodePort = 0
    if _has_health_port(old) and not _has_health_port(new) and new.healthCheckNodePort == old.healthCheckNodePort:
        new.healthCheckNodePort = 0
    outside = _is_reached_from_outside(old) and not _is_reached_from_outside(new)
    if outside and new.externalTrafficPolicy == old.externalTrafficPolicy:
        new.externalTrafficPolicy = ""
    if old.type == "LoadBalancer" != new.type:
        if new.allocateLoadBalancerNodePorts == old.allocateLoadBalancerNodePorts:
            new.allocateLoadBalancerNodePorts = None
        if new.loadBalancerClass == old.loadBalancerClass:
            new.loadBalancerClass = None


def _node_ports(spec: core.ServiceSpec) -> set[int]:
    return {port.nodePort for port in spec.ports}


def _keep_node_ports(ports: list[core.ServicePort], old: list[core.ServicePort]) -> None:
    """A port that leaves its node port out keeps the one it had, matched by protocol and port."""
    held = {(port.protocol, port.port): port.nodePort for port in old}
    named = {port.nodePort for port in ports if port.nodePort}
    for port in ports:
        before = held.get((port.protocol, port.port), 0)
        if not port.nodePort and before not in named:
            port.nodePort = before
