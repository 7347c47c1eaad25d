"""Running a coroutine on virtual time, and leaving nothing behind.

``run(scenario())`` is ``asyncio.run`` on a ``VirtualTimeLoop``: a sleep of an hour takes no time at all, and the same program takes the same steps each time.

Neighbours: ``kit.clock`` has the loop and the clock that belongs to it; ``cluster`` is what usually runs in it.

Invariant: when ``run`` returns or raises, every task it found has ended and the loop is closed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, TypeVar

from knarr.kit.clock import VirtualTimeLoop

__all__ = ["run"]

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, seed: int = 0) -> T:
    """The result of ``main``, run on virtual time.

    ``seed`` sets Python's own ``random`` for the duration, so that a scenario that draws from it repeats itself; Knarr's parts draw from the
    ``Chance`` they are given. Raises what ``main`` raises.
    """
    held = random.getstate()
    random.seed(seed)
    try:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            return runner.run(main)
    finally:
        random.setstate(held)
