"""Where a pod's proxy connects: never to the API server's own machine, and to the port that is meant."""

from __future__ import annotations

import pytest

from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.apiserver.subresources.pod_address import is_global_unicast, pod_address


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.1", "172.16.0.9", "8.8.8.8", "fd00::1", "2001:db8::1", "::ffff:10.0.0.1", "240.0.0.1"])
def test_an_address_of_pods_is_connected_to(address: str) -> None:
    assert is_global_unicast(address)


@pytest.mark.parametrize(
    "address",
    ["", "web", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", "224.0.0.1", "ff02::1", "ff01::1",
     "0.0.0.0", "::", "255.255.255.255", "10.0.0.01"],
)  # fmt: skip
def test_an_address_of_the_machine_or_of_nobody_is_not(address: str) -> None:
    assert not is_global_unicast(address)


def pod(*ports: core.ContainerPort, address: str = "10.0.0.1") -> core.Pod:
    containers = [core.Container(name="first"), core.Container(name="main", ports=list(ports))]
    return core.Pod(spec=core.PodSpec(containers=containers), status=core.PodStatus(podIP=address))


@pytest.mark.parametrize(
    ("ports", "asked", "secure", "number"),
    [
        ((), "", False, 80),
        ((), "", True, 443),
        ((8080, 9090), "", False, 8080),
        ((8080, 9090), "9090", False, 9090),
        ((8080,), "1", False, 1),
        ((8080, 9090), "p9090", False, 9090),
        ((8080,), "http", False, 80),
        ((8080,), "https", False, 443),
    ],
)
def test_the_port_that_is_meant_is_found(ports: tuple[int, ...], asked: str, secure: bool, number: int) -> None:
    made = pod(*(core.ContainerPort(name=f"p{each}", containerPort=each) for each in ports))
    assert pod_address(made, asked, secure=secure, may_proxy_to=is_global_unicast) == ("10.0.0.1", number)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [("metrics", "unknown port"), ("é", "unknown port"), ("65536", "invalid port"), ("123456789", "invalid port"), ("-1", "unknown port")],
)
def test_a_port_that_is_none_is_told_and_not_taken_for_another(asked: str, problem: str) -> None:
    with pytest.raises(StatusError) as refused:
        pod_address(pod(core.ContainerPort(name="web", containerPort=80)), asked, secure=False, may_proxy_to=is_global_unicast)
    assert (refused.value.code, str(refused.value)) == (
        503, f"error trying to reach service: dial tcp: lookup tcp/{asked}: {problem}"
    )  # fmt: skip


def test_an_address_that_is_not_allowed_is_told() -> None:
    for address in ("", "127.0.0.1"):
        with pytest.raises(StatusError) as refused:
            pod_address(pod(address=address), "80", secure=False, may_proxy_to=is_global_unicast)
        assert (refused.value.code, str(refused.value)) == (400, "address not allowed")
