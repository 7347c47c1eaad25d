"""Disruption budgets: an eviction is granted while enough healthy pods remain, and refused after."""

from __future__ import annotations

import pytest
from cluster_objects import NS, deployment

from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.policy import v1 as policy
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner


def budget(**spec: object) -> policy.PodDisruptionBudget:
    selector = meta.LabelSelector(matchLabels={"app": "web"})
    return policy.PodDisruptionBudget(
        metadata=meta.ObjectMeta(name="web", namespace=NS),
        spec=policy.PodDisruptionBudgetSpec(selector=selector, **spec),  # type: ignore[arg-type]
    )


async def evict(cluster: InProcessCluster, name: str) -> None:
    eviction = policy.Eviction(metadata=meta.ObjectMeta(name=name, namespace=NS))
    await cluster.client.create_subresource(core.Pod, name, "eviction", eviction, namespace=NS)


@pytest.mark.parametrize("spec", [{"minAvailable": 2}, {"maxUnavailable": 1}, {"minAvailable": "60%"}])
def test_one_of_three_may_go_and_the_second_has_to_wait(
    knarr_cluster: ClusterRunner, spec: dict[str, object]
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(replicas=3))
        await cluster.client.create(budget(**spec))

        async def allowed() -> bool:
            obj = await cluster.client.get(policy.PodDisruptionBudget, "web", namespace=NS)
            return obj.status.disruptionsAllowed == 1 and obj.status.currentHealthy == 3

        await cluster.wait_for(allowed)
        pods = await cluster.pods("app=web")
        await evict(cluster, pods[0].metadata.name)
        with pytest.raises(StatusError) as refused:
            await evict(cluster, pods[1].metadata.name)
        assert refused.value.code == 429
        assert str(refused.value) == "Cannot evict pod as it would violate the pod's disruption budget."
        await cluster.wait_for(allowed, 120)

    knarr_cluster.run(scenario)
