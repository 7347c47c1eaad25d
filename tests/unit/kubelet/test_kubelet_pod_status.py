"""What the API is told about a pod: phases, conditions and reasons as users and controllers expect them."""

from __future__ import annotations

from datetime import UTC, datetime

from unit_kubelet import Probes, container, ended, pod, ran, record, sandbox, sidecar

from knarr.api.core import v1 as core
from knarr.kubelet.pod_cache import PodRecord
from knarr.kubelet.pod_status import ReadinessView, StatusInput, generate_status, terminated_status

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def status(
    wanted: core.Pod,
    found: PodRecord,
    *,
    probes: Probes | None = None,
    errors: dict[str, tuple[str, str]] | None = None,
    previous: core.PodStatus | None = None,
    finished: bool = False,
) -> core.PodStatus:
    view = probes or Probes()
    given = StatusInput(
        now=NOW,
        host_ips=("192.168.0.1",),
        probes=ReadinessView(view.started, view.ready),
        errors=errors or {},
        previous=previous,
        finished=finished,
    )
    return generate_status(wanted, found, given)


def condition(result: core.PodStatus, kind: str) -> core.PodCondition:
    return next(each for each in result.conditions if each.type == kind)


def test_a_pod_without_containers_yet_is_pending_and_says_what_it_waits_for() -> None:
    result = status(pod(), record(boxes=()))
    assert result.phase == "Pending"
    assert result.containerStatuses[0].state.waiting == core.ContainerStateWaiting(reason="ContainerCreating")
    assert condition(result, "Ready").reason == "ContainersNotReady"
    assert condition(result, "Ready").message == "containers with unready status: [main]"
    assert condition(result, "PodReadyToStartContainers").status == "False"
    assert result.startTime == "2026-01-01T00:00:00Z"
    assert (result.hostIP, result.podIP, result.qosClass) == ("192.168.0.1", "", "BestEffort")


def test_a_running_pod_is_ready_and_shows_its_address() -> None:
    main = container()
    result = status(pod(main), record(ran(main)))
    assert result.phase == "Running"
    assert result.podIP == "10.1.0.2" and result.podIPs == [core.PodIP(ip="10.1.0.2")]
    for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"):
        assert condition(result, kind).status == "True", kind
        assert condition(result, kind).observedGeneration == 3
    shown = result.containerStatuses[0]
    assert shown.containerID == "containerd://main-0" and shown.image == "docker.io/library/busybox:1.36"
    assert shown.ready and shown.started and shown.state.running is not None


def test_while_init_containers_run_the_pod_is_pending_and_the_rest_initializes() -> None:
    first, main = container("first"), container()
    result = status(pod(main, initContainers=[first]), record(ran(first)))
    assert result.phase == "Pending"
    assert result.containerStatuses[0].state.waiting == core.ContainerStateWaiting(reason="PodInitializing")
    initialized = condition(result, "Initialized")
    assert initialized.reason == "ContainersNotInitialized"
    assert initialized.message == "containers with incomplete status: [first]"


def test_a_crashing_container_shows_its_back_off_and_its_end() -> None:
    main = container()
    errors = {"main": ("CrashLoopBackOff", "back-off 10s restarting failed container=main pod=web")}
    result = status(pod(main), record(ended(main, 1, restarts=2)), errors=errors)
    shown = result.containerStatuses[0]
    assert shown.state.waiting is not None and shown.state.waiting.reason == "CrashLoopBackOff"
    assert shown.lastState.terminated is not None and shown.lastState.terminated.exitCode == 1
    assert shown.restartCount == 2
    # It has run and will run again: upstream calls that Running.
    assert result.phase == "Running"


def test_an_image_that_cannot_be_had_keeps_the_pod_pending_with_the_reason() -> None:
    errors = {"main": ("ErrImagePull", "not found")}
    result = status(pod(), record(), errors=errors)
    assert result.phase == "Pending"
    assert result.containerStatuses[0].state.waiting == core.ContainerStateWaiting(
        reason="ErrImagePull", message="not found"
    )


def test_final_phases_follow_exit_codes_and_policy() -> None:
    main, other = container(), container("other")
    for policy, codes, phase in (
        ("Never", (0, 0), "Succeeded"),
        ("Never", (0, 1), "Failed"),
        ("OnFailure", (0, 0), "Succeeded"),
        ("OnFailure", (0, 1), "Running"),
        ("Always", (0, 0), "Running"),
    ):
        found = record(ended(main, codes[0]), ended(other, codes[1]))
        assert status(pod(main, other, restart=policy), found).phase == phase, (policy, codes)


