"""The API's account of a pod's containers, from what the runtime has and what went before. Pure.

Each container is waiting, running or terminated. Where the runtime has nothing (a container not yet made,
or one whose start fails) the reason the last attempt left behind tells why it waits: CrashLoopBackOff,
ErrImagePull …

Upstream counterpart: ``convertToAPIContainerStatuses`` in ``kubelet_pods.go``. Neighbours: ``pod_status``
builds phase and conditions on top; ``start_errors`` (in ``pod_sync``) supplies the reasons.

Invariant: a container that has ended never goes back to waiting without its end kept as ``lastState``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.kit.clock import rfc3339
from knarr.kubelet.images import canonical_name
from knarr.kubelet.naming import container_hash
from knarr.kubelet.pod_actions import should_be_restarted
from knarr.kubelet.pod_cache import ContainerRecord, PodRecord
from knarr.kubelet.pods import is_sidecar
from knarr.kubelet.runtime import contract as c

__all__ = ["StartError", "container_statuses"]

#: (reason, message) of why a container is not running.
StartError = tuple[str, str]

UNKNOWN_EXIT_CODE = 137


def container_statuses(
    pod: core.Pod,
    record: PodRecord,
    containers: list[Any],
    *,
    previous: list[core.ContainerStatus],
    errors: Mapping[str, StartError],
    runtime_name: str,
    init: bool = False,
) -> list[core.ContainerStatus]:
    """One status for each of ``containers``, in their order."""
    before = {status.name: status for status in previous}
    waiting = "PodInitializing" if not init and pod.spec.initContainers else "ContainerCreating"
    if init and len(pod.spec.initContainers) > 1:
        waiting = "PodInitializing"
    result: list[core.ContainerStatus] = []
    for container in containers:
        status = _status(pod, record, container, before.get(container.name), waiting, runtime_name)
        _apply_error(pod, record, container, status, errors.get(container.name), init=init)
        result.append(status)
    return result


def _status(
    pod: core.Pod,
    record: PodRecord,
    container: Any,
    old: core.ContainerStatus | None,
    waiting: str,
    runtime_name: str,
) -> core.ContainerStatus:
    instances = [each for each in record.containers if each.name == container.name][:2]
    if not instances:
        if old is not None and old.state.terminated is not None:
            # Its remains were cleaned up; what was known of its end stays known.
            return codec.copy(old)
        status = core.ContainerStatus(
            name=container.name,
            image=container.image,
            state=core.ContainerState(waiting=core.ContainerStateWaiting(reason=waiting)),
        )
        if old is not None:
            status.restartCount = old.restartCount
            status.lastState = codec.copy(old.lastState)
            if old.state.running is not None:
                _vanished(pod, container, status, old)
        return status
    status = _converted(instances[0], old, runtime_name)
    if instances[0].hash == container_hash(container):
        # One image may have many names; the one that was asked for is the one to tell.
        simulated = runtime_name == "simulated"
        status.image = container.image if simulated else canonical_name(container.image)
    if instances[0].running:
        status.resources = container.resources
        status.allocatedResources = container.resources.requests
    if len(instances) > 1:
        status.lastState = _converted(instances[1], None, runtime_name).state
    elif old is not None and status.restartCount > 0:
        status.lastState = codec.copy(old.lastState)
    return status


def _vanished(pod: core.Pod, container: Any, status: core.ContainerStatus, old: core.ContainerStatus) -> None:
    """A container that was running and of which the runtime has nothing any more."""
    end = core.ContainerState(
        terminated=core.ContainerStateTerminated(
            reason="ContainerStatusUnknown",
            message="The container could not be located when the pod was terminated",
            exitCode=UNKNOWN_EXIT_CODE,
        )
    )
    if pod.metadata.deletionTimestamp or (
        pod.spec.restartPolicy in ("Never", "OnFailure") and not is_sidecar(container)
    ):
        status.state = end
        status.containerID, status.imageID = old.containerID, old.imageID
    else:
        status.lastState = end
        status.restartCount += 1


def _converted(
    record: ContainerRecord, old: core.ContainerStatus | None, runtime_name: str
) -> core.ContainerStatus:
    seen = record.status
    container_id = f"{runtime_name}://{record.id}"
    status = core.ContainerStatus(
        name=record.name,
        restartCount=record.restart_count,
        image=seen.image.image,
        imageID=seen.image_ref,
        containerID=container_id,
    )
    if record.running:
        status.state.running = core.ContainerStateRunning(startedAt=_time(seen.started_at))
    elif record.exited:
        status.state.terminated = core.ContainerStateTerminated(
            exitCode=seen.exit_code,
            reason=seen.reason or ("Completed" if seen.exit_code == 0 else "Error"),
            message=seen.message,
            startedAt=_time(seen.started_at),
            finishedAt=_time(seen.finished_at),
            containerID=container_id,
        )
    elif record.state == c.CONTAINER_UNKNOWN and old is not None and old.state.running is not None:
        status.state.terminated = core.ContainerStateTerminated(
            reason="ContainerStatusUnknown",
            message="The container could not be located when the pod was terminated",
            exitCode=UNKNOWN_EXIT_CODE,
        )
    else:
        status.state.waiting = core.ContainerStateWaiting(reason="ContainerCreating")
    return status


def _apply_error(
    pod: core.Pod,
    record: PodRecord,
    container: Any,
    status: core.ContainerStatus,
    error: StartError | None,
    *,
    init: bool,
) -> None:
    """A container that is to run again and could not be started so far is waiting, with the reason why."""
    if error is None or not should_be_restarted(pod, container, record):
        return
    if init and not is_sidecar(container) and _ended_well(status):
        return
    if status.state.terminated is not None:
        status.lastState = status.state
    status.state = core.ContainerState(waiting=core.ContainerStateWaiting(reason=error[0], message=error[1]))


def _ended_well(status: core.ContainerStatus) -> bool:
    return status.state.terminated is not None and status.state.terminated.exitCode == 0


def _time(nanoseconds: int) -> str | None:
    return rfc3339(datetime.fromtimestamp(nanoseconds / 1e9, UTC)) if nanoseconds > 0 else None
