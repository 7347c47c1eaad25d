"""StatefulSets: names, order, partitions and claims."""

from __future__ import annotations

import itertools
from typing import Any

from cluster_objects import NS, PodLog, image_of, image_patch, is_ready, template

from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner


def stateful_set(replicas: int = 3, **more: Any) -> apps.StatefulSet:
    return apps.StatefulSet(
        metadata=meta.ObjectMeta(name="db", namespace=NS),
        spec=apps.StatefulSetSpec(
            replicas=replicas,
            serviceName="db",
            selector=meta.LabelSelector(matchLabels={"app": "db"}),
            template=template("db"),
            **more,
        ),
    )


async def settled(cluster: InProcessCluster, count: int) -> apps.StatefulSet:
    async def reached() -> apps.StatefulSet | None:
        obj = await cluster.client.get(apps.StatefulSet, "db", namespace=NS)
        status = obj.status
        done = status.readyReplicas == status.replicas == status.updatedReplicas == count
        return obj if done and status.observedGeneration == obj.metadata.generation else None

    found: apps.StatefulSet = await cluster.wait_for(reached, 300)
    return found


async def names(cluster: InProcessCluster) -> list[str]:
    return sorted(pod.metadata.name for pod in await cluster.pods("app=db"))


def test_pods_come_one_after_the_other_and_keep_their_names(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        def look(pods: list[core.Pod]) -> None:
            mine = sorted(pods, key=lambda pod: pod.metadata.name)
            for earlier, later in itertools.pairwise(mine):
                assert is_ready(earlier), (
                    f"{later.metadata.name} came before {earlier.metadata.name} was ready"
                )

        PodLog(cluster, look)
        await cluster.client.create(stateful_set())
        await settled(cluster, 3)
        assert await names(cluster) == ["db-0", "db-1", "db-2"]
        pod = await cluster.client.get(core.Pod, "db-1", namespace=NS)
        assert (pod.spec.hostname, pod.spec.subdomain) == ("db-1", "db")
        assert pod.metadata.labels["apps.kubernetes.io/pod-index"] == "1"

    knarr_cluster.run(scenario)


def test_a_deleted_pod_comes_back_under_its_name(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(stateful_set())
        await settled(cluster, 3)
        before = await cluster.client.get(core.Pod, "db-1", namespace=NS)
        await cluster.client.delete(core.Pod, "db-1", namespace=NS)

        async def back() -> bool:
            found = {pod.metadata.name: pod for pod in await cluster.pods("app=db")}
            return (
                "db-1" in found
                and found["db-1"].metadata.uid != before.metadata.uid
                and is_ready(found["db-1"])
            )

        await cluster.wait_for(back, 120)

    knarr_cluster.run(scenario)


def test_scaling_down_takes_the_highest_first_and_keeps_claims(knarr_cluster: ClusterRunner) -> None:
    claim = core.PersistentVolumeClaim(
        metadata=meta.ObjectMeta(name="data"),
        spec=core.PersistentVolumeClaimSpec(
            accessModes=["ReadWriteOnce"],
            resources=core.VolumeResourceRequirements(requests={"storage": "1Gi"}),
        ),
    )

    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(stateful_set(2, volumeClaimTemplates=[claim]))

        async def claimed() -> bool:
            return await cluster.exists(core.PersistentVolumeClaim, "data-db-0")

        await cluster.wait_for(claimed)
        pod = await cluster.client.get(core.Pod, "db-0", namespace=NS)
        volumes = {volume.name: volume.persistentVolumeClaim for volume in pod.spec.volumes}
        assert volumes["data"] is not None and volumes["data"].claimName == "data-db-0"
        await cluster.client.patch(apps.StatefulSet, "db", {"spec": {"replicas": 0}}, namespace=NS)
        await cluster.sleep(60)
        assert await names(cluster) == []
        assert await cluster.exists(core.PersistentVolumeClaim, "data-db-0")

    knarr_cluster.run(scenario)


def test_parallel_sets_do_not_wait(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        obj = stateful_set(4, podManagementPolicy="Parallel", ordinals=apps.StatefulSetOrdinals(start=5))
        await cluster.client.create(obj)
        await cluster.sleep(0.5)
        assert await names(cluster) == ["db-5", "db-6", "db-7", "db-8"]

    knarr_cluster.run(scenario)


def test_an_update_goes_from_the_highest_down_to_the_partition(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        strategy = apps.StatefulSetUpdateStrategy(
            type="RollingUpdate", rollingUpdate=apps.RollingUpdateStatefulSetStrategy(partition=1)
        )
        await cluster.client.create(stateful_set(3, updateStrategy=strategy))
        await settled(cluster, 3)
        await cluster.client.patch(apps.StatefulSet, "db", image_patch("app:2"), namespace=NS)

        async def images() -> dict[str, str]:
            return {pod.metadata.name: image_of(pod) for pod in await cluster.pods("app=db") if is_ready(pod)}

        async def partly() -> bool:
            return await images() == {"db-0": "app:1", "db-1": "app:2", "db-2": "app:2"}

        await cluster.wait_for(partly, 300)
        await cluster.sleep(60)
        assert await partly(), "the partition holds"
        # A pod below the partition that is lost comes back as it was.
        await cluster.client.delete(core.Pod, "db-0", namespace=NS)
        await cluster.sleep(60)
        assert await partly()
        zero = {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}
        await cluster.client.patch(apps.StatefulSet, "db", zero, namespace=NS)
        obj = await settled(cluster, 3)
        assert set((await images()).values()) == {"app:2"}
        assert obj.status.currentRevision == obj.status.updateRevision
        assert len(await cluster.client.list(apps.ControllerRevision, namespace=NS)) == 2

    knarr_cluster.run(scenario)


def test_a_pod_that_its_node_refuses_is_made_again_more_and_more_slowly(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made: set[str] = set()
        registry = cluster.server.registry("", "pods")
        registry.cache.subscribers.append(lambda change: made.update(p.metadata.uid for p in registry.objects(NS)))
        refused = stateful_set(replicas=1)
        assert refused.spec.template.spec is not None
        # Its own node's name: the scheduler is not asked, and the kubelet finds that the node does not match.
        refused.spec.template.spec.nodeName = "node-1"
        refused.spec.template.spec.nodeSelector = {"disk": "fast"}
        await cluster.client.create(refused)
        await cluster.sleep(120)
        # 1 s, 2 s, 4 s, … between two: in two minutes half a dozen and not thousands.
        assert 5 <= len(made) <= 10
        told = [each for each in await cluster.events(namespace=NS) if each.reason == "RecreatingFailedPod"]
        assert told[0].message == "StatefulSet default/db is recreating failed Pod db-0"
        await cluster.client.patch(core.Node, "node-1", {"metadata": {"labels": {"disk": "fast"}}})
        await settled(cluster, 1)

    knarr_cluster.run(scenario)
