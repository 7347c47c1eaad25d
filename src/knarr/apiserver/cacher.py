"""The watch cache: what is stored, as bytes ready to send, and the recent changes.

One watch of the whole store feeds every kind's ``Cache``. An object's bytes are made once per revision: GET
writes them, LIST
joins them, WATCH frames them once for all watchers. ``Hub.wait_for`` gives read-your-writes: a write's answer
is held until its
revision has arrived here.

Bytes are kept without their first part, the constant ``{"apiVersion":…,"kind":…,``, because a list's items go
without it:
``Entry.body`` begins with ``"metadata":{"resourceVersion":"7",``.

Where only a webhook can convert what is stored (custom resources), an entry waits as it is stored until somebody wants it:
``Cache.converter.settle`` fills it in, for a whole list in one call, and it stays filled in. So a webhook that is slow or gone
holds up nobody but those who read that version, and they are told.

Upstream's counterpart is ``apiserver/pkg/storage/cacher``; the difference is one watch of the store instead
of one a kind.

Neighbours: ``store`` below, ``registry`` above, ``watching`` for what leaves towards a client.
"""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, Protocol, cast

import msgspec

from knarr.api import codec
from knarr.api.errors import expired, timeout
from knarr.api.scheme import Resource
from knarr.apiserver.conversion import Conversion
from knarr.apiserver.fields import FieldReader
from knarr.kit.log import get_logger
from knarr.store.contract import Compacted, Event, KeyValue, Store

__all__ = ["Cache", "Change", "Converter", "Entry", "Hub"]

log = get_logger("cacher")

#: Changes kept per kind for watches that resume; an older resourceVersion gets 410.
HISTORY_LIMIT = 4096
#: How long a read waits for a revision the cache has not reached, as upstream.
WAIT_LIMIT_S = 3.0


class Entry(msgspec.Struct, gc=False):
    """One object at one revision."""

    key: str
    namespace: str
    name: str
    revision: int
    body: bytes
    labels: dict[str, str]
    fields: dict[str, str]
    stored: bytes = b""
    """The object in another version, while it waits for conversion; then ``body`` is empty."""


class Converter(Protocol):
    """Brings entries into the cache's version where that takes time."""

    async def settle(self, entries: Sequence[Entry]) -> None:
        """Fill in those that wait. Raises ``StatusError`` where they cannot be converted."""
        ...

    async def encode(self, obj: Any) -> bytes:
        """An object of the cache's version as it is to be stored. Raises ``StatusError``."""
        ...

    async def convert(self, obj: Any, target: Resource) -> Any:
        """An object of the cache's version as one of another version of the kind. Raises ``StatusError``."""
        ...


class Change(msgspec.Struct, gc=False):
    """One change: ``entry`` is the object after it (for a deletion: as it was last, at the deletion's
    revision).
    """

    revision: int
    deleted: bool
    entry: Entry
    previous: Entry | None


def at_revision(entry: Entry, revision: int) -> Entry:
    """The same object, told of at another revision: as it was when it went."""
    if entry.stored:
        return Entry(
            entry.key, entry.namespace, entry.name, revision, b"", entry.labels, entry.fields, entry.stored
        )
    end = entry.body.index(b",")
    body = b'"metadata":{"resourceVersion":"%d"' % revision + entry.body[end:]
    return Entry(entry.key, entry.namespace, entry.name, revision, body, entry.labels, entry.fields)


Subscriber = Callable[[Change], None]


