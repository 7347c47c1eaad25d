"""How large the values may be that an expression is given, and the ways that lead to them.

Upstream's counterpart is what ``apiserver/pkg/cel`` notes at a declared type (``MaxElements``, ``MinSerializedSize``) and the estimator
that looks them up. Neighbours: ``costs`` asks; who declares a variable says what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from knarr.api.cel.ranges import Range

__all__ = ["ITEMS", "KEYS", "NOWHERE", "VALUES", "SizeAt", "Sizes", "Way"]

ITEMS = "@items"
KEYS = "@keys"
VALUES = "@values"


@dataclass(frozen=True, slots=True)
class Way:
    """From a variable to a part of it: the variable's name, then fields and the steps above.

    Upstream keeps ways in slices, and two that go on from the same one may share their memory: who comes later writes the last step of both.
    So ``x.names.all(n, x.kind == n)`` may count its rounds by the length of ``x.kind``. That is not meant, but decides whether a definition
    is accepted, and is therefore the same here: a list has room as a slice has, doubled when it is full.
    """

    room: list[str]
    length: int

    @property
    def steps(self) -> list[str]:
        return self.room[: self.length]

    def to(self, step: str) -> Way:
        if self.length < len(self.room):
            self.room[self.length] = step
            return Way(self.room, self.length + 1)
        free = [""] * max(len(self.room) - 1, 0)
        return Way([*self.room, step, *free], self.length + 1)


#: Of what is not reached from a variable.
NOWHERE = Way([], 0)


#: The size of what a way leads to; None if that is not known.
SizeAt = Callable[[Way], Range | None]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of one type. ``most`` counts characters, items or entries; what has no length has none of them, hence 0."""

    least_bytes: int
    """What the smallest such value takes in JSON."""
    most: int = 0
    element: Sizes | None = None
    keys: Sizes | None = None
    fields: Mapping[str, Sizes] = field(default_factory=dict)
    any_field: Sizes | None = None
    """Of fields that are not named."""

    def at(self, way: Way) -> Range | None:
        """The size of what the way leads to; None if it leads nowhere that is known.

        The variable's name is not looked at: whatever an expression is given is of this one type, and upstream takes for the same what has
        no way from a variable, like an item of a list that the expression itself writes.
        """
        if not way.length:
            return None
        found = self
        for step in way.steps[1:]:
            below = found.element if step in (ITEMS, VALUES) else found.keys if step == KEYS else found.fields.get(step, found.any_field)
            if below is None:
                return None
            found = below
        return Range(0, found.most)
