"""Pods: the row everybody reads, and the one with the most rules.

STATUS is neither the phase nor a condition but what a person should know first: the init container that is
not done, the waiting or terminated reason of the last container that has one, ``Terminating`` while the pod
is being deleted.

Counterpart upstream: ``printPod``. Neighbours: ``columns``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from knarr.api import conditions
from knarr.api.core import v1 as core
from knarr.api.core.pod_resources import is_sidecar
from knarr.api.meta.tables import TableRowCondition
from knarr.api.printing.columns import NONE, Printer, age, columns, or_none
from knarr.api.printing.durations import since

NODE_UNREACHABLE = "NodeLost"


class _Summary:
    """The status column while it is being worked out: later findings replace earlier ones."""

    def __init__(self, pod: core.Pod) -> None:
        self.pod = pod
        self.sidecars = {c.name for c in pod.spec.initContainers if is_sidecar(c)}
        self.total = len(pod.spec.containers) + len(self.sidecars)
        self.ready = 0
        self.restarts = 0
        self.last_restart = ""
        self.initializing = False
        self.reason = pod.status.reason or pod.status.phase
        scheduled = conditions.get(pod.status.conditions, "PodScheduled")
        if scheduled is not None and scheduled.reason == "SchedulingGated":
            self.reason = "SchedulingGated"

    def count_restarts(self, status: core.ContainerStatus) -> None:
        self.restarts += status.restartCount
        if (ended := status.lastState.terminated) is not None:
            self.last_restart = max(self.last_restart, ended.finishedAt or "")

    def read_init_containers(self) -> None:
        for index, status in enumerate(self.pod.status.initContainerStatuses):
            self.count_restarts(status)
            is_sidecar = status.name in self.sidecars
            ended = status.state.terminated
            if ended is not None and ended.exitCode == 0:
                continue
            if is_sidecar and status.started:
                self.ready += status.ready
                continue
            self.reason = f"Init:{self.init_reason(status, index)}"
            self.initializing = True
            return

    def init_reason(self, status: core.ContainerStatus, index: int) -> str:
        if (ended := status.state.terminated) is not None:
            return ended.reason or _exit_text(ended)
        waiting = status.state.waiting
        if waiting is not None and waiting.reason and waiting.reason != "PodInitializing":
            return waiting.reason
        return f"{index}/{len(self.pod.spec.initContainers)}"

    def read_containers(self) -> None:
        # The restarts of init containers that are done no longer matter; those of sidecars still do.
        self.restarts, self.last_restart = 0, ""
        for status in self.pod.status.initContainerStatuses:
            if status.name in self.sidecars:
                self.count_restarts(status)
        any_running = False
        for status in reversed(self.pod.status.containerStatuses):
            self.count_restarts(status)
            state = status.state
            if state.waiting is not None and state.waiting.reason:
                self.reason = state.waiting.reason
            elif state.terminated is not None:
                self.reason = state.terminated.reason or _exit_text(state.terminated)
            elif status.ready and state.running is not None:
                any_running = True
                self.ready += 1
        if self.reason == "Completed" and any_running:
            is_ready = conditions.is_true(self.pod.status.conditions, "Ready")
            self.reason = "Running" if is_ready else "NotReady"

    def finish(self) -> None:
        if self.pod.metadata.deletionTimestamp is None:
            return
        if self.pod.status.reason == NODE_UNREACHABLE:
            self.reason = "Unknown"
        elif self.pod.status.phase not in ("Succeeded", "Failed"):
            self.reason = "Terminating"


def _exit_text(ended: core.ContainerStateTerminated) -> str:
    return f"Signal:{ended.signal}" if ended.signal else f"ExitCode:{ended.exitCode}"


def _summary(pod: core.Pod) -> _Summary:
    summary = _Summary(pod)
    summary.read_init_containers()
    if not summary.initializing or conditions.is_true(pod.status.conditions, "Initialized"):
        summary.read_containers()
    summary.finish()
    return summary


def pod_status(pod: core.Pod) -> str:
    """The STATUS column alone."""
    return _summary(pod).reason


def pod_row(pod: Any, now: datetime) -> list[Any]:
    summary = _summary(pod)
    restarts = str(summary.restarts)
    if summary.restarts and summary.last_restart:
        restarts += f" ({since(summary.last_restart, now)} ago)"
    return [
        pod.metadata.name,
        f"{summary.ready}/{summary.total}",
        summary.reason,
        restarts,
        age(pod, now),
        or_none(pod.status.podIPs[0].ip if pod.status.podIPs else pod.status.podIP),
        or_none(pod.spec.nodeName),
        or_none(pod.status.nominatedNodeName),
        _readiness_gates(pod),
    ]


def _readiness_gates(pod: core.Pod) -> str:
    gates = pod.spec.readinessGates
    if not gates:
        return NONE
    met = sum(conditions.is_true(pod.status.conditions, gate.conditionType) for gate in gates)
    return f"{met}/{len(gates)}"


def pod_row_conditions(pod: Any) -> list[TableRowCondition]:
    """Marks finished pods, so that a client may leave them out."""
    match pod.status.phase:
        case "Succeeded":
            text = "The pod has completed successfully."
        case "Failed":
            text = "The pod failed."
        case _:
            return []
    return [TableRowCondition(type="Completed", status="True", reason=pod.status.phase, message=text)]


PRINTERS = (
    Printer(
        "",
        "pods",
        columns("Name | Ready | Status | Restarts | Age | *IP | *Node | *Nominated Node | *Readiness Gates"),
        pod_row,
    ),
)
