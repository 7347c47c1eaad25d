"""A local, current copy of one kind, and the news about it.

The Reflector lists once, then watches from that revision; when a watch ends it resumes from the last revision
seen, and when
that is too old it lists again and tells handlers only the difference. Handlers run in the event loop, in
order, and must
be quick: they usually add a key to a WorkQueue. Objects in the copy are shared and must not be changed:
``codec.copy`` first.

Neighbours: ``client.client`` lists and watches; controllers, the scheduler, the kubelet and the proxy read
Listers.

Upstream's counterpart is client-go's SharedInformerFactory; the difference is that an informer created while
the factory runs starts by itself.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypedDict, TypeVar

import msgspec

from knarr.api import codec
from knarr.api.errors import StatusError
from knarr.api.meta.tables import PartialObjectMetadata
from knarr.api.scheme import Resource
from knarr.client.client import Client
from knarr.client.transport import TransportError
from knarr.kit.backoff import Backoff
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.kit.tasks import TaskSet

__all__ = ["ADDED", "DELETED", "MODIFIED", "Informer", "InformerFactory", "Lister"]

T = TypeVar("T", bound=msgspec.Struct)

log = get_logger("informer")

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"

#: ``handler(event, old, new)``: old is None for ADDED, new is None for DELETED.
Handler = Callable[[str, Any, Any], None]
#: Values under which an index files an object.
IndexFunction = Callable[[Any], Iterable[str]]

#: How long one watch lasts at least before it is renewed; upstream draws between this and twice this.
WATCH_MIN_S = 300
#: A watch that ends sooner, and has brought nothing, was refused in all but name: a server on its way out does so.
SHORTEST_WATCH_S = 1.0
#: After failures to reach the server, as upstream's reflector.
RELIST_BASE_S, RELIST_MAX_S = 0.2, 30.0

Key = tuple[str, str]


class _Scope(TypedDict):
    namespace: str
    label_selector: str
    field_selector: str


class Lister(Generic[T]):
    """Reads the copy. Every object it gives out is shared."""

    def __init__(self, kind: type[T]) -> None:
        self.kind = kind
        self._objects: dict[Key, T] = {}
        self._by_namespace: dict[str, dict[str, T]] = {}
        self._indexers: dict[str, IndexFunction] = {}
        self._indices: dict[str, dict[str, dict[Key, T]]] = {}

    def get(self, namespace: str, name: str) -> T | None:
        """One object; ``namespace`` is empty for kinds without one."""
        return self._objects.get((namespace, name))

    def list(self, namespace: str | None = None) -> list[T]:
        """All objects, or those of one namespace."""
        if namespace is None:
            return list(self._objects.values())
        return list(self._by_namespace.get(namespace, {}).values())

    def __len__(self) -> int:
        return len(self._objects)

    def by_index(self, index: str, value: str) -> builtins.list[T]:
        """The objects that ``add_index``'s function filed under ``value``."""
        return list(self._indices[index].get(value, {}).values())

    def add_index(self, name: str, function: IndexFunction) -> None:
        """File objects under the values ``function`` gives; a second call with the same name changes nothing."""
        if name in self._indexers:
            return
        self._indexers[name] = function
        table = self._indices[name] = {}
        for key, obj in self._objects.items():
            for value in function(obj):
                table.setdefault(value, {})[key] = obj

    def _set(self, key: Key, obj: T) -> T | None:
        old = self._objects.get(key)
        if old is not None:
            self._unfile(key, old)
        self._objects[key] = obj
        self._by_namespace.setdefault(key[0], {})[key[1]] = obj
        for name, function in self._indexers.items():
            for value in function(obj):
                self._indices[name].setdefault(value, {})[key] = obj
        return old

    def _remove(self, key: Key) -> T | None:
        old = self._objects.pop(key, None)
        if old is not None:
            names = self._by_namespace[key[0]]
            del names[key[1]]
            if not names:
                del self._by_namespace[key[0]]
            self._unfile(key, old)
        return old

    def _unfile(self, key: Key, obj: T) -> None:
        for name, function in self._indexers.items():
            table = self._indices[name]
            for value in function(obj):
                entry = table.get(value)
                if entry is not None:
                    entry.pop(key, None)
                    if not entry:
                        del table[value]


