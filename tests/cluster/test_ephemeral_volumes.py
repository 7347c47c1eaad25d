"""Generic ephemeral volumes: a pod brings its claim, and the claim goes with the pod."""

from __future__ import annotations

from cluster_objects import NS, is_ready, pod
from test_persistent_volumes import claim, volume

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner


def bringing(name: str) -> core.Pod:
    made = claim("ignored", "1Gi")
    template = core.PersistentVolumeClaimTemplate(metadata=meta.ObjectMeta(labels={"tier": "scratch"}), spec=made.spec)
    source = core.EphemeralVolumeSource(volumeClaimTemplate=template)
    return pod(name, volumes=[core.Volume(name="scratch", ephemeral=source)])


async def running(cluster: InProcessCluster) -> bool:
    return is_ready(await cluster.client.get(core.Pod, "app", namespace=NS))


def test_a_pod_gets_the_claim_it_brings_and_takes_it_with_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(volume("disk", "1Gi"))
        await cluster.client.create(bringing("app"))
        await cluster.wait_for(lambda: running(cluster))
        made = await cluster.client.get(core.PersistentVolumeClaim, "app-scratch", namespace=NS)
        (owner,) = made.metadata.ownerReferences
        assert (owner.kind, owner.name, owner.controller, owner.blockOwnerDeletion) == ("Pod", "app", True, True)
        assert made.metadata.labels == {"tier": "scratch"} and made.spec.volumeName == "disk"
        await cluster.client.delete(core.Pod, "app", namespace=NS)
        await cluster.wait_for_deletion(core.PersistentVolumeClaim, "app-scratch")

    knarr_cluster.run(scenario)


def test_a_claim_of_that_name_that_is_somebody_elses_is_not_taken(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(volume("disk", "1Gi"))
        await cluster.client.create(claim("app-scratch", "1Gi"))
        await cluster.client.create(bringing("app"))
        await cluster.sleep(10)
        told = [each.message for each in await cluster.events(namespace=NS) if each.reason == "FailedBinding"]
        text = f"PVC {NS}/app-scratch was not created for pod {NS}/app (pod is not owner)"
        assert told == [f"ephemeral volume scratch: {text}"]
        waiting = await cluster.client.get(core.Pod, "app", namespace=NS)
        assert not waiting.spec.nodeName and text in waiting.status.conditions[0].message
        # Once the other claim is gone, the pod gets its own.
        await cluster.client.delete(core.PersistentVolumeClaim, "app-scratch", namespace=NS)
        held = await cluster.client.get(core.PersistentVolume, "disk")
        held.spec.claimRef = None
        await cluster.client.update(held)
        await cluster.wait_for(lambda: running(cluster), 400)

    knarr_cluster.run(scenario)
