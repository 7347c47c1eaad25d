"""What a store promises: etcd's model, reduced to what an API server uses.

There is one global revision, a number that grows by one with every write. A key carries the revision of its
creation and of its last change; a write can be made conditional on the latter. A watch replays every change
after a revision and then follows. History is kept until it is compacted.

Every engine passes the same ``tests/contract``. Neighbours: ``apiserver`` is the only user.

Invariants:

* A write has happened when the call returns, and survives ``kill -9`` from then on (memory: for the life of
  the process).
* Watchers see each change once, in the order of revisions, and never a change that could still be lost.
* Changes of one write batch may arrive in one ``Events`` batch, never split a revision.
* An empty store stands at revision 1, as etcd's does, so that no object and no list ever has the version "0".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

__all__ = [
    "Compacted",
    "Event",
    "FutureRevision",
    "KeyValue",
    "Page",
    "RevisionMismatch",
    "Store",
    "StoreError",
    "Watch",
]

#: How many changes may wait for one watcher before it is cut off with ``Compacted``.
WATCH_BUFFER_EVENTS = 20_000


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    """One key as it stood at some revision."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int


class Event(msgspec.Struct, frozen=True, gc=False):
    """One change. ``value`` is None for a deletion; ``previous`` is what stood there before, None for a
    creation.

    ``create_revision`` of a deletion is that of the key which went; ``previous_revision`` is the
    ``mod_revision`` of ``previous``, 0 for a creation.
    """

    key: str
    revision: int
    value: bytes | None
    create_revision: int
    previous: bytes | None
    previous_revision: int = 0


class Page(msgspec.Struct, frozen=True):
    """Part of a range: the keys in order, the revision they were read at, and how many follow them."""

    items: list[KeyValue]
    revision: int
    remaining: int


class StoreError(Exception):
    """Anything a store can refuse."""


class RevisionMismatch(StoreError):
    """The key is not at the expected revision. ``current`` is what stands there; None if nothing does.

    ``expected`` is None when any revision would have done (an unconditional deletion of what is not there).
    """

    def __init__(self, key: str, expected: int | None, current: KeyValue | None) -> None:
        found = "absent" if current is None else f"at revision {current.mod_revision}"
        wanted = "present" if expected is None else "absent" if expected == 0 else f"at revision {expected}"
        super().__init__(f"expected {key} {wanted}, found it {found}")
        self.key = key
        self.expected = expected
        self.current = current


class Compacted(StoreError):
    """The revision asked for is older than what is kept. ``oldest`` is the first one still readable."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"revision {asked} has been compacted, the oldest is {oldest}")
        self.asked = asked
        self.oldest = oldest


class FutureRevision(StoreError):
    """The revision asked for has not happened yet."""

    def __init__(self, asked: int, current: int) -> None:
        super().__init__(f"revision {asked} is in the future, the current one is {current}")
        self.asked = asked
        self.current = current


class Watch(Protocol):
    """An endless iterator over batches of changes; ``aclose`` or dropping the last reference releases it."""

    def __aiter__(self) -> AsyncIterator[Sequence[Event]]: ...

    async def __anext__(self) -> Sequence[Event]: ...

    async def aclose(self) -> None: ...


class Store(Protocol):
    """A versioned key-value store. Keys are text, compared by code point; values are bytes."""

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """The key as it stands now, or stood at ``revision``. Raises ``Compacted``, ``FutureRevision``."""
        ...

    async def range(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        """The keys that begin with ``prefix``, from ``start`` on (inclusive; empty: from the first).

        ``limit`` 0 means all. ``revision`` 0 means now, and the page says which that was.
        Raises ``Compacted``, ``FutureRevision``.
        """
        ...

    async def count(self, prefix: str) -> int:
        """How many keys begin with ``prefix`` now."""
        ...

    async def put(self, key: str, value: bytes, *, expected: int | None, ttl_s: int = 0) -> int:
        """Write a key and return the new revision.

        ``expected`` is the ``mod_revision`` that must stand there: 0 for "must not exist", None for "whatever
        is there". With ``ttl_s`` the key deletes itself that many seconds after this write (a deletion like
        any other). Raises ``RevisionMismatch``.
        """
        ...

    async def delete(self, key: str, *, expected: int | None) -> int:
        """Delete a key and return the new revision. Raises ``RevisionMismatch``, also when nothing stands
        there.
        """
        ...

    def watch(self, prefix: str, *, after: int) -> Watch:
        """Every change under ``prefix`` with a revision greater than ``after``, in order, in batches, without
        end.

        Iterating raises ``Compacted`` when a needed change is gone (also for a watcher too slow to keep up:
        each has a bounded buffer, ``WATCH_BUFFER_EVENTS``), and ``StoreError`` once the store is closed. An
        ``after`` in the future is no error: the changes up to it are left out. Closing the iterator releases
        it.
        """
        ...

    async def revision(self) -> int:
        """The newest revision. After this call, a watch has all changes up to it within reach."""
        ...

    async def compact(self, revision: int) -> None:
        """Forget history before ``revision``; what stands at it stays readable. Raises ``FutureRevision``.

        From then on a read before ``revision`` and a watch ``after`` less than it raise ``Compacted``.
        Repeating it, or asking for less than was compacted before, changes nothing.
        """
        ...

    async def close(self) -> None:
        """Finish what was acknowledged and let go of files and threads."""
        ...
