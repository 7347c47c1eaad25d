"""[sig-apps] Deployment."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_api import NS, STRATEGIC, Api, Object, has_condition
from conformance_objects import IMAGE, alive, ready, workload

from knarr.testing import InProcessCluster, NodeShape
from knarr.testing.plugin import ClusterRunner

OTHER_IMAGE = "registry.k8s.io/e2e-test-images/httpd:2.4.39-4"
MISSING = "registry.k8s.io/nonexistent:404"
SHAPE = NodeShape(cpu="64", memory="256Gi", pods=250, missing_images=frozenset({MISSING}))
REVISION = "deployment.kubernetes.io/revision"


class Kinds:
    """The APIs that every test here speaks to."""

    def __init__(self, cluster: InProcessCluster) -> None:
        self.deployments = Api(cluster, "apps/v1", "deployments", NS)
        self.sets = Api(cluster, "apps/v1", "replicasets", NS)
        self.pods = Api(cluster, "v1", "pods", NS)


def complete(obj: Object) -> bool:
    status, count = obj["status"], obj["spec"]["replicas"]
    seen = status.get("observedGeneration", 0) >= obj["metadata"]["generation"]
    return seen and status.get("replicas", 0) == status.get("updatedReplicas", 0) == status.get("availableReplicas", 0) == count


def image_of(obj: Object) -> str:
    spec = obj["spec"]["template"]["spec"] if "template" in obj["spec"] else obj["spec"]
    return str(spec["containers"][0]["image"])


def new_image(image: str) -> Any:
    return {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}}


async def old_set(kinds: Kinds, name: str, labels: dict[str, str], **annotations: str) -> Object:
    """A ReplicaSet with one running pod, which a Deployment is to adopt."""
    body = workload("ReplicaSet", name, labels, image=OTHER_IMAGE)
    if annotations:
        body["metadata"]["annotations"] = {REVISION: annotations["revision"]}
    await kinds.sets.create(body)
    return await kinds.sets.wait(name, lambda each: each["status"].get("readyReplicas") == 1)


@pytest.mark.conformance(
    "[sig-apps] Deployment RollingUpdateDeployment should delete old pods and create new ones [Conformance]"
)
def test_a_rolling_deployment_takes_over_from_the_set_it_adopts(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        kinds, labels = Kinds(cluster), {"name": "sample-pod", "pod": "httpd"}
        await old_set(kinds, "test-rolling-update-controller", labels, revision="3546343826724305832")
        made = await kinds.deployments.create(workload("Deployment", "web", labels))
        held = await kinds.deployments.wait("web", complete)
        assert held["metadata"]["annotations"][REVISION] == "3546343826724305833"
        sets = {image_of(each): each for each in await kinds.sets.items()}
        assert set(sets) == {OTHER_IMAGE, IMAGE}
        old = sets[OTHER_IMAGE]
        assert old["metadata"]["name"] == "test-rolling-update-controller" and old["spec"]["replicas"] == 0
        assert old["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
        assert [image_of(each) for each in alive(await kinds.pods.items())] == [IMAGE]

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] Deployment RecreateDeployment should delete old pods and create new ones [Conformance]")
def test_a_recreated_deployment_never_has_old_and_new_pods(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        kinds = Kinds(cluster)
        body = workload("Deployment", "web", {"name": "sample-pod-3"}, replicas=3, strategy={"type": "Recreate"})
        await kinds.deployments.create(body)
        held = await kinds.deployments.wait("web", complete)
        assert held["metadata"]["annotations"][REVISION] == "1"
        async with kinds.pods.watch() as watch:
            await kinds.deployments.patch("web", new_image(OTHER_IMAGE), kind=STRATEGIC)
            held = await kinds.deployments.wait("web", complete)
            there: dict[str, str] = {}
            for change in watch.told:
                name, image = change["object"]["metadata"]["name"], image_of(change["object"])
                if change["type"] == "DELETED":
                    there.pop(name)
                    continue
                there[name] = image
                assert set(there.values()) in ({IMAGE}, {OTHER_IMAGE})
            assert sorted(there.values()) == [OTHER_IMAGE] * 3
        assert held["metadata"]["annotations"][REVISION] == "2"

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] Deployment deployment should delete old replica sets [Conformance]")
def test_old_replica_sets_go_beyond_the_history_limit(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        kinds, labels = Kinds(cluster), {"name": "cleanup-pod", "pod": "httpd"}
        await old_set(kinds, "test-cleanup-controller", labels)
        start = (await kinds.pods.list())["metadata"]["resourceVersion"]
        async with kinds.pods.watch(resourceVersion=start) as watch:
            await kinds.deployments.create(workload("Deployment", "web", labels, revisionHistoryLimit=0))
            await kinds.sets.wait_items(lambda found: [image_of(each) for each in found] == [IMAGE])
            added = [image_of(each["object"]) for each in watch.told if each["type"] == "ADDED"]
            assert added == [IMAGE]

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] Deployment deployment should support rollover [Conformance]")
def test_a_rollout_that_hangs_is_rolled_over(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        kinds, labels = Kinds(cluster), {"name": "rollover-pod", "pod": "httpd"}
        await old_set(kinds, "test-rollover-controller", labels)
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
        body = workload("Deployment", "web", labels, image=MISSING, minReadySeconds=10, strategy=strategy)
        await kinds.deployments.create(body)
        await kinds.sets.wait_items(lambda found: any(image_of(each) == MISSING and each["status"].get("replicas") for each in found))
        held = await kinds.deployments.get("web")
        assert held["metadata"]["annotations"][REVISION] == "1"
        first = await kinds.sets.items()
        await kinds.deployments.patch("web", new_image(IMAGE), kind=STRATEGIC)
        held = await kinds.deployments.wait("web", complete)
        assert held["metadata"]["annotations"][REVISION] == "2"
        counts = {image_of(each): each["spec"]["replicas"] for each in await kinds.sets.items()}
        assert counts == {OTHER_IMAGE: 0, MISSING: 0, IMAGE: 1}
        uids = {each["metadata"]["uid"] for each in await kinds.sets.items()}
        assert {each["metadata"]["uid"] for each in first} < uids
        # Never fewer than one ready pod, and no second before ten seconds were over.
        assert len([each for each in alive(await kinds.pods.items()) if ready(each)]) == 1

    knarr_cluster.run(scenario, shape=SHAPE)


@pytest.mark.conformance("[sig-apps] Deployment deployment should support proportional scaling [Conformance]")
def test_scaling_in_a_hung_rollout_is_shared_out(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        kinds = Kinds(cluster)
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2, "maxSurge": 3}}
        await kinds.deployments.create(workload("Deployment", "web", {"name": "httpd"}, replicas=10, strategy=strategy))
        await kinds.deployments.wait("web", complete)
        await kinds.deployments.patch("web", new_image(MISSING), kind=STRATEGIC)

        async def counts(old: int, new: int) -> None:
            def reached(found: list[Object]) -> bool:
                held = {image_of(each): (each["spec"]["replicas"], each["status"]["replicas"]) for each in found}
                return held == {IMAGE: (old, old), MISSING: (new, new)}

            await kinds.sets.wait_items(reached)

        await counts(8, 5)
        old = next(each for each in await kinds.sets.items() if image_of(each) == IMAGE)
        assert old["status"]["availableReplicas"] == 8
        await kinds.deployments.change("web", lambda obj: obj["spec"].update(replicas=30))
        await counts(20, 13)

    knarr_cluster.run(scenario, shape=SHAPE)


async def scale_operations(api: Api, name: str) -> None:
    """Read, update and patch the scale; the object's own count follows."""
    scale = await api.get(name, "scale")
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["spec"]["replicas"] == 1
    scale["spec"]["replicas"] = 2
    scale["metadata"].pop("resourceVersion")
    updated = await api.update(scale, "scale")
    assert updated["spec"]["replicas"] == 2
    assert (await api.get(name))["spec"]["replicas"] == 2
    patched = await api.patch(name, {"spec": {"replicas": 4}}, "scale", kind=STRATEGIC)
    assert patched["spec"]["replicas"] == 4
    assert (await api.get(name))["spec"]["replicas"] == 4
    await api.wait(name, lambda each: each["status"].get("readyReplicas") == 4)


