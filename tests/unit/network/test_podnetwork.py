"""The plan of a node's pod network."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from network_objects import HandFactory

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.kit.clock import VirtualClock, VirtualTimeLoop
from knarr.network import podnetwork as module
from knarr.network.podnetwork import PodNetwork, PodNetworkConfig, cni_config, masquerade_rules, sysctls
from knarr.network.routes import node_address, route_changes, routes_to

CONFIG = PodNetworkConfig(
    cluster="demo", node="n1", cluster_cidrs=("10.129.0.0/16", "10.130.0.0/16", "10.128.0.0/16")
)


def node(name: str, cidr: str = "", address: str = "") -> core.Node:
    addresses = [
        core.NodeAddress(type="Hostname", address=name),
        *([core.NodeAddress(type="InternalIP", address=address)] if address else []),
    ]
    return core.Node(
        metadata=meta.ObjectMeta(name=name),
        spec=core.NodeSpec(podCIDR=cidr, podCIDRs=[cidr] if cidr else []),
        status=core.NodeStatus(addresses=addresses),
    )


def test_the_runtime_is_told_of_bridge_addresses_and_host_ports() -> None:
    config = cni_config(CONFIG, ["10.129.3.0/24"])
    assert config["name"] == "knarr-demo"
    bridge, ports = config["plugins"]
    assert (
        bridge["type"] == "bridge" and bridge["isGateway"] and bridge["hairpinMode"] and not bridge["ipMasq"]
    )
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.129.3.0/24"}]]
    assert bridge["ipam"]["dataDir"] == "/var/lib/cni/networks"
    assert bridge["ipam"]["routes"] == [{"dst": "0.0.0.0/0"}]
    assert ports == {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}}


def test_a_node_with_two_families_gives_each_pod_two_addresses() -> None:
    config = cni_config(CONFIG, ["10.129.3.0/24", "fd00:10:129:3::/64"])
    assert len(config["plugins"][0]["ipam"]["ranges"]) == 2
    assert {route["dst"] for route in config["plugins"][0]["ipam"]["routes"]} == {"0.0.0.0/0", "::/0"}
    assert sysctls(["fd00::/64"])["net/ipv6/conf/all/forwarding"] == "1"
    assert "net/ipv6/conf/all/forwarding" not in sysctls(["10.0.0.0/24"])


def test_only_packets_that_leave_the_cluster_get_the_nodes_address() -> None:
    table = "ip knarr-demo-pods"
    assert masquerade_rules(CONFIG, ["10.129.3.0/24"]).splitlines() == [
        f"add table {table}",
        f"delete table {table}",
        f"add table {table}",
        f"add set {table} cluster {{ type ipv4_addr ; flags interval ; auto-merge ; }}",
        f"add element {table} cluster {{ 10.129.0.0/16, 10.130.0.0/16, 10.128.0.0/16, 10.129.3.0/24 }}",
        f"add chain {table} nat-postrouting {{ type nat hook postrouting priority 101 ; policy accept ; }}",
        f"add rule {table} nat-postrouting ip saddr 10.129.3.0/24 ip daddr != @cluster"
        " ip daddr != 224.0.0.0/4 masquerade fully-random",
    ]


def test_every_other_node_with_a_range_and_an_address_gets_a_route() -> None:
    nodes = [
        node("n1", "10.129.0.0/24", "10.128.0.10"),
        node("n2", "10.129.1.0/24", "10.128.0.11"),
        node("n3", "10.129.2.0/24"),
        node("n4", "", "10.128.0.13"),
    ]
    assert routes_to(nodes, without="n1") == {"10.129.1.0/24": "10.128.0.11"}
    assert len(routes_to(nodes, without="")) == 2
    assert node_address(nodes[0], like="fd00::/64") == ""


def test_routes_that_stand_are_left_and_others_set_right() -> None:
    current = {"10.1.0.0/24": "10.9.0.1", "10.2.0.0/24": "10.9.0.2", "10.3.0.0/24": "10.9.0.3"}
    wanted = {"10.1.0.0/24": "10.9.0.1", "10.2.0.0/24": "10.9.0.9", "fd00::/64": "fd01::1"}
    assert route_changes(current, wanted) == (
        ["route del 10.3.0.0/24 via 10.9.0.3 proto 107", "route replace 10.2.0.0/24 via 10.9.0.9 proto 107"],
        ["route replace fd00::/64 via fd01::1 proto 107"],
    )


def test_the_configuration_comes_last_and_when_the_node_has_its_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switched: list[str] = []
    applied: list[str] = []

    class Nft:
        async def apply(self, text: str) -> None:
            assert not os.listdir(tmp_path), "the runtime must not start pods before the rules stand"
            applied.append(text)

    monkeypatch.setattr(module, "_switch", lambda path, value: switched.append(f"{path}={value}"))

    async def main() -> None:
        factory, clock = HandFactory(), VirtualClock()
        config = PodNetworkConfig(cluster="demo", node="n1", cluster_cidrs=(), cni_dir=tmp_path)
        network = PodNetwork(config, factory, Nft(), clock=clock)  # type: ignore[arg-type]
        task = asyncio.create_task(network._set_up())
        factory.set(node("n1"))
        await clock.sleep(1)
        assert not applied
        factory.set(node("n1", "10.129.3.0/24"))
        await network.wait_ready()
        written = json.loads((tmp_path / module.CONFIG_NAME).read_text())
        assert written["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.129.3.0/24"}]]
        assert "/proc/sys/net/ipv4/ip_forward=1" in switched
        factory.set(node("n1", "10.129.3.0/24"))
        await clock.sleep(1)
        assert len(applied) == 1
        task.cancel()

    loop = VirtualTimeLoop()
    loop.run_until_complete(main())
    loop.close()
