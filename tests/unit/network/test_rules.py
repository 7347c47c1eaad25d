"""The packet rules as text: whole (golden files) and as differences."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest
from network_objects import endpoint, piece, service

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.network.families import IPV4, IPV6, Family
from knarr.network.rules import Slots, Table, TableConfig
from knarr.network.service_rules import Fragment, NodeView, compile_service

GOLDEN = Path(__file__).parent / "golden"
PORTS = [
    core.ServicePort(name="http", port=80, protocol="TCP", nodePort=30080),
    core.ServicePort(name="dns", port=53, protocol="UDP", nodePort=30053),
]
PORTS_BEHIND = [
    discovery.EndpointPort(name="http", port=8080, protocol="TCP"),
    discovery.EndpointPort(name="dns", port=5353, protocol="UDP"),
]


def new_table(family: Family = IPV4) -> Table:
    pods, services = (
        ("10.244.0.0/16", "10.96.0.0/16") if family is IPV4 else ("fd00:10:244::/56", "fd00:10:96::/112")
    )
    config = TableConfig("knarr-demo-proxy", family, pod_cidrs=(pods,), service_cidrs=(services,))
    return Table(config)


def put(
    table: Table, one: core.Service, *slices: discovery.EndpointSlice, view: NodeView | None = None
) -> None:
    view = view or NodeView("n1")
    fragment = compile_service(one, slices, view=view, family=table.config.family)
    table.put(f"{one.metadata.namespace}/{one.metadata.name}", fragment)


def balanced(**spec: object) -> core.Service:
    one = service("lb", "10.96.0.30", ports=PORTS[:1], type="LoadBalancer", **spec)  # type: ignore[arg-type]
    one.status.loadBalancer.ingress = [
        core.LoadBalancerIngress(ip="198.51.100.9"),
        core.LoadBalancerIngress(ip="198.51.100.10", ipMode="Proxy"),
    ]
    return one


def two() -> discovery.EndpointSlice:
    return piece("10.244.1.2", endpoint("10.244.2.2", node="n2"), ports=PORTS_BEHIND)


CASES = {
    "cluster-ip": (service(ports=PORTS), two()),
    "node-port": (service(ports=PORTS, type="NodePort"), two()),
    "no-endpoints": (service(ports=PORTS, type="NodePort", externalIPs=["198.51.100.7"]),),
    "external-ips": (service(ports=PORTS[:1], externalIPs=["198.51.100.7"]), two()),
    "internal-local": (service(internalTrafficPolicy="Local"), piece("10.244.1.2")),
    "internal-local-elsewhere": (
        service(internalTrafficPolicy="Local"),
        piece(endpoint("10.244.2.2", node="n2")),
    ),
    "external-local": (service(ports=PORTS, type="NodePort", externalTrafficPolicy="Local"), two()),
    "external-local-elsewhere": (
        service(ports=PORTS[:1], type="NodePort", externalTrafficPolicy="Local"),
        piece(endpoint("10.244.2.2", node="n2")),
    ),
    "load-balancer-ranges": (balanced(loadBalancerSourceRanges=["192.0.2.0/24", " 10.0.0.0/8"]), two()),
    "affinity": (
        service(
            ports=PORTS[:1],
            sessionAffinity="ClientIP",
            sessionAffinityConfig=core.SessionAffinityConfig(clientIP=core.ClientIPConfig(timeoutSeconds=60)),
        ),
        two(),
    ),
    "sctp": (
        service(ports=[core.ServicePort(name="s", port=7, protocol="SCTP")]),
        piece("10.244.1.2", ports=[discovery.EndpointPort(name="s", port=7777, protocol="SCTP")]),
    ),
    "ipv6": (
        service(ip="fd00:10:96::a", ports=PORTS, type="NodePort", sessionAffinity="ClientIP"),
        piece("fd00:10:244::2", family="IPv6", ports=PORTS_BEHIND),
    ),
}


def compare(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.nft"
    if os.environ.get("KNARR_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs; look at it, then run with KNARR_UPDATE_GOLDEN=1"


def test_the_table_without_services_is_as_reviewed() -> None:
    compare("empty", new_table().full())
    compare("empty-ipv6", new_table(IPV6).full())


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_services_rules_are_as_reviewed(name: str) -> None:
    table = new_table(IPV6 if name == "ipv6" else IPV4)
    skeleton = table.full()
    put(table, *CASES[name])
    compare(name, table.changes())
    put(table, service(CASES[name][0].metadata.name, ""))
    table.changes()
    assert table.full() == skeleton


@pytest.mark.parametrize(
    "one",
    [
        service(ip="None"),
        service(ip=""),
        service(ip="", type="ExternalName", externalName="example.com"),
        service(ip="fd00::1"),
    ],
)
def test_services_without_an_address_of_the_family_have_no_rules(one: core.Service) -> None:
    assert compile_service(one, [two()], view=NodeView("n1"), family=IPV4) == Fragment()


def test_a_service_of_another_proxy_is_left_alone() -> None:
    one = service()
    one.metadata.labels = {"service.kubernetes.io/service-proxy-name": "other"}
    assert compile_service(one, [two()], view=NodeView("n1"), family=IPV4) == Fragment()


def test_without_node_ports_only_the_other_ways_in_are_open() -> None:
    view = NodeView("n1", node_ports=False)
    one = compile_service(service(ports=PORTS, type="NodePort"), [two()], view=view, family=IPV4)
    assert "service-nodeports" not in one.elements


def test_an_endpoint_that_moves_changes_one_element_and_no_chain() -> None:
    table = new_table()
    put(table, service(), piece("10.244.1.2", "10.244.1.3"))
    table.full()
    put(table, service(), piece("10.244.1.2", "10.244.1.4"))
    text = table.changes()
    assert "chain" not in text and "rule" not in text
    assert "delete element ip knarr-demo-proxy endpoints-tcp { 1 }" in text
    assert "add element ip knarr-demo-proxy endpoints-tcp { 1 : 10.244.1.4 . 8080 }" in text


def test_nothing_new_is_no_transaction() -> None:
    table = new_table()
    put(table, service(), two())
    table.full()
    put(table, service(), two())
    assert table.changes() == ""
    put(table, service(), piece("10.244.1.9"))
    put(table, service(), two())
    assert table.changes() == ""


def test_a_change_costs_the_same_among_many_services() -> None:
    table = new_table()
    for n in range(500):
        put(
            table,
            service(f"s{n}", f"10.96.{n // 250}.{n % 250 + 1}"),
            piece(f"10.244.{n // 250}.{n % 250 + 1}"),
        )
    table.full()
    put(table, service("s7", "10.96.0.8"), piece("10.244.9.9"))
    assert len(table.changes().splitlines()) == 4


def test_an_external_address_claimed_twice_stays_with_the_first() -> None:
    table = new_table()
    key = "198.51.100.7 . tcp . 80"
    first = service("first", "10.96.0.1", externalIPs=["198.51.100.7"])
    second = service("second", "10.96.0.2", externalIPs=["198.51.100.7"])
    put(table, first, piece("10.244.1.2"))
    put(table, second, piece("10.244.1.3"))
    assert re.search(rf"{key} : goto external-\w+-default/first", table.full())
    put(table, service("first", "10.96.0.1"), piece("10.244.1.2"))
    assert re.search(rf"{key} : goto external-\w+-default/second", table.changes())


def test_an_endpoint_shared_by_two_services_keeps_its_hairpin_until_both_are_gone() -> None:
    table = new_table()
    hairpin = "10.244.1.2 . 10.244.1.2"
    put(table, service("a", "10.96.0.1"), piece("10.244.1.2"))
    put(table, service("b", "10.96.0.2"), piece("10.244.1.2"))
    table.full()
    put(table, service("a", ""))
    assert hairpin not in table.changes()
    put(table, service("b", ""))
    assert f"delete element ip knarr-demo-proxy hairpin {{ {hairpin} }}" in table.changes()


def test_names_that_are_none_cannot_speak_to_nft() -> None:
    one = service("x\nflush ruleset", externalIPs=["10.0.0.1 }; flush ruleset"])
    table = new_table()
    put(table, one, two())
    assert "flush ruleset" not in table.full().replace("flush_ruleset", "")


def test_a_long_name_fits_into_a_chains_name() -> None:
    port = core.ServicePort(name="p" * 15, port=1, protocol="TCP")
    one = service("n" * 63, namespace="s" * 63, ports=[port], sessionAffinity="ClientIP")
    behind = [discovery.EndpointPort(name="p" * 15, port=2, protocol="TCP")]
    fragment = compile_service(
        one, [piece("10.244.1.2", "10.244.1.3", ports=behind)], view=NodeView(), family=IPV4
    )
    assert len(fragment.chains) == 3
    assert all(len(name) <= 110 for name in fragment.chains)


def test_places_are_never_shared_and_come_back() -> None:
    slots, held = Slots(), {}
    chance = random.Random(3)
    for _ in range(2_000):
        owner = f"c{chance.randrange(40)}"
        if chance.random() < 0.3:
            slots.release(owner)
            held.pop(owner, None)
        else:
            count = chance.randrange(1, 60)
            first = slots.block(owner, count)
            held[owner] = (
                first,
                max(count, held.get(owner, (0, 0))[1] if held.get(owner, (-1,))[0] == first else 0),
            )
        taken: set[int] = set()
        for first, count in held.values():
            block = set(range(first, first + count))
            assert not block & taken
            taken |= block
    assert slots._next < 40 * 64 * 3


def test_random_changes_one_by_one_end_where_one_big_step_does() -> None:
    """A tiny model of nft applies the texts: both roads must lead to the same table."""
    chance = random.Random(11)
    table, kernel = new_table(), FakeKernel()
    kernel.apply(table.full())
    current: dict[str, tuple[core.Service, discovery.EndpointSlice]] = {}
    for _ in range(300):
        name = f"s{chance.randrange(8)}"
        if chance.random() < 0.25:
            put(table, service(name, ""))
            current.pop(name, None)
        else:
            one = service(
                name,
                f"10.96.0.{name[1:]}1",
                ports=chance.choice([PORTS, PORTS[:1]]),
                type=chance.choice(["ClusterIP", "NodePort"]),
                sessionAffinity=chance.choice(["None", "ClientIP"]),
                externalTrafficPolicy=chance.choice(["", "Local"]),
            )
            if one.spec.type == "NodePort":
                one.spec.ports = [
                    core.ServicePort(name="http", port=80, protocol="TCP", nodePort=30000 + int(name[1:]))
                ]
            pods = [endpoint(f"10.244.1.{n}", node=chance.choice(["n1", "n2"])) for n in range(2, 6)]
            behind = piece(*chance.sample(pods, chance.randrange(4)), ports=PORTS_BEHIND)
            current[name] = (one, behind)
            put(table, one, behind)
        if chance.random() < 0.7:
            kernel.apply(table.changes())
    kernel.apply(table.changes())
    fresh, other = new_table(), FakeKernel()
    for one, behind in current.values():
        put(fresh, one, behind)
    other.apply(fresh.full())
    assert kernel.resolved() == other.resolved()


class FakeKernel:
    """Understands the handful of commands the proxy uses, as strictly as nft does."""

    def __init__(self) -> None:
        self.chains: dict[str, list[str]] = {}
        self.sets: dict[str, dict[str, str]] = {}

    def apply(self, text: str) -> None:
        for line in text.splitlines():
            verb, what, _, _, *rest = line.split(" ", 5)
            name, tail = (rest[0], rest[1] if len(rest) > 1 else "") if rest else ("", "")
            getattr(self, f"_{verb}_{what}")(name, tail)

    def _add_table(self, name: str, tail: str) -> None: ...

    def _delete_table(self, name: str, tail: str) -> None:
        self.__init__()  # type: ignore[misc]

    def _add_set(self, name: str, tail: str) -> None:
        self.sets.setdefault(name, {})

    _add_map = _add_set

    def _delete_set(self, name: str, tail: str) -> None:
        assert not any(f"@{name}" in rule for rules in self.chains.values() for rule in rules), (
            f"{name} is in use"
        )
        del self.sets[name]

    def _add_chain(self, name: str, tail: str) -> None:
        assert name not in self.chains, f"{name} is there already"
        self.chains[name] = []

    def _flush_chain(self, name: str, tail: str) -> None:
        self.chains[name].clear()

    def _delete_chain(self, name: str, tail: str) -> None:
        used = [rule for rules in self.chains.values() for rule in rules if rule.endswith(f"goto {name}")]
        used += [value for part in self.sets.values() for value in part.values() if value == f"goto {name}"]
        assert not used and not self.chains[name], f"{name} is in use"
        del self.chains[name]

    def _add_rule(self, chain: str, rule: str) -> None:
        for name in re.findall(r"@([\w-]+)", rule):
            assert name in self.sets, f"{name} is missing"
        for name in re.findall(r"(?:goto|jump) ([\w./-]+)", rule):
            assert name in self.chains, f"{name} is missing"
        self.chains[chain].append(rule)

    def _add_element(self, name: str, tail: str) -> None:
        for item in tail.strip("{ }").split(", "):
            key, _, value = item.partition(" : ")
            assert key not in self.sets[name], f"{key} is in {name} already"
            if value.startswith("goto "):
                assert value[5:] in self.chains, f"{value} leads nowhere"
            self.sets[name][key] = value

    def _delete_element(self, name: str, tail: str) -> None:
        for key in tail.strip("{ }").split(", "):
            del self.sets[name][key]

    def resolved(self) -> object:
        """The table with places in the maps of endpoints replaced by what stands there."""
        chains = {}
        for chain, rules in self.chains.items():
            chains[chain] = [
                re.sub(r"mod (\d+) offset (\d+) map @([\w-]+)", self._targets, rule) for rule in rules
            ]
        return chains, {name: part for name, part in self.sets.items() if not name.startswith("endpoints-")}

    def _targets(self, match: re.Match[str]) -> str:
        count, first, where = int(match[1]), int(match[2]), self.sets[match[3]]
        return str([where[str(first + n)] for n in range(count)])
