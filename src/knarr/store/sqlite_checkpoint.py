"""Folding the write-ahead log into the file, without holding up writes for longer than the last bit takes.

SQLite folds what it has when asked, but the log only starts over once all of it is folded, which under steady
writing would never be. So there are two passes: a long one beside the writes, then a short
one for which the engine keeps its next batch back. Neighbours: ``sqlite`` asks ``alone`` before every batch.

Invariant: one pass at a time; only the second keeps writes waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from knarr.kit.log import get_logger
from knarr.store.contract import StoreError
from knarr.store.disk import Disk

#: How much is written before the log is folded: about how much bigger than the data the files get.
CHECKPOINT_BYTES = 16 << 20
#: The least a batch adds to the log: a page of the table and a page of the tree above it.
BATCH_BYTES = 8 << 10

log = get_logger("store")


class Phase(Enum):
    IDLE = "nothing to do"
    BESIDE = "the first pass runs, writes go on"
    WANTED = "the second pass waits for the batch under way"
    ALONE = "the second pass runs, writes wait"


class Checkpoints:
    """When to fold, and doing it. ``resume`` is called when writes may go on."""

    def __init__(self, disk: Disk, resume: Callable[[], None]) -> None:
        self._disk = disk
        self._resume = resume
        self._phase = Phase.IDLE
        self._bytes = 0

    def wrote(self, size_bytes: int) -> None:
        """A batch of this size went into the log."""
        self._bytes += size_bytes + BATCH_BYTES
        if self._bytes > CHECKPOINT_BYTES and self._phase is Phase.IDLE:
            self._start(Phase.BESIDE)

    def alone(self) -> bool:
        """Whether the next batch has to wait. Called with no batch under way."""
        if self._phase is Phase.WANTED:
            self._start(Phase.ALONE)
        return self._phase is Phase.ALONE

    def _start(self, phase: Phase) -> None:
        self._phase = phase
        self._bytes = 0
        self._disk.fold(self._done)

    def _done(self, error: StoreError | None) -> None:
        if error is not None:
            log.warning("checkpoint failed", error=error)
        again = self._phase is Phase.BESIDE and error is None
        self._phase = Phase.WANTED if again else Phase.IDLE
        self._resume()
