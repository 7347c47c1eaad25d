"""The scheduling loop: pop a pod, choose a node, assume it is there, bind it in the background.

Choosing is quick and happens one pod at a time; binding is a request and happens for many at once. From the
choice until the API confirms it the pod is *assumed*: it counts on its node, so that
the next pod sees the room gone. A binding that fails takes the assumption back.

Upstream's counterpart is ``pkg/scheduler``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from knarr.api import codec, conditions
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.policy import v1 as policy
from knarr.api.storage import v1 as storage
from knarr.client.client import STRATEGIC_MERGE_PATCH, Client
from knarr.client.events import NORMAL, WARNING, EventRecorder
from knarr.client.informer import ADDED, DELETED, Informer, InformerFactory
from knarr.client.transport import TransportError
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock, rfc3339
from knarr.kit.log import get_logger
from knarr.kit.tasks import TaskSet
from knarr.scheduler.framework import FitError, Framework, Placement
from knarr.scheduler.plugins import default_plugins
from knarr.scheduler.plugins.volumes import BindingTimeout, VolumeBinding
from knarr.scheduler.preemption import Candidate, may_preempt, preempt
from knarr.scheduler.queue import QueuedPod, SchedulingQueue
from knarr.scheduler.table import NodeTable, PodLoad

log = get_logger("scheduler")

NAME = "default-scheduler"
#: Bindings under way at once.
BIND_LIMIT = 64
#: Pods remembered with the victims they wait for.
PREEMPTING_LIMIT = 1024


class Scheduler:
    """Schedules the pods that name it."""

    def __init__(
        self,
        client: Client,
        factory: InformerFactory,
        *,
        clock: Clock,
        chance: Chance,
        name: str = NAME,
        framework: Framework | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._chance = chance
        self._name = name
        self.table = NodeTable()
        self.framework = framework or Framework(
            [
                *default_plugins(factory.informer(core.Namespace).lister),
                VolumeBinding(client, factory, clock=clock),
            ]
        )
        self.queue = SchedulingQueue(clock)
        self._recorder = EventRecorder(client, name, clock=clock, chance=chance)
        self._assumed: dict[str, str] = {}
        #: For a pod that preempted: the victims it waits for.
        self._preempting: dict[str, set[str]] = {}
        self._budgets = factory.informer(policy.PodDisruptionBudget).lister
        self._others: list[Informer[Any]] = []
        self._nodes = factory.informer(core.Node)
        self._pods = factory.informer(core.Pod)
        for kind in (core.PersistentVolumeClaim, core.PersistentVolume, storage.StorageClass):
            informer: Informer[Any] = factory.informer(kind)
            informer.add_handler(lambda event, old, new: self.queue.event("Volume", event))
            self._others.append(informer)
        self._nodes.add_handler(self._node_changed)
        self._pods.add_handler(self._pod_changed)
        self._binding = TaskSet(log)
        self._gate = asyncio.Semaphore(BIND_LIMIT)

    async def run(self) -> None:
        """Schedule until cancelled."""
        await self._nodes.wait_synced()
        await self._pods.wait_synced()
        for informer in self._others:
            await informer.wait_synced()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._recorder.run())
                group.create_task(self._loop())
        finally:
            self.queue.close()
            await self._binding.close()

    async def _loop(self) -> None:
        while True:
            queued = await self.queue.pop()
            if self._skip(queued.pod):
                self.queue.remove(*queued.key)
                continue
            await self._gate.acquire()
            try:
                placement = self._choose(queued)
            except BaseException:
                self._gate.release()
                raise
            if placement is None:
                self._gate.release()
            else:
                self._binding.spawn(self._bind(queued, placement))
            # Let informers and bindings run between two decisions.
            await asyncio.sleep(0)

    def _skip(self, pod: core.Pod) -> bool:
        return pod.metadata.deletionTimestamp is not None or bool(pod.spec.nodeName)

    def _choose(self, queued: QueuedPod) -> Placement | None:
        """One scheduling cycle; None if no node fits, and then everybody has been told."""
        pod, moves = queued.pod, self.queue.moves
        try:
            placement = self.framework.schedule(
                pod, self.table, signature=signature_of(pod), tie_break=self._chance.index(1 << 30)
            )
        except FitError as error:
            self._preempt(pod, error)
            self.queue.failed(queued, frozenset(error.plugins or {""}), moves=moves)
            self._binding.spawn(self._report(pod, str(error)))
            return None
        except Exception as error:
            log.exception("scheduling failed", pod="/".join(queued.key), error=error)
            self.queue.failed(queued, frozenset(), moves=moves)
            return None
        self._assumed[pod.metadata.uid] = placement.node
        self.table.add_pod(placement.node, pod.metadata.uid, placement.state.load)
        self.framework.reserve(placement, pod)
        return placement

    def _preempt(self, pod: core.Pod, error: FitError) -> None:
        """Make room by taking less important pods away, if that helps; says in ``error`` what came of it."""
        count = len(self.table)
        if not count or error.resolvable is None:
            return
        unhelped = count - int(error.resolvable.sum())
        parts = [f"{unhelped} Preemption is not helpful for scheduling"] if unhelped else []
        chosen = None
        if not may_preempt(pod):
            error.preemption = "preemption: not eligible due to preemptionPolicy=Never."
            return
        if pod.metadata.uid in self._preempting and self._still_leaving(pod):
            error.preemption = "preemption: not eligible due to a terminating pod on the nominated node."
            return
        if error.resolvable.any():
            chosen = preempt(pod, self.table, self.framework, self._budgets.list(), helped=error.resolvable)
            if chosen is None:
                parts.append(f"{int(error.resolvable.sum())} No preemption victims found for incoming pod")
        if chosen is None:
            error.preemption = f"preemption: 0/{count} nodes are available: {', '.join(sorted(parts))}."
            return
        if len(self._preempting) >= PREEMPTING_LIMIT:
            self._preempting.clear()
        self._preempting[pod.metadata.uid] = {victim.metadata.uid for victim in chosen.victims}
        self._binding.spawn(self._evict(pod, chosen))

    def _still_leaving(self, pod: core.Pod) -> bool:
        """Whether a victim of this pod has not gone yet."""
        held = {load.pod.metadata.uid for row in self.table.rows() for load in self.table.pods_on(row)}
        return bool(self._preempting[pod.metadata.uid] & held)

    async def _evict(self, pod: core.Pod, chosen: Candidate) -> None:
        """Delete the victims and note on the pod where it is going to fit."""
        for victim in chosen.victims:
            namespace, name = victim.metadata.namespace, victim.metadata.name
            condition = core.PodCondition(
                type="DisruptionTarget",
                status="True",
                reason="PreemptionByScheduler",
                message=f"{self._name}: preempting to accommodate a higher priority pod",
                lastTransitionTime=rfc3339(self._clock.now()),
            )
            patch = {"status": {"conditions": [codec.to_dict(condition)]}}
            try:
                await self._client.patch(core.Pod, name, patch, namespace=namespace, subresource="status")
                await self._client.delete(core.Pod, name, namespace=namespace, uid=victim.metadata.uid)
            except (StatusError, TransportError) as error:
                log.debug("victim not deleted", pod=f"{namespace}/{name}", error=error)
                continue
            message = f"Preempted by pod {pod.metadata.uid} on node {chosen.node}"
            self._recorder.event(victim, NORMAL, "Preempted", message)
        try:
            await self._client.patch(
                core.Pod,
                pod.metadata.name,
                {"status": {"nominatedNodeName": chosen.node}},
                namespace=pod.metadata.namespace,
                subresource="status",
            )
        except (StatusError, TransportError) as error:
            log.debug("nomination not written", pod=pod.metadata.name, error=error)

    async def _bind(self, queued: QueuedPod, placement: Placement) -> None:
        pod = queued.pod
        binding = core.Binding(
            metadata=meta.ObjectMeta(
                name=pod.metadata.name, namespace=pod.metadata.namespace, uid=pod.metadata.uid
            ),
            target=core.ObjectReference(kind="Node", name=placement.node),
        )
        try:
            await self.framework.pre_bind(placement, pod)
            await self._client.create_subresource(
                core.Pod, pod.metadata.name, "binding", binding, namespace=pod.metadata.namespace
            )
        except (StatusError, TransportError, BindingTimeout) as error:
            self._forget(pod, placement)
            if isinstance(error, StatusError) and error.code == 404:
                self.queue.remove(*queued.key)
                return
            log.warning("binding failed", pod="/".join(queued.key), node=placement.node, error=error)
            self._recorder.event(pod, WARNING, "FailedScheduling", f"binding rejected: {error}")
            self.queue.failed(queued, frozenset(), moves=self.queue.moves)
            return
        finally:
            self._gate.release()
        message = f"Successfully assigned {'/'.join(queued.key)} to {placement.node}"
        self._recorder.event(pod, NORMAL, "Scheduled", message)

    def _forget(self, pod: core.Pod, placement: Placement) -> None:
        """The assumption was wrong."""
        self.framework.unreserve(placement, pod)
        if self._assumed.pop(pod.metadata.uid, None) is not None:
            self.table.remove_pod(placement.node, pod.metadata.uid)

    async def _report(self, pod: core.Pod, message: str) -> None:
        """Say in an event and a condition why the pod waits."""
        self._recorder.event(pod, WARNING, "FailedScheduling", message)
        held = conditions.get(pod.status.conditions, "PodScheduled")
        if held is not None and held.status == "False" and held.message == message:
            return
        condition = core.PodCondition(
            type="PodScheduled",
            status="False",
            reason="Unschedulable",
            message=message,
            lastTransitionTime=rfc3339(self._clock.now()),
            observedGeneration=pod.metadata.generation or 0,
        )
        patch = {"status": {"conditions": [codec.to_dict(condition)]}}
        try:
            await self._client.patch(
                core.Pod,
                pod.metadata.name,
                patch,
                namespace=pod.metadata.namespace,
                patch_type=STRATEGIC_MERGE_PATCH,
                subresource="status",
            )
        except (StatusError, TransportError) as error:
            log.debug("condition not written", pod=pod.metadata.name, error=error)

    def _node_changed(self, event: str, old: core.Node | None, new: core.Node | None) -> None:
        if new is None:
            assert old is not None
            self.table.remove_node(old.metadata.name)
            return
        if not self.table.set_node(new):
            return
        if old is None:
            self.queue.event("Node", ADDED)
            return
        if old.status.allocatable != new.status.allocatable:
            self.queue.event("Node", "allocatable")
        if old.metadata.labels != new.metadata.labels:
            self.queue.event("Node", "labels")
        if old.spec.taints != new.spec.taints or old.spec.unschedulable != new.spec.unschedulable:
            self.queue.event("Node", "taints")

    def _pod_changed(self, event: str, old: core.Pod | None, new: core.Pod | None) -> None:
        if event == DELETED or new is None:
            assert old is not None
            self._pod_gone(old)
            return
        if new.status.phase in ("Succeeded", "Failed"):
            self._pod_gone(new)
            return
        if new.spec.nodeName:
            self.queue.remove(new.metadata.namespace, new.metadata.name)
            self._assumed.pop(new.metadata.uid, None)
            self._preempting.pop(new.metadata.uid, None)
            if old is None or not old.spec.nodeName:
                self.queue.event("Pod", ADDED)
            if old is None or _counts_differently(old, new):
                self.table.add_pod(new.spec.nodeName, new.metadata.uid, PodLoad.of(new))
            return
        self._pod_waits(old, new)

    def _pod_waits(self, old: core.Pod | None, new: core.Pod) -> None:
        mine = new.spec.schedulerName in ("", self._name)
        if not mine or new.spec.schedulingGates or new.metadata.deletionTimestamp is not None:
            if old is not None:
                self.queue.remove(new.metadata.namespace, new.metadata.name)
            return
        if new.metadata.uid in self._assumed:
            return
        if old is None or old.spec != new.spec or old.metadata.labels != new.metadata.labels:
            self.queue.add(new)
        else:
            self.queue.update(new)

    def _pod_gone(self, pod: core.Pod) -> None:
        self.queue.remove(pod.metadata.namespace, pod.metadata.name)
        node = pod.spec.nodeName or self._assumed.pop(pod.metadata.uid, "")
        if node:
            self._assumed.pop(pod.metadata.uid, None)
            self.table.remove_pod(node, pod.metadata.uid)
            self.queue.event("Pod", DELETED)


def _counts_differently(old: core.Pod, new: core.Pod) -> bool:
    """Whether a pod on a node takes something else now, or is another to those who look for company."""
    return (
        old.spec != new.spec
        or old.metadata.labels != new.metadata.labels
        or old.metadata.deletionTimestamp != new.metadata.deletionTimestamp
    )


def signature_of(pod: core.Pod) -> bytes:
    """Equal for pods that static filters cannot tell apart."""
    spec = pod.spec
    constraints: Any = [spec.nodeName, spec.nodeSelector, spec.affinity, spec.tolerations]
    return codec.encode(constraints)
