"""Where pods go, in what order, and what a user is told when they go nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from cluster_objects import NS, pod

from knarr.api import conditions, quantity
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.api.scheduling import v1 as scheduling
from knarr.testing import InProcessCluster, NodeShape
from knarr.testing.plugin import ClusterRunner

SMALL = NodeShape(cpu="2", memory="4Gi", pods=10)


async def placed(cluster: InProcessCluster) -> dict[str, str]:
    return {each.metadata.name: each.spec.nodeName for each in await cluster.pods()}


async def refusal(cluster: InProcessCluster, name: str) -> str:
    """The message of the pod's PodScheduled condition."""
    held = await cluster.wait_for_condition(core.Pod, name, "PodScheduled", status="False", timeout_s=20)
    condition = conditions.get(held.status.conditions, "PodScheduled")
    assert condition is not None and condition.reason == "Unschedulable"
    return condition.message


def affinity(key: str, operator: str, *values: str) -> core.Affinity:
    term = core.NodeSelectorTerm(
        matchExpressions=[core.NodeSelectorRequirement(key=key, operator=operator, values=list(values))]
    )
    return core.Affinity(
        nodeAffinity=core.NodeAffinity(
            requiredDuringSchedulingIgnoredDuringExecution=core.NodeSelector(nodeSelectorTerms=[term])
        )
    )


def test_a_pod_that_asks_for_too_much_waits_until_a_node_with_room_appears(
    knarr_cluster: ClusterRunner,
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("big", cpu="3"))
        message = await refusal(cluster, "big")
        assert message.startswith("0/2 nodes are available: 2 Insufficient cpu.")
        events = [each for each in await cluster.events() if each.involvedObject.name == "big"]
        assert (events[0].reason, events[0].type, events[0].message) == (
            "FailedScheduling",
            "Warning",
            message,
        )
        await cluster.add_node("large", NodeShape(cpu="8"))
        await cluster.wait_for_condition(core.Pod, "big", "Ready", timeout_s=20)
        assert (await placed(cluster))["big"] == "large"
        last = [
            each
            for each in await cluster.events()
            if each.involvedObject.name == "big" and each.reason == "Scheduled"
        ]
        assert last[0].message == "Successfully assigned default/big to large"

    knarr_cluster.run(scenario, nodes=2, shape=SMALL)


def test_room_that_a_deleted_pod_leaves_is_used(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("first", cpu="1500m"))
        await cluster.sleep(3)
        await cluster.client.create(pod("second", cpu="1500m"))
        await refusal(cluster, "second")
        await cluster.client.delete(core.Pod, "first", namespace=NS, grace_period_s=0)
        await cluster.wait_for_condition(core.Pod, "second", "Ready", timeout_s=20)

    knarr_cluster.run(scenario, shape=SMALL)


def test_a_taint_keeps_pods_away_that_do_not_tolerate_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("plain"))
        message = await refusal(cluster, "plain")
        assert message.startswith("0/1 nodes are available: 1 node(s) had untolerated taint(s).")
        toleration = core.Toleration(key="gpu", operator="Equal", value="yes", effect="NoSchedule")
        await cluster.client.create(pod("tolerant", tolerations=[toleration]))
        await cluster.wait_for_condition(core.Pod, "tolerant", "Ready")
        await cluster.client.patch(core.Node, "node-1", {"spec": {"taints": None}})
        await cluster.wait_for_condition(core.Pod, "plain", "Ready")

    taint = core.Taint(key="gpu", value="yes", effect="NoSchedule")
    knarr_cluster.run(scenario, shape=NodeShape(taints=(taint,)))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"nodeSelector": {"disk": "ssd"}}, "fast"),
        ({"affinity": affinity("disk", "In", "ssd", "nvme")}, "fast"),
        ({"affinity": affinity("disk", "DoesNotExist")}, "node-1"),
        ({"affinity": affinity("size", "Gt", "5")}, "fast"),
        ({"affinity": affinity("disk", "NotIn", "ssd")}, "node-1"),
    ],
)
def test_node_affinity_chooses_the_node(
    knarr_cluster: ClusterRunner, spec: dict[str, Any], expected: str
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.add_node("fast", NodeShape(labels={"disk": "ssd", "size": "9"}))
        await cluster.client.create(pod("a", **spec))
        await cluster.wait_for_condition(core.Pod, "a", "Ready")
        assert await placed(cluster) == {"a": expected}

    knarr_cluster.run(scenario)


def test_a_selector_no_node_meets_is_explained_and_a_label_cures_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("a", nodeSelector={"disk": "ssd"}))
        message = await refusal(cluster, "a")
        assert message.startswith(
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
        )
        await cluster.client.patch(core.Node, "node-1", {"metadata": {"labels": {"disk": "ssd"}}})
        await cluster.wait_for_condition(core.Pod, "a", "Ready", timeout_s=20)

    knarr_cluster.run(scenario)


