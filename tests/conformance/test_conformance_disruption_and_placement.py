"""[sig-apps] DisruptionController, [sig-scheduling] SchedulerPredicates, [sig-node] taints, [sig-architecture] the cluster itself."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_api import NS, STRATEGIC, Api, Object, fails, has_condition
from conformance_objects import meta, phase, pod, ready

from knarr.testing import InProcessCluster, NodeShape
from knarr.testing.plugin import ClusterRunner

LABELS = {"foo": "bar"}
BUDGETS = ("policy/v1", "poddisruptionbudgets")


def budget(name: str, minimum: int | str, labels: dict[str, str] | None = None) -> Object:
    spec = {"selector": {"matchLabels": LABELS}, "minAvailable": minimum}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta(name, labels), "spec": spec}


def processed(obj: Object) -> bool:
    return obj["status"].get("observedGeneration") == obj["metadata"]["generation"]


async def running_pods(cluster: InProcessCluster, count: int) -> Api:
    api = Api(cluster, "v1", "pods", NS)
    for number in range(count):
        await api.create(pod(f"pod-{number}", LABELS))
    await api.wait_items(lambda found: sum(map(ready, found)) == count)
    return api


@pytest.mark.conformance("[sig-apps] DisruptionController should create a PodDisruptionBudget [Conformance]")
def test_a_budget_is_made_changed_and_deleted(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, *BUDGETS, NS)
        await api.create(budget("foo", "1%"))
        await api.wait("foo", processed)
        await api.change("foo", lambda obj: obj["spec"].update(minAvailable="2%"))
        held = await api.wait("foo", processed)
        assert held["spec"]["minAvailable"] == "2%"
        await api.patch("foo", {"spec": {"minAvailable": "3%"}}, kind=STRATEGIC)
        held = await api.wait("foo", processed)
        assert held["spec"]["minAvailable"] == "3%"
        await api.delete("foo")
        await fails(api.get("foo"), 404, "NotFound")

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] DisruptionController should observe PodDisruptionBudget status updated [Conformance]")
def test_a_budget_says_how_many_may_go(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, *BUDGETS, NS)
        await api.create(budget("foo", 1))
        await running_pods(cluster, 3)
        held = await api.wait("foo", lambda each: each["status"]["disruptionsAllowed"] > 0)
        status = held["status"]
        assert (status["currentHealthy"], status["desiredHealthy"], status["expectedPods"], status["disruptionsAllowed"]) == (3, 1, 3, 2)
        assert has_condition(held, "DisruptionAllowed")

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] DisruptionController should update/patch PodDisruptionBudget status [Conformance]")
def test_the_status_of_a_budget_can_be_changed(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, *BUDGETS, NS)
        await api.create(budget("foo", 1))
        pods = await running_pods(cluster, 1)
        await api.wait("foo", lambda each: processed(each) and each["status"]["currentHealthy"] == 1)
        name = (await pods.items())[0]["metadata"]["name"]
        stamp = "2030-01-01T00:00:00Z"
        updated = await api.change("foo", lambda obj: obj["status"].update(disruptedPods={name: stamp}), "status")
        assert name in updated["status"]["disruptedPods"]
        patched = await api.patch("foo", {"status": {"disruptedPods": None}}, "status")
        assert not patched["status"].get("disruptedPods")

    knarr_cluster.run(scenario)


@pytest.mark.conformance(
    "[sig-apps] DisruptionController Listing PodDisruptionBudgets for all namespaces should list and delete a collection of PodDisruptionBudgets [Conformance]"
)
def test_budgets_are_deleted_together(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await Api(cluster, "v1", "namespaces").create({"metadata": meta("second")})
        first, second = Api(cluster, *BUDGETS, NS), Api(cluster, *BUDGETS, "second")
        for api, name in ((first, "foo"), (first, "foo2"), (second, "foo3")):
            await api.create(budget(name, 1, {"special": "yes"}))
        assert len((await first.list("special=yes", everywhere=True))["items"]) == 3
        assert len(await first.items("special=yes")) == 2
        await first.delete_collection("special=yes")
        assert await first.items("special=yes") == []
        assert len(await second.items("special=yes")) == 1

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.conformance(
    "[sig-apps] DisruptionController should block an eviction until the PDB is updated to allow it [Conformance]"
)
def test_an_eviction_waits_for_the_budget(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api, pods = Api(cluster, *BUDGETS, NS), await running_pods(cluster, 3)

        async def evict() -> None:
            body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta("pod-0")}
            await pods.call("POST", pods.path("pod-0", "eviction"), body)

        await api.create(budget("foo", 3))
        await api.wait("foo", lambda each: processed(each) and each["status"]["currentHealthy"] == 3)
        error = await fails(evict(), 429, "TooManyRequests")
        assert error.status.details is not None and error.status.details.causes[0].reason == "DisruptionBudget"
        await api.change("foo", lambda obj: obj["spec"].update(minAvailable=2))
        await api.wait("foo", lambda each: processed(each) and each["status"]["disruptionsAllowed"] == 1)
        await evict()
        await pods.wait_gone("pod-0")
        await api.patch("foo", {"spec": {"minAvailable": 3}})
        await api.wait("foo", lambda each: processed(each) and each["status"]["disruptionsAllowed"] == 0)
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta("pod-1")}
        await fails(pods.call("POST", pods.path("pod-1", "eviction"), body), 429)
        await api.delete("foo")
        await cluster.sleep(1)
        await pods.call("POST", pods.path("pod-1", "eviction"), body)
        await pods.wait_gone("pod-1")

    knarr_cluster.run(scenario)


PREDICATES = "[sig-scheduling] SchedulerPredicates [Serial]"


async def unschedulable(api: Api, name: str) -> str:
    """The pod waits, and this is what its condition says."""
    held = await api.wait(name, lambda each: has_condition(each, "PodScheduled", "False", reason="Unschedulable"))
    assert phase(held) == "Pending" and "nodeName" not in held["spec"]
    return str(next(each["message"] for each in held["status"]["conditions"] if each["type"] == "PodScheduled"))


@pytest.mark.conformance(f"{PREDICATES} validates resource limits of pods that are allowed to run [Conformance]")
def test_a_full_node_takes_no_more(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "pods", NS)

        def asking(name: str, cpu: str) -> Object:
            amount = {"cpu": cpu}
            return pod(name, container={"resources": {"requests": amount, "limits": amount}})

        for name in cluster.nodes:
            filler = asking(f"filler-{name}", "1400m")
            filler["spec"]["nodeSelector"] = {"kubernetes.io/hostname": name}
            await api.create(filler)
        await api.wait_items(lambda found: [phase(each) for each in found] == ["Running"] * 2)
        await api.create(asking("additional-pod", "1"))
        assert "Insufficient cpu" in await unschedulable(api, "additional-pod")
        failed = [each for each in await cluster.events() if each.involvedObject.name == "additional-pod"]
        assert failed[0].reason == "FailedScheduling"

    knarr_cluster.run(scenario, nodes=2, shape=NodeShape(cpu="2"))


@pytest.mark.conformance(f"{PREDICATES} validates that NodeSelector is respected if not matching [Conformance]")
def test_a_selector_that_no_node_meets_is_respected(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "pods", NS)
        await api.create(pod("restricted-pod", nodeSelector={"label": "nonempty"}))
        assert "didn't match Pod's node affinity/selector" in await unschedulable(api, "restricted-pod")

    knarr_cluster.run(scenario, nodes=2)


@pytest.mark.conformance(f"{PREDICATES} validates that NodeSelector is respected if matching [Conformance]")
def test_a_selector_that_a_node_meets_is_respected(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api, key = Api(cluster, "v1", "pods", NS), "kubernetes.io/e2e-label"
        await Api(cluster, "v1", "nodes").patch("node-2", {"metadata": {"labels": {key: "42"}}})
        await api.create(pod("with-labels", nodeSelector={key: "42"}))
        held = await api.wait("with-labels", lambda each: phase(each) == "Running")
        assert held["spec"]["nodeName"] == "node-2"

    knarr_cluster.run(scenario, nodes=2)


@pytest.mark.conformance(
    f"{PREDICATES} validates that there exists conflict between pods with same hostPort and protocol but one using 0.0.0.0 hostIP [Conformance]"
)
def test_a_host_port_on_every_address_excludes_one_on_any(knarr_cluster: ClusterRunner) -> None:
    def port(**more: Any) -> Object:
        return {"ports": [{"containerPort": 80, "hostPort": 54322, "protocol": "TCP", **more}]}

    async def scenario(cluster: InProcessCluster) -> None:
        api, selector = Api(cluster, "v1", "pods", NS), {"kubernetes.io/hostname": "node-1"}
        await api.create(pod("pod4", nodeSelector=selector, container=port(hostIP="")))
        await api.wait("pod4", lambda each: phase(each) == "Running")
        await api.create(pod("pod5", nodeSelector=selector, container=port(hostIP="127.0.0.1")))
        assert "didn't have free ports" in await unschedulable(api, "pod5")

    knarr_cluster.run(scenario, nodes=2)


@pytest.mark.conformance("[sig-architecture] Conformance Tests should have at least two untainted nodes [Conformance]")
def test_two_nodes_are_free(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        nodes = await Api(cluster, "v1", "nodes").items()
        assert len([each for each in nodes if not each["spec"].get("taints") and has_condition(each, "Ready")]) >= 2

    knarr_cluster.run(scenario, nodes=2)


TAINT = {"key": "kubernetes.io/e2e-evict-taint-key", "value": "evictTaintVal", "effect": "NoExecute"}


def tolerating(seconds: int) -> list[Object]:
    return [{"key": TAINT["key"], "operator": "Equal", "value": TAINT["value"], "effect": "NoExecute", "tolerationSeconds": seconds}]


async def taint(cluster: InProcessCluster, *taints: Object) -> None:
    await Api(cluster, "v1", "nodes").patch("node-1", {"spec": {"taints": list(taints) or None}})


@pytest.mark.conformance(
    "[sig-node] NoExecuteTaintManager Single Pod [Serial] removing taint cancels eviction [Disruptive] [Conformance]"
)
def test_a_taint_that_goes_in_time_evicts_nobody(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "pods", NS)
        await api.create(pod("taint-eviction-4", tolerations=tolerating(60)))
        await api.wait("taint-eviction-4", lambda each: phase(each) == "Running")
        await taint(cluster, TAINT)
        await cluster.sleep(30)
        assert "deletionTimestamp" not in (await api.get("taint-eviction-4"))["metadata"]
        await taint(cluster)
        await cluster.sleep(120)
        held = await api.get("taint-eviction-4")
        assert "deletionTimestamp" not in held["metadata"] and phase(held) == "Running"

    knarr_cluster.run(scenario)


@pytest.mark.conformance(
    "[sig-node] NoExecuteTaintManager Multiple Pods [Serial] evicts pods with minTolerationSeconds [Disruptive] [Conformance]"
)
def test_pods_leave_when_their_toleration_is_over(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "pods", NS)
        for name, seconds in (("b1", 5), ("b2", 75)):
            await api.create(pod(f"taint-eviction-{name}", tolerations=tolerating(seconds)))
        await api.wait_items(lambda found: [phase(each) for each in found] == ["Running"] * 2)
        await taint(cluster, TAINT)
        await api.wait_gone("taint-eviction-b1", 65)
        assert "deletionTimestamp" not in (await api.get("taint-eviction-b2"))["metadata"]
        await api.wait_gone("taint-eviction-b2", 150)

    knarr_cluster.run(scenario)
