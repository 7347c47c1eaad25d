"""How a rollout goes: the Deployment's status and its conditions. Pure.

Upstream's counterpart is ``pkg/controller/deployment/progress.go`` and ``sync.go``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from knarr.api import codec, conditions
from knarr.api.apps import v1 as apps
from knarr.controllers.deployment import rolling
from knarr.kit.clock import parse_rfc3339, rfc3339

AVAILABLE, PROGRESSING, FAILURE = "Available", "Progressing", "ReplicaFailure"
TIMED_OUT = "ProgressDeadlineExceeded"
NEW_AVAILABLE = "NewReplicaSetAvailable"
#: A Deployment with this deadline never times out.
NO_DEADLINE = 2**31 - 1


def condition(kind: str, status: str, reason: str, message: str, now: datetime) -> apps.DeploymentCondition:
    stamp = rfc3339(now)
    return apps.DeploymentCondition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        lastTransitionTime=stamp,
        lastUpdateTime=stamp,
    )


def put(status: apps.DeploymentStatus, new: apps.DeploymentCondition) -> None:
    """Set a condition; one that says the same as before keeps its times."""
    old = conditions.get(status.conditions, new.type)
    if old is not None and old.status == new.status and old.reason == new.reason:
        return
    conditions.put(status.conditions, new)


def compute_status(
    deployment: apps.Deployment,
    sets: Sequence[apps.ReplicaSet],
    new: apps.ReplicaSet | None,
    *,
    now: datetime,
) -> apps.DeploymentStatus:
    """Counts and availability; ``describe_progress`` adds the rest."""
    available = rolling.available(sets)
    total = rolling.total(sets)
    status = codec.copy(deployment.status)
    status.observedGeneration = deployment.metadata.generation or 0
    status.replicas = sum(each.status.replicas for each in sets)
    status.updatedReplicas = new.status.replicas if new is not None else 0
    status.readyReplicas = sum(each.status.readyReplicas for each in sets)
    status.availableReplicas = available
    status.unavailableReplicas = max(total - available, 0)
    status.terminatingReplicas = sum(each.status.terminatingReplicas or 0 for each in sets)
    _, unavailable = rolling.surge_and_unavailable(deployment)
    if available >= rolling.wanted(deployment) - unavailable:
        good = condition(
            AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now
        )
    else:
        good = condition(
            AVAILABLE,
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
            now,
        )
    put(status, good)
    return status


def is_complete(deployment: apps.Deployment, status: apps.DeploymentStatus) -> bool:
    """Every pod is of the new template and available, and no old one is left."""
    count = rolling.wanted(deployment)
    return (
        status.updatedReplicas == count
        and status.replicas == count
        and status.availableReplicas == count
        and status.observedGeneration >= (deployment.metadata.generation or 0)
    )


def is_progressing(deployment: apps.Deployment, status: apps.DeploymentStatus) -> bool:
    """Something moved since the last look: more new pods, fewer old ones, more ready or available."""
    old = deployment.status
    return (
        status.updatedReplicas > old.updatedReplicas
        or status.replicas - status.updatedReplicas < old.replicas - old.updatedReplicas
        or status.readyReplicas > old.readyReplicas
        or status.availableReplicas > old.availableReplicas
    )


def has_deadline(deployment: apps.Deployment) -> bool:
    deadline = deployment.spec.progressDeadlineSeconds
    return deadline is not None and deadline != NO_DEADLINE


def is_timed_out(deployment: apps.Deployment, status: apps.DeploymentStatus, now: datetime) -> bool:
    """No progress for longer than the deadline."""
    held = conditions.get(status.conditions, PROGRESSING)
    if held is None or held.reason == NEW_AVAILABLE:
        return False
    if held.reason == TIMED_OUT:
        return True
    since = parse_rfc3339(held.lastUpdateTime or rfc3339(now))
    return since + timedelta(seconds=deployment.spec.progressDeadlineSeconds or 0) < now


def describe_progress(
    deployment: apps.Deployment,
    status: apps.DeploymentStatus,
    sets: Sequence[apps.ReplicaSet],
    new: apps.ReplicaSet | None,
    *,
    now: datetime,
) -> None:
    """Write the Progressing and ReplicaFailure conditions into ``status``."""
    if not has_deadline(deployment):
        conditions.remove(status.conditions, PROGRESSING)
    else:
        _describe(deployment, status, new, now)
    failing = [
        held
        for each in ([new] if new else list(sets))
        if (held := conditions.get(each.status.conditions, "ReplicaFailure"))
    ]
    if failing:
        put(status, condition(FAILURE, failing[0].status, failing[0].reason, failing[0].message, now))
    else:
        conditions.remove(status.conditions, FAILURE)


def _describe(
    deployment: apps.Deployment, status: apps.DeploymentStatus, new: apps.ReplicaSet | None, now: datetime
) -> None:
    held = conditions.get(status.conditions, PROGRESSING)
    subject = f'ReplicaSet "{new.metadata.name}"' if new else f'Deployment "{deployment.metadata.name}"'
    # A finished rollout stays finished however its pods come and go, until the template changes.
    was_complete = held is not None and held.reason == NEW_AVAILABLE
    unmoved = status.replicas == status.updatedReplicas and was_complete
    if unmoved:
        return
    if is_complete(deployment, status):
        message = f"{subject} has successfully progressed."
        put(status, condition(PROGRESSING, "True", NEW_AVAILABLE, message, now))
    elif is_progressing(deployment, status):
        message = f"{subject} is progressing."
        fresh = condition(PROGRESSING, "True", "ReplicaSetUpdated", message, now)
        if held is not None and held.status == "True":
            fresh.lastTransitionTime = held.lastTransitionTime
        conditions.remove(status.conditions, PROGRESSING)
        status.conditions.append(fresh)
    elif is_timed_out(deployment, status, now):
        message = f"{subject} has timed out progressing."
        put(status, condition(PROGRESSING, "False", TIMED_OUT, message, now))
