"""Priority levels: seats, borrowing, and queues that are served fairly.

A level may use its own seats, and beyond them what others lend and do not use; a lender whose seats are out waits until one comes back.
When a level has no seat, a request waits in one of its queues: each flow has a hand of queues, dealt by its name, and takes the shortest,
so that one flow that floods the level fills few queues and the others find theirs short. Queues are served by virtual time: each
request's seats are charged to its queue, and the queue that was charged least goes first.

Upstream lends by a target computed every ten seconds; here it is decided request by request, from the same limits.

Invariant: the sum of seats taken never exceeds ``total``, exempt levels apart.
Limits: ``queueLengthLimit`` requests a queue; ``MAX_WAIT_S`` in one.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from knarr.api.flowcontrol import v1 as flowcontrol

__all__ = ["Level", "Refused", "Seats", "deal"]

#: A quarter of the time a request has, as upstream.
MAX_WAIT_S = 15.0


class Refused(Exception):
    """There is no place for the request; ``reason`` is upstream's."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(eq=False, slots=True)
class _Waiting:
    """A request in a queue."""

    width: int
    seated: asyncio.Future[None]


@dataclass(eq=False, slots=True)
class _Queue:
    """Requests in the order they came, and how much the queue has been charged."""

    charged: float = 0.0
    waiting: deque[_Waiting] = field(default_factory=deque)

    @property
    def length(self) -> int:
        return len(self.waiting)


class Level:
    """One priority level as it stands."""

    def __init__(self, config: flowcontrol.PriorityLevelConfiguration) -> None:
        self.name = config.metadata.name
        self.uid = config.metadata.uid
        self.exempt = config.spec.type == "Exempt"
        limited = config.spec.limited
        self.shares = (limited.nominalConcurrencyShares or 0) if limited is not None else 0
        self.lendable_percent = (limited.lendablePercent or 0) if limited is not None else 0
        self.borrowing_percent = limited.borrowingLimitPercent if limited is not None else None
        self.queuing = limited.limitResponse.queuing if limited is not None else None
        if limited is not None and limited.limitResponse.type != "Queue":
            self.queuing = None
        self.nominal = 0
        self.lendable = 0
        self.borrowing_limit = 0
        self.taken = 0
        self.waiting = 0
        self.queues = [_Queue() for _ in range(self.queuing.queues)] if self.queuing is not None else []
        self.virtual = 0.0

    def reconfigure(self, config: flowcontrol.PriorityLevelConfiguration) -> None:
        """Take over a changed object; seats taken stay taken. Queues are made anew only when nobody waits in them."""
        fresh = Level(config)
        if self.waiting:
            fresh.queues, fresh.queuing, fresh.virtual = self.queues, self.queuing, self.virtual
        fresh.taken, fresh.waiting = self.taken, self.waiting
        for name in vars(fresh):
            setattr(self, name, getattr(fresh, name))


class Seats:
    """All seats of a server, shared among its levels."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.taken = 0
        self.levels: dict[str, Level] = {}
        self._hungry: dict[str, None] = {}

    def configure(self, configs: Iterable[flowcontrol.PriorityLevelConfiguration]) -> None:
        """Make the levels what the objects say. A level that is gone serves out what it has."""
        wanted = {config.metadata.name: config for config in configs}
        for name, config in wanted.items():
            if name in self.levels:
                self.levels[name].reconfigure(config)
            else:
                self.levels[name] = Level(config)
        for name in [name for name in self.levels if name not in wanted]:
            level = self.levels[name]
            if not level.taken and not level.waiting:
                del self.levels[name]
        shares = sum(level.shares for level in self.levels.values()) or 1
        for level in self.levels.values():
            level.nominal = math.ceil(self.total * level.shares / shares)
            level.lendable = round(level.nominal * level.lendable_percent / 100)
            percent = level.borrowing_percent
            level.borrowing_limit = self.total if percent is None else round(level.nominal * percent / 100)
        self._serve()

    def take(self, level: Level, width: int) -> bool:
        """Take seats at once, if nobody of the level waits before and there are enough."""
        if level.exempt:
            return True
        if level.waiting or not self._fits(level, width):
            return False
        level.taken += width
        self.taken += width
        return True

    def _fits(self, level: Level, width: int) -> bool:
        if level.taken == 0 and self.taken == 0:
            # A request wider than a level is still served, alone.
            return True
        if self.taken + width > self.total:
            return False
        beyond = level.taken + width - level.nominal
        return beyond <= 0 or (beyond <= level.borrowing_limit and self._spare() >= width)

    def _spare(self) -> int:
        """Seats that are lent out by nobody yet."""
        lent = sum(max(0, min(each.lendable, each.nominal - each.taken)) for each in self.levels.values())
        borrowed = sum(max(0, each.taken - each.nominal) for each in self.levels.values() if not each.exempt)
        return lent - borrowed

    async def wait(self, level: Level, width: int, flow: str) -> None:
        """Take seats when it is the request's turn. Raises ``Refused``."""
        if level.queuing is None:
            raise Refused("concurrency-limit")
        queue = self._choose(level, level.queuing, flow)
        if queue.length >= level.queuing.queueLengthLimit:
            raise Refused("queue-full")
        if not queue.waiting:
            queue.charged = max(queue.charged, level.virtual)
        seated: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = _Waiting(width, seated)
        queue.waiting.append(place)
        level.waiting += 1
        self._hungry[level.name] = None
        self._serve()
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                await seated
        except BaseException as error:
            if seated.done() and not seated.cancelled():
                # The seat came in the very moment the request went.
                self.release(level, width)
            elif place in queue.waiting:
                queue.waiting.remove(place)
                self._left(level)
            if isinstance(error, TimeoutError):
                raise Refused("time-out") from None
            raise

    def _choose(self, level: Level, queuing: flowcontrol.QueuingConfiguration, flow: str) -> _Queue:
        hand = deal(flow, len(level.queues), queuing.handSize)
        return min((level.queues[index] for index in hand), key=lambda queue: queue.length)

    def _left(self, level: Level) -> None:
        level.waiting -= 1
        if not level.waiting:
            self._hungry.pop(level.name, None)

    def release(self, level: Level, width: int) -> None:
        """Give seats back; whoever waits longest for them gets them."""
        if level.exempt:
            return
        level.taken -= width
        self.taken -= width
        if self._hungry:
            self._serve()

    def _serve(self) -> None:
        """Seat who waits, as long as somebody can be seated."""
        served = True
        while served and self._hungry:
            served = False
            for name in list(self._hungry):
                level = self.levels[name]
                served = self._serve_one(level) or served

    def _serve_one(self, level: Level) -> bool:
        queue = min((each for each in level.queues if each.waiting), key=lambda each: each.charged)
        place = queue.waiting[0]
        if not self._fits(level, place.width):
            return False
        queue.waiting.popleft()
        level.virtual = queue.charged
        queue.charged += place.width
        self._left(level)
        if place.seated.cancelled():
            return True
        level.taken += place.width
        self.taken += place.width
        place.seated.set_result(None)
        return True


def deal(flow: str, deck: int, hand: int) -> list[int]:
    """A hand of different queues, the same for the same flow every time."""
    entropy = int.from_bytes(hashlib.sha256(flow.encode()).digest(), "big")
    cards: list[int] = []
    for dealt in range(min(hand, deck)):
        entropy, card = divmod(entropy, deck - dealt)
        # The card counts only those not dealt yet.
        for earlier in sorted(cards):
            if card >= earlier:
                card += 1
        cards.append(card)
    return cards
