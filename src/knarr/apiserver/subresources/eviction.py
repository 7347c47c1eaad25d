"""Eviction: a deletion that disruption budgets may refuse.

The budget's status is taken down by one before the pod goes, so that two evictions at once cannot both use
the last disruption.

Upstream's counterpart is ``pkg/registry/core/pod/storage/eviction.go``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.core import v1 as core
from knarr.api.errors import internal_error, too_many_requests
from knarr.api.meta import v1 as meta
from knarr.api.policy import v1 as policy
from knarr.api.selectors import from_label_selector
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.registry.strategy import Context
from knarr.kit.clock import rfc3339


async def evict(
    pods: GenericRegistry,
    budgets: GenericRegistry,
    ctx: Context,
    namespace: str,
    name: str,
    eviction: policy.Eviction,
) -> meta.Status:
    """Delete a pod if every budget that covers it allows. Raises ``StatusError`` 404, 409, 429, 500."""
    pod: core.Pod = await pods.get(namespace, name)
    options = eviction.deleteOptions or meta.DeleteOptions()
    if not _needs_budget(pod):
        await _delete(pods, ctx, pod, options)
        return meta.Status(status="Success", code=201)
    covering = [budget for budget in budgets.objects(namespace) if _covers(budget, pod)]
    if len(covering) > 1:
        raise internal_error(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    if covering:
        await _take(budgets, ctx, covering[0], pod)
    await _delete(pods, ctx, pod, options)
    return meta.Status(status="Success", code=201)


async def _delete(pods: GenericRegistry, ctx: Context, pod: core.Pod, options: meta.DeleteOptions) -> None:
    """Delete the pod, with the condition that tells its owner it did not fail by itself."""
    namespace, name = pod.metadata.namespace, pod.metadata.name
    condition = core.PodCondition(
        type="DisruptionTarget",
        status="True",
        reason="EvictionByEvictionAPI",
        message="Eviction API: evicting",
        lastTransitionTime=rfc3339(ctx.clock.now()),
    )

    async def mutate(current: Any | None) -> core.Pod:
        assert current is not None
        changed: core.Pod = current
        others = [each for each in changed.status.conditions if each.type != condition.type]
        changed.status.conditions = [*others, condition]
        return changed

    if pod.metadata.deletionTimestamp is None:
        await pods.update(ctx, namespace, name, mutate, subresource="status", admit=_admitted)
    await pods.delete(ctx, namespace, name, options, admitted=True)


async def _admitted(new: Any, old: Any) -> None:
    """The eviction was; what it does to the pod is not asked about again."""


def _needs_budget(pod: core.Pod) -> bool:
    """A pod that has ended, waits, or is being deleted anyway disrupts nothing."""
    return (
        pod.status.phase not in ("Succeeded", "Failed", "Pending") and pod.metadata.deletionTimestamp is None
    )


def _covers(budget: policy.PodDisruptionBudget, pod: core.Pod) -> bool:
    selector = budget.spec.selector
    return selector is not None and from_label_selector(selector).matches(pod.metadata.labels)


async def _take(
    budgets: GenericRegistry, ctx: Context, budget: policy.PodDisruptionBudget, pod: core.Pod
) -> None:
    name = budget.metadata.name

    async def mutate(current: Any | None) -> policy.PodDisruptionBudget:
        assert current is not None
        changed: policy.PodDisruptionBudget = current
        status = changed.status
        if (status.observedGeneration or 0) < (changed.metadata.generation or 0):
            raise _refused(
                f"The disruption budget {name} is still being processed by the server.", retry_s=10
            )
        if status.disruptionsAllowed <= 0:
            raise _refused(
                f"The disruption budget {name} needs {status.desiredHealthy} healthy pods and has {status.currentHealthy} currently"
            )
        status.disruptionsAllowed -= 1
        status.disruptedPods = {**status.disruptedPods, pod.metadata.name: rfc3339(ctx.clock.now())}
        return changed

    await budgets.update(ctx, budget.metadata.namespace, name, mutate, subresource="status")


def _refused(message: str, *, retry_s: int = 0) -> Exception:
    cause = meta.StatusCause(reason="DisruptionBudget", message=message)
    return too_many_requests(
        "Cannot evict pod as it would violate the pod's disruption budget.",
        retry_after_s=retry_s,
        causes=[cause],
    )
