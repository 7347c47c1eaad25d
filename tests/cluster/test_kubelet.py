"""The kubelet against the real API server on virtual time: what a user sees of pods from creation to
deletion.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from kubelet_cluster import make_pod, run, simulated_cluster

from knarr.api import conditions
from knarr.api.coordination import v1 as coordination
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.kubelet.runtime import contract as c

RUN = "knarr.dev/simulate-run-seconds"
EXIT = "knarr.dev/simulate-exit-code"


def container(name: str = "main", **fields: Any) -> core.Container:
    return core.Container(name=name, image=fields.pop("image", "busybox:1.36"), **fields)


def ready(pod: core.Pod) -> bool:
    return conditions.is_true(pod.status.conditions, "Ready")


def test_a_pod_becomes_ready_in_a_fraction_of_a_second_and_goes_without_a_trace(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            await cluster.create("web")
            pod = await cluster.phase("web", "Running", within_s=0.5)
            assert ready(pod) and pod.status.podIP.startswith("10.244.0.")
            assert pod.status.observedGeneration == pod.metadata.generation
            await cluster.client.delete(core.Pod, "web", namespace="default")
            await cluster.eventually(lambda: cluster.gone("web"), within_s=1)
            await cluster.clock.sleep(1)
            assert await cluster.runtime.list_containers() == []
            assert await cluster.runtime.list_pod_sandboxes() == []
            reasons = [reason for reason, _ in await cluster.events("web")]
            assert {"Pulling", "Pulled", "Created", "Started", "Killing"} <= set(reasons)

    run(scenario())


def test_the_node_registers_reports_and_keeps_its_lease(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:

            async def node_ready() -> bool:
                (node,) = (await cluster.client.list(core.Node)).items or [core.Node()]
                return conditions.is_true(node.status.conditions, "Ready")

            await cluster.eventually(node_ready, within_s=2)
            node = await cluster.client.get(core.Node, "n1")
            assert node.status.nodeInfo.kubeletVersion == "v1.36.0"
            assert node.status.allocatable["pods"] == "110"
            assert {each.type for each in node.status.conditions} == {
                "MemoryPressure", "DiskPressure", "PIDPressure", "Ready",
            }  # fmt: skip

            async def renewed() -> str | None:
                try:
                    lease = await cluster.client.get(coordination.Lease, "n1", namespace="kube-node-lease")
                except StatusError:
                    return None
                return lease.spec.renewTime

            first = await cluster.eventually(renewed)
            await cluster.clock.sleep(11)
            assert await renewed() > first

    run(scenario())


def test_a_deleted_node_object_is_registered_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            await cluster.clock.sleep(1)
            old = await cluster.client.get(core.Node, "n1")
            await cluster.client.delete(core.Node, "n1")

            async def back() -> bool:
                try:
                    return (await cluster.client.get(core.Node, "n1")).metadata.uid != old.metadata.uid
                except StatusError:
                    return False

            await cluster.eventually(back, within_s=15)

    run(scenario())


def test_a_job_like_pod_succeeds_and_its_containers_stay_for_their_logs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            await cluster.create("job", restartPolicy="Never", annotations={RUN: "3"})
            pod = await cluster.phase("job", "Succeeded", within_s=5)
            end = pod.status.containerStatuses[0].state.terminated
            assert end is not None and (end.exitCode, end.reason) == (0, "Completed")
            await cluster.clock.sleep(120)
            assert len(await cluster.runtime.list_containers()) == 1
            boxes = await cluster.runtime.list_pod_sandboxes()
            assert [box.state for box in boxes] == [c.SANDBOX_NOTREADY]
            await cluster.client.delete(core.Pod, "job", namespace="default")
            await cluster.eventually(lambda: cluster.gone("job"), within_s=1)

    run(scenario())


def test_a_crashing_container_is_restarted_at_once_then_ever_more_slowly(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            await cluster.create("bad", annotations={RUN: "1", EXIT: "3"})

            async def restarts() -> int:
                pod = await cluster.pod("bad")
                return pod.status.containerStatuses[0].restartCount if pod.status.containerStatuses else 0

            times = []
            for count in range(1, 8):

                async def reached(count: int = count) -> bool:
                    return await restarts() >= count

                await cluster.eventually(reached, within_s=400)
                times.append(cluster.clock.monotonic_s())
            gaps = [round(later - earlier) for earlier, later in itertools.pairwise(times)]
            assert gaps == [11, 21, 41, 81, 161, 301]
            pod = await cluster.pod("bad")
            last = pod.status.containerStatuses[0].lastState.terminated
            assert pod.status.phase == "Running" and last is not None and last.exitCode == 3

    run(scenario())


def test_back_off_is_shown_as_crash_loop_with_its_event(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            await cluster.create("bad", annotations={RUN: "1", EXIT: "3"})

            async def waiting() -> core.ContainerStateWaiting | None:
                pod = await cluster.pod("bad")
                return pod.status.containerStatuses[0].state.waiting if pod.status.containerStatuses else None

            async def looping() -> bool:
                state = await waiting()
                return state is not None and state.reason == "CrashLoopBackOff"

            await cluster.eventually(looping)
            state, pod = await waiting(), await cluster.pod("bad")
            assert state is not None
            where = f"container=main pod=bad_default({pod.metadata.uid})"
            assert state.message == f"back-off 10s restarting failed {where}"
            assert "BackOff" in [reason for reason, _ in await cluster.events("bad")]

    run(scenario())


def test_on_failure_stops_restarting_after_a_success(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            await cluster.create("once", restartPolicy="OnFailure", annotations={RUN: "1"})
            await cluster.phase("once", "Succeeded", within_s=5)
            await cluster.create("again", restartPolicy="OnFailure", annotations={RUN: "1", EXIT: "1"})
            await cluster.clock.sleep(30)
            assert (await cluster.pod("again")).status.containerStatuses[0].restartCount >= 2

    run(scenario())


def test_init_containers_and_sidecars_come_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            await cluster.create(
                "layered",
                initContainers=[
                    container("first"),
                    container("side", restartPolicy="Always"),
                    container("second"),
                ],
                annotations={f"{RUN}.first": "2", f"{RUN}.second": "2"},
            )
            await cluster.clock.sleep(1)
            pod = await cluster.pod("layered")
            assert pod.status.phase == "Pending"
            assert [each.state.running is not None for each in pod.status.initContainerStatuses] == [
                True,
                False,
                False,
            ]
            await cluster.phase("layered", "Running", within_s=6)
            started = [message for reason, message in await cluster.events("layered") if reason == "Started"]
            assert sorted(started) == [
                f"Started container {name}" for name in ("first", "main", "second", "side")
            ]

    run(scenario())


def test_an_image_that_does_not_exist_is_tried_again_with_back_off(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path, missing_images=frozenset({"nope:1"})) as cluster:
            await cluster.create("web", containers=[container(image="nope:1")])
            reasons: set[str] = set()

            async def seen() -> bool:
                pod = await cluster.pod("web")
                if pod.status.containerStatuses and (state := pod.status.containerStatuses[0].state.waiting):
                    reasons.add(state.reason)
                return {"ErrImagePull", "ImagePullBackOff"} <= reasons

            await cluster.eventually(seen, within_s=15)
            assert (await cluster.pod("web")).status.phase == "Pending"
            events = await cluster.events("web")
            assert ("Failed", "Error: ErrImagePull") in events and (
                "Failed",
                "Error: ImagePullBackOff",
            ) in events
            await cluster.client.delete(core.Pod, "web", namespace="default")
            await cluster.eventually(lambda: cluster.gone("web"), within_s=2)

    run(scenario())


def test_a_missing_config_map_holds_back_the_container_until_it_is_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            source = core.EnvVarSource(configMapKeyRef=core.ConfigMapKeySelector(name="later", key="a"))
            wanted = container(env=[core.EnvVar(name="A", valueFrom=source)])
            await cluster.create("web", containers=[wanted])

            async def refused() -> bool:
                pod = await cluster.pod("web")
                state = (
                    pod.status.containerStatuses[0].state.waiting if pod.status.containerStatuses else None
                )
                return state is not None and state.reason == "CreateContainerConfigError"

            await cluster.eventually(refused)
            assert ("Failed", 'Error: configmap "later" not found') in await cluster.events("web")
            config = core.ConfigMap(data={"a": "1"})
            config.metadata.name, config.metadata.namespace = "later", "default"
            await cluster.client.create(config)
            await cluster.phase("web", "Running", within_s=15)

    run(scenario())


def test_a_pod_too_large_for_the_node_fails_with_the_reason(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            resources = core.ResourceRequirements(requests={"cpu": "64"})  # type: ignore[dict-item]
            await cluster.create("big", containers=[container(resources=resources)])
            pod = await cluster.phase("big", "Failed", within_s=2)
            assert pod.status.reason == "OutOfcpu"
            assert await cluster.runtime.list_pod_sandboxes() == []

    run(scenario())


def test_a_deadline_ends_the_pod(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            await cluster.create("slow", activeDeadlineSeconds=20)
            await cluster.phase("slow", "Running", within_s=1)
            pod = await cluster.phase("slow", "Failed", within_s=25)
            assert pod.status.reason == "DeadlineExceeded"
            assert pod.status.message == "Pod was active on the node longer than the specified deadline"
            assert not any(
                each.state == c.CONTAINER_RUNNING for each in await cluster.runtime.list_containers()
            )

    run(scenario())


def test_a_readiness_gate_opens_when_its_condition_is_set(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            gate = core.PodReadinessGate(conditionType="example.com/lb")
            await cluster.create("gated", readinessGates=[gate])
            pod = await cluster.phase("gated", "Running", within_s=1)
            assert not ready(pod)
            patch = {"status": {"conditions": [{"type": "example.com/lb", "status": "True"}]}}
            await cluster.client.patch(core.Pod, "gated", patch, namespace="default", subresource="status")

            async def open_() -> bool:
                return ready(await cluster.pod("gated"))

            await cluster.eventually(open_, within_s=1)

    run(scenario())


def test_a_pod_of_the_same_name_is_another_pod(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            first = await cluster.create("web")
            await cluster.phase("web", "Running")
            await cluster.client.delete(core.Pod, "web", namespace="default", grace_period_s=0)
            second = await cluster.create("web")
            assert first.metadata.uid != second.metadata.uid
            pod = await cluster.phase("web", "Running")
            assert pod.metadata.uid == second.metadata.uid
            await cluster.clock.sleep(35)
            assert len(await cluster.runtime.list_pod_sandboxes()) == 1

    run(scenario())


def test_what_runs_without_an_object_in_the_api_is_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            labels = {"io.kubernetes.pod.uid": "ghost", "io.kubernetes.pod.name": "ghost"}
            config = c.PodSandboxConfig(
                metadata=c.PodSandboxMetadata(name="ghost", uid="ghost"), labels=labels
            )
            await cluster.runtime.run_pod_sandbox(config)

            async def gone() -> bool:
                return await cluster.runtime.list_pod_sandboxes() == []

            await cluster.eventually(gone, within_s=20)

    run(scenario())


def test_a_sandbox_that_dies_is_replaced_and_the_pod_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            await cluster.create("web")
            await cluster.phase("web", "Running")
            (box,) = await cluster.runtime.list_pod_sandboxes()
            await cluster.runtime.stop_pod_sandbox(box.id)

            async def replaced() -> bool:
                pod = await cluster.pod("web")
                return pod.status.containerStatuses[0].restartCount == 1 and ready(pod)

            await cluster.eventually(replaced, within_s=15)

    run(scenario())


def test_a_hundred_pods_start_and_end_together(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path, start_latency_s=0.2) as cluster:
            for number in range(100):
                await cluster.client.create(make_pod(f"p{number}"))

            async def all_ready() -> bool:
                return all(ready(pod) for pod in await cluster.client.list(core.Pod, namespace="default"))

            await cluster.eventually(all_ready, within_s=5)
            addresses = {pod.status.podIP for pod in await cluster.client.list(core.Pod, namespace="default")}
            assert len(addresses) == 100
            for number in range(100):
                await cluster.client.delete(core.Pod, f"p{number}", namespace="default")

            async def none_left() -> bool:
                return not len(await cluster.client.list(core.Pod, namespace="default"))

            await cluster.eventually(none_left, within_s=5)

    run(scenario())


def test_a_stopped_kubelet_leaves_pods_running_and_the_next_one_adopts_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            await cluster.create("web")
            before = await cluster.phase("web", "Running")
            await cluster.restart_kubelet()
            await cluster.clock.sleep(5)
            after = await cluster.pod("web")
            assert ready(after)
            assert (
                after.status.containerStatuses[0].containerID
                == before.status.containerStatuses[0].containerID
            )
            assert after.status.containerStatuses[0].restartCount == 0
            await cluster.client.delete(core.Pod, "web", namespace="default")
            await cluster.eventually(lambda: cluster.gone("web"), within_s=2)

    run(scenario())
