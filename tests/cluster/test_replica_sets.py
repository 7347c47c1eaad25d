"""ReplicaSets: whose a pod is, and which pod goes first."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cluster_objects import NS, is_ready, pod, replica_set

from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.kit.clock import VirtualClock
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner


async def ready(cluster: InProcessCluster, count: int, name: str = "rs") -> apps.ReplicaSet:
    async def reached() -> apps.ReplicaSet | None:
        obj = await cluster.client.get(apps.ReplicaSet, name, namespace=NS)
        return obj if obj.status.readyReplicas == obj.status.replicas == count else None

    found: apps.ReplicaSet = await cluster.wait_for(reached)
    return found


async def scale(cluster: InProcessCluster, count: int) -> None:
    await cluster.client.patch(apps.ReplicaSet, "rs", {"spec": {"replicas": count}}, namespace=NS)


def test_a_matching_orphan_is_adopted_instead_of_making_one_more(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("loner", labels={"app": "rs"}))
        obj = await cluster.client.create(replica_set(replicas=2))
        await ready(cluster, 2)
        pods = await cluster.pods("app=rs")
        assert len(pods) == 2 and "loner" in {each.metadata.name for each in pods}
        assert all(each.metadata.ownerReferences[0].uid == obj.metadata.uid for each in pods)

    knarr_cluster.run(scenario)


def test_a_pod_whose_labels_change_is_released_and_replaced(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(replica_set(replicas=2))
        await ready(cluster, 2)
        chosen = (await cluster.pods("app=rs"))[0].metadata.name
        await cluster.client.patch(core.Pod, chosen, {"metadata": {"labels": {"app": "debug"}}}, namespace=NS)
        await cluster.sleep(5)
        assert len(await cluster.pods("app=rs")) == 2
        released = await cluster.client.get(core.Pod, chosen, namespace=NS)
        assert released.metadata.ownerReferences == [] and released.status.phase == "Running"

    knarr_cluster.run(scenario)


def test_a_pod_of_another_controller_is_left_alone(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(replica_set("rs", replicas=1))
        await ready(cluster, 1)
        other = replica_set("other", replicas=1)
        other.spec.selector = meta.LabelSelector(matchLabels={"app": "rs"})
        assert other.spec.template is not None and other.spec.template.metadata is not None
        other.spec.template.metadata.labels = {"app": "rs"}
        await cluster.client.create(other)
        await ready(cluster, 1, "other")
        owners = sorted(each.metadata.ownerReferences[0].name for each in await cluster.pods("app=rs"))
        assert owners == ["other", "rs"]

    knarr_cluster.run(scenario)


def test_the_cheapest_pod_goes_first_when_scaling_down(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(replica_set(replicas=4))
        await ready(cluster, 4)
        names = sorted(each.metadata.name for each in await cluster.pods("app=rs"))
        for name, cost in zip(names, ("10", "-5", "7", "3"), strict=True):
            change = {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}}}
            await cluster.client.patch(core.Pod, name, change, namespace=NS)
        await cluster.sleep(1)
        await scale(cluster, 2)
        await cluster.sleep(40)
        left = {each.metadata.name for each in await cluster.pods("app=rs")}
        assert left == {names[0], names[2]}

    knarr_cluster.run(scenario)


def test_pods_that_are_not_ready_go_before_ready_ones(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        gate = [core.PodReadinessGate(conditionType="test/open")]
        await cluster.client.create(replica_set(replicas=3, readinessGates=gate))
        await cluster.sleep(5)
        pods = await cluster.pods("app=rs")
        keep = pods[1].metadata.name
        opened = {"status": {"conditions": [{"type": "test/open", "status": "True"}]}}
        await cluster.client.patch(core.Pod, keep, opened, namespace=NS, subresource="status")
        await cluster.sleep(5)
        assert is_ready(await cluster.client.get(core.Pod, keep, namespace=NS))
        await scale(cluster, 1)
        await cluster.sleep(40)
        assert [each.metadata.name for each in await cluster.pods("app=rs")] == [keep]

    knarr_cluster.run(scenario)


def test_a_deleted_pod_is_replaced_at_once_not_after_its_grace_period(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(replica_set(replicas=1))
        await ready(cluster, 1)
        (first,) = await cluster.pods("app=rs")
        await cluster.client.delete(core.Pod, first.metadata.name, namespace=NS)

        async def replaced() -> bool:
            names = [
                each.metadata.name
                for each in await cluster.pods("app=rs")
                if not each.metadata.deletionTimestamp
            ]
            return len(names) == 1 and names != [first.metadata.name]

        await cluster.wait_for(replaced, 2)

    knarr_cluster.run(scenario)


def test_a_finished_pod_is_replaced(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(replica_set(replicas=1))
        await ready(cluster, 1)
        (first,) = await cluster.pods("app=rs")
        failed = {"status": {"phase": "Failed", "reason": "Evicted"}}
        await cluster.stop_node("node-1")
        await cluster.client.patch(core.Pod, first.metadata.name, failed, namespace=NS, subresource="status")
        await cluster.sleep(2)
        assert len(await cluster.pods("app=rs")) == 2

    knarr_cluster.run(scenario)


def test_status_counts_and_observed_generation_follow(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(replica_set(replicas=2))
        obj = await ready(cluster, 2)
        assert obj.status.availableReplicas == obj.status.fullyLabeledReplicas == 2
        await scale(cluster, 3)
        obj = await ready(cluster, 3)
        assert obj.status.observedGeneration == obj.metadata.generation == 2
        reasons = [e.reason for e in await cluster.events() if e.involvedObject.kind == "ReplicaSet"]
        assert reasons == ["SuccessfulCreate"] * 3

    knarr_cluster.run(scenario)


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_deleting_the_set_deletes_its_pods(knarr_cluster: ClusterRunner, policy: str) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(replica_set(replicas=2))
        await ready(cluster, 2)
        await cluster.client.delete(apps.ReplicaSet, "rs", namespace=NS, propagation_policy=policy)
        there = await cluster.exists(apps.ReplicaSet, "rs")
        assert there == (policy == "Foreground")
        if there:
            obj = await cluster.client.get(apps.ReplicaSet, "rs", namespace=NS)
            assert obj.metadata.finalizers == ["foregroundDeletion"] and obj.metadata.deletionTimestamp
        await cluster.sleep(60)
        assert await cluster.pods() == [] and not await cluster.exists(apps.ReplicaSet, "rs")

    knarr_cluster.run(scenario)


def test_orphaning_leaves_the_pods_running_without_an_owner(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(replica_set(replicas=2))
        await ready(cluster, 2)
        await cluster.client.delete(apps.ReplicaSet, "rs", namespace=NS, propagation_policy="Orphan")
        await cluster.wait_for_deletion(apps.ReplicaSet, "rs")
        await cluster.sleep(30)
        pods = await cluster.pods("app=rs")
        assert len(pods) == 2 and all(each.metadata.ownerReferences == [] for each in pods)
        # A new set of the same selector takes them over.
        await cluster.client.create(replica_set(replicas=2))
        await ready(cluster, 2)
        assert {each.metadata.uid for each in pods} == {
            each.metadata.uid for each in await cluster.pods("app=rs")
        }

    knarr_cluster.run(scenario)


class UnevenClock(VirtualClock):
    """Shows every other time a moment less than it is: as if timers fired early, which real ones do."""

    def __init__(self) -> None:
        super().__init__()
        self._looks = 0

    def now(self) -> datetime:
        self._looks += 1
        return super().now() - timedelta(milliseconds=5 * (self._looks % 2))


def test_a_pod_becomes_available_also_when_its_timer_fires_early(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        wanted = replica_set(replicas=6)
        wanted.spec.minReadySeconds = 10
        await cluster.client.create(wanted)
        await ready(cluster, 6)
        await cluster.sleep(12)
        obj = await cluster.client.get(apps.ReplicaSet, "rs", namespace=NS)
        assert obj.status.availableReplicas == 6

    knarr_cluster.run(scenario, clock=UnevenClock())
