"""From requests and limits to QoS, cgroups and admission."""

from __future__ import annotations

import pytest
from unit_kubelet import container, pod, sidecar

from knarr.api.core import v1 as core
from knarr.api.core.placement import matches_node
from knarr.api.meta import v1 as meta
from knarr.kubelet.admission import admit
from knarr.kubelet.resources import (
    container_resources,
    cpu_quota,
    cpu_shares,
    oom_score_adj,
    pod_cgroup,
    pod_cgroup_settings,
    pod_requests,
    qos_class,
)

GIB = 1 << 30


def sized(
    name: str = "main", *, requests: dict[str, str] | None = None, limits: dict[str, str] | None = None
) -> core.Container:
    return container(name, resources=core.ResourceRequirements(requests=requests or {}, limits=limits or {}))  # type: ignore[arg-type]


FULL = {"cpu": "1", "memory": "1Gi"}


def test_quality_of_service_follows_requests_and_limits() -> None:
    assert qos_class(pod(sized())) == "BestEffort"
    assert qos_class(pod(sized(requests={"cpu": "1"}))) == "Burstable"
    assert qos_class(pod(sized(requests=FULL, limits=FULL))) == "Guaranteed"
    assert qos_class(pod(sized(requests=FULL, limits=FULL), sized("b"))) == "Burstable"
    assert (
        qos_class(pod(sized(requests={"cpu": "1", "memory": "1Gi"}, limits={"cpu": "1", "memory": "2Gi"})))
        == "Burstable"
    )


@pytest.mark.parametrize(("millis", "shares"), [(0, 2), (1, 2), (100, 102), (1000, 1024), (10**9, 262144)])
def test_cpu_shares_stay_within_what_the_kernel_takes(millis: int, shares: int) -> None:
    assert cpu_shares(millis) == shares


def test_a_tiny_limit_is_still_a_limit() -> None:
    assert (cpu_quota(0), cpu_quota(1), cpu_quota(500)) == (0, 1000, 50_000)


def test_a_container_is_limited_as_its_spec_says() -> None:
    main = sized(requests={"cpu": "250m"}, limits={"cpu": "500m", "memory": "64Mi"})
    settings = container_resources(pod(main), main, memory_capacity_bytes=8 * GIB, unified=True)
    assert (settings.cpu_shares, settings.cpu_quota, settings.memory_limit_in_bytes) == (
        256,
        50_000,
        64 << 20,
    )
    assert settings.unified == {"memory.oom.group": "1"}


def test_the_kernel_kills_best_effort_first_and_guaranteed_last() -> None:
    def score(main: core.Container, **spec: object) -> int:
        return oom_score_adj(pod(main, **spec), main, 8 * GIB)

    assert score(sized(requests=FULL, limits=FULL)) == -997
    assert score(sized()) == 1000
    assert score(sized(requests={"memory": "4Gi"})) == 500
    assert score(sized(requests={"memory": "1"})) == 999
    assert score(sized(requests={"memory": "8Gi"})) == 3
    assert score(sized(), priority=2_000_000_000) == -997


def test_requests_count_the_larger_of_starting_and_running() -> None:
    wanted = pod(
        sized("a", requests={"cpu": "100m"}),
        sized("b", requests={"cpu": "100m"}),
        initContainers=[
            sized("big", requests={"cpu": "1"}),
            sidecar("side", resources=core.ResourceRequirements(requests={"cpu": "50m"})),
        ],  # type: ignore[dict-item]
        overhead={"cpu": "10m"},
    )
    assert pod_requests(wanted) == {"cpu": "1010m"}
    after = pod(
        sized("a", requests={"cpu": "100m"}),
        initContainers=[
            sidecar("side", resources=core.ResourceRequirements(requests={"cpu": "50m"})),
            sized("small", requests={"cpu": "70m"}),
        ],  # type: ignore[dict-item]
    )
    assert pod_requests(after) == {"cpu": "150m"}


def test_a_pods_cgroup_lies_by_its_quality_of_service() -> None:
    assert pod_cgroup("/knarr/c/n", pod(sized())) == "/knarr/c/n/kubepods/besteffort/poduid-1"
    assert pod_cgroup("/", pod(sized(requests=FULL, limits=FULL))) == "/kubepods/poduid-1"


