"""Routes to the pods of other nodes: by way of each node's own address.

``plan`` says which routes there should be, ``NodeRoutes`` keeps them so by the news of Nodes. A node runs it
without routes to itself; the host beside its nodes runs it for all of them. Routes are told apart from
everybody else's by their protocol number and their exact shape, so that only what was made here is ever
removed. Upstream counterpart: the host-gateway mode of the usual pod networks. Neighbours: ``podnetwork``.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Iterable, Mapping

from knarr.api.core import v1 as core
from knarr.client.informer import InformerFactory
from knarr.kit.backoff import Backoff
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.kit.programs import ProgramError, run_program
from knarr.network.families import IPV4, family_of

__all__ = ["NodeRoutes", "RouteError", "node_address", "pod_cidrs", "route_changes", "routes_to"]

#: The number in ``/etc/iproute2/rt_protos`` terms that marks a route as ours.
PROTOCOL = "107"
#: How long one call of ``ip`` may take.
IP_TIMEOUT_S = 10.0
RETRY_BASE_S, RETRY_MAX_S = 0.2, 10.0
#: Changes of nodes (a heartbeat is one) within this time go together.
MIN_SYNC_INTERVAL_S = 0.1

log = get_logger("routes")


class RouteError(Exception):
    """``ip`` refused."""


def pod_cidrs(node: core.Node) -> list[str]:
    """The ranges a node's pods get their addresses from."""
    return list(node.spec.podCIDRs) or ([node.spec.podCIDR] if node.spec.podCIDR else [])


def node_address(node: core.Node, *, like: str) -> str:
    """The node's internal address of the same family as ``like``; empty if it has none."""
    family = family_of(like)
    for address in node.status.addresses:
        if address.type == "InternalIP" and family_of(address.address) is family:
            return address.address
    return ""


def routes_to(nodes: Iterable[core.Node], *, without: str) -> dict[str, str]:
    """Pod range -> gateway, for every node but one (itself)."""
    routes: dict[str, str] = {}
    for node in nodes:
        if node.metadata.name == without:
            continue
        for cidr in pod_cidrs(node):
            gateway = node_address(node, like=cidr)
            if gateway:
                routes[cidr] = gateway
    return routes


def route_changes(current: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Lines for ``ip -batch``: those for IPv4 and those for IPv6."""
    lines: dict[bool, list[str]] = {True: [], False: []}
    for cidr in sorted(current.keys() - wanted.keys()):
        lines[family_of(cidr) is IPV4].append(f"route del {cidr} via {current[cidr]} proto {PROTOCOL}")
    for cidr, gateway in sorted(wanted.items()):
        if current.get(cidr) != gateway:
            lines[family_of(cidr) is IPV4].append(f"route replace {cidr} via {gateway} proto {PROTOCOL}")
    return lines[True], lines[False]


class NodeRoutes:
    """Keeps the routes of the current network namespace. Runs until cancelled; routes stay, as pods do."""

    def __init__(
        self, factory: InformerFactory, *, clock: Clock, node: str = "", within: Iterable[str] = ()
    ) -> None:
        """``node`` gets no route to itself. ``within``: leave other routes (of another cluster) alone."""
        self._nodes = factory.informer(core.Node)
        self._clock = clock
        self._node = node
        self._within = tuple(within)
        self._wake = asyncio.Event()
        self._applied: dict[str, str] | None = None

    async def run(self) -> None:
        self._nodes.add_handler(lambda event, old, new: self._wake.set())
        await self._nodes.wait_synced()
        backoff = Backoff(RETRY_BASE_S, RETRY_MAX_S)
        while True:
            self._wake.clear()
            wanted = routes_to(self._nodes.lister.list(), without=self._node)
            try:
                if wanted != self._applied:
                    await self._apply(wanted)
            except RouteError as error:
                log.warning("routes could not be set", error=error)
                self._applied = None
                await self._clock.sleep(backoff.next_s())
                continue
            backoff.reset()
            await self._clock.sleep(MIN_SYNC_INTERVAL_S)
            await self._wake.wait()

    async def _apply(self, wanted: dict[str, str]) -> None:
        current = self._applied if self._applied is not None else await self._read()
        for version, lines in zip("46", route_changes(current, wanted), strict=True):
            if lines:
                await _ip(f"-{version}", "-force", "-batch", "-", text="\n".join(lines) + "\n")
        self._applied = wanted
        log.info("routes to other nodes' pods set", routes=len(wanted))

    async def _read(self) -> dict[str, str]:
        """Our routes that stand from an earlier run."""
        found: dict[str, str] = {}
        for version in "46":
            listed = json.loads(await _ip(f"-{version}", "-json", "route", "show", "proto", PROTOCOL) or "[]")
            found.update((item["dst"], item["gateway"]) for item in listed if "gateway" in item)
        return {cidr: gateway for cidr, gateway in found.items() if self._ours(cidr)}

    def _ours(self, cidr: str) -> bool:
        network = ipaddress.ip_network(cidr, strict=False)
        ranges = [ipaddress.ip_network(some) for some in self._within]
        return not ranges or any(
            network.version == some.version and network.subnet_of(some)  # type: ignore[arg-type]
            for some in ranges
        )


async def _ip(*arguments: str, text: str = "") -> str:
    """Run ``ip``. pyroute2's asynchronous sockets cannot be opened on uvloop, and its others block."""
    try:
        return await run_program("ip", *arguments, text=text, timeout_s=IP_TIMEOUT_S)
    except ProgramError as error:
        raise RouteError(str(error)) from error
