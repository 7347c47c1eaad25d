"""Which pod is scheduled next.

Three places: *active* (by priority, then by arrival), *backoff* (failed a moment ago), *unschedulable*
(nothing has happened that could help). An event in the cluster moves pods out of
the last only if one of the plugins that refused them may answer differently after it.

Upstream's counterpart is ``pkg/scheduler/backend/queue``.

Limits: a pod waits at most ``MAX_BACKOFF_S`` between tries, and at most ``UNSCHEDULABLE_S`` without one.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from dataclasses import dataclass, field

from knarr.api.core import v1 as core
from knarr.client.informer import ADDED, DELETED, MODIFIED
from knarr.kit.clock import Clock

__all__ = ["QueuedPod", "SchedulingQueue"]

INITIAL_BACKOFF_S, MAX_BACKOFF_S = 1.0, 10.0
UNSCHEDULABLE_S = 300.0

#: Which plugins may change their mind after which event. The event is (kind, what happened).
HINTS: dict[tuple[str, str], frozenset[str]] = {
    ("Node", ADDED): frozenset(
        (
            "NodeUnschedulable",
            "NodeName",
            "TaintToleration",
            "NodeAffinity",
            "NodePorts",
            "NodeResourcesFit",
            "PodTopologySpread",
            "InterPodAffinity",
            "VolumeBinding",
            "",
        )
    ),
    ("Node", "allocatable"): frozenset(("NodeResourcesFit",)),
    ("Node", "labels"): frozenset(("NodeAffinity", "PodTopologySpread", "InterPodAffinity")),
    ("Node", "taints"): frozenset(("TaintToleration", "NodeUnschedulable")),
    ("Pod", ADDED): frozenset(("PodTopologySpread", "InterPodAffinity")),
    ("Volume", ADDED): frozenset(("VolumeBinding",)),
    ("Volume", MODIFIED): frozenset(("VolumeBinding",)),
    ("Pod", DELETED): frozenset(("NodeResourcesFit", "NodePorts", "PodTopologySpread", "InterPodAffinity")),
}


@dataclass(slots=True)
class QueuedPod:
    """A pod that waits, and what is known of its tries."""

    pod: core.Pod
    since_s: float
    attempts: int = 0
    refused_by: frozenset[str] = frozenset()
    failed_s: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        return (self.pod.metadata.namespace, self.pod.metadata.name)

    def backoff_s(self) -> float:
        return min(INITIAL_BACKOFF_S * 2.0 ** max(self.attempts - 1, 0), MAX_BACKOFF_S)


@dataclass(order=True, slots=True)
class _Place:
    priority: int
    number: int
    queued: QueuedPod = field(compare=False)


class SchedulingQueue:
    """Not thread-safe: one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._active: list[_Place] = []
        self._numbers = itertools.count()
        self._known: dict[tuple[str, str], QueuedPod] = {}
        self._waiting: set[tuple[str, str]] = set()
        self._unschedulable: dict[tuple[str, str], QueuedPod] = {}
        self._timers: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()
        #: Grows with every event that may help somebody: a pod refused on an older state tries again.
        self.moves = 0

    def __len__(self) -> int:
        return len(self._known)

    def statistics(self) -> dict[str, int]:
        return {
            "active": len(self._waiting),
            "backoff": len(self._timers),
            "unschedulable": len(self._unschedulable),
        }

    def add(self, pod: core.Pod) -> None:
        """A new pod, or a changed one: its specification may now fit."""
        key = (pod.metadata.namespace, pod.metadata.name)
        queued = self._known.get(key)
        if queued is None:
            queued = self._known[key] = QueuedPod(pod, self._clock.monotonic_s())
        else:
            queued.pod = pod
            if key in self._timers:
                # It is paying for its last failure; a change does not cut that short.
                return
        self._unschedulable.pop(key, None)
        self._activate(queued)

    def update(self, pod: core.Pod) -> None:
        """Remember a pod's newer form without another try: only its status or metadata changed."""
        queued = self._known.get((pod.metadata.namespace, pod.metadata.name))
        if queued is not None:
            queued.pod = pod

    def remove(self, namespace: str, name: str) -> None:
        key = (namespace, name)
        self._known.pop(key, None)
        self._waiting.discard(key)
        self._unschedulable.pop(key, None)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _activate(self, queued: QueuedPod) -> None:
        key = queued.key
        if key in self._waiting:
            return
        self._waiting.add(key)
        heapq.heappush(self._active, _Place(-(queued.pod.spec.priority or 0), next(self._numbers), queued))
        self._wake.set()

    async def pop(self) -> QueuedPod:
        """The next pod; it stays known until ``remove`` or ``failed``."""
        while True:
            while self._active:
                queued = heapq.heappop(self._active).queued
                if queued.key in self._waiting and self._known.get(queued.key) is queued:
                    self._waiting.discard(queued.key)
                    queued.attempts += 1
                    return queued
            self._wake.clear()
            await self._wake.wait()

    def failed(self, queued: QueuedPod, refused_by: frozenset[str], *, moves: int) -> None:
        """A try failed. ``moves`` is what ``self.moves`` was when the try began."""
        if self._known.get(queued.key) is not queued:
            return
        queued.refused_by = refused_by
        queued.failed_s = self._clock.monotonic_s()
        if moves != self.moves or not refused_by:
            # Something changed meanwhile, or the failure was no refusal: try again soon.
            self._back_off(queued)
        else:
            self._unschedulable[queued.key] = queued
            self._later(queued, UNSCHEDULABLE_S)

    def _back_off(self, queued: QueuedPod) -> None:
        held = self._timers.pop(queued.key, None)
        if held is not None:
            held.cancel()
        left_s = queued.failed_s + queued.backoff_s() - self._clock.monotonic_s()
        if left_s <= 0:
            self._activate(queued)
        else:
            self._later(queued, left_s)

    def _later(self, queued: QueuedPod, delay_s: float) -> None:
        old = self._timers.pop(queued.key, None)
        if old is not None:
            old.cancel()
        self._timers[queued.key] = asyncio.get_running_loop().call_later(delay_s, self._due, queued)

    def _due(self, queued: QueuedPod) -> None:
        self._timers.pop(queued.key, None)
        self._unschedulable.pop(queued.key, None)
        if self._known.get(queued.key) is queued:
            self._activate(queued)

    def event(self, kind: str, what: str) -> None:
        """Something happened in the cluster: let those try again whom it may help."""
        helped = HINTS.get((kind, what))
        if helped is None:
            return
        self.moves += 1
        for key, queued in list(self._unschedulable.items()):
            if queued.refused_by & helped or not queued.refused_by:
                del self._unschedulable[key]
                self._back_off(queued)

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
