"""Quotas and limit ranges: what a namespace may use, and what its containers get."""

from __future__ import annotations

from typing import Any

import pytest
from cluster_objects import NS, deployment, pod

from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner


async def quota(cluster: InProcessCluster, hard: dict[str, str], **spec: Any) -> None:
    obj = core.ResourceQuota(
        metadata=meta.ObjectMeta(name="quota", namespace=NS),
        spec=core.ResourceQuotaSpec(hard=hard, **spec),  # type: ignore[arg-type]
    )
    await cluster.client.create(obj)

    async def counted() -> bool:
        held = await cluster.client.get(core.ResourceQuota, "quota", namespace=NS)
        return set(held.status.used) == set(hard)

    await cluster.wait_for(counted)


async def used(cluster: InProcessCluster) -> dict[str, str]:
    return dict((await cluster.client.get(core.ResourceQuota, "quota", namespace=NS)).status.used)


def test_the_pod_too_many_is_refused_and_room_comes_back(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await quota(cluster, {"pods": "2", "requests.cpu": "1"})
        await cluster.client.create(pod("one", cpu="300m"))
        await cluster.client.create(pod("two", cpu="300m"))
        with pytest.raises(StatusError) as refused:
            await cluster.client.create(pod("three", cpu="300m"))
        assert refused.value.code == 403
        assert str(refused.value) == (
            'pods "three" is forbidden: exceeded quota: quota, requested: pods=1, used: pods=2, limited: pods=2'
        )
        assert await used(cluster) == {"pods": "2", "requests.cpu": "600m"}
        await cluster.client.delete(core.Pod, "one", namespace=NS)

        async def less() -> bool:
            return await used(cluster) == {"pods": "1", "requests.cpu": "300m"}

        await cluster.wait_for(less, 120)
        await cluster.client.create(pod("three", cpu="300m"))

    knarr_cluster.run(scenario)


def test_a_pod_must_say_what_is_limited(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await quota(cluster, {"limits.memory": "1Gi"})
        with pytest.raises(StatusError) as refused:
            await cluster.client.create(pod("vague"))
        assert "failed quota: quota: must specify limits.memory for: main" in str(refused.value)

    knarr_cluster.run(scenario)


def test_a_deployment_stops_at_the_quota_and_says_so(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await quota(cluster, {"pods": "2"})
        await cluster.client.create(deployment(replicas=5))
        await cluster.sleep(30)
        assert len(await cluster.pods("app=web")) == 2
        assert await used(cluster) == {"pods": "2"}
        messages = [
            event.message for event in await cluster.events(namespace=NS) if event.reason == "FailedCreate"
        ]
        assert any("exceeded quota" in message for message in messages)

    knarr_cluster.run(scenario)


def test_a_quota_with_a_scope_counts_only_its_pods(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await quota(cluster, {"pods": "1"}, scopes=["BestEffort"])
        await cluster.client.create(pod("plain"))
        await cluster.client.create(pod("serious", cpu="100m"))
        assert await used(cluster) == {"pods": "1"}
        with pytest.raises(StatusError):
            await cluster.client.create(pod("another"))

    knarr_cluster.run(scenario)


def test_a_limit_range_fills_in_and_refuses(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        item = core.LimitRangeItem(
            type="Container",
            default={"cpu": "500m"},  # type: ignore[dict-item]
            defaultRequest={"cpu": "100m"},  # type: ignore[dict-item]
            max={"cpu": "1"},  # type: ignore[dict-item]
        )
        limits = core.LimitRange(
            metadata=meta.ObjectMeta(name="limits", namespace=NS), spec=core.LimitRangeSpec(limits=[item])
        )
        await cluster.client.create(limits)
        made = await cluster.client.create(pod("plain"))
        resources = made.spec.containers[0].resources
        assert (resources.requests, resources.limits) == ({"cpu": "100m"}, {"cpu": "500m"})
        greedy = pod("greedy")
        greedy.spec.containers[0].resources = core.ResourceRequirements(
            requests={"cpu": "2"},
            limits={"cpu": "2"},  # type: ignore[dict-item]
        )
        with pytest.raises(StatusError) as refused:
            await cluster.client.create(greedy)
        assert "maximum cpu usage per Container is 1, but limit is 2" in str(refused.value)

    knarr_cluster.run(scenario)
