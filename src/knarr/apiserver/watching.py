"""From changes in a cache to the frames of many watches.

A ``Dispatcher`` stands behind each cache. It keeps watchers filed under what they ask for (everything, a
namespace, one object,
a node's pods), so that a change meets only those it can concern, and it frames a change's bytes once for all
of them.

A selector makes its own history: an object that begins to match is ADDED, one that ceases to is DELETED,
whatever really happened to it.

Limits: a watcher may be ``BUFFER_LIMIT`` frames behind; then its watch ends, and the client resumes or lists
again.

Neighbours: ``cacher`` below; ``registry.generic`` turns a watch request into a ``Watcher``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from knarr.api.selectors import FieldSelector, LabelSelector
from knarr.apiserver.cacher import Cache, Change, Entry, Hub, at_revision
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock

__all__ = ["Dispatcher", "Watcher"]

BUFFER_LIMIT = 10_000
#: Between two bookmarks of a watch that asked for them; upstream's is about a minute.
BOOKMARK_PERIOD_S = 60.0
#: A watch without timeoutSeconds lasts between this and twice this, as upstream's min-request-timeout.
MIN_WATCH_S = 1800.0

#: Renders an entry's object for one output format; None is plain JSON, which all share.
Renderer = Callable[[Entry], bytes]

Scope = tuple[str, str]
EVERYTHING: Scope = ("", "")


@dataclass(eq=False, slots=True)
class Watcher:
    """One watch: what it wants, and the frames that wait to be sent."""

    scope: Scope = EVERYTHING
    namespace: str = ""
    name: str = ""
    labels: LabelSelector | None = None
    fields: FieldSelector | None = None
    render: Renderer | None = None
    frames: list[bytes] = field(default_factory=list)
    overflowed: bool = False
    ended: bool = False
    """The watch ends when its frames are sent."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def matches(self, entry: Entry) -> bool:
        if self.namespace and entry.namespace != self.namespace:
            return False
        if self.name and entry.name != self.name:
            return False
        if self.labels is not None and not self.labels.matches(entry.labels):
            return False
        return self.fields is None or self.fields.matches(entry.fields)

    def push(self, frame: bytes) -> None:
        if len(self.frames) >= BUFFER_LIMIT:
            self.overflowed = True
        else:
            self.frames.append(frame)
        self.wake.set()


class _Framed:
    """A change with its frames, each made when first wanted."""

    __slots__ = ("_cache", "_gone", "_made", "change")

    def __init__(self, cache: Cache, change: Change) -> None:
        self._cache = cache
        self.change = change
        self._made: dict[str, bytes] = {}
        self._gone: Entry | None = None

    @property
    def gone(self) -> Entry:
        """What a watcher is shown that had the object and has it no longer: upstream shows one that is there but
        no longer selected as it was, at the new revision.
        """
        if self._gone is None:
            change = self.change
            assert change.previous is not None
            self._gone = change.entry if change.deleted else at_revision(change.previous, change.revision)
        return self._gone

    def frame(self, kind: str, entry: Entry, render: Renderer | None) -> bytes:
        if render is not None:
            return frame(kind, render(entry))
        made = self._made.get(kind)
        if made is None:
            made = self._made[kind] = frame(kind, self._cache.head + entry.body)
        return made


def frame(kind: str, obj: bytes) -> bytes:
    """One line of a watch."""
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), obj)


