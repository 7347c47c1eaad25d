"""[sig-node] pods and nodes as objects, [sig-storage] volumes and claims, [sig-network] what a Service's pods become."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_api import NS, STRATEGIC, Api, Object, contains, fails, has_condition
from conformance_objects import IMAGE, meta, phase, pod, ready

from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner


async def running(cluster: InProcessCluster, name: str, labels: dict[str, str] | None = None, **spec: Any) -> Api:
    api = Api(cluster, "v1", "pods", NS)
    await api.create(pod(name, labels, **spec))
    await api.wait(name, ready)
    return api


@pytest.mark.conformance("[sig-node] Pods should get a host IP [NodeConformance] [Conformance]")
def test_a_pod_knows_its_host(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = await running(cluster, "pod-hostip")
        held = await api.get("pod-hostip")
        assert held["status"]["hostIP"] == cluster.nodes["node-1"].address
        assert held["status"]["hostIPs"] == [{"ip": held["status"]["hostIP"]}]

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-node] Pods should be submitted and removed [NodeConformance] [Conformance]")
def test_a_pod_is_submitted_and_removed(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "pods", NS)
        before = await api.list("time=now")
        assert before["items"] == []
        async with api.watch(labelSelector="time=now", resourceVersion=before["metadata"]["resourceVersion"]) as watch:
            await api.create(pod("pod-submit-remove", {"time": "now"}))
            await watch.until("ADDED")
            await api.wait("pod-submit-remove", lambda each: phase(each) == "Running")
            await api.delete("pod-submit-remove", gracePeriodSeconds=30)
            gone = await watch.until("DELETED")
            assert gone["metadata"]["deletionTimestamp"] and gone["metadata"]["deletionGracePeriodSeconds"] is not None
        assert await api.items("time=now") == []

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-node] Pods should be updated [NodeConformance] [Conformance]")
def test_a_running_pod_is_updated(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = await running(cluster, "pod-update", {"time": "first"})
        await api.change("pod-update", lambda obj: obj["metadata"]["labels"].update(time="second"))
        assert [each["metadata"]["name"] for each in await api.items("time=second")] == ["pod-update"]
        assert await api.items("time=first") == []

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-node] Pods should allow activeDeadlineSeconds to be updated [NodeConformance] [Conformance]")
def test_a_running_pod_is_given_a_deadline(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = await running(cluster, "pod-deadline")
        await api.change("pod-deadline", lambda obj: obj["spec"].update(activeDeadlineSeconds=5))
        held = await api.wait("pod-deadline", lambda each: phase(each) == "Failed")
        assert held["status"]["reason"] == "DeadlineExceeded"

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-node] Pods should delete a collection of pods [Conformance]")
def test_pods_are_deleted_together(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "pods", NS)
        for number in (1, 2, 3):
            await api.create(pod(f"test-pod-{number}", {"type": "Testing"}, terminationGracePeriodSeconds=1))
        await api.wait_items(lambda found: sum(map(ready, found)) == 3, "type=Testing")
        await api.delete_collection("type=Testing")
        await api.wait_items(lambda found: not found, "type=Testing")

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-node] Pods should patch a pod status [Conformance]")
def test_the_status_of_a_pod_is_patched(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = await running(cluster, "pod-status", {"e2e": "status"})
        assert len((await api.list("e2e=status", everywhere=True))["items"]) == 1
        patch = {"status": {"message": "Patched by e2e test", "reason": "E2E"}}
        patched = await api.patch("pod-status", patch, "status", kind=STRATEGIC)
        assert (patched["status"]["message"], patched["status"]["reason"]) == ("Patched by e2e test", "E2E")
        assert (await api.get("pod-status", "status"))["status"]["reason"] == "E2E"

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-node] Pods should run through the lifecycle of Pods and PodStatus [Conformance]")
def test_a_pod_lives_and_a_watch_tells_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api, static = Api(cluster, "v1", "pods", NS), "test-pod-static=true"
        async with api.watch(labelSelector=static) as watch:
            await api.create(pod("pod-test", {"test-pod-static": "true"}, image=IMAGE))
            await watch.until("ADDED")
            await watch.until("MODIFIED", lambda each: ready(each) and phase(each) == "Running")
            image = "registry.k8s.io/pause:3.10"
            patch = {"metadata": {"labels": {"test-pod": "patched"}}, "spec": {"containers": [{"name": "main", "image": image}]}}
            await api.patch("pod-test", patch, kind=STRATEGIC)
            await watch.until("MODIFIED", lambda each: each["metadata"]["labels"].get("test-pod") == "patched")
            held = await api.get("pod-test")
            assert held["spec"]["containers"][0]["image"] == image

            def not_ready(obj: Object) -> None:
                for condition in obj["status"]["conditions"]:
                    if condition["type"] == "Ready":
                        condition["status"] = "False"

            updated = await api.change("pod-test", not_ready, "status")
            assert has_condition(updated, "Ready", "False")
            assert (await api.get("pod-test", "status"))["status"]["phase"] == "Running"
            await api.delete_collection(static, gracePeriodSeconds=1)
            await watch.until("DELETED")

    knarr_cluster.run(scenario)


@pytest.mark.conformance(
    "[sig-node] Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory and cpu [Conformance]"
)
def test_a_pod_with_equal_requests_and_limits_is_guaranteed(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api, amount = Api(cluster, "v1", "pods", NS), {"cpu": "100m", "memory": "100Mi"}
        made = await api.create(pod("qos", container={"resources": {"requests": amount, "limits": amount}}))
        assert made["status"]["qosClass"] == "Guaranteed" and (await api.get("qos"))["status"]["qosClass"] == "Guaranteed"

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-node] Node Lifecycle should run through the lifecycle of a node [Conformance]")
def test_a_node_lives(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "nodes")
        capacity = {"cpu": "1000m", "memory": "1Gi"}
        await api.create({"metadata": meta("e2e-fake-node"), "status": {"phase": "Running", "capacity": capacity}})
        await api.get("e2e-fake-node")
        patched = await api.patch("e2e-fake-node", {"metadata": {"labels": {"e2e-fake-node": "patched"}}}, kind=STRATEGIC)
        assert patched["metadata"]["labels"]["e2e-fake-node"] == "patched"
        updated = await api.change("e2e-fake-node", lambda obj: obj["metadata"]["labels"].update({"e2e-fake-node": "updated"}))
        assert updated["metadata"]["labels"]["e2e-fake-node"] == "updated"
        await api.delete_collection("e2e-fake-node=updated")
        assert await api.items("e2e-fake-node=updated") == []

    knarr_cluster.run(scenario, nodes=0, controllers=False, scheduler=False)


@pytest.mark.conformance("[sig-node] Ephemeral Containers [NodeConformance] will start an ephemeral container in an existing pod [Conformance]")
def test_a_debugger_joins_a_running_pod(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = await running(cluster, "debugged")
        debugger = {"name": "debugger", "image": IMAGE, "command": ["sleep", "1d"]}
        await api.patch("debugged", {"spec": {"ephemeralContainers": [debugger]}}, "ephemeralcontainers", kind=STRATEGIC)

        def started(obj: Object) -> bool:
            statuses = obj["status"].get("ephemeralContainerStatuses", [])
            return bool(statuses) and "running" in statuses[0]["state"]

        await api.wait("debugged", started)

    knarr_cluster.run(scenario)


def volume(name: str, labels: dict[str, str]) -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/tmp/e2e"}, "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "e2e-none"}
    return {"metadata": meta(name, labels), "spec": spec}


def claim(name: str, labels: dict[str, str]) -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "e2e-none"}
    return {"metadata": meta(name, labels), "spec": spec}


@pytest.mark.conformance("[sig-storage] PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC [Conformance]")
def test_a_volume_and_a_claim_live(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        volumes, claims = Api(cluster, "v1", "persistentvolumes"), Api(cluster, "v1", "persistentvolumeclaims", NS)
        for api, body in ((volumes, volume("pv", {"e2e": "yes"})), (claims, claim("pvc", {"e2e": "yes"}))):
            name = body["metadata"]["name"]
            await api.create(body)
            await api.wait(name, lambda each: phase(each) in ("Bound", "Available"))
            assert len((await api.list("e2e=yes", everywhere=True))["items"]) == 1
            patched = await api.patch(name, {"metadata": {"labels": {name: "patched"}}}, kind=STRATEGIC)
            assert patched["metadata"]["labels"][name] == "patched"
            updated = await api.change(name, lambda obj, name=name: obj["metadata"]["labels"].update({name: "updated"}))
            assert updated["metadata"]["labels"][name] == "updated"
        await claims.delete("pvc")
        await claims.wait_gone("pvc")
        await volumes.delete("pv")
        await volumes.wait_gone("pv")
        await volumes.create(volume("pv2", {"e2e": "more"}))
        await claims.create(claim("pvc2", {"e2e": "more"}))
        await claims.wait("pvc2", lambda each: phase(each) == "Bound")
        await claims.delete_collection("e2e=more")
        await claims.wait_gone("pvc2")
        await volumes.delete_collection("e2e=more")
        await volumes.wait_gone("pv2")

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.conformance("[sig-storage] PersistentVolumes CSI Conformance should apply changes to a pv/pvc status [Conformance]")
def test_the_status_of_a_volume_and_a_claim_can_be_changed(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        volumes, claims = Api(cluster, "v1", "persistentvolumes"), Api(cluster, "v1", "persistentvolumeclaims", NS)
        await volumes.create(volume("pv", {}))
        await claims.create(claim("pvc", {}))
        await claims.wait("pvc", lambda each: phase(each) == "Bound")
        condition = {"type": "StatusPatched", "status": "True", "reason": "E2E patchedStatus"}
        patched = await claims.patch("pvc", {"status": {"conditions": [condition]}}, "status")
        assert has_condition(patched, "StatusPatched") and has_condition(await claims.get("pvc", "status"), "StatusPatched")
        update = {"type": "StatusUpdated", "status": "True", "reason": "E2E updateStatus"}
        await claims.change("pvc", lambda obj: obj["status"]["conditions"].append(update), "status")
        assert has_condition(await claims.get("pvc"), "StatusUpdated")
        patch = {"status": {"message": "StatusPatched", "reason": "E2E patchStatus"}}
        patched = await volumes.patch("pv", patch, "status")
        assert contains(patched, patch)
        await volumes.change("pv", lambda obj: obj["status"].update(reason="E2E updateStatus"), "status")
        assert (await volumes.get("pv", "status"))["status"]["reason"] == "E2E updateStatus"

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.conformance("[sig-network] EndpointSlice should have Endpoints and EndpointSlices pointing to API Server [Conformance]")
def test_the_api_server_is_an_endpoint(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        endpoints = await Api(cluster, "v1", "endpoints", NS).get("kubernetes")
        assert endpoints["subsets"][0]["addresses"][0]["ip"] == "10.0.0.1"
        slices = await Api(cluster, "discovery.k8s.io/v1", "endpointslices", NS).items("kubernetes.io/service-name=kubernetes")
        assert slices and slices[0]["endpoints"][0]["addresses"] == ["10.0.0.1"]

    knarr_cluster.run(scenario, nodes=0)


CLASSES = "[sig-node] RuntimeClass should"


async def runtime_class(cluster: InProcessCluster, **more: Any) -> Api:
    classes = Api(cluster, "node.k8s.io/v1", "runtimeclasses")
    await classes.create({"metadata": meta("special"), "handler": "runc", **more})
    return classes


@pytest.mark.conformance(f"{CLASSES} reject a Pod requesting a non-existent RuntimeClass [NodeConformance] [Conformance]")
def test_a_pod_of_an_unknown_runtime_class_is_refused(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        pods = Api(cluster, "v1", "pods", NS)
        refused = await fails(pods.create(pod("lost", runtimeClassName="special")), 403, "Forbidden")
        assert str(refused) == 'pods "lost" is forbidden: pod rejected: RuntimeClass "special" not found'

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.conformance(f"{CLASSES} reject a Pod requesting a deleted RuntimeClass [NodeConformance] [Conformance]")
def test_a_pod_of_a_deleted_runtime_class_is_refused(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        classes, pods = await runtime_class(cluster), Api(cluster, "v1", "pods", NS)
        await pods.create(pod("early", runtimeClassName="special"))
        await classes.delete("special")
        await fails(pods.create(pod("late", runtimeClassName="special")), 403, "Forbidden")

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.conformance(f"{CLASSES} schedule a Pod requesting a RuntimeClass without PodOverhead [NodeConformance] [Conformance]")
def test_a_pod_of_a_runtime_class_without_overhead_runs(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        scheduling = {"nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": [{"key": "special", "operator": "Exists"}]}
        await runtime_class(cluster, scheduling=scheduling)
        pods = await running(cluster, "plain", runtimeClassName="special")
        spec = (await pods.get("plain"))["spec"]
        assert "overhead" not in spec
        assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
        assert {"key": "special", "operator": "Exists"} in spec["tolerations"]
        other = pod("elsewhere", runtimeClassName="special", nodeSelector={"kubernetes.io/os": "windows"})
        await fails(pods.create(other), 403, "Forbidden")

    knarr_cluster.run(scenario)


@pytest.mark.conformance(f"{CLASSES} schedule a Pod requesting a RuntimeClass and initialize its Overhead [NodeConformance] [Conformance]")
def test_a_runtime_class_gives_its_pods_their_overhead(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        overhead = {"cpu": "10m", "memory": "1Mi"}
        await runtime_class(cluster, overhead={"podFixed": overhead})
        pods = await running(cluster, "heavy", runtimeClassName="special")
        assert (await pods.get("heavy"))["spec"]["overhead"] == overhead
        other = pod("own", runtimeClassName="special", overhead={"cpu": "20m"})
        refused = await fails(pods.create(other), 403, "Forbidden")
        assert "Pod's Overhead doesn't match RuntimeClass's defined Overhead" in str(refused)
        await fails(pods.create(pod("without", overhead={"cpu": "20m"})), 403, "Forbidden")

    knarr_cluster.run(scenario)
