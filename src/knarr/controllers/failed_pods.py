"""A pod that fails again and again in one place is replaced less and less often: each time the place is left alone for longer.

Without this, a pod that its kubelet refuses at once would be made and deleted as fast as the API allows. Upstream's counterpart is the
``failedPodsBackoff`` of the DaemonSet controller; here StatefulSets have the same.
"""

from __future__ import annotations

from collections.abc import Hashable

from knarr.kit.backoff import Backoff
from knarr.kit.clock import Clock

#: Between two replacements in one place, as upstream; places remembered.
FAILED_BASE_S, FAILED_MAX_S, FAILED_LIMIT = 1.0, 900.0, 10_000


class FailedPodBackoff:
    """When the failed pod of a place was last replaced, and how long the next one is left alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._places: dict[Hashable, tuple[float, Backoff]] = {}

    def wait_s(self, place: Hashable) -> float:
        """How long the place is still left alone. Zero: its pod is replaced now, which is noted."""
        now_s = self._clock.monotonic_s()
        until_s, backoff = self._places.get(place, (0.0, Backoff(FAILED_BASE_S, FAILED_MAX_S)))
        if now_s < until_s:
            return until_s - now_s
        if now_s - until_s > FAILED_MAX_S:
            backoff.reset()
        if len(self._places) >= FAILED_LIMIT:
            self._places.clear()
        self._places[place] = (now_s + backoff.next_s(), backoff)
        return 0.0
