"""Defaults of the apps group.

Counterpart upstream: ``pkg/apis/apps/v1/defaults.go``. ``knarr.api.defaulting`` calls through ``DEFAULTERS``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.apps import v1 as apps
from knarr.api.core.defaults import set_claim
from knarr.api.core.pod_defaults import set_pod_template

HISTORY_LIMIT = 10
PROGRESS_DEADLINE_S = 600


def set_deployment(deployment: apps.Deployment) -> None:
    spec = deployment.spec
    set_pod_template(spec.template)
    if spec.replicas is None:
        spec.replicas = 1
    strategy = spec.strategy
    strategy.type = strategy.type or "RollingUpdate"
    if strategy.type == "RollingUpdate":
        if strategy.rollingUpdate is None:
            strategy.rollingUpdate = apps.RollingUpdateDeployment()
        if strategy.rollingUpdate.maxUnavailable is None:
            strategy.rollingUpdate.maxUnavailable = "25%"
        if strategy.rollingUpdate.maxSurge is None:
            strategy.rollingUpdate.maxSurge = "25%"
    if spec.revisionHistoryLimit is None:
        spec.revisionHistoryLimit = HISTORY_LIMIT
    if spec.progressDeadlineSeconds is None:
        spec.progressDeadlineSeconds = PROGRESS_DEADLINE_S


def set_replica_set(replica_set: apps.ReplicaSet) -> None:
    if replica_set.spec.replicas is None:
        replica_set.spec.replicas = 1
    set_pod_template(replica_set.spec.template)


def set_stateful_set(stateful_set: apps.StatefulSet) -> None:
    spec = stateful_set.spec
    set_pod_template(spec.template)
    spec.podManagementPolicy = spec.podManagementPolicy or "OrderedReady"
    strategy = spec.updateStrategy
    strategy.type = strategy.type or "RollingUpdate"
    if strategy.type == "RollingUpdate":
        if strategy.rollingUpdate is None:
            strategy.rollingUpdate = apps.RollingUpdateStatefulSetStrategy()
        if strategy.rollingUpdate.partition is None:
            strategy.rollingUpdate.partition = 0
    retention = spec.persistentVolumeClaimRetentionPolicy
    if retention is None:
        retention = spec.persistentVolumeClaimRetentionPolicy = (
            apps.StatefulSetPersistentVolumeClaimRetentionPolicy()
        )
    retention.whenDeleted = retention.whenDeleted or "Retain"
    retention.whenScaled = retention.whenScaled or "Retain"
    if spec.replicas is None:
        spec.replicas = 1
    if spec.revisionHistoryLimit is None:
        spec.revisionHistoryLimit = HISTORY_LIMIT
    for claim in spec.volumeClaimTemplates:
        set_claim(claim)


def set_daemon_set(daemon_set: apps.DaemonSet) -> None:
    spec = daemon_set.spec
    set_pod_template(spec.template)
    strategy = spec.updateStrategy
    strategy.type = strategy.type or "RollingUpdate"
    if strategy.type == "RollingUpdate":
        if strategy.rollingUpdate is None:
            strategy.rollingUpdate = apps.RollingUpdateDaemonSet()
        if strategy.rollingUpdate.maxUnavailable is None:
            strategy.rollingUpdate.maxUnavailable = 1
        if strategy.rollingUpdate.maxSurge is None:
            strategy.rollingUpdate.maxSurge = 0
    if spec.revisionHistoryLimit is None:
        spec.revisionHistoryLimit = HISTORY_LIMIT


DEFAULTERS: dict[Any, Any] = {
    apps.DaemonSet: set_daemon_set,
    apps.Deployment: set_deployment,
    apps.ReplicaSet: set_replica_set,
    apps.StatefulSet: set_stateful_set,
}
