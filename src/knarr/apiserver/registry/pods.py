"""Pods: what the server adds to a new one, how one is bound to a node, and how long one may take to end.

Upstream's counterpart is ``pkg/registry/core/pod``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.core import v1 as core
from knarr.api.core.qos import qos_class
from knarr.api.errors import conflict, invalid, required
from knarr.apiserver.registry.generic import GenericRegistry, Result
from knarr.apiserver.registry.strategy import Context, Strategy
from knarr.kit.clock import rfc3339

DEFAULT_GRACE_S = 30


class Pods(Strategy):
    def prepare_create(self, ctx: Context, obj: core.Pod) -> None:
        obj.metadata.generation = 1
        obj.status = core.PodStatus(phase="Pending", qosClass=qos_class(obj))
        if obj.spec.schedulingGates:
            obj.status.conditions = [
                core.PodCondition(
                    type="PodScheduled",
                    status="False",
                    reason="SchedulingGated",
                    message="Scheduling is blocked due to non-empty scheduling gates",
                )
            ]

    def prepare_status(self, ctx: Context, obj: core.Pod, old: core.Pod) -> core.Pod:
        changed = Strategy.prepare_status(self, ctx, obj, old)
        changed.metadata.finalizers = (
            obj.metadata.finalizers if old.metadata.deletionTimestamp else old.metadata.finalizers
        )
        changed.status.qosClass = old.status.qosClass
        assert isinstance(changed, core.Pod)
        return changed


def grace_period_s(pod: core.Pod) -> int | None:
    """How long the pod itself wants to end in. A pod that is on no node, or has ended, needs no time, whatever is asked for: None."""
    if not pod.spec.nodeName or pod.status.phase in ("Succeeded", "Failed"):
        return None
    own = pod.spec.terminationGracePeriodSeconds
    if own is None:
        return DEFAULT_GRACE_S
    return max(own, 1) if own < 0 else own


async def bind(
    registry: GenericRegistry, ctx: Context, namespace: str, name: str, binding: core.Binding
) -> Result:
    """Put a pod on a node, once. Raises ``StatusError`` 404, 409, 422."""
    node = binding.target.name
    if not node:
        raise invalid("", "Binding", name, [required("target.name")])

    async def mutate(current: Any | None) -> core.Pod:
        assert current is not None
        pod: core.Pod = current
        if binding.metadata.uid and binding.metadata.uid != pod.metadata.uid:
            raise conflict(
                registry.resource.group,
                registry.resource.plural,
                name,
                f"Precondition failed: UID in precondition: {binding.metadata.uid}, UID in object meta: {pod.metadata.uid}",
            )
        if pod.metadata.deletionTimestamp is not None:
            raise conflict(
                registry.resource.group,
                registry.resource.plural,
                name,
                f"pod {name} is being deleted, cannot be assigned to a host",
            )
        if pod.spec.nodeName:
            raise conflict(
                registry.resource.group,
                registry.resource.plural,
                name,
                f"pod {name} is already assigned to node {pod.spec.nodeName!r}".replace("'", '"'),
            )
        if pod.spec.schedulingGates:
            raise conflict(
                registry.resource.group,
                registry.resource.plural,
                name,
                f"pod {name} has non-empty .spec.schedulingGates",
            )
        pod.spec.nodeName = node
        pod.metadata.annotations = {**pod.metadata.annotations, **binding.metadata.annotations}
        others = [condition for condition in pod.status.conditions if condition.type != "PodScheduled"]
        pod.status.conditions = [
            *others,
            core.PodCondition(
                type="PodScheduled",
                status="True",
                lastTransitionTime=rfc3339(ctx.clock.now()),
                observedGeneration=pod.metadata.generation or 0,
            ),
        ]
        return pod

    async def admitted(new: Any, old: Any) -> None:
        """The binding was, by whoever took it; that it changes a pod is no question of its own."""

    return await registry.update(ctx, namespace, name, mutate, subresource="binding", admit=admitted)
