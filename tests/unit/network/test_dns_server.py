"""The DNS server on the wire: real sockets on the loopback address."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from network_objects import HandFactory, piece, service

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.kit.chance import Chance
from knarr.kit.clock import RealClock
from knarr.network.dns import DnsServer
from knarr.network.dns_forward import nameservers
from knarr.network.dns_message import Query, fit, parse, respond
from knarr.network.zone import Answer, Zone

NAME = "web.default.svc.cluster.local"


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Upstream(asyncio.DatagramProtocol):
    """A resolver outside: answers 192.0.2.1 to everything but what it was told to keep silent about."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.silent = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        record = dnslib.DNSRecord.parse(data)
        self.asked.append(str(record.q.qname))
        if self.silent:
            return
        forged = record.reply()
        forged.questions = [dnslib.DNSQuestion("forged.example")]
        forged.add_answer(dnslib.RR("forged.example", rdata=dnslib.A("6.6.6.6")))
        self.transport.sendto(forged.pack(), addr)
        reply = record.reply()
        reply.add_answer(dnslib.RR(record.q.qname, rdata=dnslib.A("192.0.2.1"), ttl=60))
        self.transport.sendto(reply.pack(), addr)


class World:
    def __init__(self, folder: Path) -> None:
        self.factory = HandFactory()
        self.port, self.upstream_port = free_port(), free_port()
        self.upstream = Upstream()
        self.resolv_conf = folder / "resolv.conf"
        self.resolv_conf.write_text("search x\nnameserver 127.0.0.1\noptions ndots:5\n")
        self.server = DnsServer(
            self.factory,  # type: ignore[arg-type]
            ["127.0.0.2"],
            clock=RealClock(),
            chance=Chance(1),
            service_addresses=["10.96.0.53"],
            resolv_conf=self.resolv_conf,
            port=self.port,
            resolver_port=self.upstream_port,
        )

    async def ask(self, name: str, kind: str = "A", *, tcp: bool = False, edns: int = 0) -> dnslib.DNSRecord:
        question = dnslib.DNSRecord.question(name, kind)
        if edns:
            question.add_ar(dnslib.EDNS0(udp_len=edns))
        return dnslib.DNSRecord.parse(await self.send(question.pack(), tcp=tcp))

    async def send(self, packet: bytes, *, tcp: bool = False) -> bytes:
        async with asyncio.timeout(5):
            if tcp:
                reader, writer = await asyncio.open_connection("127.0.0.2", self.port)
                writer.write(len(packet).to_bytes(2, "big") + packet)
                data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                writer.close()
                return data
            loop = asyncio.get_running_loop()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.setblocking(False)
                asking.connect(("127.0.0.2", self.port))
                await loop.sock_sendall(asking, packet)
                return await loop.sock_recv(asking, 65_535)