class Cache:
    """All objects of one kind, in key order, and the changes that led to them."""

    def __init__(
        self,
        resource: Resource,
        *,
        conversion: Conversion | None = None,
        converter: Converter | None = None,
        schema_changes: bool = False,
        has_defaults: bool = False,
    ) -> None:
        self.resource = resource
        self.conversion = conversion
        self.converter = converter
        #: What was stored under another schema may lack what this one defaults, and hold what it prunes.
        self._schema_changes = schema_changes
        #: ... and so may what another server, which does not know the new schema yet, still writes.
        self._has_defaults = has_defaults
        self.prefix = resource.storage_prefix + "/"
        self.head = b'{"apiVersion":"%s","kind":"%s",' % (
            resource.api_version.encode(),
            resource.kind.encode(),
        )
        self._stored_head = self.head + b'"metadata":{'
        self.reader = FieldReader(resource)
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []
        self._history: deque[Change] = deque(maxlen=HISTORY_LIMIT)
        #: Watches from before this revision cannot be served.
        self.oldest = 0
        self.subscribers: list[Subscriber] = []

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def within(self, namespace: str) -> str:
        """What the keys of a namespace's objects begin with; of all objects' for none."""
        return f"{self.prefix}{namespace}/" if namespace else self.prefix

    def scan(self, prefix: str, *, start: str = "") -> list[Entry]:
        """The entries whose key begins with ``prefix``, in order, from ``start`` on."""
        keys, entries = self._keys, self._entries
        if not keys:
            return []
        first = bisect_left(keys, max(prefix, start))
        # A key begins with the prefix exactly if it sorts before the prefix with its last letter raised by one.
        last = bisect_left(keys, prefix[:-1] + chr(ord(prefix[-1]) + 1), lo=first)
        return [entries[key] for key in keys[first:last]]

    def since(self, revision: int) -> list[Change]:
        """The changes after ``revision``. Raises ``StatusError`` 410 Expired when some are no longer known."""
        if revision < self.oldest:
            raise expired(f"too old resource version: {revision} ({self.oldest})")
        changes = []
        for change in reversed(self._history):
            if change.revision <= revision:
                break
            changes.append(change)
        changes.reverse()
        return changes

    def entry(self, kv: KeyValue) -> Entry:
        """An entry from a stored value, also one that somebody else wrote into the store."""
        held = self._entries.get(kv.key)
        if held is not None and held.revision == kv.mod_revision:
            # A page of a list mostly meets what is still current.
            return held
        return self._make(kv.key, kv.value, kv.mod_revision, normalize=self._schema_changes)

    def _make(self, key: str, value: bytes, revision: int, *, normalize: bool) -> Entry:
        if not value.startswith(self._stored_head):
            if self.converter is not None and codec.api_version_of(value) != self.resource.api_version:
                metadata, fields = self.reader.read(value)
                return Entry(
                    key, metadata.namespace, metadata.name, revision, b"", metadata.labels, fields, value
                )
            value = self._normalized(value)
        elif normalize:
            # Pruned and defaulted; what does not fit a schema that became narrower is still the user's object.
            with contextlib.suppress(codec.DecodeError):
                value = self._normalized(value)
        metadata, fields = self.reader.read(value)
        body = self._body(value, revision)
        return Entry(key, metadata.namespace, metadata.name, revision, body, metadata.labels, fields)

    def _body(self, value: bytes, revision: int) -> bytes:
        # Our own encoder always writes at least a name here, so the comma is right.
        return b'"metadata":{"resourceVersion":"%d",' % revision + value[len(self._stored_head) :]

    def settle(self, entry: Entry, obj: Any) -> None:
        """``obj`` is the object that a waiting entry stands for."""
        obj.metadata.resourceVersion = ""
        value = codec.encode(obj)
        metadata, entry.fields = self.reader.read(value)
        entry.labels = metadata.labels
        entry.body = self._body(value, entry.revision)
        entry.stored = b""

    def _normalized(self, value: bytes) -> bytes:
        """The value as this server would have written it."""
        if self.conversion is not None:
            obj = self.conversion.decode(value)
        else:
            obj = codec.decode(self.resource.type, value)
        obj.metadata.resourceVersion = ""
        return codec.encode(obj)

    def load(self, items: list[KeyValue], revision: int) -> None:
        """Take over the state at ``revision``; used once at the start."""
        for item in items:
            try:
                self._entries[item.key] = self.entry(item)
            except (msgspec.DecodeError, codec.DecodeError) as error:
                log.error("stored object cannot be read", key=item.key, error=error)
        self._keys = sorted(self._entries)
        self.oldest = revision

    def apply(self, event: Event) -> None:
        """Take over one change and tell subscribers."""
        previous = self._entries.get(event.key)
        if event.value is None:
            if previous is None:
                return
            del self._entries[event.key]
            del self._keys[bisect_left(self._keys, event.key)]
            entry = at_revision(previous, event.revision)
        else:
            try:
                entry = self._make(event.key, event.value, event.revision, normalize=self._has_defaults)
            except (msgspec.DecodeError, codec.DecodeError) as error:
                log.error("stored object cannot be read", key=event.key, error=error)
                return
            if previous is None:
                self._insert(event.key)
            self._entries[event.key] = entry
        change = Change(event.revision, event.value is None, entry, previous)
        if len(self._history) == HISTORY_LIMIT:
            self.oldest = self._history[0].revision
        self._history.append(change)
        for subscriber in self.subscribers:
            subscriber(change)

    def _insert(self, key: str) -> None:
        if not self._keys or self._keys[-1] < key:
            self._keys.append(key)
        else:
            insort(self._keys, key)

    def object(self, entry: Entry) -> Any:
        """The entry as a struct of its own, free to change."""
        return codec.decode(self.resource.type, self.head + entry.body)


