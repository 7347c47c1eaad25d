"""Pods nobody will ever end: on nodes that no longer exist or have been declared out of service, deleted before they were scheduled, or
finished in too great a number.

Upstream's counterpart is ``pkg/controller/podgc``.
"""

from __future__ import annotations

from knarr.api import codec, conditions
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.client.transport import TransportError
from knarr.controllers.framework import Controller, ControllerContext, Key
from knarr.kit.clock import rfc3339

PERIOD_S = 20.0
#: A node must have been missing this long: it may only be registering again.
QUARANTINE_S = 40.0
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
#: Upstream's --terminated-pod-gc-threshold.
FINISHED_LIMIT = 12_500


class PodGCController(Controller):
    name = "pod-garbage-collector-controller"
    workers = 1

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._pods = self.lister(core.Pod)
        self._nodes = self.lister(core.Node)
        self._missing_since_s: dict[str, float] = {}

    async def reconcile(self, key: Key) -> None:
        """Nothing is queued: the work is periodic."""

    async def background(self) -> None:
        while True:
            try:
                await self._collect()
            except (StatusError, TransportError) as error:
                self.log.warning("collection failed", error=error)
            await self.clock.sleep(PERIOD_S)

    async def _collect(self) -> None:
        now_s = self.clock.monotonic_s()
        nodes = {node.metadata.name for node in self._nodes.list()}
        pods = self._pods.list()
        absent = {pod.spec.nodeName for pod in pods if pod.spec.nodeName and pod.spec.nodeName not in nodes}
        self._missing_since_s = {name: self._missing_since_s.get(name, now_s) for name in absent}
        gone = {name for name, since_s in self._missing_since_s.items() if now_s - since_s >= QUARANTINE_S}
        lost = {node.metadata.name for node in self._nodes.list() if _is_out_of_service(node)}
        for pod in pods:
            if pod.spec.nodeName in gone and await self._node_is_gone(pod.spec.nodeName):
                await self._delete(pod, "PodGC: node no longer exists")
            elif pod.metadata.deletionTimestamp is not None and (not pod.spec.nodeName or pod.spec.nodeName in lost):
                await self._delete(pod, "")
        finished = [pod for pod in pods if pod.status.phase in ("Succeeded", "Failed")]
        if len(finished) > FINISHED_LIMIT:
            finished.sort(key=lambda pod: pod.metadata.creationTimestamp or "")
            for pod in finished[: len(finished) - FINISHED_LIMIT]:
                await self._delete(pod, "")

    async def _node_is_gone(self, name: str) -> bool:
        try:
            await self.client.get(core.Node, name)
        except StatusError as error:
            return error.code == 404
        return False

    async def _delete(self, pod: core.Pod, reason: str) -> None:
        try:
            if reason and pod.status.phase not in ("Succeeded", "Failed"):
                changed = codec.copy(pod)
                changed.status.phase = "Failed"
                target = core.PodCondition(
                    type="DisruptionTarget",
                    status="True",
                    reason="DeletionByPodGC",
                    message=reason,
                    lastTransitionTime=rfc3339(self.clock.now()),
                )
                conditions.put(changed.status.conditions, target)
                await self.client.update_status(changed)
            await self.client.delete(
                core.Pod,
                pod.metadata.name,
                namespace=pod.metadata.namespace,
                uid=pod.metadata.uid,
                grace_period_s=0,
            )
        except StatusError as error:
            if error.code not in (404, 409):
                raise


def _is_out_of_service(node: core.Node) -> bool:
    """Somebody vouches that the machine is off: what was to end there has ended."""
    ready = conditions.is_true(node.status.conditions, "Ready")
    return not ready and any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints)
