"""The newest changes, kept in memory in order: what a watch starts from, and where a read looks back.

The sqlite engine keeps a short history here and the rest in its log; the memory engine keeps all it has here.
Upstream counterpart: the window of etcd's watchable store. Neighbours: ``watchers`` hands out what is
appended here.

Invariants: revisions are contiguous, one event each; every change with a revision above ``floor`` is here.
"""

from __future__ import annotations

from collections.abc import Sequence

from knarr.store.contract import Event, KeyValue

#: What an event costs beside its value: the struct, its key and its place in the list.
EVENT_OVERHEAD_BYTES = 300


class History:
    """Changes after ``floor``, at most about ``max_events`` of them and ``max_bytes`` of values."""

    def __init__(self, floor: int, *, max_events: int, max_bytes: int) -> None:
        self.floor = floor
        self._events: list[Event] = []
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._bytes = 0

    @property
    def last(self) -> int:
        return self.floor + len(self._events)

    def append(self, events: Sequence[Event]) -> None:
        assert events[0].revision == self.last + 1, "revisions are contiguous"
        self._events += events
        self._bytes += sum(map(_size, events))
        if len(self._events) > self._max_events or self._bytes > self._max_bytes:
            self._shrink()

    def after(self, revision: int) -> list[Event]:
        """Every change with a greater revision; ``revision`` must not be below ``floor``."""
        assert revision >= self.floor, f"history begins after {self.floor}, asked for {revision}"
        return self._events[revision - self.floor :]

    def at(self, revision: int) -> Event | None:
        """The change with this revision, if it is still here."""
        place = revision - self.floor - 1
        return self._events[place] if 0 <= place < len(self._events) else None

    def forget(self, revision: int) -> None:
        """Drop the changes up to and including ``revision``."""
        count = min(max(revision - self.floor, 0), len(self._events))
        self._bytes -= sum(map(_size, self._events[:count]))
        del self._events[:count]
        self.floor += count

    def _shrink(self) -> None:
        # A quarter at a time: cutting a list's head costs as much as its tail is long.
        over = self._bytes - self._max_bytes * 3 // 4
        count = max(len(self._events) - self._max_events * 3 // 4, 0)
        freed = 0
        for place, event in enumerate(self._events):
            if place >= count and freed >= over:
                count = place
                break
            freed += _size(event)
        else:
            count = len(self._events)
        self.forget(self.floor + count)


def _size(event: Event) -> int:
    return EVENT_OVERHEAD_BYTES + (len(event.value) if event.value is not None else 0)


def before(event: Event) -> KeyValue | None:
    """What stood under the event's key until it happened."""
    if event.previous is None:
        return None
    return KeyValue(event.key, event.previous, event.create_revision, event.previous_revision)


def rewind(events: Sequence[Event], prefix: str) -> dict[str, KeyValue | None]:
    """What stood under each changed key before the first of ``events``; None where nothing did."""
    earlier: dict[str, KeyValue | None] = {}
    for event in events:
        if event.key not in earlier and event.key.startswith(prefix):
            earlier[event.key] = before(event)
    return earlier
