"""ReplicaSets: as many pods as wanted, no more and no fewer.

Pods are found by their controller's UID or, without a controller, by labels (and adopted). Counting waits
until the cache has seen the controller's own writes.

Upstream's counterpart is ``pkg/controller/replicaset``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from knarr.api import codec, conditions
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.owners import controller_of
from knarr.api.selectors import LabelSelector, from_map
from knarr.controllers import pods as podlib
from knarr.controllers.framework import Key
from knarr.controllers.pod_owner import PodOwnerController
from knarr.kit.clock import rfc3339

#: Pods created or deleted in one go, as upstream.
BURST = 500


#: What has replicas of one template and a selector.
Replicated = apps.ReplicaSet | core.ReplicationController


class ReplicaSetController(PodOwnerController):
    name = "replicaset-controller"
    owner_type: ClassVar[type[Any]] = apps.ReplicaSet
    workers = 8

    async def reconcile(self, key: Key) -> None:
        replica_set = self.owners.get(*key)
        if replica_set is None:
            self.expectations.forget(key)
            return
        settled = self.is_settled(key)
        claimed = await self.claim(replica_set)
        active = [pod for pod in claimed if podlib.is_active(pod)]
        failure: StatusError | None = None
        if settled and replica_set.metadata.deletionTimestamp is None:
            try:
                await self._manage(key, replica_set, active)
            except StatusError as error:
                failure = error
        now = self.clock.now()
        await self._update_status(replica_set, claimed, active, failure, now=now)
        if failure is not None:
            raise failure
        self.wake_when_available(key, replica_set, active, now)

    async def _manage(self, key: Key, replica_set: Replicated, active: Sequence[core.Pod]) -> None:
        wanted = 1 if replica_set.spec.replicas is None else replica_set.spec.replicas
        lacking = wanted - len(active)
        if lacking > 0:
            template = replica_set.spec.template or core.PodTemplateSpec()
            await self.create_pods(key, replica_set, min(lacking, BURST), itertools.repeat(template))
        elif lacking < 0:
            ranked = podlib.deletion_rank(active, self._related(replica_set), self.clock.now())
            await self.delete_pods(key, replica_set, ranked[: min(-lacking, BURST)])

    def _related(self, replica_set: Replicated) -> list[core.Pod]:
        """Active pods of all sets of the same owner: a rollout's old and new pods crowd the same nodes."""
        owner = controller_of(replica_set)
        siblings = [replica_set]
        if owner is not None:
            siblings = [
                each
                for each in self.owners.list(replica_set.metadata.namespace)
                if (other := controller_of(each)) is not None and other.uid == owner.uid
            ]
        return [
            pod
            for each in siblings
            for pod in self.pods.by_index(podlib.BY_CONTROLLER, each.metadata.uid)
            if podlib.is_active(pod)
        ]

    async def _update_status(
        self,
        replica_set: Replicated,
        claimed: Sequence[core.Pod],
        active: Sequence[core.Pod],
        failure: StatusError | None,
        *,
        now: datetime,
    ) -> None:
        status = compute_status(replica_set, claimed, active, failure, now=now)
        if status == replica_set.status:
            return
        changed = codec.copy(replica_set)
        changed.status = status
        await self.client.update_status(changed)


class ReplicationController(ReplicaSetController):
    """The older kind of the same thing: its selector is a plain map of labels."""

    name = "replication-controller"
    owner_type = core.ReplicationController

    def selector_of(self, owner: core.ReplicationController) -> LabelSelector:
        return from_map(owner.spec.selector)


def compute_status(
    replica_set: Replicated,
    claimed: Sequence[core.Pod],
    active: Sequence[core.Pod],
    failure: StatusError | None,
    *,
    now: datetime,
) -> Any:
    """The status that describes these pods."""
    template = replica_set.spec.template
    labels = template.metadata.labels if template and template.metadata else {}
    min_ready_s = replica_set.spec.minReadySeconds
    status: Any = codec.copy(replica_set.status)
    status.replicas = len(active)
    status.fullyLabeledReplicas = sum(1 for pod in active if _carries(pod, labels))
    status.readyReplicas = sum(1 for pod in active if podlib.is_ready(pod))
    status.availableReplicas = sum(1 for pod in active if podlib.is_available(pod, min_ready_s, now))
    if isinstance(status, apps.ReplicaSetStatus):
        status.terminatingReplicas = sum(1 for pod in claimed if podlib.is_terminating(pod))
    status.observedGeneration = replica_set.metadata.generation or 0
    if failure is not None:
        wanted = 1 if replica_set.spec.replicas is None else replica_set.spec.replicas
        reason = "FailedCreate" if wanted > len(active) else "FailedDelete"
        held: Any = conditions.get(status.conditions, "ReplicaFailure")
        if held is None or held.status != "True" or held.reason != reason:
            # The message names the pod that was refused, another one each time: writing each would never end.
            kind: Any = apps.ReplicaSetCondition
            if isinstance(replica_set, core.ReplicationController):
                kind = core.ReplicationControllerCondition
            condition = kind(
                type="ReplicaFailure",
                status="True",
                reason=reason,
                message=str(failure),
                lastTransitionTime=rfc3339(now),
            )
            conditions.put(status.conditions, condition)
    else:
        conditions.remove(status.conditions, "ReplicaFailure")
    return status


def _carries(pod: core.Pod, labels: dict[str, str]) -> bool:
    return all(pod.metadata.labels.get(key) == value for key, value in labels.items())