class _LateEvents:
    """Stands where a cache will, while that one is being loaded."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def apply(self, event: Event) -> None:
        self.events.append(event)


class _Waiter(NamedTuple):
    revision: int
    future: asyncio.Future[None]
    until_s: float


class Hub:
    """Feeds every ``Cache`` from one watch of the store, and knows how far they have come."""

    def __init__(self, store: Store, *, root: str = "/registry/") -> None:
        self.store = store
        self._root = root
        #: By key prefix; a kind served in two versions has two caches.
        self._caches: dict[str, list[Any]] = {}
        self.revision = 0
        #: In the order of their ends.
        self._waiters: list[_Waiter] = []
        self._timer: asyncio.TimerHandle | None = None
        self.started = asyncio.Event()

    def add(self, cache: Cache) -> None:
        """Feed ``cache`` from the start; before ``run``."""
        self._caches.setdefault(cache.prefix, []).append(cache)

    async def attach(self, caches: list[Cache]) -> None:
        """Feed the caches of a new kind (all of one prefix): load what is stored, miss nothing that happens
        meanwhile.
        """
        prefix = caches[0].prefix
        late = _LateEvents()
        # Caches that are there already (the kind changed) are kept in step until these are loaded.
        before = self._caches.get(prefix, [])
        self._caches[prefix] = [late, *before]
        try:
            page = await self.store.range(prefix)
        except BaseException:
            self._caches[prefix] = before
            raise
        # From here on nothing awaits: no event can come in between.
        for cache in caches:
            cache.load(page.items, page.revision)
            for event in late.events:
                if event.revision > page.revision:
                    cache.apply(event)
        self._caches[prefix] = list(caches)

    def detach(self, caches: list[Cache]) -> None:
        """The kind is gone."""
        self._caches.pop(caches[0].prefix, None)

    async def run(self) -> None:
        """Load everything, then follow. Ends only by cancellation or when the store fails."""
        try:
            await self._follow()
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            # Nobody will feed the caches any more, nor count the time of those who wait.
            abandoned, self._waiters = self._waiters, []
            for waiter in abandoned:
                self._refuse(waiter)

    async def _follow(self) -> None:
        first = await self.store.revision()
        for prefix, caches in list(self._caches.items()):
            page = await self.store.range(prefix, revision=first) if first else None
            for cache in caches:
                cache.load(page.items if page else [], first)
        self._advance(first)
        self.started.set()
        while True:
            try:
                async with aclosing(cast(Any, self.store.watch(self._root, after=self.revision))) as batches:
                    async for events in batches:
                        for event in events:
                            for cache in self._caches_of(event.key):
                                cache.apply(event)
                        self._advance(events[-1].revision)
            except Compacted as error:
                # Only a server that stood still longer than history is kept comes here; its state cannot be
                # trusted.
                raise RuntimeError(
                    "the store compacted changes this server had not seen; restart it"
                ) from error

    def _caches_of(self, key: str) -> list[Any]:
        # /registry/pods/default/web and /registry/services/specs/default/web: the prefix has one or two parts
        # more.
        end = key.find("/", len(self._root))
        found = self._caches.get(key[: end + 1])
        if found is None and end >= 0:
            end = key.find("/", end + 1)
            found = self._caches.get(key[: end + 1])
        return found or []

    def _advance(self, revision: int) -> None:
        self.revision = revision
        if self._waiters:
            still = []
            for waiter in self._waiters:
                if waiter.revision > revision:
                    still.append(waiter)
                elif not waiter.future.done():
                    waiter.future.set_result(None)
            self._waiters = still

    async def wait_for(self, revision: int) -> None:
        """Until the caches have reached ``revision``. Raises ``StatusError`` 504 after ``WAIT_LIMIT_S``."""
        if self.revision >= revision:
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiters.append(_Waiter(revision, future, loop.time() + WAIT_LIMIT_S))
        if self._timer is None:
            self._timer = loop.call_at(self._waiters[0].until_s, self._give_up, loop)
        await future

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell those who have waited for too long. One timer for all: a write waits here, and a timer each would cost it more."""
        self._timer = None
        now_s = loop.time()
        overdue = [waiter for waiter in self._waiters if waiter.until_s <= now_s]
        self._waiters = [waiter for waiter in self._waiters if waiter.until_s > now_s]
        for waiter in overdue:
            self._refuse(waiter)
        if self._waiters:
            self._timer = loop.call_at(self._waiters[0].until_s, self._give_up, loop)

    def _refuse(self, waiter: _Waiter) -> None:
        if not waiter.future.done():
            text = f"Too large resource version: {waiter.revision}, current: {self.revision}"
            waiter.future.set_exception(timeout(text))

    async def fresh(self) -> None:
        """Until the caches hold everything that was acknowledged before this call."""
        revision = await self.store.revision()
        if self.revision < revision:
            await self.wait_for(revision)
