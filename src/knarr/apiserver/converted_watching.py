"""Watches of a version that only a webhook can make: changes wait for their conversion, and are then told in order.

A change goes to the watchers at once if nothing waits and it needs no conversion; else it queues, and one task converts all that
waits in one call. A watcher that comes while something waits has seen it in the cache already: it takes its place in the queue. If
the webhook fails, every watch is told why and ends; its client lists or watches again, and gets the refusal or the objects.

Neighbours: ``watching`` has the dispatcher this one is; ``cacher.Converter`` converts.

Limit: ``WAITING_LIMIT`` changes may wait; beyond that the watches end, as those that do not read fast enough.
"""

from __future__ import annotations

import asyncio
from collections import deque

from knarr.api import codec
from knarr.api.errors import StatusError, internal_error
from knarr.apiserver.cacher import Cache, Change, Entry
from knarr.apiserver.watching import Dispatcher, Watcher, frame
from knarr.kit.log import get_logger

__all__ = ["ConvertingDispatcher", "unsettled"]

log = get_logger("watches")

WAITING_LIMIT = 4096


def unsettled(changes: list[Change]) -> list[Entry]:
    """What of some changes waits for conversion."""
    entries = [entry for change in changes for entry in (change.previous, change.entry)]
    return [entry for entry in entries if entry is not None and entry.stored]


class ConvertingDispatcher(Dispatcher):
    """Hands changes on once they are converted."""

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache)
        self._waiting: deque[Change | Watcher] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(self, watcher: Watcher) -> None:
        if self._waiting:
            self._waiting.append(watcher)
        else:
            super().add(watcher)

    def remove(self, watcher: Watcher) -> None:
        if watcher in self._waiting:
            self._waiting.remove(watcher)
        else:
            super().remove(watcher)

    def wake_all(self) -> None:
        self._drop()
        super().wake_all()

    def end_all(self) -> None:
        self._drop()
        super().end_all()

    def told(self, revision: int) -> int:
        first = next((each for each in self._waiting if isinstance(each, Change)), None)
        return revision if first is None else min(revision, first.revision - 1)

    def _dispatch(self, change: Change) -> None:
        if not self._waiting and (not self._watchers or not unsettled([change])):
            super()._dispatch(change)
            return
        self._waiting.append(change)
        if len(self._waiting) > WAITING_LIMIT:
            self.end_all()
        elif self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._convert())

    async def _convert(self) -> None:
        assert self._cache.converter is not None
        try:
            while self._waiting:
                waiting = unsettled([each for each in self._waiting if isinstance(each, Change)])
                await self._cache.converter.settle(waiting)
                while self._waiting and not _waits(self._waiting[0]):
                    each = self._waiting.popleft()
                    if isinstance(each, Change):
                        super()._dispatch(each)
                    else:
                        super().add(each)
        except StatusError as error:
            self._refuse(error)
        except Exception as error:
            # Nobody awaits this task: what it does not expect must still end the watches.
            log.exception("conversion for watches failed", resource=str(self._cache.resource), error=error)
            self._refuse(internal_error("see the server's log"))
        finally:
            self._task = None

    def _refuse(self, error: StatusError) -> None:
        told = frame("ERROR", codec.encode(error.status))
        joined = [watcher for watchers in self._watchers.values() for watcher in watchers]
        for watcher in [*joined, *(each for each in self._waiting if isinstance(each, Watcher))]:
            watcher.push(told)
            watcher.ended = True
        self._waiting.clear()

    def _drop(self) -> None:
        """Nobody is to be told any more; those who wait to join join, to end with the rest."""
        if self._task is not None:
            self._task.cancel()
        waiting, self._waiting = self._waiting, deque()
        for each in waiting:
            if isinstance(each, Watcher):
                super().add(each)


def _waits(each: Change | Watcher) -> bool:
    return isinstance(each, Change) and bool(unsettled([each]))
