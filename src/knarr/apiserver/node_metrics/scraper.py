"""Who is asked, and how long an answer is good: the part with a memory.

A node's kubelet is asked when somebody wants to know and the last answer is older than ``FRESH_S``; whoever wants to know
meanwhile shares that question. A rate needs two answers: the one before, if it is at most ``OLDEST_S`` old; else the kubelet is asked
twice, ``SHORTEST_WINDOW_S`` apart, and the first who wants to know after a silence waits for it.

Counterpart: metrics-server's scraper and storage, which ask all kubelets all the time. Neighbours: ``points`` calculates,
``endpoint`` asks.

Limits: ``ASKED_AT_ONCE`` kubelets, and as many that were not heard of before; one that does not answer within ``DEADLINE_S`` costs its own metrics only, and is asked again later
and later, up to ``SLOWEST_S``; whoever wants to know waits ``PATIENCE_S`` and then gets what is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from knarr.api.errors import StatusError
from knarr.apiserver.node_metrics.kubelets import Kubelets
from knarr.apiserver.node_metrics.points import OLDEST_S, NodePoints, NodeUsage, node_usage, read_points
from knarr.kit.backoff import Backoff
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger

__all__ = ["Scraper"]

log = get_logger("node-metrics")

ASKED_AT_ONCE = 16
DEADLINE_S = 5.0
PATIENCE_S = 10.0
FRESH_S = 10.0
SLOWEST_S = 120.0
SHORTEST_WINDOW_S = 2.0


@dataclass(slots=True)
class _Held:
    """What is known of a node since ``at_s``, and good until ``until_s``; nothing, if its kubelet did not answer."""

    at_s: float = float("-inf")
    until_s: float = float("-inf")
    points: NodePoints = field(default_factory=NodePoints)
    usage: NodeUsage = field(default_factory=NodeUsage)
    silence: Backoff = field(default_factory=lambda: Backoff(FRESH_S, SLOWEST_S))


class Scraper:
    """``close`` ends what is under way."""

    def __init__(self, kubelets: Kubelets, clock: Clock) -> None:
        self._kubelets = kubelets
        self._clock = clock
        self._seats = asyncio.Semaphore(ASKED_AT_ONCE)
        #: For those not heard of yet, so that the silent never keep the others waiting.
        self._first_seats = asyncio.Semaphore(ASKED_AT_ONCE)
        self._held: dict[str, _Held] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def usage_of(self, nodes: Iterable[str]) -> dict[str, NodeUsage]:
        """By node. Of one that does not answer nothing is known."""
        wanted = list(nodes)
        now_s = self._clock.monotonic_s()
        self._held = {
            name: held
            for name, held in self._held.items()
            if held.until_s + OLDEST_S >= now_s or name in self._asking
        }
        asking = [self._ask(name) for name in wanted if name not in self._held or self._held[name].until_s <= now_s]
        if asking:
            # Whoever asked may go away or lose patience; the answer is for others as well.
            await asyncio.wait(asking, timeout=PATIENCE_S)
        return {name: self._held[name].usage for name in wanted if name in self._held}

    async def close(self) -> None:
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _ask(self, name: str) -> asyncio.Task[None]:
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.get_running_loop().create_task(self._look(name))
            task.add_done_callback(lambda _done: self._asking.pop(name, None))
        return task

    async def _look(self, name: str) -> None:
        held = self._held.setdefault(name, _Held())
        try:
            if held.points.node is None or self._clock.monotonic_s() - held.at_s > OLDEST_S:
                held.points = await self._read(name, self._first_seats)
                await self._clock.sleep(SHORTEST_WINDOW_S)
            points = await self._read(name, self._seats)
        except (StatusError, TimeoutError) as error:
            tell = log.debug if held.silence.failures else log.warning
            tell("no metrics from a kubelet", node=name, error=str(error) or "no answer in time")
            held.points, held.usage = NodePoints(), NodeUsage()
            held.until_s = self._clock.monotonic_s() + held.silence.next_s()
            return
        # A kubelet that counts from time to time only may have said nothing new: then what it said before still stands.
        if _is_newer(points, held.points):
            held.usage = node_usage(held.points, points)
            held.points = points
        held.silence.reset()
        held.at_s = self._clock.monotonic_s()
        held.until_s = held.at_s + FRESH_S

    async def _read(self, name: str, seats: asyncio.Semaphore) -> NodePoints:
        async with seats, asyncio.timeout(DEADLINE_S):
            text = await self._kubelets.resource_metrics(name)
        return read_points(text, now_s=self._clock.now().timestamp())


def _is_newer(points: NodePoints, than: NodePoints) -> bool:
    if points.node is None or than.node is None:
        return True
    return points.node.cpu.at_s > than.node.cpu.at_s
