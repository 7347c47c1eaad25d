"""Why what was deleted is still there: said where one looks, once, and of what is not stuck nothing."""

from __future__ import annotations

from typing import Any

from cluster_objects import NS, deployment, pod

from knarr.api import codec, conditions
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.controllers.stuck_deletions import explain
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

HOLD = "example.com/hold"


def held(name: str, namespace: str = NS, **more: Any) -> core.ConfigMap:
    return core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace=namespace, finalizers=[HOLD], **more))


async def told(cluster: InProcessCluster) -> dict[str, list[str]]:
    """What was said of each object, by ``kind name``."""
    found: dict[str, list[str]] = {}
    for event in await cluster.events():
        if event.reason == "DeletionBlocked":
            assert event.type == "Warning"
            about = event.involvedObject
            found.setdefault(f"{about.kind} {about.name}", []).append(event.message)
    return found


def test_what_holds_an_object_is_named_once_and_again_when_it_changes(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        client = cluster.client
        await client.create(held("stuck"))
        await client.create(held("alive"))
        await client.delete(core.ConfigMap, "stuck", namespace=NS)
        await cluster.sleep(50)
        assert await told(cluster) == {}, "it may still go"
        await cluster.sleep(1200)
        assert await told(cluster) == {"ConfigMap stuck": [f"Deletion waits for: finalizers {HOLD}"]}
        changed = await client.get(core.ConfigMap, "stuck", namespace=NS)
        assert changed.metadata.finalizers == [HOLD]
        changed.metadata.finalizers = []
        await client.update(changed)
        await cluster.wait_for_deletion(core.ConfigMap, "stuck")
        await cluster.sleep(120)
        assert len((await told(cluster))["ConfigMap stuck"]) == 1

    knarr_cluster.run(scenario, nodes=0, scheduler=False)


def test_dependents_that_block_their_owner_are_named(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        client = cluster.client
        await client.create(deployment("web", 1))
        await cluster.wait_for_condition(apps.Deployment, "web", "Available")
        [one] = await cluster.pods("app=web")
        await client.patch(core.Pod, one.metadata.name, {"metadata": {"finalizers": [HOLD]}}, namespace=NS)
        await client.delete(apps.Deployment, "web", namespace=NS, propagation_policy="Foreground")
        await cluster.sleep(180)
        said = await told(cluster)
        [replica_set] = await client.list(apps.ReplicaSet, namespace=NS)
        assert said["Deployment web"] == [
            f"Deletion waits for: dependents with blockOwnerDeletion: ReplicaSet {replica_set.metadata.name}"
        ]
        assert said[f"ReplicaSet {replica_set.metadata.name}"] == [
            f"Deletion waits for: dependents with blockOwnerDeletion: Pod {one.metadata.name}"
        ]
        assert said[f"Pod {one.metadata.name}"] == [f"Deletion waits for: finalizers {HOLD}"]

    knarr_cluster.run(scenario)


def test_a_kubelet_that_does_not_answer_is_named_and_the_pod_has_a_condition(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        client = cluster.client
        await client.create(pod("lonely"))
        await cluster.wait_for_condition(core.Pod, "lonely", "Ready")
        await cluster.stop_node("node-1")
        await cluster.sleep(60)
        await client.delete(core.Pod, "lonely", namespace=NS, grace_period_s=5)
        await cluster.sleep(120)
        wanted = "Deletion waits for: the kubelet of node node-1 does not answer"
        assert (await told(cluster))["Pod lonely"] == [wanted]
        held_by = conditions.get((await client.get(core.Pod, "lonely", namespace=NS)).status.conditions, "DeletionBlocked")
        assert held_by is not None and (held_by.status, held_by.message) == ("True", wanted)
        await cluster.start_node("node-1")
        await cluster.wait_for_deletion(core.Pod, "lonely", timeout_s=120)

    knarr_cluster.run(scenario)


def test_a_namespace_says_which_of_its_objects_hold_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        client = cluster.client
        await client.create(core.Namespace(metadata=meta.ObjectMeta(name="full")))
        await client.create(held("a", "full"))
        await client.delete(core.Namespace, "full")
        await cluster.sleep(120)
        assert await told(cluster) == {"Namespace full": [f"Deletion waits for: ConfigMap a (finalizers {HOLD})"]}
        namespace = await client.get(core.Namespace, "full")
        for kind in ("NamespaceContentRemaining", "NamespaceFinalizersRemaining"):
            assert conditions.is_true(namespace.status.conditions, kind)
        for kind in ("NamespaceDeletionDiscoveryFailure", "NamespaceDeletionContentFailure"):
            condition = conditions.get(namespace.status.conditions, kind)
            assert condition is not None and condition.status == "False"

    knarr_cluster.run(scenario, nodes=0, scheduler=False)


DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat, listKind: BoatList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
"""


def test_a_custom_resource_whose_operator_is_gone_says_so_too(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.apply(DEFINITION)
        path = "/apis/example.com/v1/namespaces/default/boats"
        boat = {"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": "knarr", "finalizers": [HOLD]}}
        headers = {"Content-Type": "application/json"}

        async def made() -> bool:
            answer = await cluster.client.raw("POST", path, body=codec.encode(boat), headers=headers)
            return answer.status == 201

        await cluster.wait_for(made)
        await cluster.client.raw("DELETE", f"{path}/knarr")
        await cluster.sleep(120)
        assert await told(cluster) == {"Boat knarr": [f"Deletion waits for: finalizers {HOLD}"]}

    knarr_cluster.run(scenario, nodes=0, scheduler=False)


def test_a_claim_says_which_pods_use_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        claim = core.PersistentVolumeClaim(
            metadata=meta.ObjectMeta(name="data", namespace=NS),
            spec=core.PersistentVolumeClaimSpec(
                accessModes=["ReadWriteOnce"], resources=core.VolumeResourceRequirements(requests={"storage": "1Gi"})
            ),
        )
        await cluster.client.create(claim)
        source = core.PersistentVolumeClaimVolumeSource(claimName="data")
        volumes = [core.Volume(name="d", persistentVolumeClaim=source)]
        await cluster.client.create(pod("user", nodeName="node-1", volumes=volumes))
        await cluster.client.delete(core.PersistentVolumeClaim, "data", namespace=NS)
        await cluster.sleep(120)
        wanted = "Deletion waits for: finalizers kubernetes.io/pvc-protection; pods that use it: user"
        assert (await told(cluster))["PersistentVolumeClaim data"] == [wanted]
        stored = await cluster.client.get(core.PersistentVolumeClaim, "data", namespace=NS)
        assert conditions.is_true(stored.status.conditions, "DeletionBlocked")

    knarr_cluster.run(scenario)


def test_a_long_list_is_cut_short() -> None:
    said = explain([], [f"Pod {number}" for number in range(8)], "", [])
    assert said == "dependents with blockOwnerDeletion: Pod 0, Pod 1, Pod 2, Pod 3, Pod 4 and 3 more"
    assert explain(["foregroundDeletion"], [], "", []) == ""


def test_a_thousand_stuck_objects_are_told_of_in_portions(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        for number in range(250):
            await cluster.client.create(held(f"c{number}"))
            await cluster.client.delete(core.ConfigMap, f"c{number}", namespace=NS)
        await cluster.sleep(95)
        assert len(await told(cluster)) == 200
        await cluster.sleep(30)
        assert len(await told(cluster)) == 250

    knarr_cluster.run(scenario, nodes=0, scheduler=False)
