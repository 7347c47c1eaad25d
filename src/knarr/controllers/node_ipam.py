"""Each node gets a range of pod addresses of its own, out of the cluster's.

Upstream's counterpart is ``pkg/controller/nodeipam`` with the range allocator.
"""

from __future__ import annotations

import ipaddress

from knarr.api.core import v1 as core
from knarr.client.client import MERGE_PATCH
from knarr.client.events import NORMAL
from knarr.controllers.framework import Controller, ControllerContext, Key

#: Addresses a node has, as a prefix length; upstream's default.
NODE_PREFIX = 24


class NodeIpamController(Controller):
    name = "node-ipam-controller"
    #: One at a time: two nodes must not be given the same range.
    workers = 1

    def __init__(self, context: ControllerContext, cluster_cidr: str) -> None:
        super().__init__(context)
        self._network = ipaddress.ip_network(cluster_cidr)
        self._nodes = self.watch(core.Node)
        self._given: dict[str, str] = {}

    async def reconcile(self, key: Key) -> None:
        _, name = key
        node = self._nodes.get("", name)
        if node is None:
            self._given.pop(name, None)
            return
        if node.spec.podCIDR or name in self._given:
            return
        chosen = self._free()
        if chosen is None:
            self.recorder.event(
                node, NORMAL, "CIDRNotAvailable", f"Node {name} status is now: CIDRNotAvailable"
            )
            raise RuntimeError(f"no range is left in {self._network} for node {name}")
        self._given[name] = chosen
        try:
            patch = {"spec": {"podCIDR": chosen, "podCIDRs": [chosen]}}
            await self.client.patch(core.Node, name, patch, patch_type=MERGE_PATCH)
        except BaseException:
            del self._given[name]
            raise

    def _free(self) -> str | None:
        """The first range nobody has: neither in the cache nor just given by us."""
        taken = {node.spec.podCIDR for node in self._nodes.list()} | set(self._given.values())
        prefix = max(NODE_PREFIX, self._network.prefixlen)
        return next(
            (str(part) for part in self._network.subnets(new_prefix=prefix) if str(part) not in taken), None
        )
