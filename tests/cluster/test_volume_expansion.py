"""Claims that grow: what is under way can be read in the claim, and nothing is lost when the provider fails."""

from __future__ import annotations

from typing import Any

import pytest
from cluster_objects import NS
from test_persistent_volumes import bound, claim, using

from knarr.api import conditions
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.storage import v1 as storage
from knarr.cloud.contract import ProviderError
from knarr.cloud.local_volumes import LocalVolumes, default_class
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

GROWN = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}


class Shelf:
    """Volumes on the node's disk; told how to grow them."""

    provisioner = "example.com/shelf"

    def __init__(self, *, node_is_needed: bool = False, failures: int = 0) -> None:
        self.asked: list[str] = []
        self._node_is_needed = node_is_needed
        self._failures = failures

    async def provision(
        self, claim: core.PersistentVolumeClaim, storage_class: storage.StorageClass, node: core.Node | None
    ) -> core.PersistentVolume:
        spec = core.PersistentVolumeSpec(
            capacity=dict(claim.spec.resources.requests),
            accessModes=list(claim.spec.accessModes),
            storageClassName=storage_class.metadata.name,
            persistentVolumeReclaimPolicy="Retain",
            hostPath=core.HostPathVolumeSource(path="/srv/shelf"),
        )
        return core.PersistentVolume(metadata=meta.ObjectMeta(name=f"pvc-{claim.metadata.uid}"), spec=spec)

    async def expand(self, volume: core.PersistentVolume, size: str) -> bool:
        self.asked.append(size)
        if len(self.asked) <= self._failures:
            raise ProviderError("the shelf is full")
        return self._node_is_needed

    async def remove(self, volume: core.PersistentVolume) -> bool:
        return False


async def grow(cluster: InProcessCluster, *, provisioner: str = Shelf.provisioner, **more: Any) -> None:
    made = storage.StorageClass(metadata=meta.ObjectMeta(name="disk"), provisioner=provisioner)
    made.allowVolumeExpansion = more.get("allowed", True)
    await cluster.client.create(made)
    await cluster.client.create(claim("data", "1Gi"))
    await bound(cluster, "data")
    await cluster.client.patch(core.PersistentVolumeClaim, "data", GROWN, namespace=NS)


async def held(cluster: InProcessCluster) -> core.PersistentVolumeClaim:
    return await cluster.client.get(core.PersistentVolumeClaim, "data", namespace=NS)


async def told(cluster: InProcessCluster) -> list[str]:
    about = [each for each in await cluster.events(namespace=NS) if each.involvedObject.name == "data"]
    return [each.reason for each in about if "Resize" in each.reason or each.reason == "Resizing"]


def test_a_claim_that_asks_for_more_gets_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await grow(cluster)
        await cluster.sleep(1)
        now = await held(cluster)
        volume = await cluster.client.get(core.PersistentVolume, now.spec.volumeName)
        assert now.status.capacity == volume.spec.capacity == {"storage": "3Gi"}
        assert now.status.conditions == [] and now.status.allocatedResourceStatuses == {}
        assert now.status.allocatedResources == {"storage": "3Gi"}
        assert await told(cluster) == ["Resizing", "VolumeResizeSuccessful"]

    knarr_cluster.run(scenario, volumes=Shelf())


def test_a_provider_that_fails_is_asked_again_and_the_claim_says_so(knarr_cluster: ClusterRunner) -> None:
    shelf = Shelf(failures=1)

    async def scenario(cluster: InProcessCluster) -> None:
        await grow(cluster)
        await cluster.sleep(5)
        now = await held(cluster)
        assert now.status.capacity == {"storage": "1Gi"} and conditions.is_true(now.status.conditions, "Resizing")
        assert now.status.allocatedResourceStatuses == {"storage": "ControllerResizeInProgress"}
        failed = [each.message for each in await cluster.events() if each.reason == "VolumeResizeFailed"]
        name = now.spec.volumeName
        assert failed == [f'resize volume "{name}" by resizer "example.com/shelf" failed: the shelf is full']
        await cluster.sleep(20)
        assert (await held(cluster)).status.capacity == {"storage": "3Gi"} and shelf.asked == ["3Gi", "3Gi"]

    knarr_cluster.run(scenario, volumes=shelf)


def test_where_the_node_has_to_help_the_claim_waits_for_it(knarr_cluster: ClusterRunner) -> None:
    shelf = Shelf(node_is_needed=True)

    async def scenario(cluster: InProcessCluster) -> None:
        await grow(cluster)
        await cluster.sleep(60)
        now = await held(cluster)
        (said,) = now.status.conditions
        assert (said.type, said.status) == ("FileSystemResizePending", "True")
        assert said.message == "Waiting for user to (re-)start a pod to finish file system resize of volume on node."
        assert now.status.allocatedResourceStatuses == {"storage": "NodeResizePending"}
        assert now.status.capacity == {"storage": "1Gi"}
        # The provider has done its part: it is not asked over and over.
        assert shelf.asked == ["3Gi"] and await told(cluster) == ["Resizing", "FileSystemResizeRequired"]

    knarr_cluster.run(scenario, volumes=shelf)


def test_a_class_that_does_not_allow_it_keeps_its_claims_small(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        with pytest.raises(StatusError, match="must support resize"):
            await grow(cluster, allowed=False)

    knarr_cluster.run(scenario, volumes=Shelf())


def test_another_drivers_volume_is_left_to_that_drivers_resizer(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await Shelf().provision(
            claim("data", "1Gi"), storage.StorageClass(metadata=meta.ObjectMeta(name="disk")), None
        )
        made.metadata.name, made.metadata.annotations = "theirs", {"pv.kubernetes.io/provisioned-by": "csi.example.com"}
        await cluster.client.create(made)
        await grow(cluster, provisioner="csi.example.com")
        await cluster.sleep(30)
        now = await held(cluster)
        assert now.metadata.annotations["volume.kubernetes.io/storage-resizer"] == "csi.example.com"
        assert now.status.capacity == {"storage": "1Gi"}
        assert [each.message for each in await cluster.events() if each.reason == "ExternalExpanding"] == [
            "waiting for an external controller to expand this PVC"
        ]

    knarr_cluster.run(scenario)


def test_the_default_class_of_a_cluster_lets_claims_grow_while_they_are_used(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(default_class())
        await cluster.client.create(claim("data", "1Gi", "standard"))
        await cluster.client.create(using("app", "data"))
        await bound(cluster, "data")
        await cluster.client.patch(core.PersistentVolumeClaim, "data", GROWN, namespace=NS)
        await cluster.sleep(5)
        assert (await held(cluster)).status.capacity == {"storage": "3Gi"}

    knarr_cluster.run(scenario, volumes=LocalVolumes())
