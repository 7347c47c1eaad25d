"""What the kubelet does next: nobody's pod is started twice, restarted against its policy, or left lying."""

from __future__ import annotations

from unit_kubelet import Probes, container, ended, pod, ran, record, sandbox, sidecar

from knarr.kubelet.pod_actions import PodActions, compute_pod_actions
from knarr.kubelet.runtime import contract as c


def names(actions: PodActions) -> list[str]:
    return [each.name for each in actions.start]


def test_a_new_pod_gets_its_sandbox_and_all_its_containers() -> None:
    actions = compute_pod_actions(pod(container("a"), container("b")), record(boxes=()), Probes())
    assert actions.create_sandbox and actions.attempt == 0
    assert names(actions) == ["a", "b"]


def test_a_running_pod_is_left_alone() -> None:
    main = container()
    assert compute_pod_actions(pod(main), record(ran(main)), Probes()).nothing


def test_init_containers_run_one_after_another_before_the_containers() -> None:
    first, second, main = container("first"), container("second"), container()
    wanted = pod(main, initContainers=[first, second])
    assert names(compute_pod_actions(wanted, record(boxes=()), Probes())) == ["first"]
    assert names(compute_pod_actions(wanted, record(ran(first)), Probes())) == []
    assert names(compute_pod_actions(wanted, record(ended(first)), Probes())) == ["second"]
    assert names(compute_pod_actions(wanted, record(ended(second), ended(first)), Probes())) == ["main"]


def test_an_init_container_that_failed_runs_again_unless_nothing_may() -> None:
    first, main = container("first"), container()
    failed = record(ended(first, 1))
    assert names(compute_pod_actions(pod(main, initContainers=[first]), failed, Probes())) == ["first"]
    never = compute_pod_actions(pod(main, initContainers=[first], restart="Never"), failed, Probes())
    assert never.kill_pod and not never.start


def test_an_init_container_whose_remains_are_gone_does_not_run_again() -> None:
    first, second, main = container("first"), container("second"), container()
    wanted = pod(main, initContainers=[first, second])
    assert names(compute_pod_actions(wanted, record(ended(second)), Probes())) == ["main"]
    assert compute_pod_actions(wanted, record(ran(main)), Probes()).nothing


def test_a_sidecar_lets_others_go_on_only_once_it_has_started() -> None:
    side, main = sidecar("side"), container()
    wanted = pod(main, initContainers=[side])
    assert names(compute_pod_actions(wanted, record(ran(side)), Probes(unstarted={"side"}))) == []
    assert names(compute_pod_actions(wanted, record(ran(side)), Probes())) == ["main"]


def test_a_sidecar_that_ends_is_started_again_beside_the_containers() -> None:
    side, main = sidecar("side"), container()
    wanted = pod(main, initContainers=[side], restart="Never")
    assert names(compute_pod_actions(wanted, record(ended(side), ran(main)), Probes())) == ["side"]


def test_sidecars_go_when_the_work_is_done() -> None:
    side, main = sidecar("side"), container()
    wanted = pod(main, initContainers=[side], restart="Never")
    actions = compute_pod_actions(wanted, record(ended(main), ran(side)), Probes())
    assert actions.kill_pod and not actions.create_sandbox


def test_restart_policies_decide_over_ended_containers() -> None:
    main, other = container(), container("other")
    for policy, exit_code, restarted in (
        ("Always", 0, True),
        ("OnFailure", 0, False),
        ("OnFailure", 2, True),
        ("Never", 2, False),
    ):
        wanted = pod(main, other, restart=policy)
        actions = compute_pod_actions(wanted, record(ended(main, exit_code), ran(other)), Probes())
        assert (names(actions) == ["main"]) is restarted, policy


def test_nothing_is_started_in_a_pod_that_is_being_deleted() -> None:
    main, other = container(), container("other")
    wanted = pod(main, other, deleted="2026-01-01T00:00:00Z")
    assert names(compute_pod_actions(wanted, record(ended(main, 1), ran(other)), Probes())) == []


def test_a_container_whose_image_changed_is_replaced() -> None:
    main = container(image="busybox:1.37")
    actions = compute_pod_actions(pod(main), record(ran(main, image="busybox:1.36")), Probes())
    assert [kill.message for kill in actions.kill] == ["Container main definition changed, will be restarted"]
    assert names(actions) == ["main"]


def test_a_failed_liveness_probe_restarts_or_ends_the_container() -> None:
    main, other = container(), container("other")
    probes = Probes(failed={"main-0": "liveness"})
    actions = compute_pod_actions(pod(main, other), record(ran(main), ran(other)), probes)
    assert [kill.message for kill in actions.kill] == [
        "Container main failed liveness probe, will be restarted"
    ]
    never = compute_pod_actions(pod(main, other, restart="Never"), record(ran(main), ran(other)), probes)
    assert [kill.message for kill in never.kill] == ["Container main failed liveness probe"]
    assert names(never) == []


def test_a_dead_sandbox_is_replaced_with_everything_in_it() -> None:
    main = container()
    dead = record(ended(main, 137), boxes=(sandbox(ready=False),))
    actions = compute_pod_actions(pod(main), dead, Probes())
    assert actions.kill_pod and actions.create_sandbox and actions.attempt == 1
    assert names(actions) == ["main"]


def test_a_pod_that_has_run_is_not_started_again_against_its_policy_when_its_sandbox_dies() -> None:
    main = container()
    dead = record(ended(main), boxes=(sandbox(ready=False),))
    assert not compute_pod_actions(pod(main, restart="Never"), dead, Probes()).create_sandbox
    assert not compute_pod_actions(pod(main, restart="OnFailure"), dead, Probes()).create_sandbox


def test_in_a_new_sandbox_init_containers_run_again() -> None:
    first, main = container("first"), container()
    boxes = (sandbox("new", attempt=1), sandbox("old", ready=False))
    old = record(ended(main, 137, box="old"), ended(first, box="old"), boxes=boxes)
    assert names(compute_pod_actions(pod(main, initContainers=[first]), old, Probes())) == ["first"]


def test_a_sandbox_without_an_address_is_replaced_unless_it_needs_none() -> None:
    main = container()
    bare = record(boxes=(sandbox(ip=""),))
    assert compute_pod_actions(pod(main), bare, Probes()).create_sandbox
    assert not compute_pod_actions(pod(main, hostNetwork=True), bare, Probes()).create_sandbox


def test_a_container_in_an_unknown_state_is_started_again() -> None:
    main = container()
    lost = record(ran(main, c.CONTAINER_UNKNOWN))
    assert names(compute_pod_actions(pod(main), lost, Probes())) == ["main"]
