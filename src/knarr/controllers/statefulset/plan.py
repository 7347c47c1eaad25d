"""The next step of a StatefulSet: pure, from the pods as they are to what is done now.

Ordered: pods come one after the other from the lowest ordinal and go from the highest; nothing is done past
one that is not running and ready. Parallel:
everything at once. Updates go from the highest ordinal down to ``partition``.

Upstream's counterpart is ``pkg/controller/statefulset/stateful_set_control.go``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.intstr import scaled_value
from knarr.controllers import pods as podlib
from knarr.controllers.history import HASH_LABEL
from knarr.controllers.statefulset.identity import first_ordinal, ordinal_of, wanted

ORDERED, PARALLEL = "OrderedReady", "Parallel"
ON_DELETE = "OnDelete"


@dataclass(slots=True)
class Step:
    """What to do now. ``create`` maps ordinals to the name of the revision their pod is made of, which is also its label."""

    create: dict[int, str] = field(default_factory=dict)
    delete: list[core.Pod] = field(default_factory=list)
    #: Pods that have ended and go, so that new ones can have their names.
    replace: list[core.Pod] = field(default_factory=list)
    #: Ordinals whose pods are right but whose claims may be missing.
    check_claims: list[int] = field(default_factory=list)


def partition(owner: apps.StatefulSet) -> int:
    rolling = owner.spec.updateStrategy.rollingUpdate
    return rolling.partition or 0 if rolling is not None else 0


def revision_for(owner: apps.StatefulSet, ordinal: int, *, current: str, update: str) -> str:
    """Which template a new pod of an ordinal gets: below the partition the current one, from it on the
    updated one.

    While a rollout goes on, an ordinal that it has not reached yet is made as it was.
    """
    if current == update:
        return update
    start = first_ordinal(owner)
    if owner.spec.updateStrategy.type == ON_DELETE:
        return update
    if ordinal < start + partition(owner):
        return current
    if ordinal < start + owner.status.currentReplicas:
        return current
    return update


def next_step(
    owner: apps.StatefulSet, pods: Sequence[core.Pod], *, current: str, update: str, now: datetime
) -> Step:
    """What brings the set one step further."""
    step = Step()
    start = first_ordinal(owner)
    ordinals = range(start, start + wanted(owner))
    held = {ordinal_of(pod.metadata.name): pod for pod in pods}
    ordered = owner.spec.podManagementPolicy != PARALLEL
    blocked = _fill(step, owner, held, ordinals, current=current, update=update, ordered=ordered, now=now)
    if blocked and ordered:
        return step
    condemned = sorted((n for n in held if n not in ordinals), reverse=True)
    blocked = _shrink(step, owner, held, condemned, ordered=ordered, now=now)
    if (blocked and ordered) or owner.spec.updateStrategy.type == ON_DELETE:
        return step
    _update(step, owner, held, ordinals, update=update, now=now)
    return step


def _fill(
    step: Step,
    owner: apps.StatefulSet,
    held: Mapping[int, core.Pod],
    ordinals: range,
    *,
    current: str,
    update: str,
    ordered: bool,
    now: datetime,
) -> bool:
    """Make what is missing, replace what has failed; whether something has to be waited for."""
    waiting = False
    for ordinal in ordinals:
        pod = held.get(ordinal)
        if pod is None:
            step.create[ordinal] = revision_for(owner, ordinal, current=current, update=update)
            waiting = True
        elif pod.status.phase in ("Failed", "Succeeded"):
            if pod.metadata.deletionTimestamp is None:
                step.replace.append(pod)
            waiting = True
        else:
            step.check_claims.append(ordinal)
            if pod.metadata.deletionTimestamp is not None or not _available(owner, pod, now):
                waiting = True
        if waiting and ordered:
            return True
    return waiting


def _shrink(
    step: Step,
    owner: apps.StatefulSet,
    held: Mapping[int, core.Pod],
    condemned: Sequence[int],
    *,
    ordered: bool,
    now: datetime,
) -> bool:
    """Take away what is too much, the highest first; whether something has to be waited for.

    In order, one that is unwell stops it, so that a person can look; but the lowest of all that are unwell may go, or
    nothing ever would.
    """
    unwell = [ordinal for ordinal in sorted(held) if not _available(owner, held[ordinal], now)]
    for ordinal in condemned:
        pod = held[ordinal]
        if pod.metadata.deletionTimestamp is not None:
            if ordered:
                return True
            continue
        if ordered and ordinal in unwell and ordinal != unwell[0]:
            return True
        step.delete.append(pod)
        if ordered:
            return True
    return bool(condemned)


def _update(
    step: Step,
    owner: apps.StatefulSet,
    held: Mapping[int, core.Pod],
    ordinals: range,
    *,
    update: str,
    now: datetime,
) -> None:
    """Replace pods of an old revision from the highest ordinal down, as many at once as may be unavailable."""
    rolling = owner.spec.updateStrategy.rollingUpdate
    allowed = 1
    if rolling is not None and rolling.maxUnavailable is not None:
        allowed = max(scaled_value(rolling.maxUnavailable, len(ordinals), round_up=False), 1)
    unavailable = sum(
        1 for ordinal in ordinals if (pod := held.get(ordinal)) is None or not _available(owner, pod, now)
    )
    for ordinal in reversed(ordinals):
        if ordinal < ordinals.start + partition(owner):
            return
        pod = held.get(ordinal)
        if pod is None:
            continue
        if pod.metadata.labels.get(HASH_LABEL) != update and pod.metadata.deletionTimestamp is None:
            if _available(owner, pod, now):
                if unavailable >= allowed:
                    return
                unavailable += 1
            step.delete.append(pod)
            if allowed == 1:
                return
        elif not _available(owner, pod, now) and allowed == 1:
            # The one that was replaced last has to be well before the next one goes.
            return


def _available(owner: apps.StatefulSet, pod: core.Pod, now: datetime) -> bool:
    return (
        pod.status.phase == "Running"
        and pod.metadata.deletionTimestamp is None
        and podlib.is_available(pod, owner.spec.minReadySeconds, now)
    )


def compute_status(
    owner: apps.StatefulSet,
    pods: Sequence[core.Pod],
    *,
    current: str,
    update: str,
    now: datetime,
) -> apps.StatefulSetStatus:
    """The status that describes these pods."""
    status = apps.StatefulSetStatus(
        observedGeneration=owner.metadata.generation or 0,
        conditions=owner.status.conditions,
        currentRevision=current,
        updateRevision=update,
    )
    for pod in pods:
        if pod.status.phase in ("Failed", "Succeeded"):
            continue
        status.replicas += 1
        if podlib.is_ready(pod) and pod.status.phase == "Running":
            status.readyReplicas += 1
            status.availableReplicas += 1 if _available(owner, pod, now) else 0
        if pod.metadata.deletionTimestamp is None:
            revision = pod.metadata.labels.get(HASH_LABEL)
            status.currentReplicas += 1 if revision == current else 0
            status.updatedReplicas += 1 if revision == update else 0
    return status


def rollout_complete(owner: apps.StatefulSet, status: apps.StatefulSetStatus) -> bool:
    """Every pod is of the new revision: it becomes the current one."""
    return (
        owner.spec.updateStrategy.type != ON_DELETE
        and status.updatedReplicas == status.replicas == status.readyReplicas == wanted(owner)
    )
