"""Base of controllers that own pods: every event of a pod wakes its owner and settles what the owner
expected.

Neighbours: ``replicaset``, ``daemonset``, ``statefulset`` and ``job`` build on it; ``expectations`` and
``pods`` serve it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, ClassVar

from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.owners import controller_of
from knarr.api.selectors import LabelSelector, from_label_selector
from knarr.client.transport import TransportError
from knarr.controllers import pods as podlib
from knarr.controllers.expectations import TIMEOUT_S, Expectations
from knarr.controllers.framework import Controller, ControllerContext, Key, key_of
from knarr.kit.tasks import all_done

__all__ = ["PodOwnerController"]

class PodOwnerController(Controller):
    """A subclass names the kind it reconciles; ``self.owners`` lists them, ``self.pods`` all pods."""

    owner_type: ClassVar[type[Any]]

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self.owners = self.watch(self.owner_type)
        self.pods = self.lister(core.Pod)
        self.pods.add_index(podlib.BY_CONTROLLER, podlib.file_by_controller)
        self.expectations = Expectations(context.clock)
        self.control = podlib.PodControl(context.client, context.recorder)
        self.informer(core.Pod).add_handler(self._pod_changed)

    def selector_of(self, owner: Any) -> LabelSelector:
        return from_label_selector(owner.spec.selector)

    def _pod_changed(self, event: str, old: core.Pod | None, new: core.Pod | None) -> None:
        if new is None:
            assert old is not None
            key = self._owner_key(old)
            if key is not None:
                self.expectations.deleted(key, old.metadata.uid)
                self.queue.add(key)
            return
        if old is not None:
            before = self._owner_key(old)
            if before is not None and before != self._owner_key(new):
                self.queue.add(before)
        key = self._owner_key(new)
        if key is None:
            if controller_of(new) is None:
                self._wake_matching(new)
            return
        if old is None:
            self.expectations.created(key)
        if new.metadata.deletionTimestamp is not None:
            self.expectations.deleted(key, new.metadata.uid)
        self.queue.add(key)

    def is_settled(self, key: Key) -> bool:
        """Whether the cache has shown all that was written. If not, the key comes back also without an event: one
        that a dropped watch has swallowed never comes.
        """
        if self.expectations.satisfied(key):
            return True
        self.queue.add_after(key, TIMEOUT_S)
        return False

    def _owner_key(self, pod: core.Pod) -> Key | None:
        controller = controller_of(pod)
        if controller is None or controller.kind != self.owner_type.__name__:
            return None
        return (pod.metadata.namespace, controller.name)

    def _wake_matching(self, pod: core.Pod) -> None:
        """An orphan may be adopted by any owner whose selector it matches."""
        if not pod.metadata.labels:
            return
        for owner in self.owners.list(pod.metadata.namespace):
            if self.selector_of(owner).matches(pod.metadata.labels):
                self.queue.add(key_of(owner))

    def wake_when_available(self, key: Key, owner: Any, pods: Iterable[core.Pod], now: datetime) -> None:
        """Come back when the next of these pods has been ready for long enough; ``now`` is the moment of the status."""
        wait_s = podlib.next_available_in_s(pods, owner.spec.minReadySeconds, now)
        if wait_s is not None:
            self.queue.add_after(key, wait_s)

    async def claim(self, owner: Any) -> list[core.Pod]:
        """The owner's pods: its own, and orphans it adopts now."""
        manager = podlib.RefManager(self.client, core.Pod, owner, self.selector_of(owner))
        return await manager.claim(podlib.candidates(self.pods, owner))

    async def create_pods(
        self, key: Key, owner: Any, count: int, templates: Iterator[core.PodTemplateSpec]
    ) -> None:
        """Make a pod of each of the next ``count`` templates, in growing batches. The first failure is raised."""
        if not count:
            return
        self.expectations.expect_creations(key, count)

        async def make() -> None:
            await self.control.create(owner, next(templates))

        await self.control.create_many(
            count, make, failed=lambda number: self.expectations.created(key, number)
        )

    async def delete_pods(self, key: Key, owner: Any, pods: Sequence[core.Pod]) -> None:
        """Delete all, side by side. The first failure is raised."""
        if not pods:
            return
        self.expectations.expect_deletions(key, [pod.metadata.uid for pod in pods])

        async def one(pod: core.Pod) -> None:
            try:
                await self.control.delete(owner, pod)
            except (StatusError, TransportError):
                self.expectations.deleted(key, pod.metadata.uid)
                raise

        await all_done(one(pod) for pod in pods)
