"""How much an expression may be and do, so that no policy stops the server's loop.

Values are upstream's where it has them (``apiserver/pkg/apis/cel`` and the CEL library's defaults). A unit of cost is
about one step of evaluation, or ten characters or elements looked at.
"""

from __future__ import annotations

from knarr.api.cel.errors import CostExceeded

__all__ = [
    "CALL_COST_LIMIT",
    "MATCH_CONDITIONS_COST_BUDGET",
    "MAX_EXPRESSION_CHARACTERS",
    "MAX_MESSAGE_BYTES",
    "MAX_NESTING",
    "PAUSE_AFTER_COST",
    "REQUEST_COST_BUDGET",
    "Meter",
    "weight",
]

#: What one evaluation of one expression may cost.
CALL_COST_LIMIT = 1_000_000
#: What all expressions of one policy, or of one custom object, may cost for one request.
REQUEST_COST_BUDGET = 10_000_000
#: After this much, who evaluates several expressions lets others have a turn: some tens of milliseconds.
PAUSE_AFTER_COST = 100_000
#: What the match conditions of one webhook or policy may cost for one request.
MATCH_CONDITIONS_COST_BUDGET = REQUEST_COST_BUDGET // 4
MAX_EXPRESSION_CHARACTERS = 100_000
#: How deep an expression may be nested.
MAX_NESTING = 250
#: How long a message that an expression makes may be.
MAX_MESSAGE_BYTES = 5 * 1024
#: Characters and elements that cost one unit.
SIZE_PER_UNIT = 10
#: How deep values are weighed: literal nesting is limited by MAX_NESTING, objects by their decoder.
_WEIGHED_DEPTH = 32


class Meter:
    """What is left to spend. One meter an evaluation; ``spent`` is charged to the request's budget after."""

    __slots__ = ("left", "limit")

    def __init__(self, limit: int = CALL_COST_LIMIT) -> None:
        self.limit = self.left = limit

    @property
    def spent(self) -> int:
        return self.limit - self.left

    def charge(self, cost: int) -> None:
        """Raises ``CostExceeded`` when nothing is left; the caller has not done the work yet."""
        self.left -= cost
        if self.left < 0:
            raise CostExceeded


def weight(value: object, depth: int = 0) -> int:
    """How many characters and elements there are in a value, those of parts included."""
    if isinstance(value, str | bytes):
        return len(value)
    if depth >= _WEIGHED_DEPTH:
        return 1
    if isinstance(value, list):
        return len(value) + sum(weight(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return len(value) + sum(weight(k) + weight(v, depth + 1) for k, v in value.items())
    return 1
