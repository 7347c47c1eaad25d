"""[sig-apps] ReplicaSet and ReplicationController."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_api import NS, STRATEGIC, Api, Object, has_condition
from conformance_objects import alive, pod, replication_controller, workload
from test_conformance_deployments import new_image, scale_operations, status_operations

from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

SETS = ("apps/v1", "replicasets")
CONTROLLERS = ("v1", "replicationcontrollers")


def controller_of(obj: Object) -> str:
    """The uid of the owner that controls the object, or nothing."""
    owners = obj["metadata"].get("ownerReferences", [])
    return next((each["uid"] for each in owners if each.get("controller")), "")


async def adoption(cluster: InProcessCluster, kind: tuple[str, str], body: Object, labels: dict[str, str]) -> tuple[Api, str]:
    """A pod that matches is taken up by a controller created after it. Returns the pods' API and the controller's uid."""
    pods, api = Api(cluster, "v1", "pods", NS), Api(cluster, *kind, NS)
    await pods.create(pod("pod-adoption", labels))
    await pods.wait("pod-adoption", lambda each: each["status"].get("phase") == "Running")
    made = await api.create(body)
    uid = made["metadata"]["uid"]
    await pods.wait("pod-adoption", lambda each: controller_of(each) == uid)
    await cluster.sleep(5)
    assert len(await pods.items()) == 1
    return pods, uid


@pytest.mark.conformance(
    "[sig-apps] ReplicaSet should adopt matching pods on creation and release no longer matching pods [Conformance]"
)
def test_a_replica_set_adopts_and_releases(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        labels = {"name": "pod-adoption-release"}
        pods, uid = await adoption(cluster, SETS, workload("ReplicaSet", "rs", labels), labels)
        await pods.patch("pod-adoption", {"metadata": {"labels": {"name": "not-matching-name"}}})
        await pods.wait("pod-adoption", lambda each: controller_of(each) == "")
        await pods.wait_items(lambda found: len([each for each in found if controller_of(each) == uid]) == 1)

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] ReplicationController should adopt matching pods on creation [Conformance]")
def test_a_replication_controller_adopts(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        labels = {"name": "pod-adoption"}
        await adoption(cluster, CONTROLLERS, replication_controller("rc", labels), labels)

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] ReplicationController should release no longer matching pods [Conformance]")
def test_a_replication_controller_releases(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        pods, api = Api(cluster, "v1", "pods", NS), Api(cluster, *CONTROLLERS, NS)
        made = await api.create(replication_controller("rc", {"name": "pod-release"}))
        first = (await pods.wait_items(lambda found: len(found) == 1))[0]["metadata"]["name"]
        await pods.patch(first, {"metadata": {"labels": {"name": "not-matching-name"}}})
        released = await pods.wait(first, lambda each: controller_of(each) == "")
        assert "ownerReferences" not in released["metadata"]
        uid = made["metadata"]["uid"]
        await pods.wait_items(lambda found: [each["metadata"]["name"] for each in found if controller_of(each) == uid])

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] ReplicaSet Replicaset should have a working scale subresource [Conformance]")
def test_a_replica_set_has_a_scale(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, *SETS, NS)
        await api.create(workload("ReplicaSet", "rs", {"name": "sample"}))
        await api.wait("rs", lambda each: each["status"].get("availableReplicas") == 1)
        await scale_operations(api, "rs")

    knarr_cluster.run(scenario)


@pytest.mark.conformance(
    "[sig-apps] ReplicationController should get and update a ReplicationController scale [Conformance]"
)
def test_a_replication_controller_has_a_scale(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, *CONTROLLERS, NS)
        await api.create(replication_controller("rc", {"name": "sample"}))
        scale = await api.get("rc", "scale")
        assert scale["spec"]["replicas"] == 1
        scale["spec"]["replicas"] = 2
        await api.update(scale, "scale")
        await api.wait("rc", lambda each: each["spec"]["replicas"] == 2 and each["status"].get("readyReplicas") == 2)

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] ReplicaSet Replace and Patch tests [Conformance]")
def test_a_replica_set_is_scaled_and_patched(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api, pods = Api(cluster, *SETS, NS), Api(cluster, "v1", "pods", NS)
        await api.create(workload("ReplicaSet", "test-rs", {"app": "httpd"}))
        await api.wait("test-rs", lambda each: each["status"].get("readyReplicas") == 1)
        scale = await api.get("test-rs", "scale")
        scale["spec"]["replicas"] = 2
        await api.update(scale, "scale")
        await api.wait("test-rs", lambda each: each["status"].get("readyReplicas") == 2)
        async with api.watch() as watch:
            patch = new_image("registry.k8s.io/pause:3.10")
            patch["metadata"] = {"labels": {"test-rs": "patched"}}
            patch["spec"]["replicas"] = 3
            await api.patch("test-rs", patch, kind=STRATEGIC)

            def patched(obj: Object) -> bool:
                return obj["metadata"]["labels"].get("test-rs") == "patched" and obj["status"].get("readyReplicas") == 3

            held = await watch.until("MODIFIED", patched)
            assert held["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.k8s.io/pause:3.10"
        assert len(alive(await pods.items("app=httpd"))) == 3

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] ReplicaSet should list and delete a collection of ReplicaSets [Conformance]")
def test_replica_sets_are_deleted_together(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api, pods = Api(cluster, *SETS, NS), Api(cluster, "v1", "pods", NS)
        await api.create(workload("ReplicaSet", "test-rs", {"e2e": "test-rs"}, replicas=3))
        await api.wait("test-rs", lambda each: each["status"].get("readyReplicas") == 3)
        found = (await api.list("e2e=test-rs", everywhere=True))["items"]
        assert [each["metadata"]["name"] for each in found] == ["test-rs"]
        await api.delete_collection("e2e=test-rs")
        assert (await api.list("e2e=test-rs", everywhere=True))["items"] == []
        await pods.wait_items(lambda left: not left)

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] ReplicaSet should validate Replicaset Status endpoints [Conformance]")
def test_the_status_of_a_replica_set_can_be_changed(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, *SETS, NS)
        await api.create(workload("ReplicaSet", "rs", {"name": "sample"}))
        await api.wait("rs", lambda each: each["status"].get("availableReplicas") == 1)
        await status_operations(api, "rs")
        await cluster.sleep(10)
        held = await api.get("rs")
        assert has_condition(held, "StatusPatched") and held["status"]["readyReplicas"] == 1

    knarr_cluster.run(scenario)


def count(ready: int, **labels: str) -> Any:
    def check(obj: Object) -> bool:
        return obj["status"].get("readyReplicas", 0) == ready and labels.items() <= obj["metadata"]["labels"].items()

    return check


@pytest.mark.conformance("[sig-apps] ReplicationController should test the lifecycle of a ReplicationController [Conformance]")
def test_a_replication_controller_lives_and_a_watch_tells_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, *CONTROLLERS, NS)
        static = "test-rc-static=true"
        async with api.watch(labelSelector=static) as watch:
            await api.create(replication_controller("rc", {"test-rc-static": "true"}))
            await watch.until("ADDED", lambda each: each["metadata"]["name"] == "rc")
            await watch.until("MODIFIED", count(1))
            await api.patch("rc", {"metadata": {"labels": {"test-rc": "patched"}}}, kind=STRATEGIC)
            await watch.until("MODIFIED", lambda each: each["metadata"]["labels"].get("test-rc") == "patched")
            status = {"status": {"readyReplicas": 0, "availableReplicas": 0}}
            patched = await api.patch("rc", status, "status")
            assert patched["status"].get("readyReplicas", 0) == 0
            await watch.until("MODIFIED", count(0))
            await watch.until("MODIFIED", lambda each: each["status"].get("availableReplicas") == 1)
            assert (await api.get("rc", "status"))["status"]["replicas"] == 1
            await api.patch("rc", {"spec": {"replicas": 2}}, "scale")
            await watch.until("MODIFIED", lambda each: each["spec"]["replicas"] == 2)
            await watch.until("MODIFIED", count(2, **{"test-rc": "patched"}))
            found = (await api.list(static, everywhere=True))["items"]
            assert [each["metadata"]["name"] for each in found] == ["rc"]
            await api.change("rc", lambda obj: obj["metadata"]["labels"].update({"test-rc": "updated"}))
            await watch.until("MODIFIED", lambda each: each["metadata"]["labels"]["test-rc"] == "updated")
            await api.delete_collection(static)
            await watch.until("DELETED", lambda each: each["metadata"]["name"] == "rc")

    knarr_cluster.run(scenario)
