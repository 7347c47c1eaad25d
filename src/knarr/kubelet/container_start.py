"""Starting one container: back-off, image, environment, mounts, create, start, postStart. The heart of a
round.

Upstream counterpart: ``startContainer`` in ``kuberuntime_container.go``. Neighbours: ``pod_sync`` calls
it for one container after another; ``container_config`` makes the message, ``images``, ``env`` and
``pod_host`` the parts.

Invariant: whatever goes wrong is a ``StartFailed`` with upstream's reason and the time of the next try.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from knarr.api.core import v1 as core
from knarr.api.core.crash_loop import CrashLoop, crash_loop_of
from knarr.api.errors import StatusError
from knarr.client.events import NORMAL, WARNING, EventRecorder
from knarr.client.transport import TransportError
from knarr.kit.backoff import Backoff
from knarr.kit.clock import Clock
from knarr.kit.durations import go_duration
from knarr.kit.log import get_logger
from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.container_config import NodeFacts, container_config
from knarr.kubelet.container_status import StartError
from knarr.kubelet.env import EnvironmentFault, Sources, make_environment, references
from knarr.kubelet.fields import PodFacts
from knarr.kubelet.hooks import HookFailed, HookRunner
from knarr.kubelet.images import ContainerImage, ImageError, ImageManager
from knarr.kubelet.objects import ObjectSource
from knarr.kubelet.pod_cache import PodRecord
from knarr.kubelet.pod_host import ContainerView, PodHost
from knarr.kubelet.pod_killer import field_path
from knarr.kubelet.pods import full_name, grace_period_s, pod_ref
from knarr.kubelet.runtime import contract as c
from knarr.kubelet.security import RunAsNonRootError, verify_non_root
from knarr.kubelet.volumes.manager import MountedVolume
from knarr.kubelet.volumes.payload import PayloadError

__all__ = ["ContainerStarter", "PodState", "Sandbox", "StartFailed", "Stopped", "interruptible"]

log = get_logger("kubelet")

T = TypeVar("T")

RESTART_BASE_S = 10.0
VOLUME_RETRY_BASE_S, VOLUME_RETRY_MAX_S = 0.5, 122.0
SANDBOX_RETRY_BASE_S, SANDBOX_RETRY_MAX_S = 0.5, 10.0
#: A wait longer than this has the pod's status told meanwhile.
PROGRESS_AFTER_S = 0.3


class Stopped(Exception):
    """The pod is to end: the round was broken off where it waited."""


class StartFailed(Exception):
    """Why something is not there yet, and when to try again."""

    def __init__(self, reason: str, message: str, *, retry_s: float, event: bool = True) -> None:
        super().__init__(message)
        self.reason, self.message, self.retry_s, self.event = reason, message, retry_s, event


@dataclass(slots=True)
class _Restarts:
    backoff: Backoff
    delay_s: float
    last_s: float

    def follows(self, limits: CrashLoop) -> bool:
        return (self.backoff.base_s, self.backoff.max_s) == (limits.initial_s, limits.maximum_s)


@dataclass(slots=True)
class PodState:
    """What a worker remembers of its pod between rounds."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    errors: dict[str, StartError] = field(default_factory=dict)
    volumes: Mapping[str, MountedVolume] | None = None
    restarts: dict[str, _Restarts] = field(default_factory=dict)
    volume_retry: Backoff = field(default_factory=lambda: Backoff(VOLUME_RETRY_BASE_S, VOLUME_RETRY_MAX_S))
    sandbox_retry: Backoff = field(default_factory=lambda: Backoff(SANDBOX_RETRY_BASE_S, SANDBOX_RETRY_MAX_S))
    #: The resources each running container has, by its id.
    resources: dict[str, core.ResourceRequirements] = field(default_factory=dict)
    #: Called when a round waits long for something: what has been reached so far is worth telling.
    progress: Callable[[], Awaitable[object]] | None = None
    #: When to try again at the latest; None when nothing is due.
    retry_s: float | None = None

    def retry_in(self, delay_s: float) -> None:
        self.retry_s = delay_s if self.retry_s is None else min(self.retry_s, delay_s)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where the pod's containers go."""

    id: str
    config: c.PodSandboxConfig
    ips: list[str]


