"""[sig-api-machinery] the garbage collector, namespaces, and what a quota is as an object."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_api import API_ONLY, NS, STRATEGIC, Api, Object, fails, has_condition, namespace
from conformance_objects import meta, owner, pod, replication_controller, service, workload

from knarr.testing import InProcessCluster, NodeShape
from knarr.testing.plugin import ClusterRunner

LABELS = {"name": "simpletest"}
SELECTOR = "name=simpletest"
ROOMY = NodeShape(cpu="64", memory="256Gi", pods=250)


async def running_controller(cluster: InProcessCluster, name: str, replicas: int) -> tuple[Api, Api, Object]:
    """The API of controllers, that of pods, and a controller whose pods are all there."""
    controllers, pods = Api(cluster, "v1", "replicationcontrollers", NS), Api(cluster, "v1", "pods", NS)
    made = await controllers.create(replication_controller(name, LABELS, replicas))
    await controllers.wait(name, lambda each: each["status"].get("replicas") == replicas)
    return controllers, pods, made


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should delete pods created by rc when not orphaning [Conformance]"
)
def test_the_pods_of_a_deleted_controller_go(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        controllers, pods, made = await running_controller(cluster, "rc", 2)
        uid = {"uid": made["metadata"]["uid"]}
        await controllers.delete("rc", orphanDependents=False, preconditions=uid)
        await pods.wait_items(lambda found: not found, SELECTOR)
        assert not await controllers.exists("rc")

    knarr_cluster.run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should orphan pods created by rc if delete options say so [Conformance]"
)
def test_orphaned_pods_stay(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        controllers, pods, made = await running_controller(cluster, "rc", 100)
        uid = {"uid": made["metadata"]["uid"]}
        await controllers.delete("rc", propagationPolicy="Orphan", preconditions=uid)
        await controllers.wait_gone("rc")
        await cluster.sleep(30)
        left = await pods.items(SELECTOR)
        assert len(left) == 100
        assert not any(each["metadata"].get("ownerReferences") or each["metadata"].get("deletionTimestamp") for each in left)

    knarr_cluster.run(scenario, shape=ROOMY)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should keep the rc around until all its pods are deleted if the deleteOptions says so [Conformance]"
)
def test_in_the_foreground_the_controller_goes_last(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        controllers, pods, made = await running_controller(cluster, "rc", 20)
        uid = {"uid": made["metadata"]["uid"]}
        answer = await controllers.delete("rc", propagationPolicy="Foreground", preconditions=uid)
        assert answer["metadata"]["finalizers"] == ["foregroundDeletion"] and answer["metadata"]["deletionTimestamp"]
        while await controllers.exists("rc"):
            before = len(await pods.items(SELECTOR))
            if before:
                assert (await controllers.get("rc"))["metadata"]["deletionTimestamp"]
            await cluster.sleep(0.05)
        assert await pods.items(SELECTOR) == []

    knarr_cluster.run(scenario, shape=ROOMY)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should not delete dependents that have both valid owner and owner that's waiting for dependents to be deleted [Conformance]"
)
def test_a_second_valid_owner_keeps_a_dependent(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        controllers, pods, going = await running_controller(cluster, "rc-to-be-deleted", 10)
        staying = await controllers.create(replication_controller("rc-to-stay", {"name": "another"}, 0))
        half = (await pods.items(SELECTOR))[:5]
        for each in half:
            reference = owner(staying)
            await pods.patch(each["metadata"]["name"], {"metadata": {"ownerReferences": [reference]}}, kind=STRATEGIC)
        uid = {"uid": going["metadata"]["uid"]}
        await controllers.delete("rc-to-be-deleted", propagationPolicy="Foreground", preconditions=uid)
        await controllers.wait_gone("rc-to-be-deleted")
        left = await pods.items(SELECTOR)
        assert {each["metadata"]["name"] for each in left} == {each["metadata"]["name"] for each in half}
        for each in left:
            assert "deletionTimestamp" not in each["metadata"]
            assert [reference["name"] for reference in each["metadata"]["ownerReferences"]] == ["rc-to-stay"]

    knarr_cluster.run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should not be blocked by dependency circle [Conformance]"
)
def test_a_circle_of_owners_goes(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        pods = Api(cluster, "v1", "pods", NS)
        made = [await pods.create(pod(f"pod{number}", LABELS)) for number in (1, 2, 3)]
        for number, each in enumerate(made):
            reference = owner(made[number - 1], controller=True, blockOwnerDeletion=True)
            await pods.patch(each["metadata"]["name"], {"metadata": {"ownerReferences": [reference]}})
        await pods.delete("pod1", propagationPolicy="Foreground", preconditions={"uid": made[0]["metadata"]["uid"]})
        await pods.wait_items(lambda found: not found, SELECTOR)

    knarr_cluster.run(scenario)


async def deployed(cluster: InProcessCluster) -> tuple[Api, Api, Api, Object]:
    """Deployments, ReplicaSets, pods, and a Deployment with its ReplicaSet and pods."""
    kinds = [Api(cluster, "apps/v1", "deployments", NS), Api(cluster, "apps/v1", "replicasets", NS), Api(cluster, "v1", "pods", NS)]
    made = await kinds[0].create(workload("Deployment", "web", LABELS, replicas=2))
    await kinds[1].wait_items(lambda found: len(found) == 1, SELECTOR)
    await kinds[2].wait_items(lambda found: len(found) == 2, SELECTOR)
    return kinds[0], kinds[1], kinds[2], made


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should delete RS created by deployment when not orphaning [Conformance]"
)
def test_the_replica_set_of_a_deleted_deployment_goes(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        deployments, sets, pods, made = await deployed(cluster)
        uid = {"uid": made["metadata"]["uid"]}
        await deployments.delete("web", propagationPolicy="Background", preconditions=uid)
        await sets.wait_items(lambda found: not found, SELECTOR)
        await pods.wait_items(lambda found: not found, SELECTOR)

    knarr_cluster.run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should orphan RS created by deployment when deleteOptions.PropagationPolicy is Orphan [Conformance]"
)
def test_an_orphaned_replica_set_stays_with_its_pods(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        deployments, sets, pods, made = await deployed(cluster)
        uid = {"uid": made["metadata"]["uid"]}
        await deployments.delete("web", propagationPolicy="Orphan", preconditions=uid)
        await deployments.wait_gone("web")
        await cluster.sleep(30)
        left = await sets.items(SELECTOR)
        assert len(left) == 1 and not left[0]["metadata"].get("ownerReferences")
        assert len(await pods.items(SELECTOR)) == 2

    knarr_cluster.run(scenario)


NAMESPACES = ("v1", "namespaces")


async def emptied(cluster: InProcessCluster, plural: str, obj: Object) -> None:
    """A namespace takes what is in it along, and one of the same name starts empty."""
    name = await namespace(cluster, "nsdeletetest")
    api = Api(cluster, "v1", plural, name)
    await Api(cluster, "v1", "serviceaccounts", name).wait("default", bool)
    await api.create(obj)
    if plural == "pods":
        await api.wait(obj["metadata"]["name"], lambda each: each["status"].get("phase") == "Running")
    await Api(cluster, *NAMESPACES).delete(name)
    await Api(cluster, *NAMESPACES).wait_gone(name)
    await namespace(cluster, name)
    await fails(api.get(obj["metadata"]["name"]), 404, "NotFound")


@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should ensure that all pods are removed when a namespace is deleted [Conformance]"
)
def test_a_deleted_namespace_takes_its_pods(knarr_cluster: ClusterRunner) -> None:
    knarr_cluster.run(lambda cluster: emptied(cluster, "pods", pod("test-pod")))


@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should ensure that all services are removed when a namespace is deleted [Conformance]"
)
def test_a_deleted_namespace_takes_its_services(knarr_cluster: ClusterRunner) -> None:
    knarr_cluster.run(lambda cluster: emptied(cluster, "services", service("test-service", selector=LABELS)), nodes=0)


@pytest.mark.conformance("[sig-api-machinery] Namespaces [Serial] should patch a Namespace [Conformance]")
def test_a_namespace_can_be_patched(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, *NAMESPACES)
        await namespace(cluster, "patched")
        await api.patch("patched", {"metadata": {"labels": {"testLabel": "testValue"}}}, kind=STRATEGIC)
        assert (await api.get("patched"))["metadata"]["labels"]["testLabel"] == "testValue"

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance("[sig-api-machinery] Namespaces [Serial] should apply an update to a Namespace [Conformance]")
def test_a_namespace_can_be_updated(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, *NAMESPACES)
        await namespace(cluster, "updated")
        updated = await api.change("updated", lambda obj: obj["metadata"]["labels"].update(updated="yes"))
        assert updated["metadata"]["labels"]["updated"] == "yes"
        assert (await api.get("updated"))["metadata"]["labels"]["updated"] == "yes"

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should apply changes to a namespace status [Conformance]"
)
def test_the_status_of_a_namespace_can_be_changed(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, *NAMESPACES)
        await namespace(cluster, "status")
        assert (await api.get("status", "status"))["status"]["phase"] == "Active"
        condition = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched by an e2e test"}
        patch = {"metadata": {"annotations": {"e2e-patched-ns-status": "x"}}, "status": {"conditions": [condition]}}
        patched = await api.patch("status", patch, "status")
        assert has_condition(patched, kind="StatusPatch", reason="E2E")
        assert patched["metadata"]["annotations"]["e2e-patched-ns-status"] == "x"
        more = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Updated by an e2e test"}
        await api.change("status", lambda obj: obj["status"]["conditions"].append(more), "status")
        held = await api.get("status")
        assert has_condition(held, "StatusUpdate") and has_condition(held, "StatusPatch") and held["status"]["phase"] == "Active"

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance("[sig-api-machinery] Namespaces [Serial] should apply a finalizer to a Namespace [Conformance]")
def test_a_namespace_takes_another_finalizer(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, *NAMESPACES)
        await namespace(cluster, "finalized")
        fake = "e2e.example.com/fakeFinalizer"
        made = await api.get("finalized")
        made["spec"]["finalizers"].append(fake)
        updated = await api.call("PUT", api.path("finalized", "finalize"), made)
        assert updated["spec"]["finalizers"] == ["kubernetes", fake]
        updated["spec"]["finalizers"].remove(fake)
        assert (await api.call("PUT", api.path("finalized", "finalize"), updated))["spec"]["finalizers"] == ["kubernetes"]
        await api.delete("finalized")
        await api.wait_gone("finalized")

    knarr_cluster.run(scenario, nodes=0)


def quota(name: str, labels: dict[str, str] | None = None, **hard: str) -> Object:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta(name, labels), "spec": {"hard": hard}}


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should be able to update and delete ResourceQuota. [Conformance]"
)
def test_a_quota_can_be_updated_and_deleted(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "resourcequotas", NS)
        made = await api.create(quota("test-quota", cpu="1", memory="500Mi"))
        assert made["spec"]["hard"] == {"cpu": "1", "memory": "500Mi"}
        assert (await api.get("test-quota"))["spec"]["hard"] == made["spec"]["hard"]
        made["spec"]["hard"] = {"cpu": "2", "memory": "1Gi"}
        assert (await api.update(made))["spec"]["hard"] == {"cpu": "2", "memory": "1Gi"}
        assert (await api.get("test-quota"))["spec"]["hard"] == {"cpu": "2", "memory": "1Gi"}
        await api.delete("test-quota")
        await fails(api.get("test-quota"), 404, "NotFound")

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should manage the lifecycle of a ResourceQuota [Conformance]"
)
def test_quotas_are_kept_and_deleted_together(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "resourcequotas", NS)
        await api.create(quota("e2e", {"quota": "e2e"}, cpu="500m", memory="500Mi"))
        assert (await api.get("e2e"))["spec"]["hard"] == {"cpu": "500m", "memory": "500Mi"}
        found = await api.list("quota=e2e", everywhere=True)
        assert [each["metadata"]["name"] for each in found["items"]] == ["e2e"]
        change: Any = {"metadata": {"labels": {"e2e": "patched"}}, "spec": {"hard": {"memory": "750Mi"}}}
        patched = await api.patch("e2e", change, kind=STRATEGIC)
        assert patched["metadata"]["labels"]["e2e"] == "patched" and patched["spec"]["hard"]["memory"] == "750Mi"
        await api.delete_collection("e2e=patched")
        assert (await api.list("e2e=patched", everywhere=True))["items"] == []

    knarr_cluster.run(scenario, **API_ONLY)
