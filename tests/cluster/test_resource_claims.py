"""Resource claims of pods: made from templates, named in the pod's status, given back when the pod is done."""

from __future__ import annotations

from cluster_objects import NS, pod

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.api.resource import v1 as resource
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

WANTED = resource.ResourceClaimSpec(
    devices=resource.DeviceClaim(
        requests=[
            resource.DeviceRequest(
                name="gpu", exactly=resource.ExactDeviceRequest(deviceClassName="gpu.example.com")
            )
        ]
    )
)
TEMPLATE = resource.ResourceClaimTemplate(
    metadata=meta.ObjectMeta(name="one-gpu", namespace=NS),
    spec=resource.ResourceClaimTemplateSpec(metadata=meta.ObjectMeta(labels={"kind": "gpu"}), spec=WANTED),
)


def using_template(name: str = "app", **more: object) -> core.Pod:
    return pod(name, resourceClaims=[core.PodResourceClaim(name="gpu", resourceClaimTemplateName="one-gpu")], **more)


async def claims(cluster: InProcessCluster) -> list[resource.ResourceClaim]:
    return (await cluster.client.list(resource.ResourceClaim, namespace=NS)).items


async def reserve(cluster: InProcessCluster, claim: resource.ResourceClaim, *pods: core.Pod) -> None:
    """What the scheduler does when it places a pod."""
    claim.metadata.finalizers = ["resource.kubernetes.io/delete-protection"]
    claim = await cluster.client.update(claim)
    claim.status.allocation = resource.AllocationResult()
    claim.status.reservedFor = [
        resource.ResourceClaimConsumerReference(resource="pods", name=each.metadata.name, uid=each.metadata.uid)
        for each in pods
    ]
    await cluster.client.update_status(claim)


def test_a_pod_gets_a_claim_of_its_own_from_the_template(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(using_template())
        await cluster.sleep(5)
        # Without the template there is nothing to make, and the pod says why.
        assert await claims(cluster) == []
        assert any(each.reason == "FailedResourceClaimCreation" for each in await cluster.events(namespace=NS))
        await cluster.client.create(TEMPLATE)
        await cluster.sleep(5)
        (claim,) = await claims(cluster)
        owner = await cluster.client.get(core.Pod, "app", namespace=NS)
        assert claim.metadata.name.startswith("app-gpu-") and claim.spec.devices.requests[0].name == "gpu"
        assert claim.metadata.ownerReferences[0].uid == owner.metadata.uid
        assert claim.metadata.labels == {"kind": "gpu"}
        assert claim.metadata.annotations == {"resource.kubernetes.io/pod-claim-name": "gpu"}
        (status,) = owner.status.resourceClaimStatuses
        assert (status.name, status.resourceClaimName) == ("gpu", claim.metadata.name)
        await cluster.client.delete(core.Pod, "app", namespace=NS)
        await cluster.wait_for_deletion(resource.ResourceClaim, claim.metadata.name)

    knarr_cluster.run(scenario)


def test_a_pod_that_is_done_gives_its_claim_back(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(TEMPLATE)
        made = using_template(restartPolicy="Never")
        made.metadata.annotations = {"knarr.dev/simulate-run-seconds": "30"}
        owner = await cluster.client.create(made)
        await cluster.sleep(5)
        (claim,) = await claims(cluster)
        await reserve(cluster, claim, owner)
        await cluster.sleep(10)
        assert (await claims(cluster))[0].status.allocation is not None
        await cluster.sleep(60)
        # The pod is still there to be looked at; what it held is not held any more.
        assert await claims(cluster) == [] and await cluster.exists(core.Pod, "app")

    knarr_cluster.run(scenario)


def test_a_shared_claim_is_free_when_its_last_pod_is_gone(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        shared = resource.ResourceClaim(metadata=meta.ObjectMeta(name="shared", namespace=NS), spec=WANTED)
        shared = await cluster.client.create(shared)
        uses = [core.PodResourceClaim(name="gpu", resourceClaimName="shared")]
        pods = [await cluster.client.create(pod(name, resourceClaims=uses)) for name in ("a", "b")]
        await reserve(cluster, shared, *pods)
        await cluster.client.delete(core.Pod, "a", namespace=NS)
        await cluster.sleep(60)
        (claim,) = await claims(cluster)
        assert [each.name for each in claim.status.reservedFor] == ["b"] and claim.status.allocation is not None
        await cluster.client.delete(core.Pod, "b", namespace=NS)
        await cluster.sleep(60)
        (claim,) = await claims(cluster)
        assert claim.status.reservedFor == [] and claim.status.allocation is None
        assert claim.metadata.finalizers == []

    knarr_cluster.run(scenario)