class ContainerStarter:
    """Stateless but for its tools; what belongs to a pod is in its ``PodState``."""

    def __init__(
        self,
        *,
        runtime: c.Runtime,
        host: PodHost,
        objects: ObjectSource,
        images: ImageManager,
        hooks: HookRunner,
        recorder: EventRecorder,
        services: Callable[[], Iterable[core.Service]],
        config: KubeletConfig,
        node: NodeFacts,
        facts: Callable[[core.Pod, list[str]], PodFacts],
        clock: Clock,
    ) -> None:
        self._runtime = runtime
        self._host = host
        self._objects = objects
        self._images = images
        self._hooks = hooks
        self._recorder = recorder
        self._services = services
        self._config = config
        self._node = node
        self._facts = facts
        self._clock = clock

    async def start(
        self, pod: core.Pod, container: Any, record: PodRecord, *, state: PodState, sandbox: Sandbox
    ) -> None:
        """Start one container; a failure is noted in ``state`` and told as an event. Raises ``Stopped``."""
        try:
            self._check_backoff(pod, container, record, state)
            await self._start(pod, container, record, state=state, sandbox=sandbox)
        except StartFailed as failure:
            if failure.event:
                text = f"Error: {failure.message}"
                self._recorder.event(pod, WARNING, "Failed", text, field_path=field_path(pod, container))
            state.errors[container.name] = (failure.reason, failure.message)
            state.retry_in(failure.retry_s)
        else:
            state.errors.pop(container.name, None)

    def _check_backoff(self, pod: core.Pod, container: Any, record: PodRecord, state: PodState) -> None:
        """A container that has ended waits before it runs again, longer each time."""
        found = record.find(container.name)
        if found is None or not found.exited:
            return
        now_s = self._clock.now().timestamp()
        ended_s = found.status.finished_at / 1e9
        known = state.restarts.get(container.name)
        limits = crash_loop_of(pod.metadata.annotations, maximum_s=self._config.max_container_restart_backoff_s)
        if known is not None and now_s - ended_s < known.delay_s:
            where = f"container={container.name} pod={full_name(pod)}"
            message = f"back-off {go_duration(known.delay_s)} restarting failed {where}"
            text = f"Back-off restarting failed container {container.name} in pod {full_name(pod)}"
            self._recorder.event(pod, WARNING, "BackOff", text, field_path=field_path(pod, container))
            wait_s = max(known.delay_s - (now_s - ended_s), 0.01)
            raise StartFailed("CrashLoopBackOff", message, retry_s=wait_s, event=False)
        # Whoever has run well for long, or is given other delays, starts from the shortest again.
        if known is None or ended_s - known.last_s > 2 * limits.maximum_s or not known.follows(limits):
            backoff = Backoff(limits.initial_s, limits.maximum_s)
            known = state.restarts[container.name] = _Restarts(backoff, 0.0, now_s)
            for problem in limits.problems:
                self._recorder.event(pod, WARNING, "InvalidCrashLoopDelay", problem, field_path=field_path(pod, container))
        known.delay_s, known.last_s = known.backoff.next_s(), now_s

    async def _start(
        self, pod: core.Pod, container: Any, record: PodRecord, *, state: PodState, sandbox: Sandbox
    ) -> None:
        place = field_path(pod, container)
        image = await self._image(pod, container, place, state)
        config = await self._config_of(pod, container, record, state=state, image=image, ips=sandbox.ips)
        try:
            container_id = await self._runtime.create_container(
                sandbox.id, config, sandbox_config=sandbox.config
            )
        except c.RuntimeServiceError as error:
            raise StartFailed("CreateContainerError", error.message, retry_s=RESTART_BASE_S) from None
        text = f"Created container: {container.name}"
        self._recorder.event(pod, NORMAL, "Created", text, field_path=place)
        try:
            await self._runtime.start_container(container_id)
        except c.RuntimeServiceError as error:
            raise StartFailed("RunContainerError", error.message, retry_s=RESTART_BASE_S) from None
        text = f"Started container {container.name}"
        self._recorder.event(pod, NORMAL, "Started", text, field_path=place)
        state.resources[container_id] = container.resources
        log_path = str(Path(sandbox.config.log_directory) / config.log_path)
        self._host.container_started(pod, container, container_id, log_path)
        if container.lifecycle is not None and container.lifecycle.postStart is not None:
            ip = sandbox.ips[0] if sandbox.ips else ""
            await self._post_start(pod, container, container_id, state, pod_ip=ip)

    async def _image(self, pod: core.Pod, container: Any, place: str, state: PodState) -> ContainerImage:
        try:
            return await interruptible(self._images.ensure(pod, container, place), state)
        except ImageError as error:
            shown = {"ErrImagePull", "ImagePullBackOff"}
            if error.reason in shown:
                self._recorder.event(pod, WARNING, "Failed", f"Error: {error.reason}", field_path=place)
            retry_s = error.retry_s or RESTART_BASE_S
            # The refusal itself is one thing to tell, the waiting after it another: come back soon to say so.
            if error.reason == "ErrImagePull":
                retry_s = min(retry_s, 2.0)
            event = error.reason not in shown
            raise StartFailed(error.reason, error.message, retry_s=retry_s, event=event) from None
        except (StatusError, TransportError) as error:
            raise StartFailed("ErrImagePull", str(error), retry_s=RESTART_BASE_S) from None

    async def _config_of(
        self,
        pod: core.Pod,
        container: Any,
        record: PodRecord,
        *,
        state: PodState,
        image: ContainerImage,
        ips: list[str],
    ) -> c.ContainerConfig:
        reason = "CreateContainerConfigError"
        try:
            verify_non_root(pod, container, image_uid=image.uid, image_user=image.user)
            environment, (mounts, devices) = await self._surroundings(pod, container, state, ips=ips)
        except (EnvironmentFault, RunAsNonRootError, PayloadError, OSError) as error:
            raise StartFailed(reason, str(error), retry_s=RESTART_BASE_S) from None
        except (StatusError, TransportError) as error:
            raise StartFailed(reason, f"failed to sync configmap cache: {error}", retry_s=2.0) from None
        previous = record.find(container.name)
        count = previous.restart_count + 1 if previous is not None else _known_restarts(pod, container)
        target = getattr(container, "targetContainerName", "")
        joined = record.find(target) if target else None
        return container_config(
            pod,
            container,
            self._node,
            restart_count=count,
            image_ref=image.ref,
            environment=environment,
            mounts=mounts,
            devices=devices,
            image_user=image.user if image.uid is None else "",
            target_id=joined.id if joined is not None else "",
        )

    async def _surroundings(
        self, pod: core.Pod, container: Any, state: PodState, *, ips: list[str]
    ) -> tuple[dict[str, str], ContainerView]:
        """The container's environment, and what it sees of the node's files and devices."""
        assert state.volumes is not None
        sources = await self._sources(pod, container)
        environment = make_environment(
            pod, container, services=self._services(), sources=sources, facts=self._facts(pod, ips)
        )
        view = self._host.container_view(pod, container, state.volumes, environment=environment, pod_ips=ips)
        return environment, view

    async def _sources(self, pod: core.Pod, container: Any) -> Sources:
        config_maps, secrets = references(container)
        if not config_maps and not secrets:
            return Sources()
        return await self._objects.sources(pod.metadata.namespace, config_maps, secrets)

    async def _post_start(
        self, pod: core.Pod, container: Any, container_id: str, state: PodState, *, pod_ip: str
    ) -> None:
        handler = container.lifecycle.postStart
        try:
            run = self._hooks.run(pod, container, container_id, handler=handler, pod_ip=pod_ip)
            await interruptible(run, state)
        except HookFailed as error:
            place = field_path(pod, container)
            self._recorder.event(
                pod, WARNING, "FailedPostStartHook", "PostStartHook failed", field_path=place
            )
            log.info("postStart hook failed", pod=pod_ref(pod), container=container.name, error=error)
            self._recorder.event(pod, NORMAL, "Killing", "FailedPostStartHook", field_path=place)
            await self._runtime.stop_container(container_id, timeout_s=grace_period_s(pod))
            raise StartFailed("PostStartHookError", str(error), retry_s=0.1, event=False) from None


async def interruptible(work: Awaitable[T], state: PodState) -> T:
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
    """For a container the runtime has forgotten: what the API remembers, and one more if it remembers its
    end.
    """
    for status in (*pod.status.initContainerStatuses, *pod.status.containerStatuses):
        if status.name == container.name:
            return status.restartCount + (1 if status.state.terminated is not None else 0)
    return 0
