"""Probing every container that wants it, and remembering what came out.

One task a probe, for as long as its container runs; the first probe comes as soon as the container has
started and its initial delay is over. Differs from upstream on purpose: while a container has never been
ready (or never started up), a failed probe is repeated after a fraction of a second instead of a whole
period, without counting and without an event, until one period has passed. A server that needs 300 ms to
come up is then ready after 0.4 s, not after ten.

Upstream counterpart: ``pkg/kubelet/prober/{prober_manager,worker}.go``. Neighbours: ``prober`` (one probe),
``pod_actions`` and ``pod_status`` read the results.

Invariants: results belong to a container id, so a restarted container starts anew; without a probe a
container is started, ready and alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from knarr.api.core import v1 as core
from knarr.client.events import WARNING, EventRecorder
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.kit.tasks import TaskSet
from knarr.kubelet.pod_cache import ContainerRecord, PodRecord
from knarr.kubelet.pods import full_name, long_running_containers
from knarr.kubelet.probes.prober import Prober

__all__ = ["ProbeManager"]

log = get_logger("probes")

LIVENESS, READINESS, STARTUP = "liveness", "readiness", "startup"
#: Repeats of a probe that has never succeeded, within its first period.
FIRST_REPEAT_S, REPEAT_FACTOR = 0.1, 1.5
OUTPUT_IN_EVENT = 1024


@dataclass(slots=True)
class _Results:
    """What is known of one container. ``failed`` names the probe for which it must be restarted."""

    started: bool
    ready: bool
    failed: str = ""


class ProbeManager:
    """``on_change`` is called with a pod's uid when a result changes what the kubelet does or says;
    ``pod_ip`` tells where a pod is reached now.
    """

    def __init__(
        self,
        prober: Prober,
        recorder: EventRecorder,
        *,
        clock: Clock,
        on_change: Callable[[str], None],
        pod_ip: Callable[[core.Pod], str],
    ) -> None:
        self._prober = prober
        self._recorder = recorder
        self._clock = clock
        self._on_change = on_change
        self._pod_ip = pod_ip
        self._results: dict[str, _Results] = {}
        self._startup_done: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._pods: dict[str, set[str]] = {}
        self._set = TaskSet(log)

    def update(self, pod: core.Pod, record: PodRecord) -> None:
        """Probe what runs now, stop probing what no longer does."""
        wanted: dict[str, tuple[Any, ContainerRecord]] = {}
        for container in long_running_containers(pod):
            found = record.active(container.name)
            if found is not None and found.running and _has_probe(container):
                wanted[found.id] = (container, found)
        known = self._pods.setdefault(pod.metadata.uid, set())
        for gone in known - wanted.keys():
            self._stop(gone)
            known.discard(gone)
        for container_id, (container, found) in wanted.items():
            if container_id not in known:
                known.add(container_id)
                self._start(pod, container, found)

    def forget(self, uid: str) -> None:
        for container_id in self._pods.pop(uid, set()):
            self._stop(container_id)

    async def close(self) -> None:
        await self._set.close()

    def stop_readiness(self, uid: str) -> None:
        """A pod that is being deleted is told apart by its endpoints, not by its probes: those stop."""
        for container_id in self._pods.get(uid, ()):
            for task in self._tasks.pop(container_id, ()):
                task.cancel()

    def failed(self, container_id: str) -> str:
        results = self._results.get(container_id)
        return results.failed if results is not None else ""

    def started(self, container: core.Container, container_id: str) -> bool:
        if container.startupProbe is None:
            return True
        results = self._results.get(container_id)
        return results is not None and results.started

    def ready(self, container: core.Container, container_id: str) -> bool:
        if container.readinessProbe is None:
            return True
        results = self._results.get(container_id)
        return results is not None and results.ready

    def _start(self, pod: core.Pod, container: Any, found: ContainerRecord) -> None:
        self._results[found.id] = _Results(
            started=container.startupProbe is None, ready=container.readinessProbe is None
        )
        done = self._startup_done[found.id] = asyncio.Event()
        if container.startupProbe is None:
            done.set()
        probes = (
            (STARTUP, container.startupProbe),
            (READINESS, container.readinessProbe),
            (LIVENESS, container.livenessProbe),
        )
        self._tasks[found.id] = [
            self._set.spawn(
                self._worker(pod, container, found, kind, probe), name=f"probe-{kind}-{found.name}"
            )
            for kind, probe in probes
            if probe is not None
        ]

    def _stop(self, container_id: str) -> None:
        for task in self._tasks.pop(container_id, ()):
            task.cancel()
        self._results.pop(container_id, None)
        self._startup_done.pop(container_id, None)

    async def _worker(
        self, pod: core.Pod, container: Any, found: ContainerRecord, kind: str, probe: core.Probe
    ) -> None:
        since_start_s = self._clock.now().timestamp() - found.status.started_at / 1e9
        await self._clock.sleep(max(probe.initialDelaySeconds - since_start_s, 0.0))
        if kind != STARTUP:
            await self._startup_done[found.id].wait()
        period_s = float(probe.periodSeconds or 10)
        successes = failures = 0
        ever_succeeded = kind == LIVENESS
        quick_until_s = self._clock.monotonic_s() + period_s
        repeat_s = FIRST_REPEAT_S
        while True:
            succeeded, output = await self._prober.run(probe, container, found.id, pod_ip=self._pod_ip(pod))
            now_s = self._clock.monotonic_s()
            if not succeeded and not ever_succeeded and now_s + repeat_s < quick_until_s:
                await self._clock.sleep(repeat_s)
                repeat_s *= REPEAT_FACTOR
                continue
            if succeeded:
                ever_succeeded, successes, failures = True, successes + 1, 0
                if successes >= (probe.successThreshold or 1):
                    self._passed(pod, found, kind)
                    if kind == STARTUP:
                        return
            else:
                failures, successes = failures + 1, 0
                self._unhealthy(pod, container, kind, output)
                if failures >= (probe.failureThreshold or 3) and self._did_not_pass(pod, found, kind):
                    return
            await self._clock.sleep(period_s)

    def _passed(self, pod: core.Pod, found: ContainerRecord, kind: str) -> None:
        results = self._results[found.id]
        if kind == STARTUP:
            results.started = True
            self._startup_done[found.id].set()
            self._on_change(pod.metadata.uid)
        elif kind == READINESS and not results.ready:
            results.ready = True
            self._on_change(pod.metadata.uid)

    def _did_not_pass(self, pod: core.Pod, found: ContainerRecord, kind: str) -> bool:
        """True when the container is to be restarted, so that probing it has no use any more."""
        results = self._results[found.id]
        if kind == READINESS:
            if results.ready:
                results.ready = False
                self._on_change(pod.metadata.uid)
            return False
        results.failed = kind
        self._on_change(pod.metadata.uid)
        return True

    def _unhealthy(self, pod: core.Pod, container: Any, kind: str, output: str) -> None:
        text = f"{kind.capitalize()} probe failed: {output[:OUTPUT_IN_EVENT]}"
        group = "initContainers" if container in pod.spec.initContainers else "containers"
        self._recorder.event(pod, WARNING, "Unhealthy", text, field_path=f"spec.{group}{{{container.name}}}")
        log.debug("probe failed", pod=full_name(pod), container=container.name, probe=kind)


def _has_probe(container: Any) -> bool:
    return any((container.startupProbe, container.readinessProbe, container.livenessProbe))
