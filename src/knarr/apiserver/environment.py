"""What every endpoint of one API server shares."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from knarr.apiserver.cacher import Hub
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock

__all__ = ["Environment"]


@dataclass(slots=True)
class Environment:
    """The hub of all changes, time, chance, and the event that ends watches."""

    hub: Hub
    clock: Clock
    chance: Chance
    stopping: asyncio.Event
