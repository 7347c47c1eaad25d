"""The pod network of one node: a bridge for its pods, routes to the other nodes' pods, masquerade towards the
world.

As soon as the node has its pod range, the kernel's switches are set, the rules for packets that leave the
cluster are written, and at last the CNI configuration: from then on the container runtime reports the network
as ready. Plugins (``bridge``, ``host-local``, ``portmap``) do the rest for each pod. Upstream counterpart:
kindnet and its kin.

Neighbours: ``routes`` keeps the routes, ``nft`` applies the rules, the runtime reads the configuration.
Invariant: the configuration is the last thing written, and written whole.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knarr.api.core import v1 as core
from knarr.client.informer import InformerFactory
from knarr.kit.backoff import Backoff
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.network.families import FAMILIES, IPV4, family_of
from knarr.network.nft import Nft, NftError, table_name
from knarr.network.routes import NodeRoutes, pod_cidrs

__all__ = ["PodNetwork", "PodNetworkConfig", "cni_config", "masquerade_rules", "sysctls"]

CNI_VERSION = "1.0.0"
CONFIG_NAME = "10-knarr.conflist"
RETRY_BASE_S, RETRY_MAX_S = 0.2, 10.0

log = get_logger("podnetwork")


@dataclass(frozen=True, slots=True)
class PodNetworkConfig:
    """What a node's pod network is made from. Directories are paths as this process sees them."""

    cluster: str
    node: str
    cluster_cidrs: tuple[str, ...]
    """Pods' packets to these keep their source: pods, services, and the nodes if all have routes to pods."""
    cni_dir: Path = Path("/etc/cni/net.d")
    ipam_dir: Path = Path("/var/lib/cni/networks")
    bridge: str = "cni0"
    mtu: int = 1500
    pod_cidrs: tuple[str, ...] = ()
    """Fixed ranges; empty to wait for the Node's ``spec.podCIDRs``."""


def cni_config(config: PodNetworkConfig, ranges: Sequence[str]) -> dict[str, Any]:
    """The network configuration list for the container runtime."""
    defaults = {"IPv4": "0.0.0.0/0", "IPv6": "::/0"}
    families = [family for family in map(family_of, ranges) if family is not None]
    bridge = {
        "type": "bridge",
        "bridge": config.bridge,
        "isGateway": True,
        # A pod that reaches itself through its service comes back out of the port it went in by.
        "hairpinMode": True,
        "ipMasq": False,
        "mtu": config.mtu,
        "ipam": {
            "type": "host-local",
            "dataDir": str(config.ipam_dir),
            "ranges": [[{"subnet": cidr}] for cidr in ranges],
            "routes": [{"dst": defaults[family.name]} for family in families],
        },
    }
    ports = {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}}
    return {"cniVersion": CNI_VERSION, "name": f"knarr-{config.cluster}", "plugins": [bridge, ports]}


def sysctls(ranges: Iterable[str]) -> dict[str, str]:
    """Kernel switches, by their path under ``/proc/sys``."""
    switches = {
        # Replies between two pods on one bridge must pass connection tracking, or translated addresses
        # are not translated back.
        "net/bridge/bridge-nf-call-iptables": "1",
        "net/ipv4/ip_forward": "1",
    }
    if any(family_of(cidr) is not IPV4 for cidr in ranges):
        switches["net/bridge/bridge-nf-call-ip6tables"] = "1"
        switches["net/ipv6/conf/all/forwarding"] = "1"
    return switches


def masquerade_rules(config: PodNetworkConfig, ranges: Sequence[str]) -> str:
    """One nft transaction: pods' packets that leave the cluster's ranges get the node's address."""
    lines = []
    for family in FAMILIES:
        mine = [cidr for cidr in ranges if family_of(cidr) is family]
        if not mine:
            continue
        table = f"{family.ip} {table_name(config.cluster, 'pods')}"
        inside = [cidr for cidr in (*config.cluster_cidrs, *ranges) if family_of(cidr) is family]
        lines += [f"add table {table}", f"delete table {table}", f"add table {table}"]
        lines.append(
            f"add set {table} cluster {{ type {family.address_type} ; flags interval ; auto-merge ; }}"
        )
        lines.append(f"add element {table} cluster {{ {', '.join(dict.fromkeys(inside))} }}")
        lines.append(
            f"add chain {table} nat-postrouting"
            " { type nat hook postrouting priority 101 ; policy accept ; }"
        )
        multicast = "224.0.0.0/4" if family is IPV4 else "ff00::/8"
        for cidr in mine:
            leaving = f"{family.ip} saddr {cidr} {family.ip} daddr != @cluster"
            lines.append(
                f"add rule {table} nat-postrouting {leaving} {family.ip} daddr != {multicast}"
                " masquerade fully-random"
            )
    return "\n".join(lines) + "\n" if lines else ""


class PodNetwork:
    """Sets a node's pod network up and keeps its routes; runs until cancelled."""

    def __init__(self, config: PodNetworkConfig, factory: InformerFactory, nft: Nft, *, clock: Clock) -> None:
        self._config = config
        self._nft = nft
        self._clock = clock
        self._node = factory.informer(core.Node, field_selector=f"metadata.name={config.node}")
        self._routes = NodeRoutes(factory, clock=clock, node=config.node)
        self._wake = asyncio.Event()
        self._ready = asyncio.Event()
        self._ranges: tuple[str, ...] = ()

    async def wait_ready(self) -> None:
        """Until the CNI configuration is written."""
        await self._ready.wait()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._routes.run(), name="pod-routes")
            group.create_task(self._set_up(), name="pod-network")

    async def _set_up(self) -> None:
        self._node.add_handler(lambda event, old, new: self._wake.set())
        backoff = Backoff(RETRY_BASE_S, RETRY_MAX_S)
        while True:
            self._wake.clear()
            node = self._node.lister.get("", self._config.node)
            ranges = self._config.pod_cidrs or tuple(pod_cidrs(node) if node is not None else ())
            if ranges and ranges != self._ranges:
                try:
                    await self._apply(ranges)
                except (NftError, OSError) as error:
                    log.error("pod network could not be set up", node=self._config.node, error=error)
                    await self._clock.sleep(backoff.next_s())
                    continue
                backoff.reset()
            await self._wake.wait()

    async def _apply(self, ranges: tuple[str, ...]) -> None:
        for path, value in sysctls(ranges).items():
            _switch(Path("/proc/sys") / path, value)
        await self._nft.apply(masquerade_rules(self._config, ranges))
        _write(self._config.cni_dir / CONFIG_NAME, json.dumps(cni_config(self._config, ranges), indent=2))
        self._ranges = ranges
        self._ready.set()
        log.info("pod network ready", node=self._config.node, ranges=",".join(ranges))


def _switch(path: Path, value: str) -> None:
    """Set a kernel switch. The bridge's are missing where the kernel has no bridge filtering."""
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except FileNotFoundError:
        log.warning("kernel switch is missing", path=path)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text)
    os.replace(draft, path)
