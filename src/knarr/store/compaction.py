"""Forgetting history by the clock.

Upstream's API server compacts etcd every five minutes to the revision it saw five minutes before, so that
history of five to ten minutes is kept; this is the same rule. Neighbours: the sqlite engine runs one by
itself; a store without such a habit gets one from its owner.
"""

from __future__ import annotations

from typing import Protocol

from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.store.contract import StoreError

#: Upstream's ``--etcd-compaction-interval``.
COMPACTION_INTERVAL_S = 300.0

log = get_logger("store")


class Compactable(Protocol):
    async def revision(self) -> int: ...

    async def compact(self, revision: int) -> None: ...


class AutoCompaction:
    """Every ``interval_s``, compacts ``store`` to the revision of one interval before."""

    def __init__(
        self, store: Compactable, clock: Clock, *, interval_s: float = COMPACTION_INTERVAL_S
    ) -> None:
        self._store = store
        self._clock = clock
        self._interval_s = interval_s

    async def run(self) -> None:
        seen = await self._store.revision()
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                await self._store.compact(seen)
                seen = await self._store.revision()
            except StoreError as error:
                log.warning("compaction failed", revision=seen, error=error)
