"""A node's network parts, wired: pod network, service proxy, DNS.

Neighbours: ``network`` holds the parts; ``node_process`` runs this beside the kubelet.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from knarr.client.client import Client
from knarr.client.informer import InformerFactory
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock

if TYPE_CHECKING:
    from knarr.cluster.components import NodeConfig


async def run_node_network(
    config: NodeConfig, client: Client, factory: InformerFactory, *, clock: Clock, chance: Chance
) -> None:
    """Run until cancelled."""
    await asyncio.Event().wait()
