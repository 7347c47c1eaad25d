"""The network parts of a node and of the host, wired: pod network, service proxy, DNS.

Each node answers DNS itself, on its own address: the service ``kube-dns`` has one endpoint a node and prefers
the local one, so that a
pod's questions never leave its node. The host, which belongs to no node, has routes to every node's pods and
service rules of its own.

Neighbours: ``network`` holds the parts; ``node_process`` and ``components`` run these functions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.client.client import Client
from knarr.client.informer import InformerFactory
from knarr.client.transport import TransportError
from knarr.cloud.local_volumes import default_class
from knarr.cluster.addresses import AddressPlan
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.network.dns import DnsServer
from knarr.network.nft import Nft
from knarr.network.podnetwork import PodNetwork, PodNetworkConfig
from knarr.network.proxy import ServiceProxy
from knarr.network.routes import NodeRoutes

if TYPE_CHECKING:
    from knarr.cluster.components import NodeConfig

log = get_logger("node-network")

DNS_SERVICE, DNS_NAMESPACE = "kube-dns", "kube-system"
RETRY_S = 1.0


async def run_node_network(
    config: NodeConfig, client: Client, factory: InformerFactory, *, clock: Clock, chance: Chance
) -> None:
    """A node's network, until cancelled."""
    plan = AddressPlan(config.index)
    nft = Nft(clock)
    ranges = (plan.pod_cidr, plan.service_cidr, plan.node_cidr)
    pods = PodNetwork(PodNetworkConfig(config.cluster, config.name, ranges), factory, nft, clock=clock)
    proxy = ServiceProxy(
        factory,
        nft,
        clock=clock,
        cluster=config.cluster,
        node=config.name,
        pod_cidrs=[plan.pod_cidr],
        service_cidrs=[plan.service_cidr],
    )
    dns = DnsServer(
        factory, [config.address], clock=clock, chance=chance, service_addresses=[plan.dns_address]
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(pods.run())
        group.create_task(proxy.run())
        group.create_task(dns.run())
        await dns.wait_ready()
        await _until_done(lambda: _publish_dns(client, config), clock=clock)


async def run_host_network(
    cluster: str, client: Client, factory: InformerFactory, *, plan: AddressPlan, clock: Clock
) -> None:
    """This machine's own way to the cluster's pods and services, until cancelled."""
    proxy = ServiceProxy(
        factory,
        Nft(clock),
        clock=clock,
        cluster=cluster,
        node="",
        pod_cidrs=[plan.pod_cidr],
        service_cidrs=[plan.service_cidr],
        # A node port belongs to the nodes' addresses; the host is none of them.
        node_ports=False,
    )
    routes = NodeRoutes(factory, clock=clock, within=[plan.pod_cidr])
    async with asyncio.TaskGroup() as group:
        group.create_task(proxy.run())
        group.create_task(routes.run())
        await _until_done(lambda: _ensure_dns_service(client, plan.dns_address), clock=clock)
        await _until_done(lambda: _ensure_storage_class(client), clock=clock)


async def _until_done(step: Callable[[], Awaitable[None]], *, clock: Clock) -> None:
    """Try until it succeeds: the API server may only be starting."""
    while True:
        try:
            await step()
            return
        except (StatusError, TransportError) as error:
            log.debug("not published yet", error=error)
            await clock.sleep(RETRY_S)


async def _ensure_dns_service(client: Client, address: str) -> None:
    service = core.Service(
        metadata=meta.ObjectMeta(
            name=DNS_SERVICE,
            namespace=DNS_NAMESPACE,
            labels={
                "k8s-app": "kube-dns",
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
            },
        ),
        spec=core.ServiceSpec(
            clusterIP=address,
            internalTrafficPolicy="Local",
            ports=[
                core.ServicePort(name="dns", port=53, protocol="UDP", targetPort=53),
                core.ServicePort(name="dns-tcp", port=53, protocol="TCP", targetPort=53),
            ],
        ),
    )
    try:
        await client.create(service)
    except StatusError as error:
        if error.reason != "AlreadyExists" and not (error.code == 422 and "already allocated" in str(error)):
            raise


async def _ensure_storage_class(client: Client) -> None:
    """Once; a class that a user has changed or removed on purpose stays as it is while the cluster runs."""
    try:
        await client.create(default_class())
    except StatusError as error:
        if error.reason != "AlreadyExists":
            raise


async def _publish_dns(client: Client, config: NodeConfig) -> None:
    """This node's endpoint of the DNS service; it goes when the node is deleted."""
    node = await client.get(core.Node, config.name)
    wanted = discovery.EndpointSlice(
        metadata=meta.ObjectMeta(
            name=f"{DNS_SERVICE}-{config.name}",
            namespace=DNS_NAMESPACE,
            labels={
                "kubernetes.io/service-name": DNS_SERVICE,
                "endpointslice.kubernetes.io/managed-by": "knarr-node",
            },
            ownerReferences=[
                meta.OwnerReference(apiVersion="v1", kind="Node", name=config.name, uid=node.metadata.uid)
            ],
        ),
        addressType="IPv4",
        endpoints=[
            discovery.Endpoint(
                addresses=[config.address],
                conditions=discovery.EndpointConditions(ready=True, serving=True, terminating=False),
                nodeName=config.name,
            )
        ],
        ports=[
            discovery.EndpointPort(name="dns", port=53, protocol="UDP"),
            discovery.EndpointPort(name="dns-tcp", port=53, protocol="TCP"),
        ],
    )
    try:
        await client.create(wanted)
    except StatusError as error:
        if error.reason != "AlreadyExists":
            raise
        held = await client.get(discovery.EndpointSlice, wanted.metadata.name, namespace=DNS_NAMESPACE)
        held.endpoints, held.ports = wanted.endpoints, wanted.ports
        held.metadata.ownerReferences = wanted.metadata.ownerReferences
        await client.update(held)
