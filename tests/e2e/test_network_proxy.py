"""Real packets through real rules: what a client of a service meets."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest
from network_lab import Lab, lab

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.api.meta import v1 as meta
from knarr.kit.clock import RealClock
from knarr.network.conntrack import stale, udp_ways
from knarr.network.families import IPV4
from knarr.network.nft import Nft
from knarr.network.rules import Table, TableConfig
from knarr.network.service_rules import NodeView, compile_service

pytestmark = pytest.mark.e2e


class Rules:
    """The rules of the lab's node; ``set`` changes a service, incrementally after the first time."""

    def __init__(self, made: Lab) -> None:
        self.lab = made
        self.table = Table(
            TableConfig(
                "knarr-test-proxy", IPV4, pod_cidrs=("10.244.0.0/16",), service_cidrs=("10.96.0.0/16",)
            )
        )
        self.started = False

    def set(self, service: core.Service, *slices: discovery.EndpointSlice) -> None:
        fragment = compile_service(service, slices, view=NodeView("n1"), family=IPV4)
        self.table.put(service.metadata.name, fragment)
        text = self.table.changes() if self.started else self.table.full()
        self.started = True
        if text:
            asyncio.run(Nft(RealClock(), netns=self.lab.netns).apply(text))

    def printed(self) -> str:
        return asyncio.run(Nft(RealClock(), netns=self.lab.netns).ruleset("ip", "knarr-test-proxy"))


def service(name: str, ip: str, *, protocol: str = "TCP", node_port: int = 0, **spec: object) -> core.Service:
    port = core.ServicePort(port=80, protocol=protocol, nodePort=node_port)
    return core.Service(
        metadata=meta.ObjectMeta(name=name, namespace="default"),
        spec=core.ServiceSpec(clusterIP=ip, clusterIPs=[ip], ports=[port], **spec),  # type: ignore[arg-type]
    )


def piece(*addresses: str, protocol: str = "TCP", node: str = "n1") -> discovery.EndpointSlice:
    return discovery.EndpointSlice(
        addressType="IPv4",
        ports=[discovery.EndpointPort(name="", port=8080, protocol=protocol)],
        endpoints=[discovery.Endpoint(addresses=[address], nodeName=node) for address in addresses],
    )


@pytest.fixture
def made() -> Iterator[Lab]:
    with lab("x") as made:
        # Clusters route their service range to a bridge of their own.
        made.inside(made.node, "ip", "route", "add", "10.96.0.0/16", "dev", "br0")
        yield made


def test_connections_to_a_service_take_turns_from_a_pod_and_from_the_node(made: Lab) -> None:
    rules = Rules(made)
    (client, _), (a, a_ip), (b, b_ip) = made.pod(), made.pod(), made.pod()
    made.serve(a, "a")
    made.serve(b, "b")
    rules.set(service("web", "10.96.0.10"), piece(a_ip, b_ip))
    for source in (client, made.node):
        answers = [line.split()[0] for line in made.ask(source, "10.96.0.10", 80, count=10)]
        assert Counter(answers) == {"a": 5, "b": 5}, answers
        assert all(one != two for one, two in pairwise(answers)), answers


def test_a_pod_keeps_its_address_and_reaches_itself_and_a_stranger_is_masqueraded(made: Lab) -> None:
    rules = Rules(made)
    (client, client_ip), (a, a_ip) = made.pod(), made.pod()
    stranger = made.link("s", "192.0.2.2", "192.0.2.1")
    made.serve(a, "a")
    rules.set(service("web", "10.96.0.10", node_port=30080, type="NodePort"), piece(a_ip))
    assert made.ask(client, "10.96.0.10", 80) == [f"a {client_ip}"]
    assert made.ask(a, "10.96.0.10", 80) == ["a 10.244.1.1"]
    assert made.ask(stranger, "10.96.0.10", 80) == ["a 10.244.1.1"]
    assert made.ask(stranger, "192.0.2.1", 30080) == ["a 10.244.1.1"]
    assert made.ask(made.node, "192.0.2.1", 30080) == ["a 10.244.1.1"]


def test_a_service_without_endpoints_refuses_at_once_and_serves_when_it_gets_one(made: Lab) -> None:
    rules = Rules(made)
    (client, _), (a, a_ip) = made.pod(), made.pod()
    made.serve(a, "a")
    made.serve(a, "a", kind="udp")
    tcp, udp = service("web", "10.96.0.10"), service("dns", "10.96.0.11", protocol="UDP")
    rules.set(tcp)
    rules.set(udp)
    for source in (client, made.node):
        assert made.ask(source, "10.96.0.10", 80) == ["ConnectionRefusedError"]
        # The kernel tells a local sender of a datagram "not permitted", whoever wrote the rule.
        refused = "ConnectionRefusedError" if source == client else "PermissionError"
        assert made.ask(source, "10.96.0.11", 80, kind="udp") == [refused]
    rules.set(tcp, piece(a_ip))
    rules.set(udp, piece(a_ip, protocol="UDP"))
    for source in (client, made.node):
        assert made.ask(source, "10.96.0.10", 80)[0].startswith("a ")
        assert made.ask(source, "10.96.0.11", 80, kind="udp")[0].startswith("a ")
        assert made.ask(source, "10.96.0.10", 81) == ["ConnectionRefusedError"]
        assert made.ask(source, "10.96.77.77", 80) == ["OSError"]
    rules.set(tcp)
    assert made.ask(client, "10.96.0.10", 80) == ["ConnectionRefusedError"]


