"""What every controller is: a queue of keys, a few workers, and one function from a key to a few writes.

``reconcile`` reads from listers, decides by pure functions, writes, and returns; it never trusts the event
that woke it, and doing it twice does no harm. A refusal
or a broken connection brings the key back later.

Upstream's counterpart is the pattern all of ``pkg/controller`` repeats.

Neighbours: ``manager`` starts controllers; ``expectations`` keeps a controller from acting on a cache that
has not seen its own writes yet.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import msgspec

from knarr.api.errors import StatusError
from knarr.client.client import MERGE_PATCH, Client
from knarr.client.events import EventRecorder
from knarr.client.informer import Informer, InformerFactory, Lister
from knarr.client.transport import TransportError
from knarr.client.workqueue import WorkQueue
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger

__all__ = ["Controller", "ControllerContext", "Key", "key_of"]

T = TypeVar("T", bound=msgspec.Struct)

#: Namespace and name; the namespace is empty for kinds without one.
Key = tuple[str, str]


@dataclass(slots=True)
class ControllerContext:
    """What a controller needs of the world."""

    client: Client
    factory: InformerFactory
    clock: Clock
    chance: Chance
    recorder: EventRecorder


class Controller:
    """Base of all controllers. A subclass registers handlers in ``__init__`` and defines ``reconcile``."""

    name: ClassVar[str] = ""
    workers: ClassVar[int] = 5

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        self.client = context.client
        self.clock = context.clock
        self.chance = context.chance
        self.recorder = context.recorder
        self.queue: WorkQueue[Key] = WorkQueue(context.clock)
        self.log = get_logger(self.name)
        self._informers: list[Informer[Any]] = []

    def informer(self, kind: type[T], *, namespace: str = "", field_selector: str = "") -> Informer[T]:
        """The shared informer of a kind, or of some of its objects; ``run`` waits for it before the first key is
        worked on.
        """
        informer = self.context.factory.informer(kind, namespace=namespace, field_selector=field_selector)
        self._informers.append(informer)
        return informer

    def lister(self, kind: type[T]) -> Lister[T]:
        return self.informer(kind).lister

    def watch(self, kind: type[T]) -> Lister[T]:
        """Queue every object of ``kind`` that appears, changes or goes."""
        informer = self.informer(kind)
        informer.add_handler(lambda event, old, new: self.queue.add(key_of(new if new is not None else old)))
        return informer.lister

    async def reconcile(self, key: Key) -> None:
        """Bring one object's world in order."""
        raise NotImplementedError

    async def drop_finalizer(
        self, kind: type[Any], obj: Any, finalizer: str, *, missing_ok: bool = False
    ) -> None:
        """Remove one finalizer on the revision it was seen on. Raises NotFound (not with ``missing_ok``) and Conflict."""
        kept = [name for name in obj.metadata.finalizers if name != finalizer]
        patch = {"metadata": {"finalizers": kept or None, "resourceVersion": obj.metadata.resourceVersion}}
        namespace, name = key_of(obj)
        try:
            await self.client.patch(kind, name, patch, namespace=namespace, patch_type=MERGE_PATCH)
        except StatusError as error:
            if not missing_ok or error.code != 404:
                raise

    async def run(self) -> None:
        """Work on the queue until cancelled."""
        for informer in self._informers:
            await informer.wait_synced()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.workers):
                    group.create_task(self._work())
                group.create_task(self.background())
        finally:
            self.queue.close()

    async def background(self) -> None:
        """What a controller does besides its queue; nothing, usually."""

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self.reconcile(key)
            except StatusError as error:
                # A conflict only says that the cache was behind; anything else may pass as well.
                if error.code not in (404, 409):
                    self.log.warning("reconcile refused", key="/".join(key), error=error)
                self.queue.retry(key)
            except TransportError as error:
                self.log.debug("reconcile failed", key="/".join(key), error=error)
                self.queue.retry(key)
            except Exception as error:
                self.log.exception("reconcile failed", key="/".join(key), error=error)
                self.queue.retry(key)
            else:
                self.queue.forget(key)
            finally:
                self.queue.done(key)


def key_of(obj: Any) -> Key:
    return (obj.metadata.namespace, obj.metadata.name)
