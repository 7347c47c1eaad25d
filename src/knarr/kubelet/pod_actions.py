"""What to do next about a pod, decided from its spec and what the runtime has of it. Pure.

The heart of the kubelet: called before every round of actions, it says whether the sandbox must be made
(anew), which containers to kill and why, and which to start. Init containers run one after another;
sidecars (``restartPolicy: Always``) are init containers that the next may follow once started.

Upstream counterpart: ``computePodActions`` and ``computeInitContainerActions`` in ``kuberuntime``; here
one pass in order of the spec, there one from the end. Neighbours: ``pod_sync`` carries the actions out,
``probe_results`` are its senses.

Invariants: it never asks for the start of what runs; back-off is not its matter, the executor's is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from knarr.api.core import v1 as core
from knarr.kubelet import naming
from knarr.kubelet.pod_cache import ContainerRecord, PodRecord
from knarr.kubelet.pods import is_sidecar
from knarr.kubelet.runtime import contract as c

__all__ = ["Kill", "PodActions", "ProbeView", "compute_pod_actions", "should_be_restarted"]


class ProbeView(Protocol):
    """What the probes have found about one container so far."""

    def failed(self, container_id: str) -> str:
        """Why the container must be restarted: ``liveness``, ``startup``, or empty."""
        ...

    def started(self, container: core.Container, container_id: str) -> bool:
        """Whether the startup probe has succeeded, or there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Kill:
    """A container to be stopped while the pod goes on."""

    record: ContainerRecord
    container: Any
    message: str
    reason: str


@dataclass(slots=True)
class PodActions:
    """``kill_pod``: end everything first. ``create_sandbox``: then make a sandbox with number ``attempt``."""

    kill_pod: bool = False
    create_sandbox: bool = False
    sandbox_id: str = ""
    attempt: int = 0
    kill: list[Kill] = field(default_factory=list)
    start: list[Any] = field(default_factory=list)
    start_ephemeral: list[core.EphemeralContainer] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        return not (self.kill_pod or self.create_sandbox or self.kill or self.start or self.start_ephemeral)


def compute_pod_actions(pod: core.Pod, record: PodRecord, probes: ProbeView) -> PodActions:
    must_create, attempt, sandbox_id = _sandbox_changed(pod, record)
    actions = PodActions(
        kill_pod=must_create, create_sandbox=must_create, sandbox_id=sandbox_id, attempt=attempt
    )
    if must_create:
        return _with_new_sandbox(actions, pod, record)
    actions.start_ephemeral = [
        container for container in pod.spec.ephemeralContainers if record.find(container.name) is None
    ]
    initialized = _init_containers(actions, pod, record, probes)
    if actions.kill_pod or not initialized:
        return actions
    kept = 0
    for container in pod.spec.containers:
        found = record.find(container.name)
        if found is None or not found.running:
            if should_be_restarted(pod, container, record):
                actions.start.append(container)
            continue
        kept += _keep_or_kill(actions, pod, container, found, probes)
    if kept == 0 and not any(not is_sidecar(container) for container in actions.start):
        # Nothing is left to run: sidecars and the sandbox go as well.
        return PodActions(kill_pod=True, sandbox_id=sandbox_id, attempt=attempt)
    return actions


def _sandbox_changed(pod: core.Pod, record: PodRecord) -> tuple[bool, int, str]:
    """(whether a new sandbox is needed, its attempt, the present one's id)."""
    if not record.sandboxes:
        return True, 0, ""
    newest = record.sandboxes[0]
    ready = sum(box.state == c.SANDBOX_READY for box in record.sandboxes)
    if ready > 1 or newest.state != c.SANDBOX_READY:
        return True, newest.metadata.attempt + 1, newest.id
    if not pod.spec.hostNetwork and not record.ips:
        return True, newest.metadata.attempt + 1, newest.id
    return False, newest.metadata.attempt, newest.id


def _with_new_sandbox(actions: PodActions, pod: core.Pod, record: PodRecord) -> PodActions:
    policy = pod.spec.restartPolicy
    if policy == "Never" and actions.attempt != 0 and record.containers:
        # It has run once and must not run again: only clean up.
        actions.create_sandbox = False
        return actions
    to_start = [
        container
        for container in pod.spec.containers
        if not (policy == "OnFailure" and _succeeded(record, container.name))
    ]
    if not to_start:
        actions.create_sandbox = False
        return actions
    actions.start = pod.spec.initContainers[:1] or to_start
    return actions


def _succeeded(record: PodRecord, name: str) -> bool:
    found = record.find(name)
    return found is not None and found.succeeded


def _init_containers(actions: PodActions, pod: core.Pod, record: PodRecord, probes: ProbeView) -> bool:
    """Decide about init containers; True once all of them let the containers run."""
    main_begun = any(record.active(container.name) is not None for container in pod.spec.containers)
    seen = [
        index for index, each in enumerate(pod.spec.initContainers) if record.active(each.name) is not None
    ]
    furthest = len(pod.spec.initContainers) if main_begun else max(seen, default=-1)
    for index, container in enumerate(pod.spec.initContainers):
        found = record.active(container.name)
        if is_sidecar(container):
            if not _sidecar(actions, pod, container, found, probes) and not main_begun:
                return False
            continue
        if index < furthest or main_begun:
            # A later one exists, so this one has done its work, even if its remains are gone.
            continue
        if found is None:
            actions.start.append(container)
            return False
        if found.succeeded:
            continue
        if found.running:
            if probes.failed(found.id):
                _keep_or_kill(actions, pod, container, found, probes)
            return False
        if pod.spec.restartPolicy == "Never" and found.exited:
            actions.kill_pod = True
            return False
        actions.start.append(container)
        return False
    return True


def _sidecar(
    actions: PodActions,
    pod: core.Pod,
    container: core.Container,
    found: ContainerRecord | None,
    probes: ProbeView,
) -> bool:
    """True when what follows the sidecar may run."""
    if found is None or not found.running:
        actions.start.append(container)
        return False
    kept = _keep_or_kill(actions, pod, container, found, probes)
    return bool(kept) and probes.started(container, found.id)


def _keep_or_kill(
    actions: PodActions, pod: core.Pod, container: core.Container, found: ContainerRecord, probes: ProbeView
) -> int:
    """1 when the running container is kept; otherwise it is killed and, where allowed, started again."""
    restart = is_sidecar(container) or pod.spec.restartPolicy != "Never"
    if found.hash and found.hash != naming.container_hash(container):
        message, reason, restart = f"Container {container.name} definition changed", "", True
    elif failed := probes.failed(found.id):
        message = f"Container {container.name} failed {failed} probe"
        reason = f"{failed}Probe"
    else:
        return 1
    if restart:
        message += ", will be restarted"
        actions.start.append(container)
    actions.kill.append(Kill(found, container, message, reason))
    return 0


def should_be_restarted(pod: core.Pod, container: Any, record: PodRecord) -> bool:
    """Whether a container that is not running is to run (again)."""
    if pod.metadata.deletionTimestamp:
        return False
    found = record.find(container.name)
    if found is None:
        return True
    if found.running:
        return False
    if not found.exited or is_sidecar(container):
        return True
    if pod.spec.restartPolicy == "Never":
        return False
    return not (pod.spec.restartPolicy == "OnFailure" and found.status.exit_code == 0)
