"""The service proxy of a node: keeps the packet rules in step with Services and EndpointSlices.

Thin: an informer's news marks a service as dirty; a moment later the dirty ones are compiled
(``service_rules``), the difference to what stands becomes one transaction (``rules``), nft applies it, and
stale datagram flows are forgotten. When nft refuses, or someone took the table away, everything is written
anew. Upstream counterpart: kube-proxy.

It acts where it runs: in a node's namespace for the node and its pods, or with no node's name on the host for
the host's own connections, beside the tables of other clusters. Invariant: a service that cannot be compiled
costs itself its rules and nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.client.informer import InformerFactory
from knarr.kit.backoff import Backoff
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.network.conntrack import Conntrack, UdpWays, stale, udp_ways
from knarr.network.families import FAMILIES, IPV4, Family, family_of
from knarr.network.health_checks import HealthCheck, HealthChecks, health_check
from knarr.network.nft import Nft, NftError, table_name
from knarr.network.rules import Table, TableConfig
from knarr.network.service_rules import Fragment, NodeView, compile_service

__all__ = ["ServiceProxy"]

#: Changes within this time after a sync wait and go together.
MIN_SYNC_INTERVAL_S = 0.02
#: How often is looked whether the table is still there.
CHECK_INTERVAL_S = 30.0
RETRY_BASE_S, RETRY_MAX_S = 0.1, 10.0

SERVICE_LABEL = "kubernetes.io/service-name"
ZONE_LABEL = "topology.kubernetes.io/zone"
HEADLESS_LABEL = "service.kubernetes.io/headless"

log = get_logger("proxy")


class ServiceProxy:
    """Runs until cancelled. The rules stay, as upstream's do: pods outlive a restart of their node's process.
    """

    def __init__(
        self,
        factory: InformerFactory,
        nft: Nft,
        *,
        clock: Clock,
        cluster: str,
        node: str = "",
        pod_cidrs: Iterable[str] = (),
        service_cidrs: Iterable[str] = (),
        node_ports: bool = True,
        families: tuple[Family, ...] = (IPV4,),
    ) -> None:
        """``node`` empty: no endpoint counts as local, as on the host beside the nodes."""
        self._nft = nft
        self._clock = clock
        self._cluster = cluster
        self._view = NodeView(node, "", node_ports)
        self._conntrack = Conntrack()
        self._checks = HealthChecks()
        self._services = factory.informer(core.Service)
        self._slices = factory.informer(discovery.EndpointSlice)
        self._node = factory.informer(core.Node, field_selector=f"metadata.name={node}") if node else None
        self._tables = [
            Table(TableConfig(table_name(cluster, "proxy"), family, *_of(family, pod_cidrs, service_cidrs)))
            for family in FAMILIES
            if family in families
        ]
        self._dirty: set[tuple[str, str]] = set()
        self._wake = asyncio.Event()
        self._ways: dict[tuple[str, str], UdpWays] = {}
        self._whole = True
        self._synced = asyncio.Event()
        self.syncs = 0

    async def wait_synced(self) -> None:
        """Until the rules stand for the first time."""
        await self._synced.wait()

    async def run(self) -> None:
        self._slices.lister.add_index("service", _service_of)
        self._services.add_handler(self._on_service)
        self._slices.add_handler(self._on_slice)
        if self._node is not None:
            self._node.add_handler(self._on_node)
            await self._node.wait_synced()
        await self._services.wait_synced()
        await self._slices.wait_synced()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sync_for_ever(), name="proxy-sync")
                group.create_task(self._check_for_ever(), name="proxy-check")
        finally:
            self._checks.close()

    # -- what wakes it --

    def _on_service(self, event: str, old: core.Service | None, new: core.Service | None) -> None:
        for service in (old, new):
            if service is not None:
                self._mark((service.metadata.namespace, service.metadata.name))

    def _on_slice(
        self, event: str, old: discovery.EndpointSlice | None, new: discovery.EndpointSlice | None
    ) -> None:
        for piece in (old, new):
            if piece is not None and (name := piece.metadata.labels.get(SERVICE_LABEL)):
                self._mark((piece.metadata.namespace, name))

    def _on_node(self, event: str, old: core.Node | None, new: core.Node | None) -> None:
        zone = new.metadata.labels.get(ZONE_LABEL, "") if new is not None else ""
        if zone != self._view.zone:
            self._view = NodeView(self._view.name, zone, self._view.node_ports)
            for service in self._services.lister.list():
                self._mark((service.metadata.namespace, service.metadata.name))

    def _mark(self, key: tuple[str, str]) -> None:
        self._dirty.add(key)
        self._wake.set()

    # -- what it does --

    async def _sync_for_ever(self) -> None:
        backoff = Backoff(RETRY_BASE_S, RETRY_MAX_S)
        while True:
            self._wake.clear()
            try:
                await self._sync()
            except NftError as error:
                log.error("rules refused, all will be written anew", error=error)
                self._whole = True
                self._wake.set()
                await self._clock.sleep(backoff.next_s())
                continue
            backoff.reset()
            self._synced.set()
            await self._clock.sleep(MIN_SYNC_INTERVAL_S)
            await self._wake.wait()

    async def _sync(self) -> None:
        """Bring the kernel's rules to what the listers say now."""
        dirty, self._dirty = self._dirty, set()
        flows: list[tuple[str, ...]] = []
        checks: dict[tuple[str, str], HealthCheck | None] = {}
        for namespace, name in dirty:
            slices = self._slices_of(namespace, name)
            flows += self._compile(namespace, name, slices)
            service = self._services.lister.get(namespace, name)
            checks[namespace, name] = health_check(service, slices, node=self._view.name)
        text = "".join(table.full() if self._whole else table.changes() for table in self._tables)
        started_s = self._clock.monotonic_s()
        if text:
            await self._nft.apply(text)
            self._whole = False
            self.syncs += 1
            took_s = round(self._clock.monotonic_s() - started_s, 4)
            log.debug("rules written", services=len(dirty), bytes=len(text), took_s=took_s)
        await self._conntrack.forget(flows)
        await self._checks.set(checks)

    def _slices_of(self, namespace: str, name: str) -> list[discovery.EndpointSlice]:
        pieces: Iterable[Any] = self._slices.lister.by_index("service", f"{namespace}/{name}")
        return [piece for piece in pieces if HEADLESS_LABEL not in piece.metadata.labels]

    def _compile(
        self, namespace: str, name: str, slices: list[discovery.EndpointSlice]
    ) -> list[tuple[str, ...]]:
        """Put one service's share into the tables; answers the flows that became stale."""
        service = self._services.lister.get(namespace, name)
        now = UdpWays()
        for table in self._tables:
            fragment = Fragment()
            if service is not None:
                try:
                    fragment = compile_service(service, slices, view=self._view, family=table.config.family)
                except Exception as error:
                    log.exception("service has no rules", service=f"{namespace}/{name}", error=error)
            table.put(f"{namespace}/{name}", fragment)
            ways = udp_ways(fragment)
            now = UdpWays(now.entrances | ways.entrances, now.endpoints | ways.endpoints)
        before = self._ways.pop((namespace, name), UdpWays())
        if now.entrances or now.endpoints:
            self._ways[namespace, name] = now
        return stale(before, now) if before != now else []

    async def _check_for_ever(self) -> None:
        """Notice when someone has flushed our tables."""
        while True:
            await self._clock.sleep(CHECK_INTERVAL_S)
            try:
                there = set(await self._nft.tables())
            except NftError as error:
                log.warning("tables cannot be listed", error=error)
                continue
            wanted = {(table.config.family.ip, table.config.name) for table in self._tables}
            if self._synced.is_set() and not wanted <= there:
                log.warning("rules are gone, all will be written anew", cluster=self._cluster)
                self._whole = True
                self._wake.set()


def _service_of(piece: discovery.EndpointSlice) -> list[str]:
    name = piece.metadata.labels.get(SERVICE_LABEL)
    return [f"{piece.metadata.namespace}/{name}"] if name else []


def _of(family: Family, *ranges: Iterable[str]) -> list[tuple[str, ...]]:
    return [tuple(cidr for cidr in some if family_of(cidr) is family) for some in ranges]
