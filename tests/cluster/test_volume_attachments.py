"""Attaching and detaching: a pod starts when its volume is there, and no volume is on two nodes or pulled from under a pod."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from chaos_attacher import DRIVER, Attacher
from cluster_objects import NS, is_ready
from test_persistent_volumes import claim, using

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.api.storage import v1 as storage
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

NAME = f"kubernetes.io/csi/{DRIVER}^disk-1"


def disk(*modes: str) -> core.PersistentVolume:
    return core.PersistentVolume(
        metadata=meta.ObjectMeta(name="disk"),
        spec=core.PersistentVolumeSpec(
            capacity={"storage": "1Gi"},  # type: ignore[dict-item]
            accessModes=list(modes or ("ReadWriteOnce",)),
            storageClassName="disk",
            persistentVolumeReclaimPolicy="Retain",
            csi=core.CSIPersistentVolumeSource(driver=DRIVER, volumeHandle="disk-1"),
        ),
    )


@asynccontextmanager
async def with_disk(cluster: InProcessCluster, *modes: str, fails: str = "") -> AsyncIterator[None]:
    await cluster.client.create(disk(*modes))
    await cluster.client.create(claim("data", "1Gi"))
    async with Attacher(cluster, fails=fails):
        yield


def on(node: str, name: str) -> core.Pod:
    made = using(name, "data")
    made.spec.nodeName = node
    return made


async def ready(cluster: InProcessCluster, name: str) -> bool:
    return is_ready(await cluster.client.get(core.Pod, name, namespace=NS))


async def attached_to(cluster: InProcessCluster) -> list[str]:
    return [each.spec.nodeName for each in await cluster.client.list(storage.VolumeAttachment)]


async def told(cluster: InProcessCluster, reason: str) -> list[str]:
    return [each.message for each in await cluster.events(namespace=NS) if each.reason == reason]


def test_a_pod_starts_once_its_volume_is_attached_and_gives_it_back(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(disk())
        await cluster.client.create(claim("data", "1Gi"))
        await cluster.client.create(on("node-1", "app"))
        await cluster.sleep(30)
        assert not await ready(cluster, "app"), "nobody has attached it"
        (wish,) = (await cluster.client.list(storage.VolumeAttachment)).items
        assert (wish.spec.attacher, wish.spec.nodeName) == (DRIVER, "node-1")
        assert wish.spec.source.persistentVolumeName == "disk"
        async with Attacher(cluster):
            await cluster.wait_for(lambda: ready(cluster, "app"))
            node = await cluster.client.get(core.Node, "node-1")
            assert [each.name for each in node.status.volumesAttached] == node.status.volumesInUse == [NAME]
            assert await told(cluster, "SuccessfulAttachVolume") == ['AttachVolume.Attach succeeded for volume "disk" ']
            await cluster.client.delete(core.Pod, "app", namespace=NS)
            await cluster.wait_for_deletion(storage.VolumeAttachment, wish.metadata.name, timeout_s=120)
            node = await cluster.client.get(core.Node, "node-1")
            assert node.status.volumesAttached == [] and node.status.volumesInUse == []

    knarr_cluster.run(scenario)


def test_a_volume_for_one_node_moves_only_when_the_first_has_let_go(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        async with with_disk(cluster):
            await cluster.client.create(on("node-1", "first"))
            await cluster.wait_for(lambda: ready(cluster, "first"))
            await cluster.client.create(on("node-2", "second"))
            await cluster.sleep(60)
            assert not await ready(cluster, "second") and await attached_to(cluster) == ["node-1"]
            text = 'Multi-Attach error for volume "disk" Volume is already used by pod(s) first'
            assert await told(cluster, "FailedAttachVolume") == [text]
            await cluster.client.delete(core.Pod, "first", namespace=NS)
            await cluster.wait_for(lambda: ready(cluster, "second"), 300)
            assert await attached_to(cluster) == ["node-2"]

    knarr_cluster.run(scenario, nodes=2)


def test_a_volume_for_many_is_attached_to_many(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        async with with_disk(cluster, "ReadWriteOnce", "ReadWriteMany"):
            for node, name in (("node-1", "first"), ("node-2", "second")):
                await cluster.client.create(on(node, name))
                await cluster.wait_for(lambda name=name: ready(cluster, name))  # type: ignore[misc]
            assert sorted(await attached_to(cluster)) == ["node-1", "node-2"]

    knarr_cluster.run(scenario, nodes=2)


def test_what_cannot_be_attached_is_told_to_the_pod_and_the_kubelet_says_what_it_waits_for(
    knarr_cluster: ClusterRunner,
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        async with with_disk(cluster, fails="no such disk"):
            await cluster.client.create(on("node-1", "app"))
            await cluster.sleep(140)
            assert await told(cluster, "FailedAttachVolume") == ['AttachVolume.Attach failed for volume "disk" : no such disk']
            assert await told(cluster, "FailedMount") == [
                "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[data], "
                "failed to process volumes=[]: timed out waiting for the condition"
            ]

    knarr_cluster.run(scenario)


def test_a_driver_that_needs_no_attaching_gets_no_attachment(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        driver = storage.CSIDriver(metadata=meta.ObjectMeta(name=DRIVER), spec=storage.CSIDriverSpec(attachRequired=False))
        await cluster.client.create(driver)
        async with with_disk(cluster):
            await cluster.client.create(on("node-1", "app"))
            await cluster.wait_for(lambda: ready(cluster, "app"))
            assert await attached_to(cluster) == []

    knarr_cluster.run(scenario)


@pytest.mark.parametrize(("out_of_service", "at_least_s", "at_most_s"), [(False, 360, 500), (True, 0, 120)])
def test_a_lost_nodes_volume_is_freed_after_six_minutes_or_when_it_is_declared_lost(
    knarr_cluster: ClusterRunner, out_of_service: bool, at_least_s: float, at_most_s: float
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        async with with_disk(cluster):
            await cluster.client.create(on("node-1", "first"))
            await cluster.wait_for(lambda: ready(cluster, "first"))
            await cluster.stop_node("node-1")
            await cluster.wait_for_condition(core.Node, "node-1", "Ready", status="Unknown")
            if out_of_service:
                taint = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
                await cluster.client.patch(core.Node, "node-1", {"spec": {"taints": [taint]}})
            else:
                await cluster.client.delete(core.Pod, "first", namespace=NS, grace_period_s=0)
            since_s = cluster.clock.monotonic_s()
            await cluster.client.create(on("node-2", "second"))
            await cluster.wait_for(lambda: ready(cluster, "second"), 600)
            assert at_least_s <= cluster.clock.monotonic_s() - since_s <= at_most_s

    knarr_cluster.run(scenario, nodes=2)


def test_a_kubelet_that_restarts_still_says_what_its_pods_use(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        async with with_disk(cluster):
            await cluster.client.create(on("node-1", "app"))
            await cluster.wait_for(lambda: ready(cluster, "app"))
            said: list[list[str]] = []
            registry = cluster.server.registry("", "nodes")
            registry.cache.subscribers.append(
                lambda change: said.extend(each.status.volumesInUse for each in registry.objects(""))
            )
            await cluster.stop_node("node-1")
            await cluster.start_node("node-1")
            await cluster.sleep(400)
            # At no moment could the volume have been taken from under the pod.
            assert said and all(names == [NAME] for names in said)

    knarr_cluster.run(scenario)


def test_after_a_restart_a_volume_is_given_back_as_soon_as_its_pod_is_gone(knarr_cluster: ClusterRunner) -> None:
    """Also while another pod, which the kubelet has not started itself, goes on."""

    async def scenario(cluster: InProcessCluster) -> None:
        async with with_disk(cluster):
            other = disk()
            other.metadata.name, other.spec.csi = "other", core.CSIPersistentVolumeSource(driver=DRIVER, volumeHandle="disk-2")
            await cluster.client.create(other)
            await cluster.client.create(claim("more", "1Gi"))
            await cluster.client.create(on("node-1", "app"))
            going = using("going", "more")
            going.spec.nodeName = "node-1"
            await cluster.client.create(going)
            for name in ("app", "going"):
                await cluster.wait_for(lambda name=name: ready(cluster, name))  # type: ignore[misc]
            await cluster.stop_node("node-1")
            await cluster.start_node("node-1")
            await cluster.sleep(120)
            await cluster.client.delete(core.Pod, "going", namespace=NS)
            await cluster.sleep(120)
            assert await attached_to(cluster) == ["node-1"] and await ready(cluster, "app")

    knarr_cluster.run(scenario)


def test_an_attachment_that_somebody_else_made_is_left_alone(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        wish = storage.VolumeAttachment(metadata=meta.ObjectMeta(name="by-hand"))
        wish.spec.attacher, wish.spec.nodeName, wish.spec.source.persistentVolumeName = "driver.example.org", "node-1", "nothing"
        await cluster.client.create(wish)
        await cluster.sleep(60)
        assert await cluster.exists(storage.VolumeAttachment, "by-hand")

    knarr_cluster.run(scenario)
