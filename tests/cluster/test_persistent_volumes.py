"""Persistent volumes: a claim finds the volume that fits best, keeps it, and what is in use stays."""

from __future__ import annotations

from typing import Any

from cluster_objects import NS, is_ready, pod

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.api.storage import v1 as storage
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner


def volume(name: str, size: str, *, node: str = "", **spec: Any) -> core.PersistentVolume:
    affinity = None
    if node:
        requirement = core.NodeSelectorRequirement(key="metadata.name", operator="In", values=[node])
        term = core.NodeSelectorTerm(matchFields=[requirement])
        affinity = core.VolumeNodeAffinity(required=core.NodeSelector(nodeSelectorTerms=[term]))
    return core.PersistentVolume(
        metadata=meta.ObjectMeta(name=name),
        spec=core.PersistentVolumeSpec(
            capacity={"storage": size},  # type: ignore[dict-item]
            accessModes=["ReadWriteOnce"],
            hostPath=core.HostPathVolumeSource(path=f"/srv/{name}"),
            nodeAffinity=affinity,
            **{"persistentVolumeReclaimPolicy": "Retain", "storageClassName": "disk", **spec},
        ),
    )


def claim(name: str, size: str, storage_class: str | None = "disk") -> core.PersistentVolumeClaim:
    return core.PersistentVolumeClaim(
        metadata=meta.ObjectMeta(name=name, namespace=NS),
        spec=core.PersistentVolumeClaimSpec(
            accessModes=["ReadWriteOnce"],
            storageClassName=storage_class,
            resources=core.VolumeResourceRequirements(requests={"storage": size}),  # type: ignore[dict-item]
        ),
    )


async def bound(cluster: InProcessCluster, name: str) -> core.PersistentVolumeClaim:
    async def reached() -> core.PersistentVolumeClaim | None:
        obj = await cluster.client.get(core.PersistentVolumeClaim, name, namespace=NS)
        return obj if obj.status.phase == "Bound" else None

    found: core.PersistentVolumeClaim = await cluster.wait_for(reached)
    return found


def using(name: str, claim_name: str) -> core.Pod:
    source = core.PersistentVolumeClaimVolumeSource(claimName=claim_name)
    return pod(name, volumes=[core.Volume(name="data", persistentVolumeClaim=source)])


def test_the_smallest_volume_that_fits_is_bound_and_the_pod_goes_where_it_is(
    knarr_cluster: ClusterRunner,
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        there = sorted(cluster.nodes)[-1]
        for made in (volume("large", "10Gi"), volume("right", "2Gi", node=there), volume("small", "1Gi")):
            await cluster.client.create(made)
        await cluster.client.create(claim("data", "2Gi"))
        obj = await bound(cluster, "data")
        assert obj.spec.volumeName == "right" and obj.status.capacity == {"storage": "2Gi"}
        await cluster.client.create(using("app", "data"))

        async def running() -> bool:
            return is_ready(await cluster.client.get(core.Pod, "app", namespace=NS))

        await cluster.wait_for(running)
        assert (await cluster.client.get(core.Pod, "app", namespace=NS)).spec.nodeName == there

    knarr_cluster.run(scenario)


def test_a_pod_waits_for_its_claim_and_says_why(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(claim("data", "5Gi"))
        await cluster.client.create(using("app", "data"))
        await cluster.sleep(5)
        obj = await cluster.client.get(core.Pod, "app", namespace=NS)
        messages = [each.message for each in obj.status.conditions if each.type == "PodScheduled"]
        assert any("pod has unbound immediate PersistentVolumeClaims" in message for message in messages)
        await cluster.client.create(volume("late", "5Gi"))

        async def running() -> bool:
            return is_ready(await cluster.client.get(core.Pod, "app", namespace=NS))

        await cluster.wait_for(running)

    knarr_cluster.run(scenario)


def test_a_claim_in_use_is_kept_and_a_retained_volume_is_released(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(volume("disk", "1Gi"))
        await cluster.client.create(claim("data", "1Gi"))
        await bound(cluster, "data")
        await cluster.client.create(using("app", "data"))
        await cluster.sleep(5)
        await cluster.client.delete(core.PersistentVolumeClaim, "data", namespace=NS)
        await cluster.sleep(30)
        assert await cluster.exists(core.PersistentVolumeClaim, "data"), "a pod still uses it"
        await cluster.client.delete(core.Pod, "app", namespace=NS)
        await cluster.wait_for_deletion(core.PersistentVolumeClaim, "data", namespace=NS)

        async def released() -> bool:
            return (await cluster.client.get(core.PersistentVolume, "disk")).status.phase == "Released"

        await cluster.wait_for(released)

    knarr_cluster.run(scenario)


def test_a_claim_without_a_class_gets_the_default_one(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
        await cluster.client.create(
            storage.StorageClass(
                metadata=meta.ObjectMeta(name="fast", annotations=annotations), provisioner="example.com/none"
            )
        )
        obj = await cluster.client.create(claim("data", "1Gi", None))
        assert obj.spec.storageClassName == "fast"
        obj = await cluster.client.create(claim("none", "1Gi", ""))
        assert obj.spec.storageClassName == ""

    knarr_cluster.run(scenario)
