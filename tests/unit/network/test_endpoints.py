"""Which endpoints a service's traffic goes to."""

from __future__ import annotations

import pytest
from network_objects import endpoint, piece, service

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.network.endpoints import Chosen, choose, endpoints_of_port

PORT = core.ServicePort(name="http", port=80, protocol="TCP")


def chosen(*endpoints: discovery.Endpoint, node: str = "n1", zone: str = "", **spec: str) -> Chosen:
    found = endpoints_of_port([piece(*endpoints)], PORT, address_type="IPv4")
    return choose(found, service(**spec), node=node, zone=zone)


def addresses(endpoints: tuple[object, ...]) -> list[str]:
    return [item.address for item in endpoints]  # type: ignore[attr-defined]


def test_only_ready_endpoints_get_traffic() -> None:
    got = chosen(endpoint("10.0.0.1"), endpoint("10.0.0.2", ready=False), endpoint("10.0.0.3", ready=True))
    assert addresses(got.cluster) == ["10.0.0.1", "10.0.0.3"]


def test_terminating_endpoints_that_serve_are_used_when_no_other_is_left() -> None:
    last = endpoint("10.0.0.2", ready=False, serving=True, terminating=True)
    gone = endpoint("10.0.0.3", ready=False, serving=False, terminating=True)
    assert addresses(chosen(last, gone).cluster) == ["10.0.0.2"]
    assert addresses(chosen(endpoint("10.0.0.1"), last, gone).cluster) == ["10.0.0.1"]
    assert not chosen(gone).exist


def test_a_local_policy_keeps_to_this_node_and_falls_back_the_same_way() -> None:
    here, there = endpoint("10.0.0.1"), endpoint("10.0.1.1", node="n2")
    leaving = endpoint("10.0.0.2", ready=False, serving=True, terminating=True)
    for policy in ("internalTrafficPolicy", "externalTrafficPolicy"):
        got = chosen(here, there, leaving, **{policy: "Local"})
        assert (addresses(got.local), addresses(got.cluster)) == (["10.0.0.1"], ["10.0.0.1", "10.0.1.1"])
        assert addresses(chosen(there, leaving, **{policy: "Local"}).local) == ["10.0.0.2"]
        assert chosen(there, **{policy: "Local"}) == Chosen(chosen(there).cluster, (), exist=True)
        assert chosen(here, node="", **{policy: "Local"}).local == ()


def test_hints_for_this_zone_count_when_every_endpoint_has_one() -> None:
    a, b = endpoint("10.0.0.1", zone="a"), endpoint("10.0.0.2", zone="b")
    assert addresses(chosen(a, b, zone="b").cluster) == ["10.0.0.2"]
    assert len(chosen(a, b, zone="c").cluster) == 2
    assert len(chosen(a, b, zone="").cluster) == 2
    assert len(chosen(a, b, endpoint("10.0.0.3"), zone="b").cluster) == 3


def test_hints_for_this_node_come_before_those_for_the_zone() -> None:
    a = endpoint("10.0.0.1", zone="a", for_node="n1")
    b = endpoint("10.0.0.2", zone="a", for_node="n2")
    assert addresses(chosen(a, b, zone="a").cluster) == ["10.0.0.1"]
    assert len(chosen(a, b, zone="a", node="n3").cluster) == 2


def test_a_port_is_found_by_name_and_protocol_with_its_own_number_in_each_slice() -> None:
    slices = [
        piece("10.0.0.1", ports=[discovery.EndpointPort(name="http", port=8080, protocol="TCP")]),
        piece("10.0.0.2", ports=[discovery.EndpointPort(name="http", port=9090, protocol="TCP")]),
        piece("10.0.0.3", ports=[discovery.EndpointPort(name="dns", port=53, protocol="UDP")]),
        piece("10.0.0.4", ports=[discovery.EndpointPort(name="http", protocol="TCP")]),
        piece("fd00::1", family="IPv6"),
        piece("example.com", family="FQDN"),
        piece("10.0.0.1", number=2),
    ]
    found = endpoints_of_port(slices, PORT, address_type="IPv4")
    assert [(item.address, item.port) for item in found] == [("10.0.0.1", 8080), ("10.0.0.2", 9090)]
    assert [item.address for item in endpoints_of_port(slices, PORT, address_type="IPv6")] == ["fd00::1"]


@pytest.mark.parametrize("address", ["", "not an address", "10.0.0.1; flush ruleset", "10.0.0.0/8"])
def test_what_is_no_address_never_becomes_a_rule(address: str) -> None:
    assert endpoints_of_port([piece(address)], PORT, address_type="IPv4") == []
