"""From how little to how much: what estimates of sizes and of costs are made of, and how they add up.

Nothing is larger than ``MOST``, at which sums and products stop: upstream's numbers have 64 bits, and what reaches their end is too much
anyway. A share of a size (a tenth for looking through a text) is rounded up.

Upstream's counterparts are ``SizeEstimate`` and ``CostEstimate`` of ``cel-go/checker``. Neighbours: ``costs`` and ``call_costs``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["MOST", "NOTHING", "ONE", "UNKNOWN", "Range", "capped", "exactly"]

MOST = 2**64 - 1


def capped(value: int) -> int:
    return min(value, MOST)


@dataclass(frozen=True, slots=True)
class Range:
    """``least`` and ``most``, both included."""

    least: int
    most: int

    def __add__(self, other: Range) -> Range:
        return Range(capped(self.least + other.least), capped(self.most + other.most))

    def __mul__(self, other: Range) -> Range:
        return Range(capped(self.least * other.least), capped(self.most * other.most))

    def __or__(self, other: Range) -> Range:
        """Whatever of both it turns out to be."""
        return Range(min(self.least, other.least), max(self.most, other.most))

    def scaled(self, factor: float) -> Range:
        return Range(_scaled(self.least, factor), _scaled(self.most, factor))


def _scaled(value: int, factor: float) -> int:
    """Rounded as upstream rounds, which is by way of a floating-point number."""
    return capped(math.ceil(float(value) * factor))


def exactly(value: int) -> Range:
    return Range(value, value)


NOTHING = exactly(0)
ONE = exactly(1)
UNKNOWN = Range(0, MOST)
