"""The cluster's DNS by the specification: which names there are and what they answer."""

from __future__ import annotations

from network_objects import endpoint, piece, service

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.network.records import Record, namespace_records, service_records
from knarr.network.zone import NOERROR, NXDOMAIN, Zone

NAME = "web.default.svc.cluster.local"


def zone_with(*services: tuple[core.Service, list[discovery.EndpointSlice]]) -> Zone:
    zone = Zone("cluster.local", ["10.96.0.53"])
    zone.put("namespace/default", namespace_records("default", "cluster.local"))
    for one, slices in services:
        zone.put(f"service/{one.metadata.name}", service_records(one, slices, zone="cluster.local"))
    return zone


def asked(zone: Zone, name: str, kind: str = "A") -> list[str]:
    answer = zone.ask(name, kind)
    assert answer.code == NOERROR, f"{name} {kind} does not exist"
    return sorted(record.data for record in answer.records)


def missing(zone: Zone, name: str, kind: str = "A") -> bool:
    answer = zone.ask(name, kind)
    return answer.code == NXDOMAIN and not answer.records


def test_a_service_has_its_address_by_name_and_its_name_by_address() -> None:
    zone = zone_with((service(), [piece("10.244.1.2")]))
    assert asked(zone, NAME) == ["10.96.0.10"]
    assert asked(zone, NAME, "AAAA") == []
    assert zone.owns("10.0.96.10.in-addr.arpa")
    assert asked(zone, "10.0.96.10.in-addr.arpa", "PTR") == [NAME]


def test_a_service_of_two_families_has_both_addresses() -> None:
    one = service()
    one.spec.clusterIPs = ["10.96.0.10", "fd00::a"]
    zone = zone_with((one, []))
    assert (asked(zone, NAME), asked(zone, NAME, "AAAA")) == (["10.96.0.10"], ["fd00::a"])


def test_a_named_port_has_an_srv_record_that_leads_to_the_service() -> None:
    zone = zone_with((service(), []))
    answer = zone.ask(f"_http._tcp.{NAME}", "SRV")
    assert [record.data for record in answer.records] == [f"0 100 80 {NAME}"]
    assert answer.additional == [Record(NAME, "A", "10.96.0.10")]
    assert missing(zone, f"_http._udp.{NAME}", "SRV")
    assert missing(zone, f"_https._tcp.{NAME}", "SRV")
    assert asked(zone, f"_tcp.{NAME}") == []


def headless(**spec: object) -> core.Service:
    return service(ip="None", **spec)  # type: ignore[arg-type]


def test_a_headless_service_has_its_ready_endpoints_under_its_name_and_their_own() -> None:
    slices = [
        piece(
            endpoint("10.244.1.2", hostname="web-0"),
            "10.244.1.3",
            endpoint("10.244.1.4", ready=False, hostname="web-2"),
        ),
        piece(endpoint("fd00::7", hostname="web-0"), family="IPv6", number=2),
    ]
    zone = zone_with((headless(), slices))
    assert asked(zone, NAME) == ["10.244.1.2", "10.244.1.3"]
    assert asked(zone, NAME, "AAAA") == ["fd00::7"]
    assert asked(zone, f"web-0.{NAME}") == ["10.244.1.2"]
    assert asked(zone, f"10-244-1-3.{NAME}") == ["10.244.1.3"]
    assert missing(zone, f"web-2.{NAME}")
    assert asked(zone, "2.1.244.10.in-addr.arpa", "PTR") == [f"web-0.{NAME}"]
    assert not zone.owns("3.1.244.10.in-addr.arpa")
    assert asked(zone, f"_http._tcp.{NAME}", "SRV") == [
        f"0 50 8080 10-244-1-3.{NAME}",
        f"0 50 8080 web-0.{NAME}",
    ]


def test_addresses_that_are_not_ready_are_published_when_the_service_says_so() -> None:
    slices = [piece(endpoint("10.244.1.4", ready=False, hostname="web-2"))]
    zone = zone_with((headless(publishNotReadyAddresses=True), slices))
    assert asked(zone, f"web-2.{NAME}") == ["10.244.1.4"]


def test_a_headless_service_without_ready_endpoints_has_no_name() -> None:
    assert missing(zone_with((headless(), [])), NAME)


def test_an_external_name_is_an_alias() -> None:
    outside = service(ip="", type="ExternalName", externalName="Example.COM.")
    zone = zone_with((outside, []))
    for kind in ("A", "AAAA", "CNAME"):
        assert asked(zone, NAME, kind) == ["example.com"]
    assert zone.ask(NAME, "A").alias == "example.com"
    inside = service("alias", "", type="ExternalName", externalName="web.default.svc.cluster.local")
    zone = zone_with((service(), []), (inside, []))
    assert asked(zone, "alias.default.svc.cluster.local") == ["10.96.0.10", NAME]
    circle = service("web", "", type="ExternalName", externalName="alias.default.svc.cluster.local")
    assert len(zone_with((circle, []), (inside, [])).ask(NAME, "A").records) <= 8


def test_pods_have_names_made_of_their_address() -> None:
    zone = zone_with()
    assert asked(zone, "10-244-1-2.default.pod.cluster.local") == ["10.244.1.2"]
    assert asked(zone, "10-244-1-2.default.pod.cluster.local", "AAAA") == []
    assert asked(zone, "fd00--7.default.pod.cluster.local", "AAAA") == ["fd00::7"]
    assert missing(zone, "10-244-1-2.nowhere.pod.cluster.local")
    assert missing(zone, "web-0.default.pod.cluster.local")
    assert missing(zone, "10-244-1-300.default.pod.cluster.local")


def test_names_on_the_way_exist_without_records_and_others_do_not() -> None:
    zone = zone_with((service(), []))
    for name in ("cluster.local", "svc.cluster.local", "default.svc.cluster.local", "pod.cluster.local"):
        assert asked(zone, name) == []
    for name in (
        "nowhere.svc.cluster.local",
        "other.default.svc.cluster.local",
        "x.cluster.local",
        f"x.{NAME}",
    ):
        assert missing(zone, name)


def test_the_zone_says_its_version_and_its_server() -> None:
    zone = zone_with()
    assert asked(zone, "dns-version.cluster.local", "TXT") == ["1.1.0"]
    assert asked(zone, "ns.dns.cluster.local") == ["10.96.0.53"]
    assert asked(zone, "cluster.local", "NS") == ["ns.dns.cluster.local"]


def test_a_service_that_goes_takes_its_names_along() -> None:
    zone = zone_with((service(), [piece("10.244.1.2")]))
    before = zone.serial
    assert zone.put("service/web", [])
    assert missing(zone, NAME) and missing(zone, f"10-244-1-2.{NAME}")
    assert not zone.owns("10.0.96.10.in-addr.arpa")
    assert zone.serial > before
    assert not zone.put("service/web", [])
    empty = Zone("cluster.local", ["10.96.0.53"])
    zone.put("namespace/default", [])
    assert (zone._weight, zone._records) == (empty._weight, empty._records)


def test_two_services_with_one_endpoint_share_its_reverse_name() -> None:
    slices = [piece(endpoint("10.244.1.2", hostname="web-0"))]
    other = service("other", "None")
    zone = zone_with((headless(), slices), (other, slices))
    reverse = "2.1.244.10.in-addr.arpa"
    assert len(asked(zone, reverse, "PTR")) == 2
    zone.put("service/other", [])
    assert asked(zone, reverse, "PTR") == [f"web-0.{NAME}"]