class Dispatcher:
    """Hands each change of one cache to the watchers it concerns."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._watchers: dict[Scope, dict[Watcher, None]] = {}
        #: How many events watches have been told.
        self.events_told = 0
        cache.subscribers.append(self._dispatch)

    def __len__(self) -> int:
        return sum(len(watchers) for watchers in self._watchers.values())

    def add(self, watcher: Watcher) -> None:
        watcher.scope = _scope_of(watcher, namespaced=self._cache.resource.namespaced)
        self._watchers.setdefault(watcher.scope, {})[watcher] = None

    def remove(self, watcher: Watcher) -> None:
        watchers = self._watchers.get(watcher.scope)
        if watchers is not None:
            watchers.pop(watcher, None)
            if not watchers:
                del self._watchers[watcher.scope]

    def wake_all(self) -> None:
        """Have every watch look at whether it should end."""
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.wake.set()

    def end_all(self) -> None:
        """End every watch: the kind is no longer served."""
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.overflowed = True
                watcher.wake.set()

    def told(self, revision: int) -> int:
        """How far watchers have been told, where the cache is at ``revision``; for bookmarks."""
        return revision

    def _dispatch(self, change: Change) -> None:
        if not self._watchers:
            return
        framed = _Framed(self._cache, change)
        for scope in _scopes(change):
            for watcher in self._watchers.get(scope, ()):
                offer(watcher, framed)

    def replay(self, watcher: Watcher, changes: list[Change]) -> None:
        """Hand over changes that happened before the watcher came."""
        for change in changes:
            offer(watcher, _Framed(self._cache, change))


def offer(watcher: Watcher, framed: _Framed) -> None:
    """Decide what ``watcher`` is to be told of a change, if anything."""
    change = framed.change
    entry = change.entry
    before = change.previous is not None and watcher.matches(change.previous)
    after = not change.deleted and watcher.matches(entry)
    if after:
        watcher.push(framed.frame("MODIFIED" if before else "ADDED", entry, watcher.render))
    elif before:
        watcher.push(framed.frame("DELETED", framed.gone, watcher.render))


def _scope_of(watcher: Watcher, *, namespaced: bool) -> Scope:
    if watcher.name and (watcher.namespace or not namespaced):
        return ("object", f"{watcher.namespace}/{watcher.name}")
    node = watcher.fields.required_value("spec.nodeName") if watcher.fields is not None else None
    if node:
        return ("node", node)
    if watcher.namespace:
        return ("namespace", watcher.namespace)
    return EVERYTHING


def _scopes(change: Change) -> list[Scope]:
    """Every scope a change can concern. A node's pods are looked for under the old and the new node."""
    entry = change.entry
    scopes: list[Scope] = [EVERYTHING, ("object", f"{entry.namespace}/{entry.name}")]
    if entry.namespace:
        scopes.append(("namespace", entry.namespace))
    node = entry.fields.get("spec.nodeName")
    if node:
        scopes.append(("node", node))
    if change.previous is not None:
        old = change.previous.fields.get("spec.nodeName")
        if old and old != node:
            scopes.append(("node", old))
    return scopes


class _Alarm:
    """Wakes a watch at its next moment. One timer a moment, however many events come before it: a timeout around each
    wait costs more than an event does.
    """

    __slots__ = ("_timer", "_wake")

    def __init__(self, wake: asyncio.Event) -> None:
        self._wake = wake
        self._timer: asyncio.TimerHandle | None = None

    def set(self, delay_s: float) -> None:
        """Unless it is set already: moments only move when one has come."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._wake.set()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


async def stream(
    watcher: Watcher,
    dispatcher: Dispatcher,
    *,
    hub: Hub,
    clock: Clock,
    chance: Chance,
    timeout_s: float,
    bookmark: Callable[[int], bytes] | None,
    stopping: asyncio.Event,
) -> AsyncIterator[bytes]:
    """The body of a watch: waiting frames joined, bookmarks in between, until time-out, overflow or shutdown.

    The watcher must have been added to ``dispatcher`` before; it is removed when this ends, however it ends.
    """
    duration_s = timeout_s or MIN_WATCH_S * (1 + chance.uniform(0, 1))
    end_s = clock.monotonic_s() + duration_s
    alarm = _Alarm(watcher.wake)
    next_bookmark_s = clock.monotonic_s() + BOOKMARK_PERIOD_S
    try:
        while not watcher.overflowed and not stopping.is_set():
            if watcher.frames:
                frames, watcher.frames = watcher.frames, []
                dispatcher.events_told += len(frames)
                yield frames[0] if len(frames) == 1 else b"".join(frames)
                continue
            if watcher.ended:
                break
            now_s = clock.monotonic_s()
            if now_s >= end_s:
                break
            if bookmark is not None and now_s >= next_bookmark_s:
                next_bookmark_s = now_s + BOOKMARK_PERIOD_S
                yield bookmark(dispatcher.told(hub.revision))
                continue
            watcher.wake.clear()
            alarm.set((end_s if bookmark is None else min(end_s, next_bookmark_s)) - now_s)
            await watcher.wake.wait()
    finally:
        alarm.cancel()
        dispatcher.remove(watcher)
