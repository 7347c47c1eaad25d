"""From what metrics ask for to what is done: stabilization, policies, bounds. Pure but for the history, which it keeps.

Without a ``behavior`` upstream's old rules hold: down only to the highest recommendation of five minutes, up at most to the double, or
to four. With one, recommendations are held within their windows, and policies say how much may change within their periods.

Upstream's counterpart is the second half of ``horizontal.go``. Neighbour: ``controller`` has a ``History`` for each autoscaler.

Invariants: the result lies within minimum and maximum; with a ``behavior`` it never goes against what metrics ask for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from knarr.api.autoscaling import v2

__all__ = ["DOWNSCALE_STABILIZATION_S", "Bounds", "History", "Step", "normalize"]

DOWNSCALE_STABILIZATION_S = 300
SCALE_UP_FACTOR, SCALE_UP_MINIMUM = 2, 4
MAX_INT32 = 2**31 - 1

Stamped = tuple[float, int]

READY = ("ReadyForNewScale", "recommended size matches current size")
DOWN_STABILIZED = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)
UP_STABILIZED = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
TOO_FAST_UP = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
TOO_FAST_DOWN = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")
TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")


class Bounds(NamedTuple):
    lowest: int
    highest: int


@dataclass(slots=True)
class History:
    """What was recommended and done, with when (on the monotonic clock); changes are counted from zero up."""

    recommendations: list[Stamped] = field(default_factory=list)
    ups: list[Stamped] = field(default_factory=list)
    downs: list[Stamped] = field(default_factory=list)

    def begin(self, current: int, now_s: float) -> None:
        """The size something is found with counts as recommended: a controller that starts anew must not shrink it at once."""
        if not self.recommendations:
            self.recommendations.append((now_s, current))

    def scaled(self, before: int, after: int, behavior: v2.HorizontalPodAutoscalerBehavior | None, now_s: float) -> None:
        """Remember a change, for as long as a policy may look back."""
        rules = (behavior.scaleUp, behavior.scaleDown) if behavior is not None else ()
        period_s = max((p.periodSeconds for each in rules if each is not None for p in each.policies), default=0)
        changes = self.ups if after > before else self.downs
        changes.append((now_s, abs(after - before)))
        for each in (self.ups, self.downs):
            each[:] = [(at_s, change) for at_s, change in each if at_s > now_s - period_s]


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done, and the conditions AbleToScale (always true) and ScalingLimited as reason and message."""

    replicas: int
    able: tuple[str, str]
    limited: bool
    limit: tuple[str, str]


def normalize(
    current: int,
    desired: int,
    bounds: Bounds,
    behavior: v2.HorizontalPodAutoscalerBehavior | None,
    *,
    history: History,
    now_s: float,
) -> Step:
    """The next size; the recommendation is remembered."""
    up, down = (behavior.scaleUp, behavior.scaleDown) if behavior is not None else (None, None)
    if up is None or down is None:
        stable, able = _stabilized(desired, history, now_s)
        replicas, limit = _within_old_limits(current, stable, bounds)
    else:
        stable, able = _stabilized_with_windows(current, desired, up, down, history=history, now_s=now_s)
        replicas, limit = _within_policies(current, stable, bounds, up, down, history=history, now_s=now_s)
    return Step(replicas, able, replicas != stable, limit)


def _stabilized(desired: int, history: History, now_s: float) -> tuple[int, tuple[str, str]]:
    since_s = now_s - DOWNSCALE_STABILIZATION_S
    recent = [(at_s, replicas) for at_s, replicas in history.recommendations if at_s >= since_s]
    stable = max([desired, *(replicas for _, replicas in recent)])
    history.recommendations = [*recent, (now_s, desired)]
    return stable, READY if stable == desired else DOWN_STABILIZED


def _within_old_limits(current: int, desired: int, bounds: Bounds) -> tuple[int, tuple[str, str]]:
    fastest = max(SCALE_UP_FACTOR * current, SCALE_UP_MINIMUM)
    highest, limit = (fastest, TOO_FAST_UP) if bounds.highest > fastest else (bounds.highest, TOO_MANY)
    if desired < bounds.lowest:
        return bounds.lowest, TOO_FEW
    if desired > highest:
        return highest, limit
    return desired, WITHIN


def _stabilized_with_windows(
    current: int,
    desired: int,
    up: v2.HPAScalingRules,
    down: v2.HPAScalingRules,
    *,
    history: History,
    now_s: float,
) -> tuple[int, tuple[str, str]]:
    """As little as was recommended within the window for going up, as much as within that for going down."""
    up_window_s = up.stabilizationWindowSeconds or 0
    held_s = down.stabilizationWindowSeconds
    down_window_s = DOWNSCALE_STABILIZATION_S if held_s is None else held_s
    least = min([desired, *_since(history.recommendations, now_s - up_window_s)])
    most = max([desired, *_since(history.recommendations, now_s - down_window_s)])
    stable = min(max(current, least), most)
    kept_s = now_s - max(up_window_s, down_window_s)
    kept = [(at_s, replicas) for at_s, replicas in history.recommendations if at_s >= kept_s]
    history.recommendations = [*kept, (now_s, desired)]
    if stable == desired:
        return stable, READY
    return stable, UP_STABILIZED if desired >= current else DOWN_STABILIZED


def _since(stamped: Sequence[Stamped], after_s: float) -> list[int]:
    return [number for at_s, number in stamped if at_s > after_s]


def _within_policies(
    current: int,
    desired: int,
    bounds: Bounds,
    up: v2.HPAScalingRules,
    down: v2.HPAScalingRules,
    *,
    history: History,
    now_s: float,
) -> tuple[int, tuple[str, str]]:
    if desired > current:
        fastest = max(_limit(current, up, history, now_s=now_s, upwards=True), current)
        highest, limit = (fastest, TOO_FAST_UP) if bounds.highest > fastest else (bounds.highest, TOO_MANY)
        return (highest, limit) if desired > highest else (desired, WITHIN)
    if desired < current:
        fastest = min(_limit(current, down, history, now_s=now_s, upwards=False), current)
        lowest, limit = (fastest, TOO_FAST_DOWN) if bounds.lowest < fastest else (bounds.lowest, TOO_FEW)
        return (lowest, limit) if desired < lowest else (desired, WITHIN)
    return desired, WITHIN


def _limit(current: int, rules: v2.HPAScalingRules, history: History, *, now_s: float, upwards: bool) -> int:
    """How far the policies let the size go now."""
    if rules.selectPolicy == "Disabled":
        return current
    proposals = []
    for policy in rules.policies:
        since_s = now_s - policy.periodSeconds
        start = current - sum(_since(history.ups, since_s)) + sum(_since(history.downs, since_s))
        proposals.append(_proposal(start, policy, upwards=upwards))
    # The policy that allows the greatest change is the highest on the way up, the lowest on the way down.
    greatest = rules.selectPolicy != "Min"
    return max(proposals) if greatest == upwards else min(proposals)


def _proposal(start: int, policy: v2.HPAScalingPolicy, *, upwards: bool) -> int:
    """Where one policy ends that began its period with ``start`` replicas."""
    if policy.type == "Pods":
        return start + policy.value if upwards else start - policy.value
    if upwards:
        # Rounded up, or a small number would never grow.
        return min(math.ceil(start * (100 + policy.value) / 100), MAX_INT32)
    return math.trunc(start * (100 - policy.value) / 100)
