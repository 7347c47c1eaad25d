"""Time as a part that can be exchanged.

No component reads the time or sleeps by itself: it is handed a ``Clock``. ``RealClock`` is the machine's.
``VirtualClock`` belongs to ``VirtualTimeLoop``, an event loop whose time jumps to the next timer as soon as
nothing is left to run, so that a whole control plane lives through a day in a second, and always the same
day.

Neighbours: ``kit.chance`` does for randomness what this module does for time.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = [
    "Clock",
    "RealClock",
    "VirtualClock",
    "VirtualTimeLoop",
    "parse_rfc3339",
    "rfc3339",
    "rfc3339_micro",
]


class Clock(Protocol):
    """What time it is, and how to wait."""

    def now(self) -> datetime:
        """The wall-clock time, in UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that only grow; for measuring intervals."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait at least ``seconds``; zero lets others run once."""
        ...


class RealClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class VirtualClock:
    """The clock of a ``VirtualTimeLoop``: starts at ``epoch`` and moves only when every task waits."""

    def __init__(self, epoch: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._epoch = epoch

    def now(self) -> datetime:
        return self._epoch + timedelta(seconds=asyncio.get_running_loop().time())

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _JumpingSelector(selectors.DefaultSelector):
    """Never blocks: a wait for a timer moves the loop's time instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is not None and timeout > 0:
            self.now_s += timeout
        elif not ready and timeout is None:
            # Nothing is scheduled and nothing is readable: only another thread could wake this loop.
            return super().select(None)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting costs nothing.

    It is for code that does not wait for the outside world: a real socket or a thread would see its time-outs
    pass at once. In-process clusters use the loop-back transport and the memory store for this reason.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        # Timers are due when they are within one resolution step; without this a rounding error could spin.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._jumping.now_s


def rfc3339(moment: datetime) -> str:
    """``2026-01-01T00:00:00Z``: the form of ``metav1.Time``, whole seconds in UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def rfc3339_micro(moment: datetime) -> str:
    """``2026-01-01T00:00:00.000000Z``: the form of ``metav1.MicroTime``."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_rfc3339(text: str) -> datetime:
    """The moment an API time names. Raises ``ValueError`` for anything that is not RFC 3339."""
    if len(text) < 20 or text[10] not in "Tt ":
        raise ValueError(f"expected an RFC 3339 time such as 2026-01-01T00:00:00Z, got {text!r}")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"expected a time with a zone, got {text!r}")
    return moment.astimezone(UTC)
