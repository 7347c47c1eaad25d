"""Carrying out what ``pod_actions`` decided: volumes, sandbox, containers, one round at a time.

Failures don't stop a round: each container's failure is noted with upstream's reason (CrashLoopBackOff,
ErrImagePull, CreateContainerConfigError …), shown in the pod's status, and tried again when its back-off
is over.

Upstream counterpart: ``SyncPod`` and ``startContainer`` in ``kuberuntime``. Neighbours: ``pod_workers``
calls ``sync`` round after round; ``container_config`` makes the messages; ``images``, ``hooks``,
``pod_killer``, ``pod_host`` do the parts.

Invariants: one call a pod at a time; a call that is told to stop (``PodState.stop``) ends at the next
place where it only waits, never between making a thing and noting it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.client.events import NORMAL, WARNING, EventRecorder
from knarr.client.transport import TransportError
from knarr.kit.backoff import Backoff
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.container_config import NodeFacts, container_config, sandbox_config
from knarr.kubelet.container_status import StartError
from knarr.kubelet.dns import HostnameError, parse_resolv_conf, pod_dns, pod_hostname
from knarr.kubelet.env import EnvironmentFault, Sources, make_environment, references
from knarr.kubelet.fields import PodFacts
from knarr.kubelet.hooks import HookFailed, HookRunner
from knarr.kubelet.images import ContainerImage, ImageError, ImageManager
from knarr.kubelet.objects import ObjectSource
from knarr.kubelet.pod_actions import PodActions
from knarr.kubelet.pod_cache import PodRecord
from knarr.kubelet.pod_host import PodHost
from knarr.kubelet.pod_killer import PodKiller, field_path
from knarr.kubelet.pods import full_name, grace_period_s, pod_ref
from knarr.kubelet.runtime import contract as c
from knarr.kubelet.security import RunAsNonRootError, verify_non_root
from knarr.kubelet.volumes.manager import MountedVolume, VolumeError
from knarr.kubelet.volumes.payload import PayloadError

__all__ = ["PodState", "PodSync", "Stopped"]

log = get_logger("kubelet")

T = TypeVar("T")

RESTART_BASE_S = 10.0
VOLUME_RETRY_BASE_S, VOLUME_RETRY_MAX_S = 0.5, 122.0
#: A wait longer than this has the pod's status told meanwhile.
PROGRESS_AFTER_S = 0.3
SANDBOX_RETRY_BASE_S, SANDBOX_RETRY_MAX_S = 0.5, 10.0


class Stopped(Exception):
    """The pod is to end: the round was broken off where it waited."""


@dataclass(slots=True)
class _Restarts:
    backoff: Backoff
    delay_s: float
    last_s: float


@dataclass(slots=True)
class PodState:
    """What a worker remembers of its pod between rounds."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    errors: dict[str, StartError] = field(default_factory=dict)
    volumes: Mapping[str, MountedVolume] | None = None
    restarts: dict[str, _Restarts] = field(default_factory=dict)
    volume_retry: Backoff = field(default_factory=lambda: Backoff(VOLUME_RETRY_BASE_S, VOLUME_RETRY_MAX_S))
    sandbox_retry: Backoff = field(default_factory=lambda: Backoff(SANDBOX_RETRY_BASE_S, SANDBOX_RETRY_MAX_S))
    #: Called when a round waits long for something: what has been reached so far is worth telling.
    progress: Callable[[], Awaitable[object]] | None = None
    #: When to try again at the latest; None when nothing is due.
    retry_s: float | None = None

    def retry_in(self, delay_s: float) -> None:
        self.retry_s = delay_s if self.retry_s is None else min(self.retry_s, delay_s)


class _StartFailed(Exception):
    def __init__(self, reason: str, message: str, *, retry_s: float, event: bool = True) -> None:
        super().__init__(message)
        self.reason, self.message, self.retry_s, self.event = reason, message, retry_s, event


