"""Which deleted pods are given a moment before their signal: a rollout must lose no request, others no
time.
"""

from __future__ import annotations

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.kubelet.pod_killer import serves


def deleted(*, ready: str = "True", probe: bool = True, hook: bool = False) -> core.Pod:
    container = core.Container(name="web")
    if probe:
        container.readinessProbe = core.Probe(httpGet=core.HTTPGetAction(port=80))
    if hook:
        container.lifecycle = core.Lifecycle(preStop=core.LifecycleHandler(sleep=core.SleepAction(seconds=1)))
    return core.Pod(
        metadata=meta.ObjectMeta(name="p", deletionTimestamp="2026-01-01T00:00:00Z"),
        spec=core.PodSpec(containers=[container]),
        status=core.PodStatus(conditions=[core.PodCondition(type="Ready", status=ready)]),
    )


def test_a_ready_pod_with_a_probe_may_serve_to_the_last() -> None:
    assert serves(deleted())


def test_a_pod_that_nobody_waits_for_ends_at_once() -> None:
    assert not serves(deleted(ready="False"))
    assert not serves(deleted(probe=False))


def test_a_hook_is_its_own_delay() -> None:
    assert not serves(deleted(hook=True))


def test_a_container_ended_for_another_reason_is_not_delayed() -> None:
    pod = deleted()
    pod.metadata.deletionTimestamp = None
    assert not serves(pod)
