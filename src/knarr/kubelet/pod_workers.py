"""One worker a pod: what happens to a pod happens in one task, one thing after another.

A worker goes through three states: *sync* (make it run, keep it running), *terminating* (end everything),
*terminated* (clean up, let the API's object go). It never goes back. It is woken by the API, by the
runtime, by probes, and by its own timer.

Upstream counterpart: ``pkg/kubelet/pod_workers.go`` and
``SyncPod``/``SyncTerminatingPod``/``SyncTerminatedPod`` in ``kubelet.go``. Neighbours: ``pod_actions``
decides, ``pod_sync`` and ``pod_killer`` do, ``status_manager`` tells.

Invariants: at most ``MAX_ROUNDS`` rounds follow one another without a pause; a terminated pod's volumes
and cgroup are gone before its object is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from knarr.api.core import v1 as core
from knarr.client.events import WARNING, EventRecorder
from knarr.kit.backoff import Backoff
from knarr.kit.clock import Clock, rfc3339
from knarr.kit.log import get_logger
from knarr.kit.tasks import TaskSet
from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.container_start import PodState, Stopped
from knarr.kubelet.pod_actions import compute_pod_actions
from knarr.kubelet.pod_cache import PodCache, PodRecord
from knarr.kubelet.pod_host import PodHost
from knarr.kubelet.pod_killer import PodKiller
from knarr.kubelet.pod_status import ReadinessView, StatusInput, generate_status, terminated_status
from knarr.kubelet.pod_sync import PodSync
from knarr.kubelet.pods import find_condition, grace_period_s, is_terminal, moment, pod_ref
from knarr.kubelet.probes.manager import ProbeManager
from knarr.kubelet.runtime import contract as c
from knarr.kubelet.status_manager import StatusManager
from knarr.kubelet.volumes.attachments import VolumeAttachments
from knarr.kubelet.volumes.manager import VolumeError

__all__ = ["PodWorkers", "Rejection", "WorkerTools"]

log = get_logger("kubelet")

SYNC, TERMINATING, TERMINATED = "sync", "terminating", "terminated"
MAX_ROUNDS = 20
RETRY_BASE_S, RETRY_MAX_S = 0.2, 10.0


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a pod must not run here, or must not run on: its final status."""

    reason: str
    message: str


class Admit(Protocol):
    def __call__(self, pod: core.Pod) -> Rejection | None: ...


@dataclass(frozen=True, slots=True)
class WorkerTools:
    """What all workers share."""

    cache: PodCache
    sync: PodSync
    killer: PodKiller
    host: PodHost
    attachments: VolumeAttachments
    probes: ProbeManager
    statuses: StatusManager
    recorder: EventRecorder
    runtime: c.Runtime
    config: KubeletConfig
    clock: Clock
    host_ips: tuple[str, ...]
    runtime_name: Callable[[], str]
    admit: Admit
    log_directory: Callable[[core.Pod], str]


