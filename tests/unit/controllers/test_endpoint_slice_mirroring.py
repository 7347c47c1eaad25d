"""Endpoints written by hand must reach proxies whole: every family, ports as they are, ready or not."""

from __future__ import annotations

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.controllers.endpoint_slice_mirroring import MAX_ENDPOINTS_PER_SUBSET, mirrored


def written(*subsets: core.EndpointSubset) -> core.Endpoints:
    annotations = {"note": "x", "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"}
    return core.Endpoints(metadata=meta.ObjectMeta(name="db", namespace="default", annotations=annotations), subsets=list(subsets))


def subset(port: int, *ips: str, waiting: tuple[str, ...] = ()) -> core.EndpointSubset:
    return core.EndpointSubset(
        addresses=[core.EndpointAddress(ip=ip) for ip in ips],
        notReadyAddresses=[core.EndpointAddress(ip=ip) for ip in waiting],
        ports=[core.EndpointPort(port=port)],
    )


def test_each_family_and_each_row_of_ports_has_a_slice() -> None:
    slices = mirrored(written(subset(80, "10.0.0.1", "fd00::1"), subset(81, "10.0.0.2"), subset(80, "10.0.0.3")))
    said = {(each.addressType, each.ports[0].port): [one.addresses[0] for one in each.endpoints] for each in slices}
    assert said == {("IPv4", 80): ["10.0.0.1", "10.0.0.3"], ("IPv6", 80): ["fd00::1"], ("IPv4", 81): ["10.0.0.2"]}
    assert all(each.metadata.annotations == {"note": "x"} for each in slices)


def test_an_address_that_is_not_ready_is_told_as_such() -> None:
    (only,) = mirrored(written(subset(80, "10.0.0.1", waiting=("10.0.0.2",))))
    assert [(each.addresses, each.conditions.ready) for each in only.endpoints] == [(["10.0.0.1"], True), (["10.0.0.2"], False)]


def test_a_subset_too_large_is_cut() -> None:
    ips = [f"10.0.{number // 250}.{number % 250}" for number in range(MAX_ENDPOINTS_PER_SUBSET + 1)]
    (only,) = mirrored(written(subset(80, *ips)))
    assert len(only.endpoints) == MAX_ENDPOINTS_PER_SUBSET
