"""Namespaces: what a new one has, and how a deleted one goes."""

from __future__ import annotations

import pytest
from cluster_objects import pod

from knarr.api import conditions
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner


async def make(cluster: InProcessCluster, name: str = "team") -> core.Namespace:
    return await cluster.client.create(core.Namespace(metadata=meta.ObjectMeta(name=name)))


def config_map(name: str, *, finalizers: list[str] | None = None) -> core.ConfigMap:
    return core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace="team", finalizers=finalizers or []))


def test_a_new_namespace_has_a_default_account_and_the_root_certificate(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await make(cluster)
        assert made.status.phase == "Active" and made.spec.finalizers == ["kubernetes"]
        assert made.metadata.labels == {"kubernetes.io/metadata.name": "team"}
        await cluster.wait_for(lambda: cluster.exists(core.ServiceAccount, "default", namespace="team"))
        await cluster.wait_for(lambda: cluster.exists(core.ConfigMap, "kube-root-ca.crt", namespace="team"))
        # Both come back when somebody deletes them.
        await cluster.client.delete(core.ServiceAccount, "default", namespace="team")
        await cluster.client.delete(core.ConfigMap, "kube-root-ca.crt", namespace="team")
        await cluster.wait_for(lambda: cluster.exists(core.ServiceAccount, "default", namespace="team"))
        await cluster.wait_for(lambda: cluster.exists(core.ConfigMap, "kube-root-ca.crt", namespace="team"))

    knarr_cluster.run(scenario)


def test_deleting_a_namespace_empties_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await make(cluster)
        await cluster.client.create(config_map("settings"))
        await cluster.client.create(pod("worker", namespace="team"))
        await cluster.sleep(3)
        await cluster.client.delete(core.Namespace, "team")
        assert (await cluster.client.get(core.Namespace, "team")).status.phase == "Terminating"
        await cluster.wait_for_deletion(core.Namespace, "team", timeout_s=60)
        # Nothing is left behind in the store, under any kind.
        page = await cluster.store.range("/registry/")
        assert [item.key for item in page.items if "/team/" in item.key or item.key.endswith("/team")] == []
        # The name can be used again.
        await make(cluster)

    knarr_cluster.run(scenario)


def test_nothing_can_be_created_in_a_terminating_namespace(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await make(cluster)
        await cluster.client.create(config_map("held", finalizers=["example.com/wait"]))
        await cluster.client.delete(core.Namespace, "team")
        with pytest.raises(StatusError) as refused:
            await cluster.client.create(config_map("late"))
        assert refused.value.code == 403
        assert str(refused.value) == (
            'configmaps "late" is forbidden: unable to create new content in namespace team because it is being terminated'
        )
        assert refused.value.status.details is not None
        (cause,) = refused.value.status.details.causes
        assert (cause.reason, cause.field) == ("NamespaceTerminating", "metadata.namespace")
        assert cause.message == "namespace team is being terminated"

    knarr_cluster.run(scenario)


def test_a_finalizer_inside_blocks_the_namespace_and_conditions_say_so(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await make(cluster)
        await cluster.client.create(config_map("held", finalizers=["example.com/wait"]))
        await cluster.client.delete(core.Namespace, "team")
        held = await cluster.wait_for_condition(core.Namespace, "team", "NamespaceFinalizersRemaining")
        remaining = conditions.get(held.status.conditions, "NamespaceContentRemaining")
        finalizers = conditions.get(held.status.conditions, "NamespaceFinalizersRemaining")
        assert remaining is not None and finalizers is not None
        assert remaining.reason == "SomeResourcesRemain"
        assert remaining.message == "Some resources are remaining: configmaps. has 1 resource instances"
        assert finalizers.reason == "SomeFinalizersRemain"
        assert finalizers.message == (
            "Some content in the namespace has finalizers remaining: example.com/wait in 1 resource instances"
        )
        await cluster.client.patch(
            core.ConfigMap, "held", {"metadata": {"finalizers": None}}, namespace="team"
        )
        await cluster.wait_for_deletion(core.Namespace, "team")

    knarr_cluster.run(scenario)


def test_an_object_in_a_namespace_that_is_not_there_is_refused(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        with pytest.raises(StatusError) as refused:
            await cluster.client.create(config_map("a"))
        assert (refused.value.code, str(refused.value)) == (404, 'namespaces "team" not found')

    knarr_cluster.run(scenario)


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_system_namespaces_cannot_be_deleted(knarr_cluster: ClusterRunner, name: str) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        with pytest.raises(StatusError) as refused:
            await cluster.client.delete(core.Namespace, name)
        assert str(refused.value) == f'namespaces "{name}" is forbidden: this namespace may not be deleted'

    knarr_cluster.run(scenario, nodes=0)
