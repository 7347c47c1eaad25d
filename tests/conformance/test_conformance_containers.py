"""[sig-node] what a kubelet does with containers that end, as the API tells it, and [sig-scheduling] preemption among ReplicaSets.

The runtime is simulated: annotations say how long a container runs and how it ends. The kubelet that starts, restarts and reports them is the real one.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from conformance_api import API_ONLY, NS, STRATEGIC, Api, Object, fails, has_condition
from conformance_objects import IMAGE, meta, phase, pod, ready

from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

INIT = "[sig-node] InitContainer [NodeConformance]"
ALWAYS_FAILS = "[sig-node] Kubelet when scheduling a busybox command that always fails in a pod should"
SIMULATE = "knarr.dev/simulate"


def ends(**codes: int) -> dict[str, str]:
    """Annotations: each container named runs a second and ends with its code."""
    seconds = {f"{SIMULATE}-run-seconds.{name}": "1" for name in codes}
    return seconds | {f"{SIMULATE}-exit-code.{name}": str(code) for name, code in codes.items()}


def with_init(restart: str, **codes: int) -> Object:
    init = [{"name": name, "image": IMAGE} for name in ("init1", "init2")]
    return pod("init", annotations=ends(**codes), restartPolicy=restart, initContainers=init)


def terminated(statuses: list[Object]) -> list[int | None]:
    """The exit code of each container that has ended for good, else None."""
    return [each["state"].get("terminated", {}).get("exitCode") for each in statuses]


async def made(cluster: InProcessCluster, obj: Object) -> Api:
    pods = Api(cluster, "v1", "pods", NS)
    await pods.create(obj)
    return pods


@pytest.mark.conformance(f"{INIT} should invoke init containers on a RestartNever pod [Conformance]")
def test_init_containers_run_before_a_pod_that_ends(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        pods = await made(cluster, with_init("Never", init1=0, init2=0, main=0))
        held = await pods.wait("init", lambda each: phase(each) == "Succeeded")
        status = held["status"]
        assert has_condition(held, "Initialized")
        assert terminated(status["initContainerStatuses"]) == [0, 0] and all(each["ready"] for each in status["initContainerStatuses"])
        ended = [each["state"]["terminated"] for each in (*status["initContainerStatuses"], *status["containerStatuses"])]
        # One after the other, the container last.
        assert all(before["finishedAt"] <= after["startedAt"] for before, after in pairwise(ended))

    knarr_cluster.run(scenario)


@pytest.mark.conformance(f"{INIT} should invoke init containers on a RestartAlways pod [Conformance]")
def test_init_containers_run_before_a_pod_that_stays(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        pods = await made(cluster, with_init("Always", init1=0, init2=0))
        held = await pods.wait("init", ready)
        assert phase(held) == "Running" and has_condition(held, "Initialized")
        assert terminated(held["status"]["initContainerStatuses"]) == [0, 0]

    knarr_cluster.run(scenario)


@pytest.mark.conformance(f"{INIT} should not start app containers if init containers fail on a RestartAlways pod [Conformance]")
def test_a_failing_init_container_is_tried_again_and_nothing_else_starts(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        pods = await made(cluster, with_init("Always", init1=1, init2=0))
        held = await pods.wait("init", lambda each: (each["status"].get("initContainerStatuses") or [{}])[0].get("restartCount", 0) >= 3, 600)
        first, second = held["status"]["initContainerStatuses"]
        assert phase(held) == "Pending" and first["lastState"]["terminated"]["exitCode"] == 1
        assert not first["ready"] and not second["ready"] and "waiting" in second["state"]
        main = held["status"]["containerStatuses"][0]
        assert main["state"]["waiting"]["reason"] == "PodInitializing" and main["restartCount"] == 0
        assert has_condition(held, "Initialized", "False", reason="ContainersNotInitialized")
        message = next(each["message"] for each in held["status"]["conditions"] if each["type"] == "Initialized")
        assert message == "containers with incomplete status: [init1 init2]"

    knarr_cluster.run(scenario)


@pytest.mark.conformance(f"{INIT} should not start app containers and fail the pod if init containers fail on a RestartNever pod [Conformance]")
def test_a_failed_init_container_fails_a_pod_that_is_not_restarted(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        pods = await made(cluster, with_init("Never", init1=0, init2=1))
        held = await pods.wait("init", lambda each: phase(each) == "Failed")
        assert terminated(held["status"]["initContainerStatuses"]) == [0, 1]
        assert "waiting" in held["status"]["containerStatuses"][0]["state"]
        assert has_condition(held, "Initialized", "False", reason="ContainersNotInitialized")
        message = next(each["message"] for each in held["status"]["conditions"] if each["type"] == "Initialized")
        assert message == "containers with incomplete status: [init2]"

    knarr_cluster.run(scenario)


@pytest.mark.conformance(f"{ALWAYS_FAILS} have an terminated reason [NodeConformance] [Conformance]")
def test_a_container_that_failed_says_why(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        pods = await made(cluster, pod("fails", annotations=ends(main=1), restartPolicy="Never"))
        held = await pods.wait("fails", lambda each: phase(each) == "Failed")
        ended = held["status"]["containerStatuses"][0]["state"]["terminated"]
        assert (ended["exitCode"], ended["reason"]) == (1, "Error") and ended["startedAt"] < ended["finishedAt"]

    knarr_cluster.run(scenario)


@pytest.mark.conformance(f"{ALWAYS_FAILS} be possible to delete [NodeConformance] [Conformance]")
def test_a_pod_that_always_fails_can_be_deleted(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        pods = await made(cluster, pod("fails", annotations=ends(main=1)))
        await pods.wait("fails", lambda each: (each["status"].get("containerStatuses") or [{}])[0].get("restartCount", 0) >= 1)
        await pods.delete("fails")
        await pods.wait_gone("fails")

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-node] Sysctls [LinuxOnly] [NodeConformance] should reject invalid sysctls [MinimumKubeletVersion:1.21] [Conformance]")
def test_names_that_are_no_sysctls_are_refused_by_name(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        wanted = [("foo-", "bar"), ("kernel.shmmax", "100000000"), ("safe-and-unsafe", "100000000"), ("bar..", "42")]
        sysctls = [{"name": name, "value": value} for name, value in wanted]
        pods = Api(cluster, "v1", "pods", NS)
        error = await fails(pods.create(pod("sysctl", securityContext={"sysctls": sysctls})), 422, "Invalid")
        assert 'Invalid value: "foo-"' in str(error) and 'Invalid value: "bar.."' in str(error)
        assert "safe-and-unsafe" not in str(error) and "kernel.shmmax" not in str(error)

    knarr_cluster.run(scenario, **{**API_ONLY, "controllers": True})


RESOURCE = "example.com/fakePTSRes"


def replica_set(number: int, amount: int, replicas: int = 1) -> Object:
    labels = {"name": f"pod{number}"}
    held = {RESOURCE: str(amount)}
    spec = pod("", labels, priorityClassName=f"p{number}", container={"resources": {"requests": held, "limits": held}})["spec"]
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": meta(f"rs-pod{number}"),
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


@pytest.mark.conformance("[sig-scheduling] SchedulerPreemption [Serial] PreemptionExecutionPath runs ReplicaSets to verify preemption running path [Conformance]")
def test_replica_sets_of_low_priority_make_room_and_try_again(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        nodes, pods = Api(cluster, "v1", "nodes"), Api(cluster, "v1", "pods", NS)
        await nodes.patch("node-1", {"status": {"capacity": {RESOURCE: "1000"}, "allocatable": {RESOURCE: "1000"}}}, "status", kind=STRATEGIC)
        for number in range(1, 5):
            await Api(cluster, "scheduling.k8s.io/v1", "priorityclasses").create({"metadata": meta(f"p{number}"), "value": number})
        sets = Api(cluster, "apps/v1", "replicasets", NS)
        async with pods.watch() as watch:
            for number, amount in ((1, 200), (2, 300), (3, 450)):
                await sets.create(replica_set(number, amount))
                await sets.wait(f"rs-pod{number}", lambda each: each["status"].get("availableReplicas") == 1)
            await sets.create(replica_set(4, 500))
            await sets.wait("rs-pod4", lambda each: each["status"].get("availableReplicas") == 1)
            await cluster.sleep(30)
            seen: dict[str, set[str]] = {}
            for event in watch.told:
                if event["type"] == "ADDED":
                    metadata = event["object"]["metadata"]
                    seen.setdefault(metadata["labels"]["name"], set()).add(metadata["name"])
        # The two lowest lost theirs and have new ones waiting; the third was left alone.
        assert {name: len(names) for name, names in seen.items()} == {"pod1": 2, "pod2": 2, "pod3": 1, "pod4": 1}
        held = {each["metadata"]["labels"]["name"]: phase(each) for each in await pods.items()}
        assert held == {"pod1": "Pending", "pod2": "Pending", "pod3": "Running", "pod4": "Running"}

    knarr_cluster.run(scenario)
