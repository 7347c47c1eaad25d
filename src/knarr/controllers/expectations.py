"""Not acting twice: what a controller has just written and its cache has not shown yet.

A controller that has created five pods must not count the pods of a cache that shows none of them and create
five more. It notes what it expects to see
and waits until it has seen it, or until ``TIMEOUT_S`` has passed, in case an event never comes.

Upstream's counterpart is ``controller_utils.go``'s ``UIDTrackingControllerExpectations``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from knarr.kit.clock import Clock

TIMEOUT_S = 300.0


@dataclass(slots=True)
class _Expected:
    since_s: float
    creations: int = 0
    deletions: set[str] = field(default_factory=set)


class Expectations:
    """What is expected, per owner's key."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._expected: dict[Hashable, _Expected] = {}

    def satisfied(self, key: Hashable) -> bool:
        """Nothing is expected any more, or it has been expected for too long."""
        expected = self._expected.get(key)
        if expected is None:
            return True
        if expected.creations <= 0 and not expected.deletions:
            return True
        return self._clock.monotonic_s() - expected.since_s >= TIMEOUT_S

    def expect_creations(self, key: Hashable, count: int) -> None:
        """Expect creations, besides what is still expected."""
        if key not in self._expected or self.satisfied(key):
            self._expected[key] = _Expected(self._clock.monotonic_s())
        self._expected[key].creations += count

    def expect_deletions(self, key: Hashable, uids: Iterable[str]) -> None:
        self._expected[key] = _Expected(self._clock.monotonic_s(), deletions=set(uids))

    def created(self, key: Hashable, count: int = 1) -> None:
        """So many creations were seen, or will not happen."""
        expected = self._expected.get(key)
        if expected is not None:
            expected.creations -= count

    def deleted(self, key: Hashable, uid: str) -> None:
        """One deletion was seen, or will not happen."""
        expected = self._expected.get(key)
        if expected is not None:
            expected.deletions.discard(uid)

    def forget(self, key: Hashable) -> None:
        self._expected.pop(key, None)