@pytest.mark.conformance("[sig-apps] Deployment Deployment should have a working scale subresource [Conformance]")
def test_a_deployment_has_a_scale(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Kinds(cluster).deployments
        await api.create(workload("Deployment", "web", {"name": "web"}))
        await api.wait("web", complete)
        await scale_operations(api, "web")

    knarr_cluster.run(scenario)


async def status_operations(api: Api, name: str, settled: Any = None) -> None:
    """Update and patch the status; a watch tells both, and the controller leaves them."""
    held = await api.get(name, "status")
    update = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
    async with api.watch(resourceVersion=held["metadata"]["resourceVersion"]) as watch:
        updated = await api.change(name, lambda obj: obj["status"].setdefault("conditions", []).append(update), "status")
        assert has_condition(updated, "StatusUpdate", reason="E2E")
        await watch.until("MODIFIED", lambda each: has_condition(each, "StatusUpdate", message=update["message"]))
        patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}
        patched = await api.patch(name, patch, "status")
        assert has_condition(patched, "StatusPatched") and not has_condition(patched, "StatusUpdate")
        await watch.until("MODIFIED", lambda each: has_condition(each, "StatusPatched"))


@pytest.mark.conformance("[sig-apps] Deployment should validate Deployment Status endpoints [Conformance]")
def test_the_status_of_a_deployment_can_be_changed(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Kinds(cluster).deployments
        await api.create(workload("Deployment", "web", {"name": "web"}))
        await api.wait("web", complete)
        await status_operations(api, "web")

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] Deployment should run the lifecycle of a Deployment [Conformance]")
def test_a_deployment_lives_and_a_watch_tells_it(knarr_cluster: ClusterRunner) -> None:
    def has(count: int, **labels: str) -> Any:
        def check(obj: Object) -> bool:
            held = obj["metadata"]["labels"]
            return obj["status"].get("readyReplicas", 0) == count and labels.items() <= held.items()

        return check

    async def scenario(cluster: InProcessCluster) -> None:
        api = Kinds(cluster).deployments
        static = "test-deployment-static=true"
        async with api.watch(labelSelector=static) as watch:
            body = workload("Deployment", "web", {"test-deployment-static": "true"}, replicas=2)
            await api.create(body)
            await watch.until("ADDED", lambda each: each["metadata"]["name"] == "web")
            await watch.until("MODIFIED", has(2))
            patch = new_image(OTHER_IMAGE)
            patch["metadata"] = {"labels": {"test-deployment": "patched"}}
            patch["spec"]["replicas"] = 1
            await api.patch("web", patch, kind=STRATEGIC)
            await watch.until("MODIFIED", lambda each: each["metadata"]["labels"].get("test-deployment") == "patched")
            await watch.until("MODIFIED", has(1, **{"test-deployment": "patched"}))
            found = (await api.list(static, everywhere=True))["items"]
            assert [each["metadata"]["labels"]["test-deployment"] for each in found] == ["patched"]
            await api.wait("web", complete)

            def update(obj: Object) -> None:
                obj["metadata"]["labels"]["test-deployment"] = "updated"
                obj["spec"]["replicas"] = 2
                obj["spec"]["template"]["spec"]["containers"][0]["image"] = IMAGE

            await api.change("web", update)
            await watch.until("MODIFIED", has(2, **{"test-deployment": "updated"}))
            held = await api.get("web", "status")
            assert held["status"]["readyReplicas"] == 2
            await api.wait("web", complete)
            patch = {"metadata": {"labels": {"test-deployment": "patched-status"}}, "status": {"readyReplicas": 0}}
            answer = await api.patch("web", patch, "status", kind=STRATEGIC)
            assert answer["status"].get("readyReplicas", 0) == 0
            await watch.until("MODIFIED", has(0))
            # The controller sets right what is not true.
            await watch.until("MODIFIED", has(2))
            await api.delete_collection(static)
            await watch.until("DELETED", lambda each: each["metadata"]["name"] == "web")
        assert await api.items(static) == []

    knarr_cluster.run(scenario)
