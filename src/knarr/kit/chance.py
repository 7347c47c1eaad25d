"""Randomness as a part that can be exchanged: the same seed gives the same run.

Neighbours: ``kit.clock`` does for time what this module does for chance.
"""

from __future__ import annotations

import random
import secrets
from typing import TypeVar

T = TypeVar("T")

#: Letters upstream uses for generated names: no vowels (no accidental words), nothing easily mistaken.
NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"

#: The bits of a UUID that are chance, and those that say it is one of version 4 and of the usual variant.
_UID_BITS = ~(0xF << 76 | 0x3 << 62)
_UID_MARKS = 0x4 << 76 | 0x2 << 62


class Chance:
    """A source of random numbers, identifiers and name suffixes.

    Without a seed it draws from the operating system; with one it repeats itself.
    Secrets (tokens, keys) never come from here: use ``secrets``.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(secrets.randbits(128) if seed is None else seed)

    def uid(self) -> str:
        """A UUID version 4."""
        # By hand: ``uuid.UUID`` costs five times as much, and every request has one.
        text = f"{self._random.getrandbits(128) & _UID_BITS | _UID_MARKS:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def suffix(self, length: int = 5) -> str:
        """A suffix for ``generateName``."""
        return "".join(self._random.choices(NAME_ALPHABET, k=length))

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def jitter(self, base: float, factor: float) -> float:
        """``base`` lengthened by up to ``factor`` of itself, as upstream's ``wait.Jitter``."""
        return base * (1.0 + self._random.random() * factor)

    def index(self, count: int) -> int:
        """A whole number from 0 to ``count - 1``."""
        return self._random.randrange(count)

    def shuffled(self, items: list[T]) -> list[T]:
        copy = list(items)
        self._random.shuffle(copy)
        return copy