def test_a_pods_cgroup_is_limited_only_if_every_container_is() -> None:
    limited = pod(sized(limits=FULL), sized("b", limits=FULL))
    assert pod_cgroup_settings(limited, unified=True) == {
        "cpu": {"cpu.weight": "1", "cpu.max": "200000 100000"},
        "memory": {"memory.max": str(2 * GIB)},
    }
    half = pod(sized(requests=FULL, limits=FULL), sized("b"))
    assert pod_cgroup_settings(half, unified=False) == {"cpu": {"cpu.shares": "1024"}, "memory": {}}


NODE = core.Node(metadata=meta.ObjectMeta(name="n1", labels={"disk": "ssd", "cores": "8"}))
ALLOCATABLE = {"cpu": "2", "memory": "4Gi", "pods": "3"}


def other(uid: str, **spec: object) -> core.Pod:
    made = pod(sized(requests={"cpu": "800m"}), **spec)
    made.metadata.uid = uid
    return made


def test_a_pod_that_fits_is_let_in() -> None:
    assert (
        admit(pod(sized(requests={"cpu": "400m"})), NODE, [other("a"), other("b")], allocatable=ALLOCATABLE)
        is None
    )


def test_a_pod_that_does_not_fit_fails_with_the_numbers() -> None:
    verdict = admit(
        pod(sized(requests={"cpu": "500m"})), NODE, [other("a"), other("b")], allocatable=ALLOCATABLE
    )
    assert verdict is not None and verdict.reason == "OutOfcpu"
    assert verdict.message == (
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 500, used: 1600, capacity: 2000"
    )


def test_a_full_node_takes_no_more_pods() -> None:
    verdict = admit(
        pod(), NODE, [other("a"), other("b"), other("c")], allocatable={**ALLOCATABLE, "cpu": "9"}
    )
    assert verdict is not None and verdict.reason == "OutOfpods"


def test_two_pods_cannot_have_the_same_port_of_the_node() -> None:
    port = core.ContainerPort(containerPort=80, hostPort=8080)
    taken = other("a")
    taken.spec.containers[0].ports = [port]
    verdict = admit(pod(container(ports=[port])), NODE, [taken], allocatable=ALLOCATABLE)
    assert verdict is not None and verdict.reason == "NodePorts"


def test_two_pods_may_have_the_same_port_on_two_addresses_of_the_node() -> None:
    def port(address: str) -> core.ContainerPort:
        return core.ContainerPort(containerPort=80, hostPort=8080, hostIP=address)

    taken = other("a")
    taken.spec.containers[0].ports = [port("127.0.0.1")]
    for address, fits in (("10.0.0.7", True), ("127.0.0.1", False), ("", False), ("0.0.0.0", False)):
        verdict = admit(pod(container(ports=[port(address)])), NODE, [taken], allocatable=ALLOCATABLE)
        assert (verdict is None) == fits, address


def affinity(operator: str, values: list[str], key: str = "disk") -> core.Affinity:
    term = core.NodeSelectorTerm(
        matchExpressions=[core.NodeSelectorRequirement(key=key, operator=operator, values=values)]
    )
    required = core.NodeSelector(nodeSelectorTerms=[term])
    return core.Affinity(
        nodeAffinity=core.NodeAffinity(requiredDuringSchedulingIgnoredDuringExecution=required)
    )


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (pod(nodeSelector={"disk": "ssd"}), True),
        (pod(nodeSelector={"disk": "hdd"}), False),
        (pod(affinity=affinity("In", ["ssd", "x"])), True),
        (pod(affinity=affinity("NotIn", ["ssd"])), False),
        (pod(affinity=affinity("Exists", [])), True),
        (pod(affinity=affinity("DoesNotExist", [])), False),
        (pod(affinity=affinity("Gt", ["4"], key="cores")), True),
        (pod(affinity=affinity("Lt", ["4"], key="cores")), False),
    ],
)
def test_selectors_and_affinity_are_held_up(wanted: core.Pod, matches: bool) -> None:
    assert matches_node(wanted.spec, NODE) is matches
