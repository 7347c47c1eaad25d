"""[sig-apps] StatefulSet. A pod is made unready by what its readiness probe's command ends with."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_api import NS, STRATEGIC, Api, Object
from conformance_objects import IMAGE, pod, ready, workload
from test_conformance_deployments import image_of, new_image, scale_operations, status_operations

from knarr.client.transport import Transport
from knarr.kit.chance import Chance
from knarr.kit.clock import VirtualClock
from knarr.kubelet.runtime.contract import ExecResult
from knarr.testing import Faults, FaultyTransport, InProcessCluster
from knarr.testing.plugin import ClusterRunner

BASIC = "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic]"
LABELS = {"foo": "bar", "baz": "blah"}
SELECTOR = "foo=bar"
OTHER_IMAGE = "registry.k8s.io/e2e-test-images/httpd:2.4.39-4"
PROBE = {"exec": {"command": ["healthy"]}, "periodSeconds": 1, "successThreshold": 1, "failureThreshold": 1}


class Stateful:
    """The APIs these tests speak to, and whose probes fail: the pods in ``broken``, or all."""

    def __init__(self, cluster: InProcessCluster) -> None:
        self.cluster = cluster
        self.sets = Api(cluster, "apps/v1", "statefulsets", NS)
        self.pods = Api(cluster, "v1", "pods", NS)
        self.broken: set[str] = set()
        self.all_broken = False
        for node in cluster.nodes.values():
            node.runtime.exec_sync = self._answers(node.runtime)  # type: ignore[method-assign]

    def _answers(self, runtime: Any) -> Any:
        async def exec_sync(container_id: str, command: list[str], *, timeout_s: float = 0) -> ExecResult:
            name = (await runtime.container_status(container_id)).labels["io.kubernetes.pod.name"]
            return ExecResult(b"", b"", 1 if self.all_broken or name in self.broken else 0)

        return exec_sync

    async def create(self, replicas: int, **spec: Any) -> Object:
        pods = {"container": {"readinessProbe": PROBE}}
        made = await self.sets.create(workload("StatefulSet", "ss", LABELS, replicas=replicas, pods=pods, **spec))
        await self.running(replicas)
        return made

    async def running(self, count: int, ready_count: int | None = None) -> list[Object]:
        """Exactly so many pods run, of which so many (usually all) are ready."""
        wanted = count if ready_count is None else ready_count

        def check(found: list[Object]) -> bool:
            phases = [each["status"].get("phase") for each in found]
            return phases == ["Running"] * count and sum(map(ready, found)) == wanted

        return await self.pods.wait_items(check, SELECTOR)

    async def scale(self, replicas: int) -> None:
        await self.sets.change("ss", lambda obj: obj["spec"].update(replicas=replicas))

    async def images(self) -> list[str]:
        return [image_of(each) for each in await self.pods.items(SELECTOR)]

    async def revision_of(self, name: str) -> str:
        return str((await self.pods.get(name))["metadata"]["labels"]["controller-revision-hash"])


@pytest.mark.conformance(
    f"{BASIC} Scaling should happen in predictable order and halt if any stateful pod is unhealthy [Slow] [Conformance]"
)
def test_scaling_is_in_order_and_waits_for_the_unhealthy(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        stateful = Stateful(cluster)
        async with stateful.pods.watch(labelSelector=SELECTOR) as watch:
            await stateful.create(1)
            stateful.all_broken = True
            await stateful.running(1, 0)
            await stateful.scale(3)
            for _ in range(10):
                await cluster.sleep(1)
                assert len(await stateful.pods.items(SELECTOR)) == 1
            stateful.all_broken = False
            await stateful.running(3)
            added = [each["object"]["metadata"]["name"] for each in watch.told if each["type"] == "ADDED"]
            assert added == ["ss-0", "ss-1", "ss-2"]
            stateful.all_broken = True
            await stateful.running(3, 0)
            watch.told.clear()
            await stateful.scale(0)
            for _ in range(10):
                await cluster.sleep(1)
                assert len(await stateful.pods.items(SELECTOR)) == 3
            stateful.all_broken = False
            await stateful.pods.wait_items(lambda found: not found, SELECTOR)
            deleted = [each["object"]["metadata"]["name"] for each in watch.told if each["type"] == "DELETED"]
            assert deleted == ["ss-2", "ss-1", "ss-0"]

    knarr_cluster.run(scenario)


@pytest.mark.conformance(f"{BASIC} Burst scaling should run to completion even with unhealthy pods [Slow] [Conformance]")
def test_parallel_scaling_waits_for_nobody(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        stateful = Stateful(cluster)
        await stateful.create(1, podManagementPolicy="Parallel")
        stateful.all_broken = True
        await stateful.running(1, 0)
        await stateful.scale(3)
        await stateful.running(3, 0)
        stateful.all_broken = False
        await stateful.running(3)
        stateful.all_broken = True
        await stateful.running(3, 0)
        await stateful.scale(0)
        await stateful.pods.wait_items(lambda found: not found, SELECTOR)

    knarr_cluster.run(scenario)


@pytest.mark.conformance(f"{BASIC} should perform rolling updates and roll backs of template modifications [Conformance]")
def test_a_new_template_is_rolled_out_and_back(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        stateful = Stateful(cluster)
        await stateful.create(3)
        held = await stateful.sets.wait("ss", lambda each: each["status"].get("readyReplicas") == 3)
        first = held["status"]["currentRevision"]
        assert first == held["status"]["updateRevision"]

        async def roll(image: str) -> Object:
            stateful.broken = {"ss-1"}
            await stateful.running(3, 2)
            async with stateful.pods.watch(labelSelector=SELECTOR) as watch:
                await stateful.sets.patch("ss", new_image(image), kind=STRATEGIC)
                held = await stateful.sets.wait("ss", lambda each: each["status"]["currentRevision"] != each["status"]["updateRevision"])
                target = held["status"]["updateRevision"]
                stateful.broken = set()

                def done(obj: Object) -> bool:
                    return obj["status"]["currentRevision"] == target and obj["status"].get("readyReplicas") == 3

                held = await stateful.sets.wait("ss", done)
                deleted = [each["object"]["metadata"]["name"] for each in watch.told if each["type"] == "DELETED"]
                assert deleted == ["ss-2", "ss-1", "ss-0"]
            assert await stateful.images() == [image] * 3
            assert {await stateful.revision_of(f"ss-{ordinal}") for ordinal in range(3)} == {target}
            return held

        rolled = await roll(OTHER_IMAGE)
        assert rolled["status"]["updateRevision"] != first
        back = await roll(IMAGE)
        assert back["status"]["currentRevision"] == first

    knarr_cluster.run(scenario)


@pytest.mark.conformance(
    f"{BASIC} should perform canary updates and phased rolling updates of template modifications [Conformance]"
)
def test_a_partition_holds_an_update_back(knarr_cluster: ClusterRunner) -> None:
    def partition(value: int) -> Object:
        return {"type": "RollingUpdate", "rollingUpdate": {"partition": value}}

    async def scenario(cluster: InProcessCluster) -> None:
        stateful = Stateful(cluster)
        await stateful.create(3, updateStrategy=partition(3))
        await stateful.sets.patch("ss", new_image(OTHER_IMAGE), kind=STRATEGIC)
        held = await stateful.sets.wait("ss", lambda each: each["status"]["currentRevision"] != each["status"]["updateRevision"])
        current, update = held["status"]["currentRevision"], held["status"]["updateRevision"]
        await cluster.sleep(10)
        assert await stateful.images() == [IMAGE] * 3

        async def phase(value: int, restart: list[str] | None = None) -> None:
            await stateful.sets.patch("ss", {"spec": {"updateStrategy": partition(value)}}, kind=STRATEGIC)
            expected = [IMAGE] * value + [OTHER_IMAGE] * (3 - value)

            def reached(found: list[Object]) -> bool:
                return [image_of(each) for each in found] == expected and all(map(ready, found))

            await stateful.pods.wait_items(reached, SELECTOR)
            for name in restart or []:
                await stateful.pods.delete(name)
            await cluster.sleep(5)
            await stateful.pods.wait_items(reached, SELECTOR)
            revisions = [await stateful.revision_of(f"ss-{ordinal}") for ordinal in range(3)]
            assert revisions == [current] * value + [update] * (3 - value)

        await phase(2, ["ss-0", "ss-2"])
        await phase(1)
        await phase(0)
        held = await stateful.sets.wait("ss", lambda each: each["status"]["currentRevision"] == update)
        assert held["status"]["updatedReplicas"] == 3

    knarr_cluster.run(scenario)


@pytest.mark.conformance(f"{BASIC} Should recreate evicted statefulset [Conformance]")
def test_a_stateful_pod_that_failed_is_made_anew(knarr_cluster: ClusterRunner) -> None:
    clock = VirtualClock()

    def far(component: str, transport: Transport) -> Transport:
        """A network that takes time: the controller tries again at once, for as long as the port is taken."""
        return FaultyTransport(transport, Faults(delay=1.0, delay_s=0.2), clock, Chance(0))

    async def scenario(cluster: InProcessCluster) -> None:
        stateful = Stateful(cluster)
        ports = {"ports": [{"containerPort": 21017, "hostPort": 21017, "name": "conflict"}]}
        await stateful.pods.create(pod("test-pod", nodeName="node-1", container=ports))
        await stateful.pods.wait("test-pod", lambda each: each["status"].get("phase") == "Running")
        async with stateful.pods.watch(labelSelector=SELECTOR) as watch:
            body = workload("StatefulSet", "ss", LABELS, pods={"nodeName": "node-1", "container": ports})
            await stateful.sets.create(body)
            first = await watch.until("MODIFIED", lambda each: each["status"].get("phase") == "Failed")
            gone = await watch.until("DELETED", lambda each: each["metadata"]["name"] == "ss-0")
            assert gone["metadata"]["uid"] == first["metadata"]["uid"]
            await stateful.pods.delete("test-pod")

            def anew(obj: Object) -> bool:
                return obj["status"].get("phase") == "Running" and obj["metadata"]["uid"] != first["metadata"]["uid"]

            await stateful.pods.wait("ss-0", anew)

    knarr_cluster.run(scenario, clock=clock, wrap=far)


@pytest.mark.conformance(f"{BASIC} should have a working scale subresource [Conformance]")
def test_a_stateful_set_has_a_scale(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        stateful = Stateful(cluster)
        await stateful.create(1)
        await scale_operations(stateful.sets, "ss")

    knarr_cluster.run(scenario)


@pytest.mark.conformance(f"{BASIC} should list, patch and delete a collection of StatefulSets [Conformance]")
def test_stateful_sets_are_patched_and_deleted_together(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        stateful = Stateful(cluster)
        await stateful.create(1)
        image = "registry.k8s.io/pause:3.10"
        patch = new_image(image)
        patch["metadata"] = {"labels": {"test-ss": "patched"}}
        patch["spec"]["replicas"] = 2
        patched = await stateful.sets.patch("ss", patch, kind=STRATEGIC)
        assert patched["metadata"]["labels"]["test-ss"] == "patched"
        assert patched["spec"]["replicas"] == 2 and image_of(patched) == image
        found = (await stateful.sets.list("test-ss=patched", everywhere=True))["items"]
        assert [each["metadata"]["name"] for each in found] == ["ss"]
        await stateful.sets.wait("ss", lambda each: each["status"].get("readyReplicas") == 2)
        await stateful.sets.delete_collection("test-ss=patched")
        assert (await stateful.sets.list("test-ss=patched", everywhere=True))["items"] == []
        await stateful.pods.wait_items(lambda left: not left, SELECTOR)

    knarr_cluster.run(scenario)


@pytest.mark.conformance(f"{BASIC} should validate Statefulset Status endpoints [Conformance]")
def test_the_status_of_a_stateful_set_can_be_changed(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        stateful = Stateful(cluster)
        await stateful.create(1)
        await status_operations(stateful.sets, "ss")

    knarr_cluster.run(scenario)
