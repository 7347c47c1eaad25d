"""Ending the connections of datagrams whose way has changed.

A stream notices that its endpoint is gone; datagrams follow the kernel's connection table to the old address
for as long as they keep coming. Which flows are stale is decided here purely, from what a service had and
has; the ``conntrack`` tool forgets them. Without the tool they end by themselves, some minutes later.
Upstream counterpart: ``pkg/proxy/conntrack``. Neighbours: ``proxy`` asks after every change of the rules.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass

from knarr.kit.log import get_logger
from knarr.network.service_rules import Balance, Fragment

__all__ = ["Conntrack", "UdpWays", "stale", "udp_ways"]

#: How many flows one change may forget; more are left to their time-out.
MAX_COMMANDS = 64

log = get_logger("conntrack")


@dataclass(frozen=True, slots=True)
class UdpWays:
    """Where a service takes datagrams (``address . udp . port`` or ``udp . port``), and who gets them."""

    entrances: frozenset[str] = frozenset()
    endpoints: frozenset[str] = frozenset()


def udp_ways(fragment: Fragment) -> UdpWays:
    """The ways a service's share of the rules opens for datagrams."""
    places = [*fragment.elements.get("service-ips", ()), *fragment.elements.get("service-nodeports", ())]
    endpoints: set[str] = set()
    for rules in fragment.chains.values():
        for rule in rules:
            if isinstance(rule, Balance) and rule.protocol == "udp":
                endpoints.update(target.partition(" . ")[0] for target in rule.targets)
            elif isinstance(rule, str) and rule.startswith("meta l4proto udp dnat to "):
                endpoints.add(rule.rpartition(" ")[2].rpartition(":")[0].strip("[]"))
    return UdpWays(frozenset(place for place in places if "udp" in place.split(" . ")), frozenset(endpoints))


def stale(old: UdpWays, new: UdpWays) -> list[tuple[str, ...]]:
    """What to tell ``conntrack`` so that no datagram goes on along a way that is closed."""
    commands: list[tuple[str, ...]] = []
    for entrance in sorted(old.entrances | new.entrances):
        to = _entrance(entrance)
        if entrance in new.entrances and new.endpoints and not old.endpoints:
            # Datagrams that came before there was an endpoint were tracked to nowhere.
            commands.append(to)
        if entrance in old.entrances:
            gone = old.endpoints - new.endpoints if entrance in new.entrances else old.endpoints
            commands += [(*to, "--dst-nat", endpoint) for endpoint in sorted(gone)]
    return commands


def _entrance(place: str) -> tuple[str, ...]:
    *address, _, port = place.split(" . ")
    return (*(("--orig-dst", address[0]) if address else ()), "--orig-port-dst", port)


class Conntrack:
    """The tool, if it is there."""

    def __init__(self) -> None:
        self._tool = shutil.which("conntrack")

    async def forget(self, commands: list[tuple[str, ...]]) -> None:
        """Forget the flows that ``stale`` named. Never raises: a flow that is left ends by itself."""
        if self._tool is None:
            return
        if len(commands) > MAX_COMMANDS:
            log.warning("too many stale flows, the rest is left to time out", flows=len(commands))
        for command in commands[:MAX_COMMANDS]:
            family = "ipv6" if any(":" in word for word in command) else "ipv4"
            try:
                process = await asyncio.create_subprocess_exec(
                    *(self._tool, "-D", "-f", family, "-p", "udp", *command),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                )
                # It fails when there was no such flow, which is just as well.
                await process.wait()
            except OSError as error:
                log.warning("conntrack cannot be run", error=error)
                return