def test_a_client_with_affinity_stays_with_its_endpoint(made: Lab) -> None:
    rules = Rules(made)
    pods = [made.pod() for _ in range(4)]
    for name, (namespace, _) in zip("ab", pods, strict=False):
        made.serve(namespace, name)
    sticky = service("web", "10.96.0.10", sessionAffinity="ClientIP")
    rules.set(sticky, piece(pods[0][1], pods[1][1]))
    first = {line.split()[0] for line in made.ask(pods[2][0], "10.96.0.10", 80, count=6)}
    second = {line.split()[0] for line in made.ask(pods[3][0], "10.96.0.10", 80, count=6)}
    assert len(first) == len(second) == 1
    assert first != second
    [kept], gone = first, pods[0][1] if "b" in first else pods[1][1]
    rules.set(sticky, piece(*[ip for _, ip in pods[:2] if ip != gone]))
    assert {line.split()[0] for line in made.ask(pods[2][0], "10.96.0.10", 80, count=4)} == {kept}
    rules.set(service("web", "10.96.0.10"), piece(pods[0][1], pods[1][1]))
    assert len({line.split()[0] for line in made.ask(pods[2][0], "10.96.0.10", 80, count=4)}) == 2
    assert "affinity" not in rules.printed()


def test_external_traffic_policy_local_keeps_the_address_and_drops_without_a_local_endpoint(
    made: Lab,
) -> None:
    rules = Rules(made)
    (client, _), (a, a_ip) = made.pod(), made.pod()
    stranger = made.link("s", "192.0.2.2", "192.0.2.1")
    made.serve(a, "a")
    local = service(
        "web",
        "10.96.0.10",
        node_port=30080,
        type="NodePort",
        externalTrafficPolicy="Local",
        externalIPs=["198.51.100.7"],
    )
    rules.set(local, piece(a_ip))
    assert made.ask(stranger, "192.0.2.1", 30080) == ["a 192.0.2.2"]
    assert made.ask(stranger, "198.51.100.7", 80) == ["a 192.0.2.2"]
    rules.set(local, piece(a_ip, node="n2"))
    assert made.ask(stranger, "192.0.2.1", 30080) == ["timeout"]
    assert made.ask(client, "192.0.2.1", 30080)[0].startswith("a ")


#: A client that keeps its socket: one datagram and its answer for every line it is given.
STEADY = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
s.connect((sys.argv[1], 80))
for _ in sys.stdin:
    s.send(b"?")
    try:
        print(s.recv(100).decode(), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


def test_datagrams_of_one_socket_follow_the_service_to_its_new_endpoint(made: Lab) -> None:
    rules = Rules(made)
    (client, _), (a, a_ip), (b, b_ip) = made.pod(), made.pod(), made.pod()
    made.serve(a, "a", kind="udp")
    made.serve(b, "b", kind="udp")
    one = service("dns", "10.96.0.11", protocol="UDP")
    rules.set(one, piece(a_ip, protocol="UDP"))
    command = ["nsenter", f"--net=/run/netns/{client}", sys.executable, "-c", STEADY, "10.96.0.11"]
    steady = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    made.servers.append(steady)
    assert steady.stdin is not None and steady.stdout is not None

    def next_answer() -> str:
        print("next", file=steady.stdin, flush=True)
        return steady.stdout.readline().split()[0]  # type: ignore[union-attr]

    assert next_answer() == "a"
    rules.set(one, piece(b_ip, protocol="UDP"))
    assert next_answer() == "a", "without the cleaning this test would prove nothing"
    fragments = [
        compile_service(one, [piece(ip, protocol="UDP")], view=NodeView("n1"), family=IPV4)
        for ip in (a_ip, b_ip)
    ]
    old, new = map(udp_ways, fragments)
    script = (
        "import asyncio; from knarr.network.conntrack import Conntrack;"
        f"asyncio.run(Conntrack().forget({stale(old, new)!r}))"
    )
    made.inside(made.node, sys.executable, "-c", script)
    assert next_answer() == "b"
    steady.stdin.close()


def test_a_load_balancer_lets_only_its_source_ranges_in(made: Lab) -> None:
    rules = Rules(made)
    a, a_ip = made.pod()
    friend = made.link("s", "192.0.2.2", "192.0.2.1")
    foe = made.link("t", "203.0.113.2", "203.0.113.1")
    made.serve(a, "a")
    balanced = service(
        "web", "10.96.0.10", type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.0/24", "10.0.0.0/8"]
    )
    balanced.status.loadBalancer.ingress = [core.LoadBalancerIngress(ip="198.51.100.9")]
    rules.set(balanced, piece(a_ip))
    assert made.ask(friend, "198.51.100.9", 80) == ["a 10.244.1.1"]
    assert made.ask(foe, "198.51.100.9", 80) == ["timeout"]
