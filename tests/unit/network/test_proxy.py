"""The proxy between informers and nft: what is written when, and what a failure costs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from network_objects import HandFactory, endpoint, piece, service

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.api.meta import v1 as meta
from knarr.kit.clock import VirtualClock, VirtualTimeLoop
from knarr.network import proxy as module
from knarr.network.conntrack import UdpWays, stale, udp_ways
from knarr.network.families import IPV4, IPV6
from knarr.network.health_checks import HealthCheck, HealthChecks, health_check
from knarr.network.nft import NftError, _deletions, _tables, table_name
from knarr.network.proxy import ServiceProxy
from knarr.network.service_rules import NodeView, compile_service


class HandNft:
    """Keeps what it is told; refuses when told to."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.refuse = 0
        self.there = [("ip", "knarr-demo-proxy")]

    async def apply(self, text: str) -> None:
        if self.refuse:
            self.refuse -= 1
            raise NftError("refused")
        self.texts.append(text)

    async def tables(self) -> list[tuple[str, str]]:
        return self.there


class HandConntrack:
    def __init__(self) -> None:
        self.commands: list[tuple[str, ...]] = []

    async def forget(self, commands: list[tuple[str, ...]]) -> None:
        self.commands += commands


class World:
    def __init__(self, **more: Any) -> None:
        self.factory, self.nft, self.conntrack = HandFactory(), HandNft(), HandConntrack()
        self.clock = VirtualClock()
        self.proxy = ServiceProxy(
            self.factory,  # type: ignore[arg-type]
            self.nft,  # type: ignore[arg-type]
            clock=self.clock,
            cluster="demo",
            node="n1",
            pod_cidrs=["10.244.0.0/16", "fd00:10:244::/56"],
            **more,
        )
        self.proxy._conntrack = self.conntrack  # type: ignore[assignment]

    async def settle(self, seconds: float = 0.1) -> None:
        await self.clock.sleep(seconds)


def run(scenario: Callable[[World], Awaitable[None]], **more: Any) -> World:
    loop = VirtualTimeLoop()
    kept: list[World] = []

    async def main() -> None:
        world = World(**more)
        kept.append(world)
        task = asyncio.create_task(world.proxy.run())
        await world.settle()
        await scenario(world)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop.run_until_complete(main())
    loop.close()
    return kept[0]


def test_the_first_sync_is_whole_and_the_next_only_the_change() -> None:
    async def scenario(world: World) -> None:
        await world.proxy.wait_synced()
        assert world.nft.texts[0].startswith("add table ip knarr-demo-proxy\ndelete table")
        world.factory.set(service(), piece("10.244.1.2"))
        await world.settle()
        assert len(world.nft.texts) == 2
        assert "delete table" not in world.nft.texts[1]
        assert "10.96.0.10 . tcp . 80 : goto service-" in world.nft.texts[1]
        world.factory.drop(service())
        await world.settle()
        assert "delete chain" in world.nft.texts[2]

    world = run(scenario)
    assert len(world.nft.texts) == 3, "rules stay when the proxy ends, for its pods go on"


def test_a_thousand_changes_at_once_are_a_few_transactions() -> None:
    async def scenario(world: World) -> None:
        for n in range(1_000):
            world.factory.set(
                service(f"s{n}", f"10.96.{n // 250}.{n % 250 + 1}"), piece("10.244.1.2", name=f"s{n}")
            )
        await world.settle()
        assert len(world.nft.texts) <= 3

    run(scenario)


def test_after_a_refusal_everything_is_written_anew() -> None:
    async def scenario(world: World) -> None:
        world.factory.set(service(), piece("10.244.1.2"))
        await world.settle()
        world.nft.refuse = 2
        world.factory.set(piece("10.244.1.3"))
        await world.settle(5)
        assert world.nft.texts[-1].startswith("add table ip knarr-demo-proxy\ndelete table")
        assert "10.244.1.3 . 8080" in world.nft.texts[-1]

    run(scenario)


def test_a_table_that_someone_flushed_comes_back() -> None:
    async def scenario(world: World) -> None:
        written = len(world.nft.texts)
        await world.settle(module.CHECK_INTERVAL_S * 2)
        assert len(world.nft.texts) == written
        world.nft.there = []
        await world.settle(module.CHECK_INTERVAL_S + 1)
        assert world.nft.texts[-1].startswith("add table ip knarr-demo-proxy\ndelete table")

    run(scenario)


def test_a_service_that_cannot_be_compiled_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_or_not(one: core.Service, *args: Any, **more: Any) -> Any:
        if one.metadata.name == "bad":
            raise ValueError("bad")
        return compile_service(one, *args, **more)

    monkeypatch.setattr(module, "compile_service", compile_or_not)

    async def scenario(world: World) -> None:
        world.factory.set(
            service("bad", "10.96.0.1"), service("good", "10.96.0.2"), piece("10.244.1.2", name="good")
        )
        await world.settle()
        assert "default/good" in world.nft.texts[-1]
        assert "10.96.0.1" not in world.nft.texts[-1]

    run(scenario)


