"""[sig-apps] DaemonSet and ControllerRevision."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_api import NS, STRATEGIC, Api, Object, fails, has_condition
from conformance_objects import IMAGE, alive, meta, workload
from test_conformance_deployments import MISSING, image_of, new_image, status_operations

from knarr.testing import InProcessCluster, NodeShape
from knarr.testing.plugin import ClusterRunner

LABELS = {"daemonset-name": "daemon-set"}
SELECTOR = "daemonset-name=daemon-set"
HASH = "controller-revision-hash"
OTHER_IMAGE = "registry.k8s.io/e2e-test-images/httpd:2.4.39-4"


class Daemons:
    """The APIs these tests speak to, and the nodes there are."""

    def __init__(self, cluster: InProcessCluster) -> None:
        self.cluster = cluster
        self.sets = Api(cluster, "apps/v1", "daemonsets", NS)
        self.pods = Api(cluster, "v1", "pods", NS)
        self.nodes = Api(cluster, "v1", "nodes")
        self.revisions = Api(cluster, "apps/v1", "controllerrevisions", NS)

    async def create(self, **spec: Any) -> Object:
        return await self.sets.create(workload("DaemonSet", "daemon-set", LABELS, replicas=None, **spec))

    async def running_on(self, *nodes: str) -> list[Object]:
        """One available pod on each of those nodes and no other."""

        def exactly(found: list[Object]) -> bool:
            running = [each for each in alive(found) if each["status"].get("phase") == "Running"]
            return sorted(each["spec"]["nodeName"] for each in running) == sorted(nodes) and len(found) == len(nodes)

        found = await self.pods.wait_items(exactly, SELECTOR)
        await self.sets.wait("daemon-set", lambda each: each["status"].get("numberReady", 0) == len(nodes))
        return found

    async def everywhere(self) -> list[Object]:
        return await self.running_on(*self.cluster.nodes)


TWO = {"nodes": 2}


@pytest.mark.conformance("[sig-apps] Daemon set [Serial] should run and stop simple daemon [Conformance]")
def test_a_daemon_runs_on_every_node_and_comes_back(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        daemons = Daemons(cluster)
        await daemons.create()
        first = (await daemons.everywhere())[0]
        await daemons.pods.delete(first["metadata"]["name"])
        await daemons.pods.wait_gone(first["metadata"]["name"])
        revived = await daemons.everywhere()
        assert first["metadata"]["uid"] not in [each["metadata"]["uid"] for each in revived]
        await daemons.sets.delete("daemon-set")
        await daemons.pods.wait_items(lambda found: not found, SELECTOR)

    knarr_cluster.run(scenario, **TWO)


@pytest.mark.conformance("[sig-apps] Daemon set [Serial] should run and stop complex daemon [Conformance]")
def test_a_daemon_follows_the_labels_of_nodes(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        daemons = Daemons(cluster)

        async def color(value: str | None) -> None:
            await daemons.nodes.patch("node-1", {"metadata": {"labels": {"daemonset-color": value}}})

        await daemons.create(pods={"nodeSelector": {"daemonset-color": "blue"}})
        await cluster.sleep(5)
        await daemons.running_on()
        await color("blue")
        await daemons.running_on("node-1")
        await color("green")
        await daemons.running_on()
        green = {"spec": {"template": {"spec": {"nodeSelector": {"daemonset-color": "green"}}}, "updateStrategy": {"type": "RollingUpdate"}}}
        await daemons.sets.patch("daemon-set", green, kind=STRATEGIC)
        await daemons.running_on("node-1")

    knarr_cluster.run(scenario, **TWO)


@pytest.mark.conformance("[sig-apps] Daemon set [Serial] should retry creating failed daemon pods [Conformance]")
def test_a_failed_daemon_pod_is_replaced(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        daemons = Daemons(cluster)
        await daemons.create()
        failed = (await daemons.everywhere())[0]
        name = failed["metadata"]["name"]
        await daemons.pods.change(name, lambda obj: obj.update(status={"phase": "Failed"}), "status")
        await daemons.pods.wait_gone(name)
        revived = await daemons.everywhere()
        assert failed["metadata"]["uid"] not in [each["metadata"]["uid"] for each in revived]

    knarr_cluster.run(scenario, **TWO)


@pytest.mark.conformance(
    "[sig-apps] Daemon set [Serial] should update pod when spec was updated and update strategy is RollingUpdate [Conformance]"
)
def test_a_new_image_reaches_every_daemon_pod(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        daemons = Daemons(cluster)
        await daemons.create(image=OTHER_IMAGE, updateStrategy={"type": "RollingUpdate"})
        first = {each["metadata"]["labels"][HASH] for each in await daemons.everywhere()}
        history = await daemons.revisions.items(SELECTOR)
        assert [(each["revision"], each["metadata"]["labels"][HASH]) for each in history] == [(1, *first)]
        await daemons.sets.patch("daemon-set", new_image(IMAGE), kind=STRATEGIC)
        await daemons.pods.wait_items(lambda found: [image_of(each) for each in found] == [IMAGE] * 2, SELECTOR)
        second = {each["metadata"]["labels"][HASH] for each in await daemons.everywhere()}
        history = await daemons.revisions.items(SELECTOR)
        assert sorted((each["revision"], each["metadata"]["labels"][HASH]) for each in history) == [(1, *first), (2, *second)]
        held = await daemons.sets.get("daemon-set")
        assert held["status"]["updatedNumberScheduled"] == 2

    knarr_cluster.run(scenario, **TWO)


@pytest.mark.conformance("[sig-apps] Daemon set [Serial] should rollback without unnecessary restarts [Conformance]")
def test_a_rollback_restarts_only_what_had_changed(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        daemons = Daemons(cluster)
        await daemons.create(updateStrategy={"type": "RollingUpdate"})
        before = await daemons.everywhere()
        await daemons.sets.patch("daemon-set", new_image(MISSING), kind=STRATEGIC)
        hung = await daemons.pods.wait_items(lambda found: MISSING in [image_of(each) for each in found], SELECTOR)
        kept = {each["metadata"]["name"] for each in hung if image_of(each) == IMAGE}
        assert len(kept) == len(before) - 1
        await daemons.sets.patch("daemon-set", new_image(IMAGE), kind=STRATEGIC)
        after = await daemons.everywhere()
        assert {image_of(each) for each in after} == {IMAGE}
        same = {each["metadata"]["name"]: each for each in after if each["metadata"]["name"] in kept}
        assert set(same) == kept
        assert all(each["status"]["containerStatuses"][0]["restartCount"] == 0 for each in same.values())
        history = await daemons.revisions.items(SELECTOR)
        assert sorted(each["revision"] for each in history) == [2, 3]

    knarr_cluster.run(scenario, nodes=3, shape=NodeShape(missing_images=frozenset({MISSING})))


@pytest.mark.conformance("[sig-apps] Daemon set [Serial] should list and delete a collection of DaemonSets [Conformance]")
def test_daemon_sets_are_deleted_together(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        daemons = Daemons(cluster)
        await daemons.create()
        await daemons.everywhere()
        assert len((await daemons.sets.list(SELECTOR, everywhere=True))["items"]) == 1
        await daemons.sets.delete_collection(SELECTOR)
        assert (await daemons.sets.list(SELECTOR, everywhere=True))["items"] == []
        await daemons.pods.wait_items(lambda found: not found, SELECTOR)

    knarr_cluster.run(scenario, **TWO)


@pytest.mark.conformance("[sig-apps] Daemon set [Serial] should verify changes to a daemon set status [Conformance]")
def test_the_status_of_a_daemon_set_can_be_changed(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        daemons = Daemons(cluster)
        await daemons.create()
        await daemons.everywhere()
        await status_operations(daemons.sets, "daemon-set")
        await cluster.sleep(5)
        held = await daemons.sets.get("daemon-set")
        assert has_condition(held, "StatusPatched") and held["status"]["desiredNumberScheduled"] == 2

    knarr_cluster.run(scenario, **TWO)


@pytest.mark.conformance(
    "[sig-apps] ControllerRevision [Serial] should manage the lifecycle of a ControllerRevision [Conformance]"
)
def test_revisions_are_objects_like_others(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        daemons, api = Daemons(cluster), Daemons(cluster).revisions
        await daemons.create()
        await daemons.everywhere()
        initial = (await api.list(SELECTOR, everywhere=True))["items"][0]
        name = initial["metadata"]["name"]
        assert (await api.get(name))["data"]["spec"]["template"]["$patch"] == "replace"
        patched = await api.patch(name, {"metadata": {"labels": {name: "patched"}}}, kind=STRATEGIC)
        assert patched["metadata"]["labels"][name] == "patched"
        made = {key: initial[key] for key in ("apiVersion", "kind", "data") if key in initial}
        owners = initial["metadata"]["ownerReferences"]
        labels = {**LABELS, HASH: "new"}
        made.update(metadata=meta("daemon-set-new", labels, ownerReferences=owners), revision=initial["revision"] + 1)
        await api.create(made)
        assert len(await api.items(SELECTOR)) == 2
        await api.delete(name)
        await fails(api.get(name), 404, "NotFound")
        assert len(await api.items(SELECTOR)) == 1
        updated = await api.change("daemon-set-new", lambda obj: obj["metadata"]["labels"].update(new="updated"))
        assert updated["metadata"]["labels"]["new"] == "updated"
        grace = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}, "updateStrategy": {"type": "RollingUpdate"}}}
        await daemons.sets.patch("daemon-set", grace, kind=STRATEGIC)
        await api.wait_items(lambda found: len(found) == 2, SELECTOR)
        await api.delete_collection("new=updated")
        left = await api.wait_items(lambda found: len(found) == 1, SELECTOR)
        assert left[0]["revision"] == 3
        await daemons.everywhere()

    knarr_cluster.run(scenario, **TWO)