class _Worker:
    """The life of one pod on this node. ``pod`` is None for what only the runtime knows of."""

    def __init__(self, uid: str, pod: core.Pod | None, tools: WorkerTools) -> None:
        self.uid = uid
        self.pod = pod
        self.phase = SYNC if pod is not None else TERMINATING
        self.gone_from_api = pod is None
        self.rejection: Rejection | None = None
        self._tools = tools
        self._state = PodState(progress=self._progress)
        self._wake = asyncio.Event()
        self._wake.set()
        self._grace_s: int | None = None
        self._resync_s = self._refresh_s = tools.clock.monotonic_s()
        self._told: object = None
        self._retry = Backoff(RETRY_BASE_S, RETRY_MAX_S)
        self._admitted = False

    # Events: called by the kubelet, never blocking.

    def update(self, pod: core.Pod) -> None:
        old, self.pod = self.pod, pod
        if pod.metadata.deletionTimestamp or is_terminal(pod):
            self._state.stop.set()
        # This kubelet's own status writes come back as changes; they are no reason to do anything.
        if old is None or _wish(old) != _wish(pod):
            self._wake.set()

    def removed(self) -> None:
        self.gone_from_api = True
        self._state.stop.set()
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    def evict(self, rejection: Rejection, *, grace_s: int | None = None) -> None:
        """End the pod with a status of its own, as for a deadline or for pressure on the node."""
        if self.rejection is None and self.phase == SYNC:
            self.rejection, self._grace_s = rejection, grace_s
            self._state.stop.set()
            self._wake.set()

    # The life.

    async def run(self) -> None:
        while self.phase == SYNC:
            await self._rest()
            try:
                await self._sync()
                self._retry.reset()
            except (c.RuntimeServiceError, OSError) as error:
                log.warning("pod not synced", uid=self.uid, error=error)
                self._state.retry_in(self._retry.next_s())
        while self.phase == TERMINATING:
            try:
                await self._terminate()
                self.phase = TERMINATED
            except (c.RuntimeServiceError, OSError) as error:
                log.warning("pod not terminated yet", uid=self.uid, error=error)
                await self._tools.clock.sleep(self._retry.next_s())
        await self._clean_up()
        while not self.gone_from_api:
            # Its object is left, for whoever wants to read logs; only its deletion is waited for.
            await self._wake.wait()
            self._wake.clear()
            if self.pod is not None and not self.gone_from_api:
                self._publish(self._tools.cache.get(self.uid), finished=True)
                self._tools.statuses.finish(self.pod)
        await self._remove_remains()

    async def _rest(self) -> None:
        """Until there is something to do."""
        now_s = self._tools.clock.monotonic_s()
        due_s = min(self._resync_s, self._refresh_s) - now_s
        if self._state.retry_s is not None:
            due_s = min(due_s, self._state.retry_s)
        deadline_s = self._deadline_in_s()
        if deadline_s is not None:
            due_s = min(due_s, deadline_s)
        if not self._wake.is_set() and due_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(due_s):
                    await self._wake.wait()
        self._wake.clear()
        self._state.retry_s = None

    def _deadline_in_s(self) -> float | None:
        assert self.pod is not None
        limit_s = self.pod.spec.activeDeadlineSeconds
        status = self._tools.statuses.get(self.uid) or self.pod.status
        started = moment(status.startTime)
        if limit_s is None or started is None:
            return None
        return limit_s - (self._tools.clock.now() - started).total_seconds()

    async def _sync(self) -> None:
        assert self.pod is not None
        if self._must_end():
            self.phase = TERMINATING
            return
        if not self._admitted:
            self.rejection = (
                self._tools.admit(self.pod) if not self._tools.cache.get(self.uid).running else None
            )
            if self.rejection is not None:
                self._tools.recorder.event(self.pod, WARNING, self.rejection.reason, self.rejection.message)
                self.phase = TERMINATING
                return
            self._admitted = True
        if self._tools.clock.monotonic_s() >= self._resync_s:
            self._resync_s = self._tools.clock.monotonic_s() + self._tools.config.sync_frequency_s
        await self._refresh_volumes_if_due()
        for _ in range(MAX_ROUNDS):
            if not await self._round():
                return
        self._wake.set()

    def _must_end(self) -> bool:
        assert self.pod is not None
        deadline_s = self._deadline_in_s()
        if deadline_s is not None and deadline_s <= 0 and self.rejection is None:
            text = "Pod was active on the node longer than the specified deadline"
            self._tools.recorder.event(self.pod, WARNING, "DeadlineExceeded", text)
            self.rejection = Rejection("DeadlineExceeded", text)
        return bool(
            self.gone_from_api
            or self.pod.metadata.deletionTimestamp
            or self.rejection is not None
            or is_terminal(self.pod)
        )

    async def _round(self) -> bool:
        """Look, tell, decide, act; True when the next round should follow at once."""
        assert self.pod is not None
        tools, pod = self._tools, self.pod
        record = tools.cache.get(self.uid)
        tools.probes.update(pod, record)
        status = self._publish(record)
        if status.phase in ("Succeeded", "Failed"):
            self.phase = TERMINATING
            return False
        await tools.sync.resize(pod, record, self._state)
        actions = compute_pod_actions(pod, record, tools.probes)
        if actions.nothing:
            await tools.sync.keep_volumes(pod)
            return False
        before = record.fingerprint()
        try:
            await tools.sync.sync(pod, record, actions, state=self._state)
        except Stopped:
            self.phase = TERMINATING
        finally:
            record = await tools.cache.refresh(self.uid)
        tools.probes.update(pod, record)
        self._publish(record)
        return self.phase == SYNC and record.fingerprint() != before and not self._must_end()

    async def _progress(self) -> None:
        """Within a round that takes long: tell what there is by now."""
        record = await self._tools.cache.refresh(self.uid)
        if self.pod is not None:
            self._publish(record)

    def _publish(self, record: PodRecord, *, finished: bool = False) -> core.PodStatus:
        assert self.pod is not None
        tools = self._tools
        status = generate_status(
            self.pod,
            record,
            StatusInput(
                now=tools.clock.now(),
                host_ips=tools.host_ips,
                probes=ReadinessView(tools.probes.started, tools.probes.ready),
                runtime_name=tools.runtime_name(),
                errors=self._state.errors,
                previous=tools.statuses.get(self.uid),
                finished=finished,
            ),
        )
        if finished:
            status = terminated_status(status)
            if self.rejection is not None:
                status.phase, status.reason = "Failed", self.rejection.reason
                status.message = self.rejection.message
                if self.rejection.reason == "Evicted" and not find_condition(status, "DisruptionTarget"):
                    status.conditions.append(_disruption(status.message, tools.clock.now(), self.pod))
        tools.statuses.set(self.pod, status)
        return status

    async def _refresh_volumes_if_due(self) -> None:
        """On the kubelet's own period, and at once when labels or annotations changed: pods read those as
        files.
        """
        assert self.pod is not None
        now_s, told = (
            self._tools.clock.monotonic_s(),
            (self.pod.metadata.labels, self.pod.metadata.annotations),
        )
        if now_s < self._refresh_s and told == self._told:
            return
        first, self._told = self._told is None, told
        self._refresh_s = now_s + self._tools.config.volume_refresh_s
        record = self._tools.cache.get(self.uid)
        if first or not record.running:
            return
        max_age_s = self._tools.config.volume_refresh_s / 2
        try:
            await self._tools.sync.refresh_volumes(self.pod, record, max_age_s=max_age_s)
        except VolumeError as error:
            self._tools.recorder.event(self.pod, WARNING, "FailedMount", str(error))

    async def _terminate(self) -> None:
        """End everything; a shorter grace that arrives meanwhile counts."""
        tools = self._tools
        tools.probes.stop_readiness(self.uid)
        record = await tools.cache.refresh(self.uid)
        if self.pod is not None:
            self._publish(record)
        kill = asyncio.ensure_future(tools.killer.kill_pod(self.pod, record, grace_s=self._grace()))
        used_s = self._grace()
        hurried: list[asyncio.Future[None]] = []
        try:
            while not kill.done():
                self._wake.clear()
                woken = asyncio.ensure_future(self._wake.wait())
                await asyncio.wait({kill, woken}, return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
                if not kill.done() and self._grace() < used_s:
                    used_s = self._grace()
                    hurried.append(
                        asyncio.ensure_future(tools.killer.kill_pod(self.pod, record, grace_s=used_s))
                    )
            await kill
        finally:
            for task in (kill, *hurried):
                if not task.done():
                    task.cancel()
            await asyncio.gather(*hurried, return_exceptions=True)
        record = await tools.cache.refresh(self.uid)
        if record.running:
            raise c.RuntimeServiceError("containers are still running")
        tools.probes.forget(self.uid)
        if self.pod is not None:
            self._publish(record, finished=True)

    def _grace(self) -> int:
        if self._grace_s is not None:
            return self._grace_s
        if self.pod is None:
            return 1
        # Upstream's kubelet gives a signal even where the API's grace is zero.
        return max(grace_period_s(self.pod), 1)

    async def _clean_up(self) -> None:
        """Volumes and cgroup; until they are gone the pod's object stays."""
        while True:
            try:
                cgroup = self._tools.host.cgroup_parent(self.pod) if self.pod is not None else ""
                await self._tools.host.cleanup(self.uid, cgroup)
                self._tools.attachments.released(self.uid)
                break
            except OSError as error:
                log.warning("pod not cleaned up yet", uid=self.uid, error=error)
                await self._tools.clock.sleep(self._retry.next_s())
        if self.pod is not None:
            self._tools.statuses.finish(self.pod)

    async def _remove_remains(self) -> None:
        """Dead containers and logs, once nobody can ask for them any more."""
        tools = self._tools
        for sandbox in tools.cache.get(self.uid).sandboxes:
            with contextlib.suppress(c.RuntimeServiceError):
                await tools.runtime.remove_pod_sandbox(sandbox.id)
        with contextlib.suppress(c.RuntimeServiceError):
            await tools.cache.refresh(self.uid)
        if self.pod is not None:
            tools.host.remove_logs(tools.log_directory(self.pod))
            log.info("pod removed", pod=pod_ref(self.pod))
        tools.statuses.forget(self.uid)


def _disruption(message: str, now: datetime, pod: core.Pod) -> core.PodCondition:
    """Tells a Job that the pod did not fail by its own doing."""
    return core.PodCondition(
        type="DisruptionTarget",
        status="True",
        reason="TerminationByKubelet",
        message=message,
        lastTransitionTime=rfc3339(now),
        observedGeneration=pod.metadata.generation,
    )


def _wish(pod: core.Pod) -> tuple[object, ...]:
    """What of a pod's object can ask something of the kubelet."""
    meta, gates = pod.metadata, {gate.conditionType for gate in pod.spec.readinessGates}
    others = [(each.type, each.status) for each in pod.status.conditions if each.type in gates]
    terminal = is_terminal(pod)
    deletion = (meta.deletionTimestamp, meta.deletionGracePeriodSeconds)
    return (meta.generation, deletion, meta.labels, meta.annotations, terminal, others, pod.spec)


class PodWorkers:
    """All workers of a node, by uid."""

    def __init__(self, tools: WorkerTools) -> None:
        self._tools = tools
        self._workers: dict[str, _Worker] = {}
        self._tasks = TaskSet(log)

    def __len__(self) -> int:
        return len(self._workers)

    def pods(self) -> list[core.Pod]:
        """The pods that may still use the node's resources, in no particular order."""
        active = (worker for worker in self._workers.values() if worker.phase != TERMINATED)
        return [worker.pod for worker in active if worker.pod is not None]

    def all_pods(self) -> list[core.Pod]:
        """Every pod the API has on this node, ended ones included."""
        return [worker.pod for worker in self._workers.values() if worker.pod is not None]

    def pod(self, uid: str) -> core.Pod | None:
        worker = self._workers.get(uid)
        return worker.pod if worker is not None and not worker.gone_from_api else None

    def knows(self, uid: str) -> bool:
        return uid in self._workers

    def update(self, pod: core.Pod) -> None:
        """The API has (a new version of) this pod for this node."""
        uid = pod.metadata.uid
        worker = self._workers.get(uid)
        if worker is None:
            worker = self._start(uid, pod)
        worker.update(pod)

    def removed(self, pod: core.Pod) -> None:
        """The API no longer has this pod."""
        worker = self._workers.get(pod.metadata.uid)
        if worker is not None:
            worker.removed()

    def wake(self, uid: str) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.wake()

    def evict(self, uid: str, rejection: Rejection, *, grace_s: int | None = None) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.evict(rejection, grace_s=grace_s)

    def kill_orphan(self, uid: str) -> None:
        """The runtime has this pod and nobody else knows of it."""
        if uid not in self._workers:
            log.info("ending pod that the API does not have", uid=uid)
            self._start(uid, None)

    def _start(self, uid: str, pod: core.Pod | None) -> _Worker:
        worker = self._workers[uid] = _Worker(uid, pod, self._tools)
        task = self._tasks.spawn(worker.run(), name=f"pod-{uid}")
        task.add_done_callback(lambda _: self._workers.pop(uid, None))
        return worker

    async def close(self) -> None:
        await self._tasks.close()