class Informer(Generic[T]):
    """Keeps one Lister current and tells handlers what changed."""

    def __init__(
        self,
        client: Client,
        kind: type[T],
        *,
        clock: Clock,
        chance: Chance,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        metadata_of: Resource | None = None,
    ) -> None:
        self.lister: Lister[T] = Lister(kind)
        self._metadata_of = metadata_of
        self._client = client
        self._kind = kind
        self._clock = clock
        self._chance = chance
        self._scope = _Scope(
            namespace=namespace, label_selector=label_selector, field_selector=field_selector
        )
        self._handlers: list[Handler] = []
        self._synced = asyncio.Event()
        self._resource_version = ""

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    def add_handler(self, handler: Handler) -> None:
        """Tell ``handler`` of every change; what is already in the copy is told at once as ADDED."""
        self._handlers.append(handler)
        for obj in self.lister.list():
            self._call(handler, ADDED, None, obj)

    async def wait_synced(self) -> None:
        """Until the first list is complete."""
        await self._synced.wait()

    async def run(self) -> None:
        """List and watch until cancelled."""
        backoff = Backoff(RELIST_BASE_S, RELIST_MAX_S)
        while True:
            try:
                if not self._resource_version:
                    await self._list()
                if await self._watch():
                    backoff.reset()
                    continue
                log.debug("watch ended at once", kind=self._kind.__name__)
            except StatusError as error:
                if error.code == 410:
                    self._resource_version = ""
                    if backoff.failures == 0:
                        backoff.next_s()
                        continue
                log.warning("list or watch refused", kind=self._kind.__name__, error=error)
            except TransportError as error:
                log.debug("list or watch failed", kind=self._kind.__name__, error=error)
            except (msgspec.DecodeError, codec.DecodeError) as error:
                log.error("server sent what cannot be read", kind=self._kind.__name__, error=error)
                self._resource_version = ""
            await self._clock.sleep(self._chance.jitter(backoff.next_s(), 0.5))

    async def _list(self) -> None:
        answer = await self._client.list(self._kind, **self._scope, metadata_of=self._metadata_of)
        seen: set[Key] = set()
        for obj in answer.items:
            seen.add(_key(obj))
            self._apply(obj)
        for obj in self.lister.list():
            if _key(obj) not in seen:
                self._drop(obj)
        self._resource_version = answer.resource_version
        self._synced.set()

    async def _watch(self) -> bool:
        """Follow changes until the watch ends; False for one that was none."""
        began_s, brought = self._clock.monotonic_s(), False
        timeout_s = WATCH_MIN_S + self._chance.index(WATCH_MIN_S)
        events = self._client.watch(
            self._kind,
            **self._scope,
            resource_version=self._resource_version,
            timeout_s=timeout_s,
            metadata_of=self._metadata_of,
        )
        async with contextlib.aclosing(events) as stream:
            async for event in stream:
                brought = True
                metadata = event.object.metadata  # type: ignore[attr-defined]
                if event.type == DELETED:
                    self._drop(event.object)
                elif event.type != "BOOKMARK":
                    self._apply(event.object)
                self._resource_version = metadata.resourceVersion
        return brought or self._clock.monotonic_s() - began_s >= SHORTEST_WATCH_S

    def _apply(self, obj: T) -> None:
        key = _key(obj)
        old = self.lister._set(key, obj)
        if old is None:
            self._tell(ADDED, None, obj)
        elif old.metadata.resourceVersion != obj.metadata.resourceVersion:  # type: ignore[attr-defined]
            self._tell(MODIFIED, old, obj)

    def _drop(self, obj: T) -> None:
        old = self.lister._remove(_key(obj))
        if old is not None:
            self._tell(DELETED, obj, None)

    def _tell(self, event: str, old: T | None, new: T | None) -> None:
        for handler in self._handlers:
            self._call(handler, event, old, new)

    def _call(self, handler: Handler, event: str, old: T | None, new: T | None) -> None:
        try:
            handler(event, old, new)
        except Exception as error:
            # One reader's mistake must not stop the copy that others read.
            log.exception("handler failed", kind=self._kind.__name__, error=error)


class InformerFactory:
    """Shares one informer among all that ask for the same kind and scope, and runs them."""

    def __init__(self, client: Client, *, clock: Clock, chance: Chance) -> None:
        self.client = client
        self._clock = clock
        self._chance = chance
        self._informers: dict[tuple[Any, str, str, str], Informer[Any]] = {}
        self._tasks: TaskSet | None = None
        self._running: dict[Informer[Any], asyncio.Task[Any]] = {}

    def informer(
        self, kind: type[T], *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> Informer[T]:
        """The informer of ``kind`` in this scope; started at once if the factory runs."""
        scope = (kind, namespace, label_selector, field_selector)
        informer = self._informers.get(scope)
        if informer is None:
            informer = self._informers[scope] = Informer(
                self.client,
                kind,
                clock=self._clock,
                chance=self._chance,
                namespace=namespace,
                label_selector=label_selector,
                field_selector=field_selector,
            )
            self._start(informer)
        return informer

    def metadata_informer(self, resource: Resource) -> Informer[Any]:
        """An informer that knows at least the metadata of a resource's objects; one that has all of them is
        as good.
        """
        held = self._informers.get((resource.type, "", "", ""))
        if held is not None:
            return held
        scope = (resource, "", "", "")
        informer = self._informers.get(scope)
        if informer is None:
            informer = self._informers[scope] = Informer(
                self.client,
                PartialObjectMetadata,
                clock=self._clock,
                chance=self._chance,
                metadata_of=resource,
            )
            self._start(informer)
        return informer

    def forget_metadata(self, resource: Resource) -> None:
        """Stop following a kind that is no longer served."""
        informer = self._informers.pop((resource, "", "", ""), None)
        if informer is not None and (task := self._running.pop(informer, None)) is not None:
            task.cancel()

    def _start(self, informer: Informer[Any]) -> None:
        if self._tasks is not None:
            self._running[informer] = self._tasks.spawn(informer.run(), name=f"informer-{informer.lister.kind.__name__}")

    async def run(self) -> None:
        """Run every informer, also those asked for later, until cancelled."""
        assert self._tasks is None, "a factory runs once"
        self._tasks = TaskSet(log)
        try:
            for informer in self._informers.values():
                self._start(informer)
            await asyncio.Event().wait()
        finally:
            await self._tasks.close()
            self._tasks = None
            self._running.clear()


def _key(obj: Any) -> Key:
    return (obj.metadata.namespace, obj.metadata.name)
