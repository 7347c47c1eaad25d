"""The cluster's DNS server: UDP and TCP on given addresses, fed by informers.

Services, EndpointSlices and Namespaces become the zone's records as their news arrive; a question is answered
from the zone, or asked of the machine's own resolvers when it is about somebody else's name. Answers with
nothing to choose from are kept as bytes until the zone changes. Upstream counterpart: CoreDNS with the
kubernetes, forward and loadbalance plugins. Neighbours: ``zone``, ``dns_message``, ``dns_forward``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import dnslib
from dnslib import RCODE

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.client.informer import InformerFactory
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.kit.tasks import TaskSet
from knarr.network.dns_forward import Forwarder
from knarr.network.dns_message import Query, failure, fit, parse, respond
from knarr.network.proxy import SERVICE_LABEL
from knarr.network.records import namespace_records, service_records
from knarr.network.zone import Zone

__all__ = ["DnsServer", "Resolver", "ZoneFeeder"]

#: Answers kept as bytes; the cache is emptied when it is full or the zone changes.
MAX_KEPT_ANSWERS = 4_096
MAX_TCP_CONNECTIONS = 256
#: Datagrams being answered at once; more are dropped, and asked again by whoever sent them.
MAX_UDP_QUESTIONS = 2_000
#: A connection that asks nothing for this long is closed.
TCP_IDLE_S = 10.0
MAX_TCP_BYTES = 65_535

log = get_logger("dns")


class ZoneFeeder:
    """Keeps a zone in step with the cluster. Its informers run in the factory."""

    def __init__(self, zone: Zone, factory: InformerFactory) -> None:
        self.zone = zone
        self._services = factory.informer(core.Service)
        self._slices = factory.informer(discovery.EndpointSlice)
        self._namespaces = factory.informer(core.Namespace)
        self._slices.lister.add_index("service", _service_of)
        self._services.add_handler(self._on_service)
        self._slices.add_handler(self._on_slice)
        self._namespaces.add_handler(self._on_namespace)

    async def wait_synced(self) -> None:
        for informer in (self._services, self._slices, self._namespaces):
            await informer.wait_synced()

    def _on_service(self, event: str, old: core.Service | None, new: core.Service | None) -> None:
        service = new or old
        if service is not None:
            self._update(service.metadata.namespace, service.metadata.name)

    def _on_slice(
        self, event: str, old: discovery.EndpointSlice | None, new: discovery.EndpointSlice | None
    ) -> None:
        names = {
            (p.metadata.namespace, p.metadata.labels.get(SERVICE_LABEL)) for p in (old, new) if p is not None
        }
        for namespace, name in names:
            if name:
                self._update(namespace, name)

    def _on_namespace(self, event: str, old: core.Namespace | None, new: core.Namespace | None) -> None:
        namespace = new or old
        if namespace is not None:
            name = namespace.metadata.name
            self.zone.put(
                f"namespace/{name}", namespace_records(name, self.zone.zone) if new is not None else []
            )

    def _update(self, namespace: str, name: str) -> None:
        service = self._services.lister.get(namespace, name)
        slices: Iterable[Any] = self._slices.lister.by_index("service", f"{namespace}/{name}")
        records = service_records(service, slices, zone=self.zone.zone) if service is not None else []
        self.zone.put(f"service/{namespace}/{name}", records)


class Resolver:
    """Answers packets: from the zone, or by way of the forwarder."""

    def __init__(self, zone: Zone, forwarder: Forwarder, *, chance: Chance) -> None:
        self._zone = zone
        self._forwarder = forwarder
        self._chance = chance
        self._kept: dict[bytes, bytes] = {}
        self._kept_serial = 0

    def at_once(self, packet: bytes) -> bytes | None:
        """The answer to a datagram, if it is known as bytes."""
        if self._kept_serial != self._zone.serial:
            self._kept.clear()
            self._kept_serial = self._zone.serial
        kept = self._kept.get(packet[2:])
        return packet[:2] + kept if kept is not None else None

    async def answer(self, packet: bytes, *, tcp: bool) -> bytes | None:
        """The answer to any packet; None for what deserves none."""
        query = parse(packet)
        if not isinstance(query, Query):
            return query
        if not self._zone.owns(query.name):
            return await self._forward(packet, query, tcp=tcp)
        answer = self._zone.ask(query.name, query.kind)
        choice = len(answer.records) > 1
        if choice and not answer.alias:
            # As CoreDNS' loadbalance: those who take the first address are spread.
            answer.records = self._chance.shuffled(answer.records)
        reply = respond(query, answer, self._zone)
        if answer.alias and query.kind in ("A", "AAAA"):
            await self._continue(reply, answer.alias, query.kind, tcp=tcp)
        data = fit(reply, MAX_TCP_BYTES if tcp else query.udp_bytes)
        if not tcp and not choice and not answer.alias:
            self._keep(packet, data)
        return data

    def _keep(self, packet: bytes, data: bytes) -> None:
        if len(self._kept) >= MAX_KEPT_ANSWERS:
            self._kept.clear()
        self._kept[packet[2:]] = data[2:]

    async def _forward(self, packet: bytes, query: Query, *, tcp: bool) -> bytes:
        answer = await self._forwarder.ask(packet, _question_end(packet), tcp=tcp)
        return answer if answer is not None else failure(query.record, RCODE.SERVFAIL)

    async def _continue(self, reply: Any, alias: str, kind: str, *, tcp: bool) -> None:
        """Add what the name an alias points to outside the zone stands for."""
        question = bytes(dnslib.DNSRecord.question(alias, kind).pack())
        found = await self._forwarder.ask(question, len(question), tcp=tcp)
        if found is None:
            return
        try:
            for record in dnslib.DNSRecord.parse(found).rr:
                reply.add_answer(record)
        except dnslib.DNSError as error:
            log.debug("resolver's answer cannot be read", alias=alias, error=error)


class DnsServer:
    """Listens on addresses of the current network namespace; runs until cancelled."""

    def __init__(
        self,
        factory: InformerFactory,
        addresses: Iterable[str],
        *,
        clock: Clock,
        chance: Chance,
        zone: str = "cluster.local",
        service_addresses: Iterable[str] = (),
        resolv_conf: Path = Path("/etc/resolv.conf"),
        port: int = 53,
        resolver_port: int = 53,
    ) -> None:
        """``service_addresses`` is what pods know the server by: what ``ns.dns.cluster.local`` answers."""
        self.addresses = list(addresses)
        self.port = port
        own = [*self.addresses, *service_addresses]
        self._feeder = ZoneFeeder(Zone(zone, service_addresses or self.addresses), factory)
        self._forwarder = Forwarder(
            resolv_conf, clock=clock, chance=chance, own=frozenset(own), port=resolver_port
        )
        self._resolver = Resolver(self._feeder.zone, self._forwarder, chance=chance)
        self._tasks = TaskSet(log)
        self._connections = 0
        self._ready = asyncio.Event()

    async def wait_ready(self) -> None:
        """Until it answers with all that the cluster has."""
        await self._ready.wait()

    async def run(self) -> None:
        """Listen. Raises ``OSError`` when an address cannot be had."""
        await self._feeder.wait_synced()
        loop = asyncio.get_running_loop()
        datagrams: list[asyncio.DatagramTransport] = []
        servers: list[asyncio.Server] = []
        try:
            for address in self.addresses:
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(self._resolver, self._tasks), local_addr=(address, self.port)
                )
                datagrams.append(transport)
                servers.append(await asyncio.start_server(self._serve, address, self.port))
            log.info("DNS ready", addresses=",".join(self.addresses), zone=self._feeder.zone.zone)
            self._ready.set()
            await asyncio.Event().wait()
        finally:
            for transport in datagrams:
                transport.close()
            for server in servers:
                server.close()
            await self._tasks.close()
            self._forwarder.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One TCP connection: any number of questions, one after the other."""
        if self._connections >= MAX_TCP_CONNECTIONS:
            writer.close()
            return
        self._connections += 1
        try:
            while True:
                async with asyncio.timeout(TCP_IDLE_S):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    packet = await reader.readexactly(size)
                answer = await self._resolver.answer(packet, tcp=True)
                if answer is not None:
                    writer.write(len(answer).to_bytes(2, "big") + answer)
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return
        finally:
            self._connections -= 1
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    """One UDP address."""

    def __init__(self, resolver: Resolver, tasks: TaskSet) -> None:
        self._resolver = resolver
        self._tasks = tasks
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: asyncio's own datagram transport does not say that it is one.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        known = self._resolver.at_once(data)
        if known is not None:
            self._transport.sendto(known, addr)
        elif len(self._tasks) < MAX_UDP_QUESTIONS:
            self._tasks.spawn(self._answer(data, addr))

    async def _answer(self, packet: bytes, addr: Any) -> None:
        answer = await self._resolver.answer(packet, tcp=False)
        if answer is not None and not self._transport.is_closing():
            self._transport.sendto(answer, addr)


def _question_end(packet: bytes) -> int:
    """Where the first question ends: after its name, type and class."""
    at = 12
    while packet[at]:
        at += packet[at] + 1
    return at + 5


def _service_of(piece: discovery.EndpointSlice) -> list[str]:
    name = piece.metadata.labels.get(SERVICE_LABEL)
    return [f"{piece.metadata.namespace}/{name}"] if name else []
