"""Probes: thresholds, delays and their order, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from unit_kubelet import container, pod, ran, record

from knarr.api.core import v1 as core
from knarr.kit.clock import VirtualClock, VirtualTimeLoop
from knarr.kubelet.pod_cache import ContainerRecord
from knarr.kubelet.probes.manager import ProbeManager


class FakeProber:
    """Answers as ``verdict`` says for the time since the start."""

    def __init__(self, verdict: Callable[[str, float], bool]) -> None:
        self.verdict = verdict
        self.calls: list[tuple[str, float]] = []

    async def run(
        self, probe: core.Probe, target: Any, container_id: str, *, pod_ip: str
    ) -> tuple[bool, str]:
        assert probe.exec is not None
        name, now = probe.exec.command[0], asyncio.get_running_loop().time()
        self.calls.append((name, now))
        return self.verdict(name, now), "no"


class FakeRecorder:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def event(self, obj: Any, kind: str, reason: str, message: str, *, field_path: str = "") -> None:
        self.events.append((reason, message))


def probe(name: str, **fields: int) -> core.Probe:
    return core.Probe(
        exec=core.ExecAction(command=[name]), periodSeconds=fields.pop("periodSeconds", 10), **fields
    )


def scenario(
    main: core.Container,
    verdict: Callable[[str, float], bool],
    steps: Callable[..., Coroutine[Any, Any, None]],
) -> tuple[FakeProber, FakeRecorder]:
    prober, recorder = FakeProber(verdict), FakeRecorder()

    async def run() -> None:
        clock = VirtualClock()
        found = ran(main)
        found.status.started_at = int(clock.now().timestamp() * 1e9)
        changes: list[str] = []
        manager = ProbeManager(
            prober, recorder, clock=clock, on_change=changes.append, pod_ip=lambda pod: "10.1.0.2"
        )  # type: ignore[arg-type]
        manager.update(pod(main), record(found))
        await steps(manager, clock, found)
        await manager.close()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())
    return prober, recorder


def test_a_container_is_ready_soon_after_its_server_is() -> None:
    main = container(readinessProbe=probe("ready"))

    async def steps(manager: ProbeManager, clock: VirtualClock, found: ContainerRecord) -> None:
        assert not manager.ready(main, found.id)
        await clock.sleep(0.9)
        assert manager.ready(main, found.id)

    _, recorder = scenario(main, lambda name, now: now > 0.3, steps)
    # The looks before the first period is over are no failures that anyone needs to hear of.
    assert recorder.events == []


def test_the_initial_delay_is_kept() -> None:
    main = container(readinessProbe=probe("ready", initialDelaySeconds=5))

    async def steps(manager: ProbeManager, clock: VirtualClock, found: ContainerRecord) -> None:
        await clock.sleep(4.9)
        assert not manager.ready(main, found.id)
        await clock.sleep(0.2)
        assert manager.ready(main, found.id)

    prober, _ = scenario(main, lambda name, now: True, steps)
    assert prober.calls[0][1] >= 5


def test_readiness_is_lost_after_as_many_failures_as_allowed_and_comes_back() -> None:
    main = container(readinessProbe=probe("ready", periodSeconds=1, failureThreshold=3, successThreshold=2))

    async def steps(manager: ProbeManager, clock: VirtualClock, found: ContainerRecord) -> None:
        await clock.sleep(9)
        assert manager.ready(main, found.id)
        await clock.sleep(3)
        assert manager.ready(main, found.id)
        await clock.sleep(2)
        assert not manager.ready(main, found.id)
        await clock.sleep(9)
        assert manager.ready(main, found.id)

    _, recorder = scenario(main, lambda name, now: not 10 <= now < 20, steps)
    assert ("Unhealthy", "Readiness probe failed: no") in recorder.events


def test_a_dead_container_is_to_be_restarted_after_the_threshold() -> None:
    main = container(livenessProbe=probe("live", periodSeconds=1, failureThreshold=3))

    async def steps(manager: ProbeManager, clock: VirtualClock, found: ContainerRecord) -> None:
        await clock.sleep(6.5)
        assert manager.failed(found.id) == ""
        await clock.sleep(2)
        assert manager.failed(found.id) == "liveness"

    _, recorder = scenario(main, lambda name, now: now < 5, steps)
    assert recorder.events == [("Unhealthy", "Liveness probe failed: no")] * 3


def test_other_probes_wait_until_the_container_has_started_up() -> None:
    main = container(
        startupProbe=probe("start", periodSeconds=1, failureThreshold=30),
        livenessProbe=probe("live", periodSeconds=1),
        readinessProbe=probe("ready", periodSeconds=1),
    )

    async def steps(manager: ProbeManager, clock: VirtualClock, found: ContainerRecord) -> None:
        await clock.sleep(8)
        assert not manager.started(main, found.id)
        await clock.sleep(3)
        assert manager.started(main, found.id) and manager.ready(main, found.id)

    prober, _ = scenario(main, lambda name, now: now >= 9, steps)
    assert min(now for name, now in prober.calls if name != "start") >= 9
    assert max(now for name, now in prober.calls if name == "start") < 11


def test_a_container_that_never_starts_up_is_to_be_restarted() -> None:
    main = container(startupProbe=probe("start", periodSeconds=1, failureThreshold=3))

    async def steps(manager: ProbeManager, clock: VirtualClock, found: ContainerRecord) -> None:
        await clock.sleep(6)
        assert manager.failed(found.id) == "startup"

    scenario(main, lambda name, now: False, steps)


def test_nothing_is_probed_once_the_container_is_gone() -> None:
    main = container(livenessProbe=probe("live", periodSeconds=1))

    async def steps(manager: ProbeManager, clock: VirtualClock, found: ContainerRecord) -> None:
        await clock.sleep(2.5)
        manager.update(pod(main), record())
        await clock.sleep(10)

    prober, _ = scenario(main, lambda name, now: True, steps)
    assert max(now for _, now in prober.calls) < 3
