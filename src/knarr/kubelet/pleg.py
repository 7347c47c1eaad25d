"""The pod lifecycle event generator: noticing what happened to containers without the kubelet doing it.

The runtime tells of ends as they happen; a full look every so often finds what was not told. Where the
runtime tells nothing (or stops telling), full looks come every second, as upstream's.

Upstream counterpart: ``pkg/kubelet/pleg/{generic,evented}.go``. Neighbours: ``pod_cache`` looks,
``pod_workers`` are woken with the uids of pods that changed.

Invariant: a hint that shows nothing yet is looked at again (``HINT_TRIES`` times): runtimes tell before
they note.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.kit.tasks import TaskSet
from knarr.kubelet.pod_cache import PodCache
from knarr.kubelet.runtime import contract as c

__all__ = ["Pleg"]

log = get_logger("pleg")

#: Together about three seconds; what shows later is found by the next full look.
HINT_TRIES, HINT_PAUSE_S, HINT_FACTOR = 12, 0.01, 1.5
#: Hints being followed at once; more are left to the next full look.
MAX_HINTS = 1000
RECONNECT_S = 1.0
#: Upstream calls the runtime unhealthy when no look has succeeded for this long.
UNHEALTHY_AFTER_S = 180.0


class Pleg:
    """``on_change`` is called with the uids of pods whose record changed."""

    def __init__(
        self,
        cache: PodCache,
        runtime: c.Runtime,
        *,
        clock: Clock,
        period_s: float,
        period_with_events_s: float,
        on_change: Callable[[list[str]], None],
    ) -> None:
        self._cache = cache
        self._runtime = runtime
        self._clock = clock
        self._period_s = period_s
        self._period_with_events_s = period_with_events_s
        self._on_change = on_change
        self._listening = False
        self._hints = TaskSet(log)
        self._hinted: set[str] = set()
        self._last_look_s = clock.monotonic_s()
        self._looked = asyncio.Event()

    @property
    def healthy(self) -> bool:
        return self._clock.monotonic_s() - self._last_look_s < UNHEALTHY_AFTER_S

    async def wait_first_look(self) -> None:
        """Until what ran before this kubelet's start is known."""
        await self._looked.wait()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._relist_forever())
                group.create_task(self._listen_forever())
        finally:
            await self._hints.close()

    async def _relist_forever(self) -> None:
        while True:
            try:
                changed = await self._cache.relist()
                self._last_look_s = self._clock.monotonic_s()
                self._looked.set()
                if changed:
                    self._on_change(changed)
            except c.RuntimeServiceError as error:
                log.warning("relist failed", error=error)
            await self._clock.sleep(self._period_with_events_s if self._listening else self._period_s)

    async def _listen_forever(self) -> None:
        while True:
            try:
                self._listening = True
                async for changed_id in self._runtime.changes():
                    self._hint(changed_id)
            except c.RuntimeServiceError as error:
                log.debug("runtime tells of no changes", error=error)
            self._listening = False
            await self._clock.sleep(RECONNECT_S)

    def _hint(self, changed_id: str) -> None:
        if changed_id not in self._hinted and len(self._hinted) < MAX_HINTS:
            self._hinted.add(changed_id)
            self._hints.spawn(self._look(changed_id), name=f"pleg-{changed_id[:12]}")

    async def _look(self, changed_id: str) -> None:
        """Look at the pod the container belongs to until its end shows."""
        pause_s = HINT_PAUSE_S
        try:
            for _ in range(HINT_TRIES):
                uid = self._cache.pod_of(changed_id)
                # An end can be told before the start was noted; whoever is starting it will have noted it
                # soon.
                if uid is not None:
                    await self._cache.refresh(uid)
                    if not self._cache.is_running(changed_id):
                        self._on_change([uid])
                        return
                await self._clock.sleep(pause_s)
                pause_s *= HINT_FACTOR
        except c.RuntimeServiceError as error:
            log.debug("look at pod failed", container=changed_id, error=error)
        finally:
            self._hinted.discard(changed_id)
