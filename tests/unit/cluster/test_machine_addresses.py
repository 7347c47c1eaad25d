"""Sixteen clusters side by side, none on another's addresses or on the machine's."""

from __future__ import annotations

import itertools
from ipaddress import ip_network

import pytest

from knarr.cluster.addresses import MAX_CLUSTERS, AddressPlan, NoAddressesLeft, free_index


def test_a_plan_gives_every_part_its_range() -> None:
    plan = AddressPlan(1)
    assert (plan.node_cidr, plan.pod_cidr, plan.service_cidr) == (
        "10.132.0.0/16",
        "10.133.0.0/16",
        "10.134.0.0/16",
    )
    assert (plan.bridge_address, plan.node_address(0), plan.node_pod_cidr(2)) == (
        "10.132.0.1",
        "10.132.0.10",
        "10.133.2.0/24",
    )
    assert (plan.kubernetes_service_address, plan.dns_address) == ("10.134.0.1", "10.134.0.10")


def test_no_two_ranges_of_any_two_clusters_overlap() -> None:
    ranges = [
        ip_network(text)
        for index in range(MAX_CLUSTERS)
        for text in (
            AddressPlan(index).node_cidr,
            AddressPlan(index).pod_cidr,
            AddressPlan(index).service_cidr,
        )
    ]
    assert not any(left.overlaps(right) for left, right in itertools.combinations(ranges, 2))


def test_what_the_machine_uses_already_is_left_alone() -> None:
    assert free_index([], ["192.168.0.0/16", "0.0.0.0/0"]) == 0
    assert free_index([0], ["10.135.7.0/24", "10.136.0.1"]) == 3


def test_a_seventeenth_cluster_is_refused_with_what_to_do() -> None:
    with pytest.raises(NoAddressesLeft, match="delete one first"):
        free_index(range(MAX_CLUSTERS), [])


@pytest.mark.parametrize("number", [-1, 256])
def test_a_node_beyond_the_range_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="expected a node number"):
        AddressPlan(0).node_address(number)
