"""Nodes that fall silent, come back, or are deleted, and what becomes of their pods."""

from __future__ import annotations

import pytest
from cluster_objects import deployed, deployment, is_ready, pod

from knarr.api import conditions
from knarr.api.core import v1 as core
from knarr.testing import InProcessCluster, NodeShape
from knarr.testing.plugin import ClusterRunner

UNREACHABLE = "node.kubernetes.io/unreachable"


def taints(node: core.Node) -> set[tuple[str, str]]:
    return {(each.key, each.effect) for each in node.spec.taints}


async def get_node(cluster: InProcessCluster, name: str = "node-1") -> core.Node:
    return await cluster.client.get(core.Node, name)


async def on_node(cluster: InProcessCluster, name: str) -> list[core.Pod]:
    return [each for each in await cluster.pods() if each.spec.nodeName == name]


def test_a_silent_node_is_not_ready_after_the_grace_period(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.stop_node("node-1")
        stopped_s = cluster.clock.monotonic_s()
        node = await cluster.wait_for_condition(core.Node, "node-1", "Ready", status="Unknown", timeout_s=90)
        assert 40 <= cluster.clock.monotonic_s() - stopped_s <= 65
        ready = conditions.get(node.status.conditions, "Ready")
        assert ready is not None and ready.reason == "NodeStatusUnknown"
        assert ready.message == "Kubelet stopped posting node status."
        await cluster.sleep(12)
        assert taints(await get_node(cluster)) == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}
        await cluster.start_node("node-1")
        await cluster.wait_for_condition(core.Node, "node-1", "Ready", timeout_s=60)
        await cluster.sleep(10)
        assert taints(await get_node(cluster)) == set()

    knarr_cluster.run(scenario, nodes=3)


def test_pods_of_a_silent_node_stop_being_ready_and_are_replaced_after_five_minutes(
    knarr_cluster: ClusterRunner,
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(replicas=6))
        await deployed(cluster)
        lost = await on_node(cluster, "node-1")
        assert lost
        await cluster.stop_node("node-1")
        await cluster.wait_for_condition(core.Node, "node-1", "Ready", status="Unknown", timeout_s=90)
        await cluster.sleep(15)
        assert not any(is_ready(each) for each in await on_node(cluster, "node-1"))
        marked_s = cluster.clock.monotonic_s()
        await cluster.sleep(200)
        assert all(each.metadata.deletionTimestamp is None for each in await on_node(cluster, "node-1"))

        async def replaced() -> bool:
            healthy = [each for each in await cluster.pods("app=web") if is_ready(each)]
            return len(healthy) == 6

        await cluster.wait_for(replaced, 180)
        assert 250 <= cluster.clock.monotonic_s() - marked_s <= 330
        # A machine nobody can reach keeps its pods in the API until it comes back or is deleted.
        left = await on_node(cluster, "node-1")
        assert {each.metadata.uid for each in left} == {each.metadata.uid for each in lost}
        target = conditions.get(left[0].status.conditions, "DisruptionTarget")
        assert target is not None and target.reason == "DeletionByTaintManager"
        await cluster.start_node("node-1")
        await cluster.sleep(40)
        assert not {each.metadata.uid for each in lost} & {each.metadata.uid for each in await cluster.pods()}

    knarr_cluster.run(scenario, nodes=3)


def test_pods_that_tolerate_it_stay(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        always = core.Toleration(key=UNREACHABLE, operator="Exists", effect="NoExecute")
        shortly = core.Toleration(
            key=UNREACHABLE, operator="Exists", effect="NoExecute", tolerationSeconds=20
        )
        await cluster.client.create(pod("stays", tolerations=[always], nodeName="node-1"))
        await cluster.client.create(pod("leaves", tolerations=[shortly], nodeName="node-1"))
        await cluster.sleep(5)
        await cluster.stop_node("node-1")
        await cluster.wait_for_condition(core.Node, "node-1", "Ready", status="Unknown", timeout_s=90)
        await cluster.sleep(60)
        found = {
            each.metadata.name: each.metadata.deletionTimestamp is not None for each in await cluster.pods()
        }
        assert found == {"stays": False, "leaves": True}

    knarr_cluster.run(scenario, nodes=2)


def test_a_pod_is_evicted_at_once_when_a_user_taints_its_node(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("a"))
        await cluster.sleep(3)
        change = {"spec": {"taints": [{"key": "maintenance", "effect": "NoExecute"}]}}
        await cluster.client.patch(core.Node, "node-1", change)
        await cluster.wait_for_deletion(core.Pod, "a", timeout_s=40)
        assert "TaintManagerEviction" in {each.reason for each in await cluster.events()}

    knarr_cluster.run(scenario)


def test_deleting_a_node_ends_its_pods_which_come_up_elsewhere(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(replicas=4))
        await deployed(cluster)
        assert await on_node(cluster, "node-1")
        await cluster.stop_node("node-1")
        await cluster.client.delete(core.Node, "node-1")

        async def moved() -> bool:
            pods = await cluster.pods("app=web")
            return len(pods) == 4 and all(is_ready(each) and each.spec.nodeName == "node-2" for each in pods)

        await cluster.wait_for(moved, 120)

    knarr_cluster.run(scenario, nodes=2)


def test_a_cordoned_node_takes_no_new_pods(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.patch(core.Node, "node-1", {"spec": {"unschedulable": True}})
        await cluster.sleep(2)
        assert ("node.kubernetes.io/unschedulable", "NoSchedule") in taints(await get_node(cluster))
        await cluster.client.create(deployment(replicas=3))
        await deployed(cluster)
        assert await on_node(cluster, "node-1") == []
        await cluster.client.patch(core.Node, "node-1", {"spec": {"unschedulable": False}})
        await cluster.sleep(2)
        assert taints(await get_node(cluster)) == set()

    knarr_cluster.run(scenario, nodes=2)


def test_every_node_gets_a_pod_range_of_its_own(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        ranges = [each.spec.podCIDR for each in await cluster.client.list(core.Node)]
        assert len(set(ranges)) == 3 and all(each.startswith("10.244.") for each in ranges)
        for each in await cluster.client.list(core.Node):
            assert each.spec.podCIDRs == [each.spec.podCIDR]

    knarr_cluster.run(scenario, nodes=3)


@pytest.mark.parametrize("minutes", [30])
def test_a_quiet_cluster_stays_quiet(knarr_cluster: ClusterRunner, minutes: int) -> None:
    """Only leases and node reports are written when nothing happens."""

    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(replicas=4))
        await deployed(cluster)
        await cluster.sleep(60)
        written: dict[str, int] = {}
        for resource in ("pods", "nodes", "services", "events", "serviceaccounts"):
            registry = cluster.server.registry("", resource)
            registry.cache.subscribers.append(
                lambda change, name=resource: written.update({name: written.get(name, 0) + 1})
            )
        await cluster.sleep(60 * minutes)
        assert set(written) <= {"nodes"} and written.get("nodes", 0) <= 2 * (minutes // 5 + 1)

    knarr_cluster.run(scenario, nodes=2, shape=NodeShape())
