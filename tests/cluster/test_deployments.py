"""Deployments on a whole cluster: what a user is promised of a rollout, watched at every change of a pod."""

from __future__ import annotations

from typing import Any

import pytest
from cluster_objects import (
    NS,
    PodLog,
    deployed,
    deployment,
    image_of,
    image_patch,
    is_ready,
    rolling,
    sets,
)

from knarr.api import conditions
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.testing import InProcessCluster, NodeShape
from knarr.testing.plugin import ClusterRunner

REVISION = "deployment.kubernetes.io/revision"
SLOW = NodeShape(cpu="64", memory="64Gi", start_latency_s=0.7)


async def patch(cluster: InProcessCluster, change: dict[str, Any]) -> apps.Deployment:
    return await cluster.client.patch(apps.Deployment, "web", change, namespace=NS)


@pytest.mark.knarr(nodes=3)
def test_a_deployment_comes_up_on_the_nodes(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(replicas=5))
        obj = await cluster.wait_for_condition(apps.Deployment, "web", "Available")
        await cluster.wait_for_condition(apps.Deployment, "web", "Progressing")
        obj = await deployed(cluster)
        assert obj.status.readyReplicas == 5 and obj.status.unavailableReplicas == 0
        assert obj.metadata.annotations[REVISION] == "1"
        progressing = conditions.get(obj.status.conditions, "Progressing")
        (only,) = (await sets(cluster)).values()
        assert progressing is not None and progressing.reason == "NewReplicaSetAvailable"
        assert progressing.message == f'ReplicaSet "{only.metadata.name}" has successfully progressed.'
        pods = await cluster.pods("app=web")
        assert len(pods) == 5 and all(
            is_ready(each) and each.spec.nodeName and each.status.podIP for each in pods
        )
        assert len({each.status.podIP for each in pods}) == 5
        owner = pods[0].metadata.ownerReferences[0]
        assert (owner.kind, owner.name, owner.controller, owner.blockOwnerDeletion) == (
            "ReplicaSet",
            only.metadata.name,
            True,
            True,
        )
        messages = [
            (e.reason, e.message) for e in await cluster.events() if e.involvedObject.kind == "Deployment"
        ]
        assert messages == [("ScalingReplicaSet", f"Scaled up replica set {only.metadata.name} from 0 to 5")]

    knarr_cluster.run(scenario)


@pytest.mark.parametrize(
    ("surge", "unavailable", "most", "fewest"),
    [("25%", "25%", 13, 8), (1, 0, 11, 10), (0, 3, 10, 7), ("100%", 0, 20, 10)],
)
def test_a_rolling_update_keeps_its_bounds_at_every_moment(
    knarr_cluster: ClusterRunner, surge: int | str, unavailable: int | str, most: int, fewest: int
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(replicas=10, strategy=rolling(surge, unavailable)))
        await deployed(cluster)

        def look(pods: list[core.Pod]) -> tuple[int, int]:
            standing = [each for each in pods if each.metadata.deletionTimestamp is None]
            return len(standing), sum(is_ready(each) for each in standing)

        log = PodLog(cluster, look)
        await patch(cluster, image_patch("app:2"))
        await deployed(cluster)
        assert max(total for total, _ in log.samples) <= most
        assert min(ready for _, ready in log.samples) >= fewest
        assert {image_of(each) for each in await cluster.pods("app=web")} >= {"app:2"}
        await cluster.sleep(40)
        assert {image_of(each) for each in await cluster.pods("app=web")} == {"app:2"}

    knarr_cluster.run(scenario, nodes=2, shape=SLOW)


def test_min_ready_seconds_hold_the_update_back(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(replicas=2, strategy=rolling(1, 0), minReadySeconds=20))
        started_s = cluster.clock.monotonic_s()
        await deployed(cluster)
        assert cluster.clock.monotonic_s() - started_s >= 20
        changed_s = cluster.clock.monotonic_s()
        await patch(cluster, image_patch("app:2"))
        await deployed(cluster)
        # One pod at a time, each available only after 20 s.
        assert cluster.clock.monotonic_s() - changed_s >= 40

    knarr_cluster.run(scenario)


def test_going_back_to_an_earlier_template_reuses_its_replica_set(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment())
        await deployed(cluster)
        first = (await sets(cluster))["app:1"].metadata.name
        await patch(cluster, image_patch("app:2"))
        await deployed(cluster)
        await patch(cluster, image_patch("app:1"))
        obj = await deployed(cluster)
        found = await sets(cluster)
        assert len(found) == 2 and found["app:1"].metadata.name == first
        assert obj.metadata.annotations[REVISION] == found["app:1"].metadata.annotations[REVISION] == "3"
        assert found["app:1"].metadata.annotations["deployment.kubernetes.io/revision-history"] == "1"
        assert found["app:2"].spec.replicas == 0

    knarr_cluster.run(scenario)