def test_a_completed_pod_says_so_in_its_conditions() -> None:
    main = container()
    result = status(pod(main, restart="Never"), record(ended(main)))
    assert condition(result, "Ready").reason == "PodCompleted"
    assert condition(result, "Initialized").reason == "PodCompleted"
    assert result.containerStatuses[0].state.terminated is not None
    assert result.containerStatuses[0].state.terminated.reason == "Completed"


def test_an_init_container_that_fails_for_good_fails_the_pod() -> None:
    first, main = container("first"), container()
    result = status(pod(main, initContainers=[first], restart="Never"), record(ended(first, 1)))
    assert result.phase == "Failed"


def test_readiness_gates_hold_back_only_the_pod_not_its_containers() -> None:
    main = container()
    gated = pod(main, readinessGates=[core.PodReadinessGate(conditionType="example.com/lb")])
    result = status(gated, record(ran(main)))
    assert condition(result, "ContainersReady").status == "True"
    assert condition(result, "Ready").reason == "ReadinessGatesNotReady"
    assert condition(result, "Ready").message == (
        'corresponding condition of pod readiness gate "example.com/lb" does not exist.'
    )
    gated.status.conditions = [core.PodCondition(type="example.com/lb", status="True")]
    result = status(gated, record(ran(main)))
    assert condition(result, "Ready").status == "True"
    assert condition(result, "example.com/lb").status == "True"


def test_a_transition_time_moves_only_with_the_status() -> None:
    main = container()
    before = status(pod(main), record(ran(main)))
    for each in before.conditions:
        each.lastTransitionTime = "2020-01-01T00:00:00Z"
    after = status(pod(main), record(ran(main)), probes=Probes(unstarted={"main"}), previous=before)
    assert condition(after, "Initialized").lastTransitionTime == "2020-01-01T00:00:00Z"
    assert condition(after, "Ready").lastTransitionTime == "2026-01-01T00:00:00Z"


def test_a_final_phase_never_changes_again() -> None:
    main = container()
    previous = core.PodStatus(phase="Failed", reason="DeadlineExceeded", message="too long")
    result = status(pod(main), record(ran(main)), previous=previous)
    assert (result.phase, result.reason, result.message) == ("Failed", "DeadlineExceeded", "too long")


def test_what_ended_before_its_remains_were_cleaned_up_stays_told() -> None:
    main = container()
    previous = status(pod(main, restart="Never"), record(ended(main, 3)))
    result = status(pod(main, restart="Never"), record(boxes=()), previous=previous)
    assert result.containerStatuses[0].state.terminated is not None
    assert result.containerStatuses[0].state.terminated.exitCode == 3
    assert result.podIP == "10.1.0.2"


def test_a_container_that_vanished_counts_as_failed() -> None:
    main = container()
    previous = status(pod(main, restart="Never"), record(ran(main)))
    result = status(pod(main, restart="Never"), record(boxes=()), previous=previous)
    end = result.containerStatuses[0].state.terminated
    assert end is not None and (end.reason, end.exitCode) == ("ContainerStatusUnknown", 137)


def test_the_last_restart_is_remembered_with_the_state_before_it() -> None:
    main = container()
    result = status(pod(main), record(ran(main, restarts=1), ended(main, 9)))
    shown = result.containerStatuses[0]
    assert shown.restartCount == 1 and shown.state.running is not None
    assert shown.lastState.terminated is not None and shown.lastState.terminated.exitCode == 9


def test_a_sidecar_counts_for_readiness_and_not_for_the_end() -> None:
    side, main = sidecar("side"), container()
    wanted = pod(main, initContainers=[side], restart="Never")
    unready = status(wanted, record(ran(main), ran(side)), probes=Probes(unstarted={"side"}))
    assert condition(unready, "Ready").message == "containers with unready status: [side]"
    done = status(wanted, record(ended(main), ended(side, 137)), finished=True)
    assert done.phase == "Succeeded"


def test_a_pod_ended_by_the_kubelet_is_final_with_every_container_accounted_for() -> None:
    main = container()
    result = terminated_status(
        status(pod(main), record(ran(main)), finished=True), phase="Failed", reason="Evicted"
    )
    assert (result.phase, result.reason) == ("Failed", "Evicted")
    assert result.containerStatuses[0].state.terminated is not None


def test_a_pod_in_the_hosts_network_has_the_hosts_address() -> None:
    main = container()
    result = status(pod(main, hostNetwork=True), record(ran(main), boxes=(sandbox(ip=""),)))
    assert result.podIP == "192.168.0.1" and condition(result, "PodReadyToStartContainers").status == "True"
