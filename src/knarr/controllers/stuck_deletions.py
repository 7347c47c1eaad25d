"""Says why an object that was deleted is still there: which finalizers hold it, which dependents block it, whose kubelet does not answer.

An object overdue by ``OVERDUE_S`` gets the warning ``DeletionBlocked``, and pods and claims a condition of that type. What stands in a
namespace that is itself being deleted can get no event; the namespace's own then names it, next to upstream's conditions.

Upstream has no counterpart: there one has to know where to look.

It lives on the garbage collector's graph, which knows what is being deleted: a change costs nothing here, and a look, every ``PERIOD_S``,
goes over what is being deleted and nothing else.

Limits: ``TOLD_AT_ONCE`` objects are told of in one look, the others in the next; the same is said again after ``REPEAT_S``, when events
expire, and ``NAMED`` objects are named in one sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from knarr.api import conditions
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.client.transport import TransportError
from knarr.controllers.framework import Controller, ControllerContext, Key
from knarr.controllers.garbage_collector import FOREGROUND, GarbageCollector, Node
from knarr.controllers.namespaces import FINALIZER as NAMESPACE_FINALIZER
from knarr.controllers.volumes.protection import CLAIM_FINALIZER, users_of_claim
from knarr.kit.clock import parse_rfc3339, rfc3339

PERIOD_S = 30.0
OVERDUE_S = 60.0
REPEAT_S = 3600.0
TOLD_AT_ONCE = 200
NAMED = 5
#: The event's reason and the condition's type.
DELETION_BLOCKED = "DeletionBlocked"


def listed(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def explain(finalizers: Sequence[str], blocking: Sequence[str], kubelet: str, users: Sequence[str]) -> str:
    """What an object waits for; empty if nothing is known of. ``blocking`` are dependents, ``users`` the pods of a claim."""
    held = [name for name in finalizers if name != FOREGROUND]
    parts = [f"finalizers {listed(held)}"] if held else []
    if users:
        parts.append(f"pods that use it: {listed(users)}")
    if blocking:
        parts.append(f"dependents with blockOwnerDeletion: {listed(blocking)}")
    if kubelet:
        parts.append(kubelet)
    return "; ".join(parts)


def kubelet_silence(pod: core.Pod, node: core.Node | None) -> str:
    """What is known of the kubelet that should have ended the pod."""
    name = pod.spec.nodeName
    if not name:
        return ""
    if node is None:
        return f"node {name}, where it ran, is not there"
    if not conditions.is_true(node.status.conditions, "Ready"):
        return f"the kubelet of node {name} does not answer"
    return f"the kubelet of node {name} has not ended it yet"


class StuckDeletionController(Controller):
    name = "stuck-deletion-controller"
    workers = 1

    def __init__(self, context: ControllerContext, collector: GarbageCollector) -> None:
        super().__init__(context)
        self._graph = collector
        self._pods = self.lister(core.Pod)
        self._nodes = self.lister(core.Node)
        self._namespaces = self.lister(core.Namespace)
        self._told: dict[str, tuple[str, float]] = {}

    async def reconcile(self, key: Key) -> None:
        """Nothing is queued: the work is periodic."""

    async def background(self) -> None:
        while True:
            await self.clock.sleep(PERIOD_S)
            if self._graph.deleting or self._told:
                await self._look()

    async def _look(self) -> None:
        """Tell of what is overdue, if that is new or long ago."""
        now, now_s = self.clock.now(), self.clock.monotonic_s()
        overdue = self._overdue(now)
        # Also a namespace that is not overdue itself takes no event any more.
        deleting = self._graph.deleting.values()
        ending = {node.name for node in deleting if node.resource.type is core.Namespace}
        said = {node.uid: self._why(node) for node in overdue}
        inside: dict[str, list[str]] = {}
        for node in overdue:
            if said[node.uid]:
                inside.setdefault(node.namespace, []).append(f"{_title(node)} ({said[node.uid]})")
        for node in overdue:
            if node.resource.type is core.Namespace:
                said[node.uid] = "; ".join(filter(None, (said[node.uid], listed(inside.get(node.name, ())))))
        self._told = {uid: told for uid, told in self._told.items() if uid in said}
        room = TOLD_AT_ONCE
        for node in overdue:
            why, before = said[node.uid], self._told.get(node.uid)
            known = before is not None and before[0] == why and now_s - before[1] < REPEAT_S
            if not why or known or node.namespace in ending or not room:
                continue
            room -= 1
            self._told[node.uid] = (why, now_s)
            await self._tell(node, why)

    def _overdue(self, now: datetime) -> list[Node]:
        limit = now - timedelta(seconds=OVERDUE_S)
        deleting = self._graph.deleting.values()
        return [node for node in deleting if node.deletion_time and parse_rfc3339(node.deletion_time) < limit]

    def _why(self, node: Node) -> str:
        """The reason for one object, as it is now."""
        blocking = [_title(each) for each in self._graph.blocking(node)] if node.waits_for_dependents else []
        finalizers, kubelet, users = node.finalizers, "", []
        if node.resource.type is core.Namespace:
            namespace = self._namespaces.get("", node.name)
            own = namespace.spec.finalizers if namespace is not None else []
            finalizers = [*finalizers, *(each for each in own if each != NAMESPACE_FINALIZER)]
        elif node.resource.type is core.Pod:
            pod = self._pods.get(node.namespace, node.name)
            if pod is not None and not _ended(pod):
                kubelet = kubelet_silence(pod, self._nodes.get("", pod.spec.nodeName))
        elif CLAIM_FINALIZER in finalizers:
            users = [pod.metadata.name for pod in users_of_claim(self._pods, (node.namespace, node.name))]
        return explain(finalizers, blocking, kubelet, users)

    async def _tell(self, node: Node, why: str) -> None:
        message = f"Deletion waits for: {why}"
        self.recorder.event_about(node.reference, "Warning", DELETION_BLOCKED, message)
        if node.resource.type not in (core.Pod, core.PersistentVolumeClaim):
            return
        # Of these two, conditions that others have written are kept by whoever writes their status.
        condition = {
            "type": DELETION_BLOCKED,
            "status": "True",
            "reason": DELETION_BLOCKED,
            "message": message,
            "lastTransitionTime": rfc3339(self.clock.now()),
        }
        try:
            await self.client.patch(
                node.resource.type,
                node.name,
                {"metadata": {"uid": node.uid}, "status": {"conditions": [condition]}},
                namespace=node.namespace,
                subresource="status",
            )
        except (StatusError, TransportError) as error:
            self.log.debug("condition not written", object=f"{node.namespace}/{node.name}", error=error)


def _ended(pod: core.Pod) -> bool:
    """Whether its kubelet has done its part, so that only finalizers hold it."""
    return pod.status.phase in ("Succeeded", "Failed")


def _title(node: Node) -> str:
    return f"{node.resource.kind} {node.name}"