class PodSync:
    """Stateless but for its tools; what belongs to a pod is in its ``PodState``."""

    def __init__(
        self,
        *,
        runtime: c.Runtime,
        host: PodHost,
        objects: ObjectSource,
        images: ImageManager,
        hooks: HookRunner,
        killer: PodKiller,
        recorder: EventRecorder,
        services: Callable[[], Iterable[core.Service]],
        config: KubeletConfig,
        node: NodeFacts,
        host_ips: tuple[str, ...],
        allocatable: Callable[[], dict[str, str]],
        clock: Clock,
    ) -> None:
        self._runtime = runtime
        self._host = host
        self._objects = objects
        self._images = images
        self._hooks = hooks
        self._killer = killer
        self._recorder = recorder
        self._services = services
        self._config = config
        self._node = node
        self._host_ips = host_ips
        self._allocatable = allocatable
        self._clock = clock

    async def sync(self, pod: core.Pod, record: PodRecord, actions: PodActions, *, state: PodState) -> None:
        """One round. What failed is in ``state``; raises ``Stopped`` when the pod is to end."""
        state.retry_s = None
        try:
            await self._kill(pod, record, actions)
            if not (actions.create_sandbox or actions.start or actions.start_ephemeral):
                return
            if state.volumes is None:
                state.volumes = await self._prepare(pod, state)
            sandbox_id = actions.sandbox_id
            ips = list(self._host_ips) if pod.spec.hostNetwork else record.ips
            config = self._sandbox_config(pod, actions.attempt)
            if actions.create_sandbox:
                sandbox_id, ips = await self._create_sandbox(pod, config, state)
        except (_StartFailed, VolumeError) as failure:
            log.debug("pod not started yet", pod=pod_ref(pod), error=failure)
            return
        for container in (*actions.start_ephemeral, *actions.start):
            await self._start(pod, container, record, state=state, sandbox=(sandbox_id, config), ips=ips)

    async def refresh_volumes(self, pod: core.Pod, record: PodRecord) -> None:
        """Bring configuration, secrets and tokens up to date. Raises ``VolumeError``."""
        await self._host.refresh(pod, self._facts(pod, record.ips))

    def _facts(self, pod: core.Pod, ips: list[str]) -> PodFacts:
        own = self._host_ips if pod.spec.hostNetwork else tuple(ips)
        return PodFacts(own, self._host_ips, tuple(self._allocatable().items()))

    async def _kill(self, pod: core.Pod, record: PodRecord, actions: PodActions) -> None:
        if actions.kill_pod:
            if actions.create_sandbox and record.sandboxes:
                text = "Pod sandbox changed, it will be killed and re-created."
                self._recorder.event(pod, NORMAL, "SandboxChanged", text)
            if record.running:
                await self._killer.kill_pod(pod, record, grace_s=grace_period_s(pod))
            return
        for kill in actions.kill:
            grace_s = grace_period_s(pod)
            probe = {
                "livenessProbe": kill.container.livenessProbe,
                "startupProbe": kill.container.startupProbe,
            }.get(kill.reason)
            if probe is not None and probe.terminationGracePeriodSeconds is not None:
                grace_s = probe.terminationGracePeriodSeconds
            ip = record.ips[0] if record.ips else ""
            await self._killer.kill_container(
                pod, kill.record, grace_s=grace_s, message=kill.message, pod_ip=ip
            )

    async def _prepare(self, pod: core.Pod, state: PodState) -> Mapping[str, MountedVolume]:
        try:
            volumes = await self._interruptible(self._host.prepare(pod, self._facts(pod, [])), state)
        except (VolumeError, OSError) as error:
            self._recorder.event(pod, WARNING, "FailedMount", str(error))
            state.retry_in(state.volume_retry.next_s())
            raise VolumeError(str(error)) from error
        state.volume_retry.reset()
        return volumes

    def _sandbox_config(self, pod: core.Pod, attempt: int) -> c.PodSandboxConfig:
        try:
            hostname, _ = pod_hostname(pod, self._config.cluster_domain)
        except HostnameError as error:
            self._recorder.event(pod, WARNING, "FailedCreatePodSandBox", str(error))
            raise _StartFailed("CreatePodSandboxError", str(error), retry_s=SANDBOX_RETRY_MAX_S) from None
        try:
            host = parse_resolv_conf(self._config.resolv_conf.read_text())
        except OSError:
            host = parse_resolv_conf("")
        dns = pod_dns(
            pod, host=host, cluster_dns=self._config.cluster_dns, cluster_domain=self._config.cluster_domain
        )
        return sandbox_config(
            pod,
            self._node,
            attempt=attempt,
            hostname=hostname,
            dns=dns,
            cgroup_parent=self._host.cgroup_parent(pod),
        )

    async def _create_sandbox(
        self, pod: core.Pod, config: c.PodSandboxConfig, state: PodState
    ) -> tuple[str, list[str]]:
        try:
            handler = await self._runtime_handler(pod)
            sandbox_id = await self._runtime.run_pod_sandbox(config, runtime_handler=handler)
            if pod.spec.hostNetwork:
                return sandbox_id, list(self._host_ips)
            network = (await self._runtime.pod_sandbox_status(sandbox_id)).network
        except (c.RuntimeServiceError, StatusError, TransportError) as error:
            text = f"Failed to create pod sandbox: {error}"
            self._recorder.event(pod, WARNING, "FailedCreatePodSandBox", text)
            delay_s = state.sandbox_retry.next_s()
            state.retry_in(delay_s)
            raise _StartFailed("CreatePodSandboxError", text, retry_s=delay_s) from None
        state.sandbox_retry.reset()
        ips = [network.ip, *(extra.ip for extra in network.additional_ips)] if network is not None else []
        return sandbox_id, [ip for ip in ips if ip]

    async def _runtime_handler(self, pod: core.Pod) -> str:
        if not pod.spec.runtimeClassName:
            return ""
        from knarr.api.node import v1 as node

        found = await self._objects.get(node.RuntimeClass, "", pod.spec.runtimeClassName)
        if found is None:
            raise c.RuntimeServiceError(f'RuntimeClass "{pod.spec.runtimeClassName}" not found')
        # The runtime's own default needs no name.
        return "" if found.handler == "runc" else found.handler

    async def _start(
        self,
        pod: core.Pod,
        container: Any,
        record: PodRecord,
        *,
        state: PodState,
        sandbox: tuple[str, c.PodSandboxConfig],
        ips: list[str],
    ) -> None:
        """Start one container; a failure is noted in ``state`` and told as an event."""
        try:
            self._check_backoff(pod, container, record, state)
            await self._start_container(pod, container, record, state=state, sandbox=sandbox, ips=ips)
        except _StartFailed as failure:
            if failure.event:
                text = f"Error: {failure.message}"
                self._recorder.event(pod, WARNING, "Failed", text, field_path=field_path(pod, container))
            state.errors[container.name] = (failure.reason, failure.message)
            state.retry_in(failure.retry_s)
        else:
            state.errors.pop(container.name, None)

    def _check_backoff(self, pod: core.Pod, container: Any, record: PodRecord, state: PodState) -> None:
        """A container that has ended waits before it runs again: 10 s, doubling up to 5 min."""
        found = record.find(container.name)
        if found is None or not found.exited:
            return
        now_s = self._clock.now().timestamp()
        ended_s = found.status.finished_at / 1e9
        known = state.restarts.get(container.name)
        maximum_s = self._config.max_container_restart_backoff_s
        if known is not None and now_s - ended_s < known.delay_s:
            where = f"container={container.name} pod={full_name(pod)}"
            message = f"back-off {_go_duration(known.delay_s)} restarting failed {where}"
            text = f"Back-off restarting failed container {container.name} in pod {full_name(pod)}"
            self._recorder.event(pod, WARNING, "BackOff", text, field_path=field_path(pod, container))
            wait_s = max(known.delay_s - (now_s - ended_s), 0.01)
            raise _StartFailed("CrashLoopBackOff", message, retry_s=wait_s, event=False)
        # Whoever has run well for long starts from the shortest delay again.
        if known is None or ended_s - known.last_s > 2 * maximum_s:
            known = state.restarts[container.name] = _Restarts(Backoff(RESTART_BASE_S, maximum_s), 0.0, now_s)
        known.delay_s, known.last_s = known.backoff.next_s(), now_s

    async def _start_container(
        self,
        pod: core.Pod,
        container: Any,
        record: PodRecord,
        *,
        state: PodState,
        sandbox: tuple[str, c.PodSandboxConfig],
        ips: list[str],
    ) -> None:
        place = field_path(pod, container)
        image = await self._image(pod, container, place, state)
        previous = record.find(container.name)
        count = previous.restart_count + 1 if previous is not None else _known_restarts(pod, container)
        config = await self._container_config(
            pod, container, record, state=state, image=image, ips=ips, restart_count=count
        )
        sandbox_id, box = sandbox
        try:
            container_id = await self._runtime.create_container(sandbox_id, config, sandbox_config=box)
        except c.RuntimeServiceError as error:
            raise _StartFailed("CreateContainerError", error.message, retry_s=RESTART_BASE_S) from None
        self._recorder.event(pod, NORMAL, "Created", f"Created container: {container.name}", field_path=place)
        try:
            await self._runtime.start_container(container_id)
        except c.RuntimeServiceError as error:
            raise _StartFailed("RunContainerError", error.message, retry_s=RESTART_BASE_S) from None
        self._recorder.event(pod, NORMAL, "Started", f"Started container {container.name}", field_path=place)
        log_path = str(Path(box.log_directory) / config.log_path)
        self._host.container_started(pod, container, container_id, log_path)
        if container.lifecycle is not None and container.lifecycle.postStart is not None:
            await self._post_start(pod, container, container_id, state, ips[0] if ips else "")

    async def _image(self, pod: core.Pod, container: Any, place: str, state: PodState) -> ContainerImage:
        try:
            return await self._interruptible(self._images.ensure(pod, container, place), state)
        except ImageError as error:
            shown = {"ErrImagePull", "ImagePullBackOff"}
            if error.reason in shown:
                self._recorder.event(pod, WARNING, "Failed", f"Error: {error.reason}", field_path=place)
            retry_s = error.retry_s or RESTART_BASE_S
            event = error.reason not in shown
            # The refusal itself is one look, the waiting that follows another: come back soon to say so.
            if error.reason == "ErrImagePull":
                retry_s = min(retry_s, 2.0)
            raise _StartFailed(error.reason, error.message, retry_s=retry_s, event=event) from None
        except (StatusError, TransportError) as error:
            raise _StartFailed("ErrImagePull", str(error), retry_s=RESTART_BASE_S) from None

    async def _container_config(
        self,
        pod: core.Pod,
        container: Any,
        record: PodRecord,
        *,
        state: PodState,
        image: ContainerImage,
        ips: list[str],
        restart_count: int,
    ) -> c.ContainerConfig:
        assert state.volumes is not None
        try:
            verify_non_root(pod, container, image_uid=image.uid, image_user=image.user)
            environment = make_environment(
                pod,
                container,
                services=self._services(),
                sources=await self._sources(pod, container),
                facts=self._facts(pod, ips),
            )
            mounts, devices = self._host.container_view(
                pod, container, state.volumes, environment=environment, pod_ips=ips
            )
        except (EnvironmentFault, RunAsNonRootError, PayloadError, OSError) as error:
            reason = "CreateContainerConfigError"
            raise _StartFailed(reason, str(error), retry_s=RESTART_BASE_S) from None
        except (StatusError, TransportError) as error:
            message = f"failed to sync configmap cache: {error}"
            raise _StartFailed("CreateContainerConfigError", message, retry_s=2.0) from None
        target = getattr(container, "targetContainerName", "")
        joined = record.find(target) if target else None
        return container_config(
            pod,
            container,
            self._node,
            restart_count=restart_count,
            image_ref=image.ref,
            environment=environment,
            mounts=mounts,
            devices=devices,
            image_user=image.user if image.uid is None else "",
            target_id=joined.id if joined is not None else "",
        )

    async def _sources(self, pod: core.Pod, container: Any) -> Sources:
        config_maps, secrets = references(container)
        if not config_maps and not secrets:
            return Sources()
        return await self._objects.sources(pod.metadata.namespace, config_maps, secrets)

    async def _post_start(
        self, pod: core.Pod, container: Any, container_id: str, state: PodState, pod_ip: str
    ) -> None:
        handler = container.lifecycle.postStart
        try:
            run = self._hooks.run(pod, container, container_id, handler=handler, pod_ip=pod_ip)
            await self._interruptible(run, state)
        except HookFailed as error:
            place = field_path(pod, container)
            self._recorder.event(
                pod, WARNING, "FailedPostStartHook", "PostStartHook failed", field_path=place
            )
            log.info("postStart hook failed", pod=pod_ref(pod), container=container.name, error=error)
            text = f"FailedPostStartHook: {container.name}"
            self._recorder.event(pod, NORMAL, "Killing", text, field_path=place)
            await self._runtime.stop_container(container_id, timeout_s=grace_period_s(pod))
            raise _StartFailed("PostStartHookError", str(error), retry_s=0.1, event=False) from None

    async def _interruptible(self, work: Awaitable[T], state: PodState) -> T:
        """Wait for ``work``, but not beyond the moment the pod is told to end. Raises ``Stopped``."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(state.stop.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED, timeout=PROGRESS_AFTER_S)
            if not task.done() and not stop.done():
                if state.progress is not None:
                    await state.progress()
                await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Stopped
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()


def _known_restarts(pod: core.Pod, container: Any) -> int:
    """For a container the runtime has forgotten: one more than the API remembers of an end, else what it
    remembers.
    """
    for status in (*pod.status.initContainerStatuses, *pod.status.containerStatuses):
        if status.name == container.name:
            ended = status.state.terminated is not None or status.lastState.terminated is not None
            return status.restartCount + (1 if ended and status.state.terminated is not None else 0)
    return 0


def _go_duration(seconds: float) -> str:
    """``10s``, ``1m20s``, ``5m0s``: as Go prints it."""
    whole = int(seconds)
    return f"{whole}s" if whole < 60 else f"{whole // 60}m{whole % 60}s"