def test_a_preferred_node_is_taken_if_it_has_room(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.add_node("fast", NodeShape(labels={"disk": "ssd"}))
        requirement = core.NodeSelectorRequirement(key="disk", operator="In", values=["ssd"])
        preferred = core.PreferredSchedulingTerm(
            weight=100, preference=core.NodeSelectorTerm(matchExpressions=[requirement])
        )
        wanted = core.Affinity(
            nodeAffinity=core.NodeAffinity(preferredDuringSchedulingIgnoredDuringExecution=[preferred])
        )
        for number in range(3):
            await cluster.client.create(pod(f"p{number}", affinity=wanted))
        await cluster.sleep(5)
        assert set((await placed(cluster)).values()) == {"fast"}

    knarr_cluster.run(scenario, nodes=2)


def test_a_host_port_is_given_once_a_node(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        port = core.ContainerPort(containerPort=80, hostPort=8080)
        for name in ("a", "b", "c"):
            container = core.Container(name="c", image="app:1", ports=[port])
            await cluster.client.create(pod(name, containers=[container]))
            await cluster.sleep(2)
        found = await placed(cluster)
        assert {found["a"], found["b"]} == {"node-1", "node-2"} and found["c"] == ""
        message = await refusal(cluster, "c")
        assert message.startswith(
            "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports."
        )

    knarr_cluster.run(scenario, nodes=2)


def test_the_more_important_pod_is_scheduled_first(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        important = scheduling.PriorityClass(
            metadata=meta.ObjectMeta(name="important"), value=1000, preemptionPolicy="Never"
        )
        await cluster.client.create(important)
        await cluster.client.create(pod("blocker", cpu="1"))
        await cluster.sleep(2)
        for name, more in (("low-1", ""), ("low-2", ""), ("high", "important")):
            made = await cluster.client.create(pod(name, cpu="1", priorityClassName=more))
            assert made.spec.priority == (1000 if more else 0)
        await cluster.sleep(30)
        await cluster.client.delete(core.Pod, "blocker", namespace=NS)
        await cluster.sleep(15)
        assert {name for name, node in (await placed(cluster)).items() if node} == {"high"}

    knarr_cluster.run(scenario, shape=NodeShape(cpu="1"))


def test_different_reasons_are_counted_by_node(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        taint = core.Taint(key="gpu", effect="NoSchedule")
        await cluster.add_node("tainted", NodeShape(cpu="8", taints=(taint,)))
        await cluster.add_node("labelled", NodeShape(cpu="8", labels={"disk": "hdd"}))
        await cluster.client.create(pod("a", cpu="4", affinity=affinity("disk", "DoesNotExist")))
        message = await refusal(cluster, "a")
        assert message.startswith(
            "0/4 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
            "1 node(s) had untolerated taint(s), 2 Insufficient cpu."
        )

    knarr_cluster.run(scenario, nodes=2, shape=SMALL)


def test_without_nodes_the_text_is_upstreams(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("a"))
        assert await refusal(cluster, "a") == "no nodes available to schedule pods"

    knarr_cluster.run(scenario, nodes=0)


def test_a_gated_pod_waits_until_its_gates_are_gone(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await cluster.client.create(
            pod("a", schedulingGates=[core.PodSchedulingGate(name="example.com/hold")])
        )
        held = conditions.get(made.status.conditions, "PodScheduled")
        assert held is not None and held.reason == "SchedulingGated"
        await cluster.sleep(30)
        assert await placed(cluster) == {"a": ""}
        await cluster.client.patch(core.Pod, "a", {"spec": {"schedulingGates": None}}, namespace=NS)
        await cluster.wait_for_condition(core.Pod, "a", "Ready")

    knarr_cluster.run(scenario)


def test_a_pod_for_another_scheduler_is_left_alone(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("a", schedulerName="mine"))
        await cluster.sleep(30)
        assert await placed(cluster) == {"a": ""}

    knarr_cluster.run(scenario)


def test_five_hundred_pods_fit_a_hundred_nodes_and_no_node_is_overfull(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        for number in range(100):
            shape = {"cpu": "2500m", "memory": "4Gi", "pods": "6"}
            ready = core.NodeCondition(type="Ready", status="True", reason="KubeletReady")
            node = core.Node(
                metadata=meta.ObjectMeta(name=f"n{number}"),
                status=core.NodeStatus(capacity=shape, allocatable=shape, conditions=[ready]),
            )
            await cluster.client.create(node)
        await cluster.sleep(1)
        for number in range(500):
            await cluster.client.create(pod(f"p{number}", cpu=("300m", "400m", "500m")[number % 3]))

        async def done() -> bool:
            return all(each.spec.nodeName for each in await cluster.pods())

        await cluster.wait_for(done, 60)
        used: dict[str, list[int]] = {}
        for each in await cluster.pods():
            request = each.spec.containers[0].resources.requests["cpu"]
            used.setdefault(each.spec.nodeName, []).append(quantity.millis(request))
        assert all(sum(each) <= 2500 and len(each) <= 6 for each in used.values())
        # Least allocated: nobody idles while others are full.
        assert len(used) == 100 and max(map(sum, used.values())) - min(map(sum, used.values())) <= 600

    knarr_cluster.run(scenario, nodes=0)