def run(folder: Path, scenario: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World(folder)
        loop = asyncio.get_running_loop()
        upstream, _ = await loop.create_datagram_endpoint(
            lambda: world.upstream, local_addr=("127.0.0.1", world.upstream_port)
        )
        world.factory.set(
            core.Namespace(metadata=meta.ObjectMeta(name="default")), service(), piece("10.244.1.2")
        )
        task = asyncio.create_task(world.server.run())
        await world.server.wait_ready()
        try:
            await scenario(world)
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            upstream.close()

    asyncio.run(main())


def data(reply: dnslib.DNSRecord) -> list[str]:
    return [str(record.rdata) for record in reply.rr]


def test_names_of_the_cluster_are_answered_with_authority_over_udp_and_tcp(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        for tcp in (False, True, False):
            reply = await world.ask("WEB.default.svc.Cluster.local", tcp=tcp)
            assert data(reply) == ["10.96.0.10"]
            assert reply.header.aa == 1 and reply.header.ra == 1 and reply.rr[0].ttl == 30
            assert str(reply.rr[0].rname) == "WEB.default.svc.Cluster.local."
        assert data(await world.ask(f"_http._tcp.{NAME}", "SRV")) == [f"0 100 80 {NAME}."]
        assert data(await world.ask("10.0.96.10.in-addr.arpa", "PTR")) == [f"{NAME}."]
        assert data(await world.ask("dns-version.cluster.local", "TXT")) == ['"1.1.0"']
        assert (await world.ask("cluster.local", "SOA")).rr[0].rtype == dnslib.QTYPE.SOA
        assert world.upstream.asked == []

    run(tmp_path, scenario)


def test_no_such_name_and_no_such_record_are_told_apart_and_signed(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        absent = await world.ask("nothing.default.svc.cluster.local")
        assert absent.header.rcode == dnslib.RCODE.NXDOMAIN
        other = await world.ask(NAME, "AAAA")
        assert (other.header.rcode, other.rr) == (dnslib.RCODE.NOERROR, [])
        for reply in (absent, other):
            assert [record.rtype for record in reply.auth] == [dnslib.QTYPE.SOA]

    run(tmp_path, scenario)


def test_a_new_endpoint_is_answered_at_once(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        one = service("db", "None")
        world.factory.set(one, piece("10.244.1.7", name="db"))
        assert data(await world.ask("db.default.svc.cluster.local")) == ["10.244.1.7"]
        world.factory.set(piece("10.244.1.8", name="db"))
        assert data(await world.ask("db.default.svc.cluster.local")) == ["10.244.1.8"]
        world.factory.drop(one)
        gone = await world.ask("db.default.svc.cluster.local")
        assert gone.header.rcode == dnslib.RCODE.NXDOMAIN

    run(tmp_path, scenario)


def test_many_endpoints_are_cut_to_what_the_asker_takes_and_whole_over_tcp(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        pods = [f"10.244.{n // 250}.{n % 250 + 1}" for n in range(120)]
        world.factory.set(service("many", "None"), piece(*pods, name="many"))
        small = await world.send(dnslib.DNSRecord.question("many.default.svc.cluster.local").pack())
        assert len(small) <= 512 and dnslib.DNSRecord.parse(small).header.tc == 1
        medium = await world.ask("many.default.svc.cluster.local", edns=4_096)
        assert medium.header.tc == 1 and len(medium.rr) > 60
        assert any(record.rtype == 41 for record in medium.ar)
        whole = await world.ask("many.default.svc.cluster.local", tcp=True)
        assert whole.header.tc == 0 and sorted(data(whole)) == sorted(pods)
        again = await world.ask("many.default.svc.cluster.local", tcp=True)
        assert data(again) != data(whole), "those who take the first address would all meet at one pod"

    run(tmp_path, scenario)


def test_other_names_are_asked_of_the_machines_resolvers(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        assert data(await world.ask("example.com")) == ["192.0.2.1"]
        assert world.upstream.asked == ["example.com."]
        alias = service("out", "", type="ExternalName", externalName="example.org")
        world.factory.set(alias)
        reply = await world.ask("out.default.svc.cluster.local")
        assert data(reply) == ["example.org.", "192.0.2.1"]

    run(tmp_path, scenario)


def test_without_a_resolver_that_answers_the_asker_is_told_so(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.resolv_conf.write_text("nameserver 127.0.0.2\n")
        reply = await world.ask("example.com")
        assert reply.header.rcode == dnslib.RCODE.SERVFAIL
        assert data(await world.ask(NAME)) == ["10.96.0.10"]

    run(tmp_path, scenario)


def test_a_silent_resolver_does_not_hold_up_the_clusters_names(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.upstream.silent = True
        waiting = asyncio.ensure_future(world.ask("example.com"))
        await asyncio.sleep(0.01)
        assert data(await asyncio.wait_for(world.ask(NAME), 1)) == ["10.96.0.10"]
        assert (await waiting).header.rcode == dnslib.RCODE.SERVFAIL

    run(tmp_path, scenario)


def test_what_is_no_question_is_refused_and_harms_nobody(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        good = dnslib.DNSRecord.question(NAME).pack()
        garbage = await world.send(good[:2] + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xff\xff\xff")
        assert dnslib.DNSRecord.parse(garbage[:12]).header.rcode == dnslib.RCODE.FORMERR
        update = dnslib.DNSRecord.question(NAME)
        update.header.opcode = 5
        assert dnslib.DNSRecord.parse(await world.send(update.pack())).header.rcode == dnslib.RCODE.NOTIMP
        chaos = dnslib.DNSRecord(q=dnslib.DNSQuestion("version.bind", dnslib.QTYPE.TXT, 3))
        assert dnslib.DNSRecord.parse(await world.send(chaos.pack())).header.rcode == dnslib.RCODE.REFUSED
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(world.send(b"\0" * 5), 0.1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(world.send(dnslib.DNSRecord.parse(good).reply().pack()), 0.1)
        assert data(await world.ask(NAME)) == ["10.96.0.10"]

    run(tmp_path, scenario)


def test_resolv_conf_is_read_as_resolvers_read_it() -> None:
    text = "# c\nnameserver 10.0.0.1\nnameserver  fd00::1 # x\nnameserver\nnameserver bad\nsearch a b\n" + (
        "nameserver 10.0.0.2\nnameserver 10.0.0.3\n"
    )
    assert nameservers(text) == ["10.0.0.1", "fd00::1", "10.0.0.2"]


@given(st.binary(max_size=80), st.integers(0, 40), st.binary(min_size=1, max_size=3))
def test_no_packet_whatever_breaks_the_parser(noise: bytes, at: int, scratch: bytes) -> None:
    good = dnslib.DNSRecord.question(NAME)
    good.add_ar(dnslib.EDNS0(udp_len=1_232))
    packet = bytes(good.pack())
    spoiled = packet[:at] + scratch + packet[at + len(scratch) :]
    for data in (noise, packet[: at + 1], spoiled, packet + noise):
        parsed = parse(data)
        if isinstance(parsed, Query):
            assert fit(respond(parsed, Answer(0), Zone("cluster.local")), 512)
