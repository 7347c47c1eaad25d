"""Owners and dependents: what goes with what, and what stays."""

from __future__ import annotations

from cluster_objects import NS, deployed, deployment

from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner


def owned(name: str, *owners: core.ConfigMap, block: bool = False, uid: str = "") -> core.ConfigMap:
    references = [
        meta.OwnerReference(
            apiVersion="v1",
            kind="ConfigMap",
            name=each.metadata.name,
            uid=uid or each.metadata.uid,
            blockOwnerDeletion=block,
        )
        for each in owners
    ]
    return core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace=NS, ownerReferences=references))


async def make(
    cluster: InProcessCluster, name: str, *owners: core.ConfigMap, **more: object
) -> core.ConfigMap:
    return await cluster.client.create(owned(name, *owners, **more))  # type: ignore[arg-type]


async def names(cluster: InProcessCluster) -> set[str]:
    found = await cluster.client.list(core.ConfigMap, namespace=NS)
    return {each.metadata.name for each in found} - {"kube-root-ca.crt"}


def test_a_chain_of_dependents_goes_with_its_head(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment())
        await deployed(cluster)
        await cluster.client.delete(apps.Deployment, "web", namespace=NS)
        await cluster.sleep(60)
        assert len(await cluster.client.list(apps.ReplicaSet)) == 0 and await cluster.pods() == []

    knarr_cluster.run(scenario)


def test_foreground_deletion_waits_for_the_dependents(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment())
        await deployed(cluster)
        await cluster.client.delete(apps.Deployment, "web", namespace=NS, propagation_policy="Foreground")
        gone_order: list[str] = []
        for group, plural in (("apps", "deployments"), ("apps", "replicasets"), ("", "pods")):
            registry = cluster.server.registry(group, plural)
            registry.cache.subscribers.append(
                lambda change, kind=plural: gone_order.append(kind) if change.deleted else None
            )
        await cluster.wait_for_deletion(apps.Deployment, "web", timeout_s=90)
        assert gone_order == ["pods", "pods", "pods", "replicasets", "deployments"]

    knarr_cluster.run(scenario)


def test_an_object_with_a_second_living_owner_stays_and_forgets_the_first(
    knarr_cluster: ClusterRunner,
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        first, second = await make(cluster, "first"), await make(cluster, "second")
        await make(cluster, "child", first, second)
        await cluster.client.delete(core.ConfigMap, "first", namespace=NS)
        await cluster.sleep(10)
        child = await cluster.client.get(core.ConfigMap, "child", namespace=NS)
        assert [each.name for each in child.metadata.ownerReferences] == ["second"]
        await cluster.client.delete(core.ConfigMap, "second", namespace=NS)
        await cluster.sleep(10)
        assert await names(cluster) == set()

    knarr_cluster.run(scenario, nodes=0)


def test_an_owner_of_the_same_name_but_another_uid_does_not_hold(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        owner = await make(cluster, "owner")
        await make(cluster, "child", owner, uid="11111111-2222-3333-4444-555555555555")
        await cluster.sleep(10)
        assert await names(cluster) == {"owner"}

    knarr_cluster.run(scenario, nodes=0)


def test_a_circle_of_dependents_goes_when_one_is_deleted(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        first = await make(cluster, "first")
        second = await make(cluster, "second", first)
        reference = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": "second",
            "uid": second.metadata.uid,
            "blockOwnerDeletion": True,
        }
        await cluster.client.patch(
            core.ConfigMap, "first", {"metadata": {"ownerReferences": [reference]}}, namespace=NS
        )
        await cluster.sleep(10)
        assert await names(cluster) == {"first", "second"}
        await cluster.client.delete(core.ConfigMap, "first", namespace=NS, propagation_policy="Background")
        await cluster.sleep(10)
        assert await names(cluster) == set()

    knarr_cluster.run(scenario, nodes=0)


def test_a_foreground_owner_waits_only_for_dependents_that_block(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        owner = await make(cluster, "owner")
        blocking = owned("blocking", owner, block=True)
        blocking.metadata.finalizers = ["example.com/wait"]
        await cluster.client.create(blocking)
        await cluster.client.delete(core.ConfigMap, "owner", namespace=NS, propagation_policy="Foreground")
        await cluster.sleep(20)
        assert await names(cluster) == {"owner", "blocking"}
        await cluster.client.patch(
            core.ConfigMap, "blocking", {"metadata": {"finalizers": None}}, namespace=NS
        )
        await cluster.sleep(10)
        assert await names(cluster) == set()

    knarr_cluster.run(scenario, nodes=0)


def test_a_custom_owner_of_an_unknown_kind_protects_its_dependents(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        child = owned("child")
        child.metadata.ownerReferences = [
            meta.OwnerReference(
                apiVersion="example.com/v1",
                kind="Widget",
                name="w",
                uid="11111111-2222-3333-4444-555555555555",
            )
        ]
        await cluster.client.create(child)
        await cluster.sleep(30)
        assert await names(cluster) == {"child"}

    knarr_cluster.run(scenario, nodes=0)
