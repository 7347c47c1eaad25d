"""Pods leave a node with an evicting taint: at once, or when the time they tolerate it for is over.

Upstream's counterpart is ``pkg/controller/tainteviction``. Neighbour: ``node_lifecycle`` gives the taints.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from knarr.api import codec, conditions
from knarr.api.core import v1 as core
from knarr.api.core.placement import tolerates
from knarr.api.errors import StatusError
from knarr.client.events import NORMAL
from knarr.controllers.framework import Controller, ControllerContext, Key, key_of
from knarr.kit.clock import parse_rfc3339, rfc3339


class TaintEvictionController(Controller):
    name = "taint-eviction-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        #: Since when each pod stands under a taint that does not itself say when it came. One entry a pod at most.
        self._since: dict[Key, datetime] = {}
        self._nodes = self.lister(core.Node)
        self._pods = self.lister(core.Pod)
        self._pods.add_index("node", lambda pod: (pod.spec.nodeName,) if pod.spec.nodeName else ())
        self.informer(core.Node).add_handler(self._node_changed)
        self.informer(core.Pod).add_handler(self._pod_changed)

    def _node_changed(self, event: str, old: core.Node | None, new: core.Node | None) -> None:
        if new is None or (old is not None and evicting(old) == evicting(new)):
            return
        if not evicting(new) and (old is None or not evicting(old)):
            return
        for pod in self._pods.by_index("node", new.metadata.name):
            self.queue.add(key_of(pod))

    def _pod_changed(self, event: str, old: core.Pod | None, new: core.Pod | None) -> None:
        if new is None:
            if old is not None:
                self._since.pop(key_of(old), None)
            return
        if not new.spec.nodeName:
            return
        if (
            old is not None
            and old.spec.nodeName == new.spec.nodeName
            and old.spec.tolerations == new.spec.tolerations
        ):
            return
        node = self._nodes.get("", new.spec.nodeName)
        if node is not None and evicting(node):
            self.queue.add(key_of(new))

    async def reconcile(self, key: Key) -> None:
        pod = self._pods.get(*key)
        if pod is None or pod.metadata.deletionTimestamp is not None:
            return
        node = self._nodes.get("", pod.spec.nodeName)
        if node is None:
            return
        taints = evicting(node)
        if not taints:
            self._since.pop(key, None)
            return
        since = self._since.setdefault(key, self.clock.now())
        due = eviction_time(taints, pod.spec.tolerations, now=since)
        if due is None:
            return
        wait_s = (due - self.clock.now()).total_seconds()
        if wait_s > 0:
            self.queue.add_after(key, wait_s)
            return
        await self._evict(pod)

    async def _evict(self, pod: core.Pod) -> None:
        self.recorder.event(
            pod, NORMAL, "TaintManagerEviction", f"Marking for deletion Pod {'/'.join(key_of(pod))}"
        )
        changed = codec.copy(pod)
        target = core.PodCondition(
            type="DisruptionTarget",
            status="True",
            reason="DeletionByTaintManager",
            message="Taint manager: deleting due to NoExecute taint",
            lastTransitionTime=rfc3339(self.clock.now()),
        )
        try:
            if conditions.put(changed.status.conditions, target):
                await self.client.update_status(changed)
            await self.client.delete(
                core.Pod, pod.metadata.name, namespace=pod.metadata.namespace, uid=pod.metadata.uid
            )
        except StatusError as error:
            if error.code != 404:
                raise


def evicting(node: core.Node) -> list[core.Taint]:
    return [taint for taint in node.spec.taints if taint.effect == "NoExecute"]


def eviction_time(
    taints: Sequence[core.Taint], tolerations: Sequence[core.Toleration], *, now: datetime
) -> datetime | None:
    """When the pod has to go: now, at some time, or (None) never.

    ``now`` is when the pod came under these taints; a taint that says when it was added counts from then.
    """
    earliest: datetime | None = None
    for taint in taints:
        matching = [toleration for toleration in tolerations if tolerates(toleration, taint)]
        if not matching:
            return now
        limits = [t.tolerationSeconds for t in matching if t.tolerationSeconds is not None]
        if not limits:
            continue
        since = parse_rfc3339(taint.timeAdded) if taint.timeAdded else now
        due = since + timedelta(seconds=max(min(limits), 0))
        earliest = due if earliest is None else min(earliest, due)
    return earliest