def test_a_paused_deployment_scales_but_does_not_roll(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment())
        await deployed(cluster)
        await patch(cluster, {"spec": {"paused": True}})
        await patch(cluster, image_patch("app:2"))
        await patch(cluster, {"spec": {"replicas": 5}})
        await cluster.sleep(20)
        assert list(await sets(cluster)) == ["app:1"]
        assert len(await cluster.pods("app=web")) == 5
        obj = await cluster.client.get(apps.Deployment, "web", namespace=NS)
        progressing = conditions.get(obj.status.conditions, "Progressing")
        assert progressing is not None and progressing.reason == "DeploymentPaused"
        assert progressing.message == "Deployment is paused" and progressing.status == "Unknown"
        await patch(cluster, {"spec": {"paused": False}})
        await deployed(cluster)
        assert (await sets(cluster))["app:2"].spec.replicas == 5

    knarr_cluster.run(scenario)


def test_recreate_never_runs_old_and_new_pods_together(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(strategy=apps.DeploymentStrategy(type="Recreate")))
        await deployed(cluster)
        log = PodLog(cluster, lambda pods: {image_of(each) for each in pods})
        await patch(cluster, image_patch("app:2"))
        await deployed(cluster)
        assert {"app:1", "app:2"} not in log.samples and {"app:2"} in log.samples

    knarr_cluster.run(scenario, shape=SLOW)


def test_a_stuck_rollout_says_so_after_its_deadline_and_recovers(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(progressDeadlineSeconds=30))
        await deployed(cluster)
        await patch(cluster, image_patch("missing:1"))
        obj = await cluster.wait_for_condition(
            apps.Deployment, "web", "Progressing", status="False", timeout_s=90
        )
        bad = (await sets(cluster))["missing:1"]
        held = conditions.get(obj.status.conditions, "Progressing")
        assert held is not None and held.reason == "ProgressDeadlineExceeded"
        assert held.message == f'ReplicaSet "{bad.metadata.name}" has timed out progressing.'
        available = conditions.get(obj.status.conditions, "Available")
        assert available is not None and available.status == "True"
        await patch(cluster, image_patch("app:3"))
        await deployed(cluster)
        obj = await cluster.wait_for_condition(apps.Deployment, "web", "Progressing")

    knarr_cluster.run(scenario, shape=NodeShape(missing_images=frozenset({"missing:1"})))


def test_scaling_in_the_middle_of_a_rollout_is_shared_in_proportion(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(replicas=10, strategy=rolling(3, 2)))
        await deployed(cluster)
        await patch(cluster, image_patch("missing:1"))
        await cluster.sleep(20)
        found = await sets(cluster)
        assert (found["app:1"].spec.replicas, found["missing:1"].spec.replicas) == (8, 5)
        await patch(cluster, {"spec": {"replicas": 15}})
        await cluster.sleep(20)
        found = await sets(cluster)
        assert (found["app:1"].spec.replicas, found["missing:1"].spec.replicas) == (11, 7)

    shape = NodeShape(cpu="64", missing_images=frozenset({"missing:1"}))
    knarr_cluster.run(scenario, shape=shape)


def test_old_replica_sets_beyond_the_history_limit_go(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(replicas=1, revisionHistoryLimit=2))
        await deployed(cluster)
        for version in range(2, 7):
            await patch(cluster, image_patch(f"app:{version}"))
            await deployed(cluster)
        await cluster.sleep(40)
        assert sorted(await sets(cluster)) == ["app:4", "app:5", "app:6"]

    knarr_cluster.run(scenario)


def test_pods_that_cannot_be_created_are_reported_on_the_deployment(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(serviceAccountName="nobody"))
        obj = await cluster.wait_for_condition(apps.Deployment, "web", "ReplicaFailure")
        held = conditions.get(obj.status.conditions, "ReplicaFailure")
        assert held is not None and held.reason == "FailedCreate"
        assert (
            'error looking up service account default/nobody: serviceaccount "nobody" not found'
            in held.message
        )

    knarr_cluster.run(scenario)


def test_a_deployment_scales_to_nothing_and_back(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment())
        await deployed(cluster)
        await patch(cluster, {"spec": {"replicas": 0}})
        await cluster.wait_for(lambda: no_pods(cluster))
        await patch(cluster, {"spec": {"replicas": 2}})
        await deployed(cluster)

    async def no_pods(cluster: InProcessCluster) -> bool:
        return not await cluster.pods("app=web")

    knarr_cluster.run(scenario)