def test_a_node_that_learns_its_zone_uses_the_hints() -> None:
    async def scenario(world: World) -> None:
        world.factory.set(
            service(), piece(endpoint("10.244.1.2", zone="a"), endpoint("10.244.1.3", zone="b"))
        )
        await world.settle()
        assert "mod 2" in world.nft.texts[-1]
        labels = {"topology.kubernetes.io/zone": "b"}
        world.factory.set(core.Node(metadata=meta.ObjectMeta(name="n1", labels=labels)))
        await world.settle()
        assert "mod 1" in world.nft.texts[-1]
        assert "10.244.1.3 . 8080" in world.nft.texts[-1]

    run(scenario)


def test_both_families_are_written_in_one_transaction() -> None:
    async def scenario(world: World) -> None:
        one = service()
        one.spec.clusterIPs = ["10.96.0.10", "fd00:10:96::a"]
        world.factory.set(one, piece("10.244.1.2"), piece("fd00:10:244::2", family="IPv6", number=2))
        await world.settle()
        text = world.nft.texts[-1]
        assert "element ip knarr-demo-proxy cluster-ips { 10.96.0.10 }" in text
        assert "element ip6 knarr-demo-proxy cluster-ips { fd00:10:96::a }" in text

    run(scenario, families=(IPV4, IPV6))


def dns_service() -> core.Service:
    return service("dns", ports=[core.ServicePort(name="dns", port=53, protocol="UDP", nodePort=30053)])


def dns_piece(*addresses: str) -> discovery.EndpointSlice:
    return piece(*addresses, name="dns", ports=[discovery.EndpointPort(name="dns", port=53, protocol="UDP")])


def test_datagrams_do_not_go_on_to_an_endpoint_that_is_gone() -> None:
    async def scenario(world: World) -> None:
        world.factory.set(dns_service(), dns_piece("10.244.1.2", "10.244.1.3"))
        await world.settle()
        world.conntrack.commands.clear()
        world.factory.set(dns_piece("10.244.1.3"))
        await world.settle()
        assert world.conntrack.commands == [
            ("--orig-dst", "10.96.0.10", "--orig-port-dst", "53", "--dst-nat", "10.244.1.2"),
            ("--orig-port-dst", "30053", "--dst-nat", "10.244.1.2"),
        ]

    run(scenario)


def test_a_load_balancer_is_told_which_nodes_have_an_endpoint() -> None:
    one = service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=32100)
    slices = [piece("10.244.1.2", endpoint("10.244.1.3", ready=False), endpoint("10.244.2.2", node="n2"))]
    check = health_check(one, slices, node="n1")
    assert check is not None and check.local_endpoints == 1
    assert check.answer().startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"localEndpoints": 1' in check.answer()
    elsewhere = health_check(one, slices, node="n3")
    assert elsewhere is not None and elsewhere.answer().startswith(b"HTTP/1.1 503 ")
    one.spec.externalTrafficPolicy = "Cluster"
    assert health_check(one, slices, node="n1") is None
    assert health_check(None, [], node="n1") is None


def test_health_check_ports_come_and_go_with_their_services() -> None:
    async def main() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        checks = HealthChecks()

        async def status() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            line = await reader.readline()
            writer.close()
            return line.split()[1]

        key = ("default", "web")
        await checks.set({key: HealthCheck(port, *key, 2)})
        assert await status() == b"200"
        await checks.set({key: HealthCheck(port, *key, 0)})
        assert await status() == b"503"
        await checks.set({key: None})
        with pytest.raises(OSError):
            await status()
        checks.close()

    asyncio.run(main())


def test_which_flows_are_stale() -> None:
    ways = UdpWays(frozenset({"10.96.0.10 . udp . 53"}), frozenset({"10.244.1.2"}))
    to = ("--orig-dst", "10.96.0.10", "--orig-port-dst", "53")
    assert stale(ways, ways) == []
    assert stale(UdpWays(), ways) == [to]
    assert stale(ways, UdpWays()) == [(*to, "--dst-nat", "10.244.1.2")]
    assert stale(ways, UdpWays(ways.entrances, frozenset({"10.244.1.9"}))) == [
        (*to, "--dst-nat", "10.244.1.2")
    ]


def test_ways_of_datagrams_are_found_with_and_without_affinity() -> None:
    for affinity in ("None", "ClientIP"):
        one = dns_service()
        one.spec.sessionAffinity = affinity
        fragment = compile_service(one, [dns_piece("10.244.1.2")], view=NodeView("n1"), family=IPV4)
        assert udp_ways(fragment) == UdpWays(
            frozenset({"10.96.0.10 . udp . 53", "udp . 30053"}), frozenset({"10.244.1.2"})
        )
    assert (
        udp_ways(compile_service(service(), [piece("10.244.1.2")], view=NodeView("n1"), family=IPV4))
        == UdpWays()
    )


def test_a_clusters_tables_are_found_by_its_whole_name() -> None:
    listing = (
        '{"nftables": [{"metainfo": {}}, {"table": {"family": "ip", "name": "knarr-dev-proxy"}},'
        ' {"table": {"family": "ip6", "name": "knarr-dev-2-pods"}}]}'
    )
    assert table_name("dev", "proxy") == "knarr-dev-proxy"
    assert _deletions(_tables(listing), "dev") == "delete table ip knarr-dev-proxy\n"
    assert _deletions(_tables(listing), "dev-2") == "delete table ip6 knarr-dev-2-pods\n"
