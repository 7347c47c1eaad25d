"""How long a container that ends waits before it runs again: 10 s, doubling up to 5 min, or as its pod's annotations say.

``knarr.dev/crash-loop-initial-delay`` and ``knarr.dev/crash-loop-max-delay`` hold durations from one second to an hour. What cannot be
read is as if it were not there: a pod must not fail to restart over a typing error. The API server warns whoever writes it, the kubelet
tells it as an event.

Upstream knows a maximum for a whole node only. Neighbours: the kubelet waits; ``apiserver.admission.pods`` warns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from knarr.api.errors import quote
from knarr.kit.durations import go_duration, parse_duration_s

__all__ = ["INITIAL", "MAXIMUM", "CrashLoop", "crash_loop_of"]

INITIAL, MAXIMUM = "knarr.dev/crash-loop-initial-delay", "knarr.dev/crash-loop-max-delay"
INITIAL_S, MAXIMUM_S = 10.0, 300.0
LEAST_S, MOST_S = 1.0, 3600.0


@dataclass(frozen=True, slots=True)
class CrashLoop:
    """The first delay, the longest, and what is wrong with the annotations that ask for others."""

    initial_s: float = INITIAL_S
    maximum_s: float = MAXIMUM_S
    problems: tuple[str, ...] = ()


def crash_loop_of(annotations: Mapping[str, str], *, maximum_s: float = MAXIMUM_S) -> CrashLoop:
    """``maximum_s`` is the node's, for pods that name none."""
    problems: list[str] = []
    longest_s = _read(annotations, MAXIMUM, problems)
    initial_s = _read(annotations, INITIAL, problems)
    limit_s = maximum_s if longest_s is None else longest_s
    if initial_s is None:
        # A maximum below the usual start is a start as well.
        initial_s = min(INITIAL_S, limit_s)
    elif initial_s > limit_s:
        problems.append(f"{INITIAL}: expected at most {go_duration(limit_s)}, the longest delay, got {quote(annotations[INITIAL])}")
        initial_s = min(INITIAL_S, limit_s)
    return CrashLoop(initial_s, limit_s, tuple(problems))


def _read(annotations: Mapping[str, str], name: str, problems: list[str]) -> float | None:
    """One delay in seconds; None if it is not given or cannot be used."""
    text = annotations.get(name)
    if text is None:
        return None
    try:
        seconds = parse_duration_s(text)
    except ValueError:
        seconds = -1
    if LEAST_S <= seconds <= MOST_S:
        return seconds
    problems.append(f"{name}: expected a duration from {go_duration(LEAST_S)} to {go_duration(MOST_S)}, such as 30s, got {quote(text)}")
    return None
