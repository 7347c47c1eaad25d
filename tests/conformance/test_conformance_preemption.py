"""[sig-scheduling] SchedulerPreemption, [sig-api-machinery] the server's version, [sig-node] more than one debugger."""

from __future__ import annotations

import pytest
from conformance_api import API_ONLY, NS, STRATEGIC, Api, Object, has_condition
from conformance_objects import IMAGE, meta, phase, pod, ready

from knarr.testing import InProcessCluster, NodeShape
from knarr.testing.plugin import ClusterRunner

ROW = "[sig-scheduling] SchedulerPreemption [Serial]"
RESOURCE = "cpu"
SHAPE = NodeShape(cpu="5")


async def full(cluster: InProcessCluster) -> Api:
    """Four of every node's five processors are taken: by a low pod on the first node, by medium ones elsewhere."""
    classes, pods = Api(cluster, "scheduling.k8s.io/v1", "priorityclasses"), Api(cluster, "v1", "pods", NS)
    for name, value in (("low", 1), ("medium", 100), ("high", 1000)):
        await classes.create({"metadata": meta(name), "value": value})
    for number, node in enumerate(sorted(cluster.nodes)):
        priority = "low" if number == 0 else "medium"
        holder = taking(f"{priority}-{node}", priority, kept="yes")
        holder["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
        await pods.create(holder)
        await pods.wait(f"{priority}-{node}", ready)
    return pods


def taking(name: str, priority: str, **labels: str) -> Object:
    amount = {RESOURCE: "4"}
    container = {"resources": {"requests": amount, "limits": amount}}
    return pod(name, labels, priorityClassName=priority, container=container)


async def preempted(pods: Api, preemptor: Object) -> None:
    """The low pod, and none but it, makes room."""
    uids = {each["metadata"]["name"]: each["metadata"]["uid"] for each in await pods.items("kept=yes")}
    low = next(name for name in uids if name.startswith("low-"))
    name = preemptor["metadata"]["name"]
    await pods.create(preemptor)
    held = await pods.wait(name, lambda each: phase(each) == "Running")
    assert held["spec"]["nodeName"] == low.removeprefix("low-")
    assert not await pods.exists(low)
    left = {each["metadata"]["name"] for each in await pods.items("kept=yes")}
    assert left == set(uids) - {low}


@pytest.mark.conformance(f"{ROW} validates basic preemption works [Conformance]")
def test_a_pod_of_high_priority_takes_the_place_of_a_low_one(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await preempted(await full(cluster), taking("preemptor", "high"))

    knarr_cluster.run(scenario, nodes=2, shape=SHAPE)


@pytest.mark.conformance(f"{ROW} validates lower priority pod preemption by critical pod [Conformance]")
def test_a_critical_pod_takes_the_place_of_a_low_one(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        pods, system = await full(cluster), Api(cluster, "v1", "pods", "kube-system")
        low = next(each["metadata"]["name"] for each in await pods.items("kept=yes") if each["metadata"]["name"].startswith("low-"))
        await system.create(taking("critical-pod", "system-cluster-critical"))
        await system.wait("critical-pod", lambda each: phase(each) == "Running")
        assert not await pods.exists(low) and len(await pods.items("kept=yes")) == 1

    knarr_cluster.run(scenario, nodes=2, shape=SHAPE)


@pytest.mark.conformance(f"{ROW} validates pod disruption condition is added to the preempted pod [Conformance]")
def test_a_preempted_pod_says_why_it_went(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        pods = await full(cluster)
        await pods.patch("low-node-1", {"metadata": {"finalizers": ["example.com/test-finalizer"]}})
        await pods.create(taking("preemptor", "high"))
        held = await pods.wait("low-node-1", lambda each: each["metadata"].get("deletionTimestamp"))
        assert has_condition(held, "DisruptionTarget", reason="PreemptionByScheduler")
        await pods.patch("low-node-1", {"metadata": {"finalizers": None}})
        await pods.wait("preemptor", lambda each: phase(each) == "Running")

    knarr_cluster.run(scenario, nodes=1, shape=SHAPE)


@pytest.mark.conformance("[sig-node] Ephemeral Containers [NodeConformance] should update the ephemeral containers in an existing pod [Conformance]")
def test_a_second_debugger_joins(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "pods", NS)
        await api.create(pod("debugged"))
        await api.wait("debugged", ready)
        first = {"name": "debugger1", "image": IMAGE, "command": ["sleep", "1d"]}
        await api.patch("debugged", {"spec": {"ephemeralContainers": [first]}}, "ephemeralcontainers", kind=STRATEGIC)
        second = {**first, "name": "debugger2"}
        await api.change("debugged", lambda obj: obj["spec"]["ephemeralContainers"].append(second), "ephemeralcontainers")
        held = await api.get("debugged")
        assert [each["name"] for each in held["spec"]["ephemeralContainers"]] == ["debugger1", "debugger2"]

        def both(obj: Object) -> bool:
            statuses = obj["status"].get("ephemeralContainerStatuses", [])
            return len(statuses) == 2 and all("running" in each["state"] for each in statuses)

        await api.wait("debugged", both)

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-api-machinery] server version should find the server version [Conformance]")
def test_the_server_says_its_version(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        version = await Api(cluster, "v1", "").call("GET", "/version")
        assert (version["major"], version["minor"].rstrip("+")) == ("1", "36") and version["gitVersion"].startswith("v1.36")

    knarr_cluster.run(scenario, **API_ONLY)
