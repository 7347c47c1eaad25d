"""Pod disruption budgets: how many of the pods they cover may be evicted now.

Upstream's counterpart is ``pkg/controller/disruption``. Neighbour: the API server's eviction takes from
``disruptionsAllowed`` what this controller gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from knarr.api import codec, conditions
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.intstr import scaled_value
from knarr.api.meta import v1 as meta
from knarr.api.owners import controller_of
from knarr.api.policy import v1 as policy
from knarr.api.selectors import from_label_selector
from knarr.client.events import WARNING
from knarr.controllers import pods as podlib
from knarr.controllers.framework import Controller, ControllerContext, Key, key_of
from knarr.kit.clock import parse_rfc3339, rfc3339

ALLOWED = "DisruptionAllowed"
#: An eviction that was granted and whose pod is still there after this time did not happen.
DELETION_TIMEOUT_S = 120.0


class DisruptionController(Controller):
    name = "disruption-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._budgets = self.watch(policy.PodDisruptionBudget)
        self._pods = self.lister(core.Pod)
        self._scaled = {
            kind.__name__: self.lister(kind)
            for kind in (apps.ReplicaSet, apps.StatefulSet, apps.Deployment, core.ReplicationController)
        }
        self.informer(core.Pod).add_handler(self._pod_changed)

    def _pod_changed(self, event: str, old: core.Pod | None, new: core.Pod | None) -> None:
        for pod in (old, new):
            if pod is None:
                continue
            for budget in self._budgets.list(pod.metadata.namespace):
                if from_label_selector(budget.spec.selector).matches(pod.metadata.labels):
                    self.queue.add(key_of(budget))

    async def reconcile(self, key: Key) -> None:
        budget = self._budgets.get(*key)
        if budget is None or budget.metadata.deletionTimestamp is not None:
            return
        selector = from_label_selector(budget.spec.selector)
        pods = [pod for pod in self._pods.list(key[0]) if selector.matches(pod.metadata.labels)]
        if not pods:
            self.recorder.event(budget, "Normal", "NoPods", "No matching pods found")
        try:
            expected, desired = self._expected(budget, pods)
        except ValueError as error:
            self.recorder.event(budget, WARNING, "CalculateExpectedPodCountFailed", str(error))
            expected, desired = len(pods), len(pods)
        status, again_s = compute_status(budget, pods, expected, desired, now=self.clock.now())
        if status != budget.status:
            changed = codec.copy(budget)
            changed.status = status
            await self.client.update_status(changed)
        if again_s is not None:
            self.queue.add_after(key, again_s)

    def _expected(self, budget: policy.PodDisruptionBudget, pods: Sequence[core.Pod]) -> tuple[int, int]:
        """How many pods there should be, and how many of them healthy."""
        if budget.spec.maxUnavailable is not None:
            expected = sum(self._scales(pods))
            unavailable = scaled_value(budget.spec.maxUnavailable, expected, round_up=True)
            return expected, max(expected - unavailable, 0)
        minimum = budget.spec.minAvailable
        if minimum is None:
            return len(pods), 0
        if isinstance(minimum, int):
            return len(pods), minimum
        expected = sum(self._scales(pods))
        return expected, scaled_value(minimum, expected, round_up=True)

    def _scales(self, pods: Sequence[core.Pod]) -> Iterable[int]:
        """The sizes of the controllers behind the pods, each once. Raises ``ValueError`` for a pod without
        one.
        """
        seen: dict[str, int] = {}
        for pod in pods:
            owner = self._top(pod)
            if owner is None:
                raise ValueError(f"found no controllers for pod {pod.metadata.name!r}")
            seen[owner.metadata.uid] = 1 if owner.spec.replicas is None else owner.spec.replicas
        return seen.values()

    def _top(self, pod: core.Pod) -> Any | None:
        """The Deployment, StatefulSet, ReplicaSet or ReplicationController that decides the pod's number."""
        owner: Any = pod
        found = None
        while (reference := controller_of(owner)) is not None:
            lister = self._scaled.get(reference.kind)
            owner = lister.get(pod.metadata.namespace, reference.name) if lister is not None else None
            if owner is None or owner.metadata.uid != reference.uid:
                break
            found = owner
        return found


def compute_status(
    budget: policy.PodDisruptionBudget,
    pods: Sequence[core.Pod],
    expected: int,
    desired: int,
    *,
    now: datetime,
) -> tuple[policy.PodDisruptionBudgetStatus, float | None]:
    """The status, and in how many seconds a granted eviction has to be given up."""
    disrupted, again_s = _still_disrupted(budget, pods, now)
    healthy = sum(
        1
        for pod in pods
        if podlib.is_ready(pod)
        and pod.metadata.deletionTimestamp is None
        and pod.metadata.name not in disrupted
    )
    allowed = max(healthy - desired, 0) if expected > 0 else 0
    status = codec.copy(budget.status)
    status.currentHealthy, status.desiredHealthy = healthy, desired
    status.expectedPods, status.disruptionsAllowed = expected, allowed
    status.disruptedPods = disrupted
    status.observedGeneration = budget.metadata.generation or 0
    condition = meta.Condition(
        type=ALLOWED,
        status="True" if allowed else "False",
        reason="SufficientPods" if allowed else "InsufficientPods",
        message="",
        observedGeneration=status.observedGeneration,
        lastTransitionTime=rfc3339(now),
    )
    conditions.put(status.conditions, condition)
    return status, again_s


def _still_disrupted(
    budget: policy.PodDisruptionBudget, pods: Sequence[core.Pod], now: datetime
) -> tuple[dict[str, str], float | None]:
    """Evictions granted whose pods have not begun to go yet, but still may."""
    waiting = {pod.metadata.name for pod in pods if pod.metadata.deletionTimestamp is None}
    kept: dict[str, str] = {}
    soonest: float | None = None
    for name, since in budget.status.disruptedPods.items():
        left_s = (parse_rfc3339(since) + timedelta(seconds=DELETION_TIMEOUT_S) - now).total_seconds()
        if name in waiting and left_s > 0:
            kept[name] = since
            soonest = left_s if soonest is None else min(left_s, soonest)
    return kept, soonest
