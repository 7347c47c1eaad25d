"""The status the API shows for a pod: phase, conditions, addresses, containers. Pure.

Upstream counterpart: ``generateAPIPodStatus`` and ``getPhase`` in ``kubelet_pods.go``,
``pkg/kubelet/status/generate.go``. Neighbours: ``container_status`` (containers), ``status_manager``
(writes what changed), ``probe_manager`` (readiness).

Invariants: a phase that is final stays; conditions of others (readiness gates, PodScheduled,
DisruptionTarget) are kept as they are; a condition's transition time changes only with its status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from knarr.api.core import v1 as core
from knarr.kit.clock import rfc3339
from knarr.kubelet.container_status import StartError, container_statuses
from knarr.kubelet.pod_cache import PodRecord
from knarr.kubelet.pods import find_condition, is_sidecar, long_running_containers
from knarr.kubelet.resources import qos_class

__all__ = ["ReadinessView", "StatusInput", "generate_status", "pod_phase", "terminated_status"]


@dataclass(frozen=True, slots=True)
class ReadinessView:
    """What probes say: ``(container, container id)`` -> has it started, is it ready."""

    started: Callable[[core.Container, str], bool]
    ready: Callable[[core.Container, str], bool]


@dataclass(frozen=True, slots=True)
class StatusInput:
    """Everything a status depends on besides pod and record."""

    now: datetime
    host_ips: tuple[str, ...]
    probes: ReadinessView
    runtime_name: str = "containerd"
    errors: Mapping[str, StartError] = field(default_factory=dict)
    previous: core.PodStatus | None = None
    finished: bool = False


def generate_status(pod: core.Pod, record: PodRecord, given: StatusInput) -> core.PodStatus:
    """``previous`` is the last status known to the kubelet (falling back to the pod's own)."""
    previous = given.previous or pod.status
    spec = pod.spec
    status = core.PodStatus(
        startTime=previous.startTime or rfc3339(given.now),
        qosClass=pod.status.qosClass or qos_class(pod),
        hostIP=given.host_ips[0],
        hostIPs=[core.HostIP(ip=ip) for ip in given.host_ips],
        observedGeneration=pod.metadata.generation,
        nominatedNodeName="",
        resourceClaimStatuses=pod.status.resourceClaimStatuses,
        extendedResourceClaimStatus=pod.status.extendedResourceClaimStatus,
    )
    ips = list(given.host_ips) if spec.hostNetwork else record.ips
    if not ips and previous.podIP:
        # An address once known stays in the account of a pod whose sandbox is gone.
        ips = [each.ip for each in previous.podIPs] or [previous.podIP]
    if ips:
        status.podIP, status.podIPs = ips[0], [core.PodIP(ip=ip) for ip in ips]
    _containers(pod, record, status, previous, given)
    status.phase = pod_phase(pod, status, finished=given.finished)
    if previous.phase in ("Succeeded", "Failed"):
        status.phase, status.reason, status.message = previous.phase, previous.reason, previous.message
    elif previous.reason and previous.phase == status.phase:
        status.reason, status.message = previous.reason, previous.message
    status.conditions = _conditions(pod, record, status, previous, given)
    return status


def _containers(
    pod: core.Pod, record: PodRecord, status: core.PodStatus, previous: core.PodStatus, given: StatusInput
) -> None:
    spec = pod.spec
    status.initContainerStatuses = container_statuses(
        pod,
        record,
        list(spec.initContainers),
        previous=previous.initContainerStatuses,
        errors=given.errors,
        runtime_name=given.runtime_name,
        init=True,
    )
    status.containerStatuses = container_statuses(
        pod,
        record,
        list(spec.containers),
        previous=previous.containerStatuses,
        errors=given.errors,
        runtime_name=given.runtime_name,
    )
    status.ephemeralContainerStatuses = container_statuses(
        pod,
        record,
        list(spec.ephemeralContainers),
        previous=previous.ephemeralContainerStatuses,
        errors=given.errors,
        runtime_name=given.runtime_name,
    )
    by_name = {each.name: each for each in (*spec.initContainers, *spec.containers)}
    for each in (*status.initContainerStatuses, *status.containerStatuses):
        container = by_name[each.name]
        container_id = each.containerID.rpartition("//")[2]
        running = each.state.running is not None
        if each in status.initContainerStatuses and not is_sidecar(container):
            each.started = running
            each.ready = each.state.terminated is not None and each.state.terminated.exitCode == 0
            continue
        each.started = running and given.probes.started(container, container_id)
        each.ready = bool(each.started) and given.probes.ready(container, container_id)


def pod_phase(pod: core.Pod, status: core.PodStatus, *, finished: bool) -> str:
    """``finished``: nothing of the pod runs any more and nothing will."""
    pending_init = False
    for container, each in zip(pod.spec.initContainers, status.initContainerStatuses, strict=True):
        if is_sidecar(container):
            if not finished and not each.started and each.lastState.terminated is None:
                pending_init = pending_init or each.state.terminated is None
            continue
        ended = each.state.terminated or (each.lastState.terminated if each.state.waiting else None)
        if each.state.terminated is not None and each.state.terminated.exitCode == 0:
            continue
        if ended is not None and ended.exitCode != 0 and pod.spec.restartPolicy == "Never":
            return "Failed"
        pending_init = True
    running = waiting = stopped = succeeded = 0
    for each in status.containerStatuses:
        end = each.state.terminated or (each.lastState.terminated if each.state.waiting else None)
        if each.state.running is not None:
            running += 1
        elif end is not None:
            stopped += 1
            succeeded += end.exitCode == 0 and each.state.terminated is not None
        else:
            waiting += 1
    if finished and not running:
        return "Succeeded" if stopped and stopped == succeeded and not waiting else "Failed"
    if pending_init or waiting:
        return "Pending"
    if running:
        return "Running"
    if pod.spec.restartPolicy == "Always":
        return "Running"
    if stopped == succeeded:
        return "Succeeded"
    return "Failed" if pod.spec.restartPolicy == "Never" else "Running"


def _conditions(
    pod: core.Pod, record: PodRecord, status: core.PodStatus, previous: core.PodStatus, given: StatusInput
) -> list[core.PodCondition]:
    own = [
        _started_condition(pod, record, status),
        _initialized_condition(pod, status),
        *_ready_conditions(pod, status, previous),
    ]
    scheduled = find_condition(previous, "PodScheduled") or find_condition(pod.status, "PodScheduled")
    own.append(scheduled or core.PodCondition(type="PodScheduled", status="True"))
    generation = pod.metadata.generation
    result: list[core.PodCondition] = []
    for condition in own:
        old = find_condition(previous, condition.type)
        unchanged = old is not None and old.status == condition.status and old.lastTransitionTime
        condition.lastTransitionTime = old.lastTransitionTime if old and unchanged else rfc3339(given.now)
        condition.observedGeneration = generation
        result.append(condition)
    names = {condition.type for condition in result}
    # Others' conditions are as the API has them now; what this kubelet set itself comes from the last status.
    for source in (pod.status, previous):
        for condition in source.conditions:
            if condition.type not in names:
                names.add(condition.type)
                result.append(condition)
    return result


def _started_condition(pod: core.Pod, record: PodRecord, status: core.PodStatus) -> core.PodCondition:
    ready = record.ready_sandbox is not None and (pod.spec.hostNetwork or bool(record.ips))
    return core.PodCondition(type="PodReadyToStartContainers", status="True" if ready else "False")


def _initialized_condition(pod: core.Pod, status: core.PodStatus) -> core.PodCondition:
    lacking: list[str] = []
    unknown: list[str] = []
    by_name = {each.name: each for each in status.initContainerStatuses}
    for container in pod.spec.initContainers:
        each = by_name.get(container.name)
        if each is None:
            unknown.append(container.name)
        elif is_sidecar(container):
            if not each.started:
                lacking.append(container.name)
        elif not each.ready:
            lacking.append(container.name)
    begun = any(each.state.waiting is None for each in status.containerStatuses)
    if status.phase == "Succeeded" and not unknown:
        return core.PodCondition(type="Initialized", status="True", reason="PodCompleted")
    if unknown or (lacking and not begun):
        return core.PodCondition(
            type="Initialized",
            status="False",
            reason="ContainersNotInitialized",
            message=_lists("containers", unknown, "incomplete", lacking),
        )
    return core.PodCondition(type="Initialized", status="True")


def _ready_conditions(
    pod: core.Pod, status: core.PodStatus, previous: core.PodStatus
) -> tuple[core.PodCondition, core.PodCondition]:
    by_name = {each.name: each for each in (*status.initContainerStatuses, *status.containerStatuses)}
    unready = [
        container.name for container in long_running_containers(pod) if not by_name[container.name].ready
    ]
    if status.phase == "Succeeded":
        containers = core.PodCondition(type="ContainersReady", status="False", reason="PodCompleted")
    elif status.phase == "Failed":
        containers = core.PodCondition(type="ContainersReady", status="False", reason="PodFailed")
    elif unready:
        containers = core.PodCondition(
            type="ContainersReady",
            status="False",
            reason="ContainersNotReady",
            message=f"containers with unready status: [{' '.join(unready)}]",
        )
    else:
        containers = core.PodCondition(type="ContainersReady", status="True")
    ready = core.PodCondition(
        type="Ready", status=containers.status, reason=containers.reason, message=containers.message
    )
    if containers.status == "True" and (missing := _open_gates(pod)):
        ready = core.PodCondition(
            type="Ready", status="False", reason="ReadinessGatesNotReady", message="; ".join(missing)
        )
    return ready, containers


def _open_gates(pod: core.Pod) -> list[str]:
    messages: list[str] = []
    for gate in pod.spec.readinessGates:
        condition = find_condition(pod.status, gate.conditionType)
        if condition is None:
            messages.append(
                f'corresponding condition of pod readiness gate "{gate.conditionType}" does not exist.'
            )
        elif condition.status != "True":
            kind, found = gate.conditionType, condition.status
            messages.append(f'the status of pod readiness gate "{kind}" is not "True", but {found}')
    return messages


def _lists(noun: str, unknown: list[str], adjective: str, lacking: list[str]) -> str:
    parts: list[str] = []
    if unknown:
        parts.append(f"{noun} with unknown status: [{' '.join(unknown)}]")
    if lacking:
        parts.append(f"{noun} with {adjective} status: [{' '.join(lacking)}]")
    return ", ".join(parts)


def terminated_status(
    status: core.PodStatus, *, phase: str = "", reason: str = "", message: str = ""
) -> core.PodStatus:
    """The status of a pod of which nothing runs: containers without a known end get one."""
    for each in (
        *status.initContainerStatuses,
        *status.containerStatuses,
        *status.ephemeralContainerStatuses,
    ):
        if each.state.terminated is None and each.state.running is not None:
            each.state = core.ContainerState(
                terminated=core.ContainerStateTerminated(
                    reason="ContainerStatusUnknown",
                    message="The container could not be located when the pod was terminated",
                    exitCode=137,
                )
            )
    status.phase = phase or status.phase
    status.reason, status.message = reason or status.reason, message or status.message
    return status
