"""Ending containers and pods: hooks first, then the signal, then, when grace is over, the hard end.

Upstream counterpart: ``killContainer``, ``killPodWithSyncResult`` in ``kuberuntime``; unlike it, a pod that
serves is given ``drain_s`` before its signal, so that a rollout loses no request. Neighbours:
``pod_sync`` (one container of a pod that goes on), ``pod_workers`` (a whole pod).

Invariants: a container has at least ``MINIMUM_GRACE_S`` after its signal unless grace is zero; sidecars
outlive the containers they serve and end in reverse order, within the pod's grace.
"""

from __future__ import annotations

import asyncio
from typing import Any

from knarr.api import conditions
from knarr.api.core import v1 as core
from knarr.client.events import NORMAL, WARNING, EventRecorder
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.kubelet.hooks import HookFailed, HookRunner
from knarr.kubelet.pod_cache import ContainerRecord, PodRecord
from knarr.kubelet.pods import all_containers, is_sidecar, pod_ref
from knarr.kubelet.runtime import contract as c

__all__ = ["MINIMUM_GRACE_S", "PodKiller", "field_path", "serves"]

log = get_logger("kubelet")

MINIMUM_GRACE_S = 2


class PodKiller:
    def __init__(
        self,
        runtime: c.Runtime,
        hooks: HookRunner,
        recorder: EventRecorder,
        *,
        clock: Clock,
        drain_s: float = 0.0,
    ) -> None:
        self._runtime = runtime
        self._hooks = hooks
        self._recorder = recorder
        self._clock = clock
        self._drain_s = drain_s

    async def kill_container(
        self,
        pod: core.Pod | None,
        record: ContainerRecord,
        *,
        grace_s: int,
        message: str = "",
        pod_ip: str = "",
    ) -> None:
        """Returns when it has ended. Raises ``RuntimeServiceError``."""
        container = _spec_of(pod, record.name)
        left_s = grace_s
        if pod is not None and container is not None and record.running:
            text = message or f"Stopping container {record.name}"
            self._recorder.event(pod, NORMAL, "Killing", text, field_path=field_path(pod, container))
            pre_stop = container.lifecycle.preStop if container.lifecycle is not None else None
            if pre_stop is not None and grace_s > 0:
                took_s = await self._pre_stop(pod, container, record, pre_stop, grace_s, pod_ip)
                left_s = max(grace_s - int(took_s), 0)
        if grace_s > 0:
            left_s = max(left_s, MINIMUM_GRACE_S)
        await self._runtime.stop_container(record.id, timeout_s=left_s)

    async def _pre_stop(
        self,
        pod: core.Pod,
        container: Any,
        record: ContainerRecord,
        handler: core.LifecycleHandler,
        grace_s: int,
        pod_ip: str,
    ) -> float:
        """Run the hook within the grace; returns the seconds it took."""
        started_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(grace_s):
                await self._hooks.run(pod, container, record.id, handler=handler, pod_ip=pod_ip)
        except TimeoutError:
            log.info("preStop hook did not end in time", pod=pod_ref(pod), container=container.name)
        except HookFailed as error:
            log.info("preStop hook failed", pod=pod_ref(pod), container=container.name, error=error)
            self._recorder.event(
                pod, WARNING, "FailedPreStopHook", "PreStopHook failed", field_path=field_path(pod, container)
            )
        return self._clock.monotonic_s() - started_s

    async def kill_pod(self, pod: core.Pod | None, record: PodRecord, *, grace_s: int) -> None:
        """End everything of a pod. Raises ``RuntimeServiceError`` when something could not be ended."""
        pod_ip = record.ips[0] if record.ips else ""
        sidecars = [each.name for each in pod.spec.initContainers if is_sidecar(each)] if pod else []
        running = [each for each in record.containers if not each.exited]
        started_s = self._clock.monotonic_s()
        if running and pod is not None and grace_s > MINIMUM_GRACE_S and serves(pod):
            # Every proxy hears of the deletion when this kubelet does; the signal should come after they
            # acted.
            await self._clock.sleep(self._drain_s)
        await self._kill_all(
            pod, [each for each in running if each.name not in sidecars], grace_s=grace_s, pod_ip=pod_ip
        )
        for name in reversed(sidecars):
            left_s = max(grace_s - int(self._clock.monotonic_s() - started_s), 0)
            group = [each for each in running if each.name == name]
            await self._kill_all(pod, group, grace_s=left_s, pod_ip=pod_ip)
        for sandbox in record.sandboxes:
            if sandbox.state == c.SANDBOX_READY:
                await self._runtime.stop_pod_sandbox(sandbox.id)

    async def _kill_all(
        self, pod: core.Pod | None, records: list[ContainerRecord], *, grace_s: int, pod_ip: str
    ) -> None:
        results = await asyncio.gather(
            *(self.kill_container(pod, each, grace_s=grace_s, pod_ip=pod_ip) for each in records),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result


def _spec_of(pod: core.Pod | None, name: str) -> Any:
    if pod is None:
        return None
    return next((each for each in all_containers(pod) if each.name == name), None)


def serves(pod: core.Pod) -> bool:
    """Whether a deleted pod may still be sent requests: it was ready, its readiness was asked for, and no
    preStop hook gives the proxies time already.
    """
    if pod.metadata.deletionTimestamp is None or not conditions.is_true(pod.status.conditions, "Ready"):
        return False
    containers = list(all_containers(pod))
    hooked = any(each.lifecycle is not None and each.lifecycle.preStop is not None for each in containers)
    return not hooked and any(each.readinessProbe is not None for each in containers)


def field_path(pod: core.Pod, container: Any) -> str:
    """``spec.containers{web}``: where an event's container stands."""
    for group in ("containers", "initContainers", "ephemeralContainers"):
        if any(each.name == container.name for each in getattr(pod.spec, group)):
            return f"spec.{group}{{{container.name}}}"
    return ""
