"""One node's process: kubelet, its server, service proxy, DNS and pod network, side by side in the node's
namespaces.

containerd is a process of its own, started by the supervisor; this one waits for it, gives it the images
every cluster needs, and starts.

Neighbours: ``components`` starts it; ``kubelet`` and ``network`` do the work.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from knarr.client.client import Client
from knarr.client.informer import InformerFactory
from knarr.cloud.local_volumes import LocalVolumeCleaner
from knarr.cluster.addresses import AddressPlan
from knarr.cluster.components import NodeConfig, server_tls, wait_until
from knarr.cluster.images import built_in_images, ensure_images
from knarr.cluster.node_network import run_node_network
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.kubelet import Kubelet
from knarr.kubelet.runtime.contract import RuntimeServiceError
from knarr.kubelet.runtime.cri import CriRuntime
from knarr.kubelet.server.auth import ApiAccess
from knarr.kubelet.server.listener import KubeletServer

log = get_logger("node")

RUNTIME_TIMEOUT_S = 60.0
KUBELET_PORT = 10250
#: Proxies here follow a deletion within a tenth of a second; several times that.
DRAIN_S = 0.5


class NodeProcess:
    """Everything of one node but its containerd. ``client`` is the kubelet's, ``agent`` everything else's."""

    def __init__(
        self, config: NodeConfig, client: Client, agent: Client, *, clock: Clock, chance: Chance
    ) -> None:
        self._config = config
        self._client = client
        self._agent = agent
        self._clock = clock
        self._chance = chance
        self._plan = AddressPlan(config.index)

    async def run(self) -> None:
        """Run until cancelled. Raises ``RuntimeError`` when containerd does not come."""
        config = self._config
        runtime = CriRuntime(config.socket)
        try:
            await self._prepare(runtime)
            factory = InformerFactory(self._client, clock=self._clock, chance=self._chance)
            kubelet = Kubelet(
                self._client,
                factory,
                runtime=runtime,
                node_name=config.name,
                addresses=[config.address],
                clock=self._clock,
                chance=self._chance,
                config=KubeletConfig(
                    cgroup_root=config.cgroup,
                    cluster_dns=[self._plan.dns_address],
                    port=KUBELET_PORT,
                    termination_drain_s=DRAIN_S,
                    provider_id=f"knarr://{config.cluster}/{config.name}",
                ),
            )
            server = KubeletServer(
                kubelet,
                host=config.address,
                port=KUBELET_PORT,
                tls=server_tls(config.certificate, config.key, config.client_ca),
                access=ApiAccess(self._client, config.name, clock=self._clock),
            )
            around = InformerFactory(self._agent, clock=self._clock, chance=self._chance)
            async with asyncio.TaskGroup() as group:
                group.create_task(factory.run())
                group.create_task(around.run())
                group.create_task(kubelet.run())
                group.create_task(server.run())
                cleaner = LocalVolumeCleaner(self._agent, around, node=config.name, clock=self._clock)
                group.create_task(cleaner.run())
                group.create_task(
                    run_node_network(config, self._agent, around, clock=self._clock, chance=self._chance)
                )
        finally:
            await runtime.close()

    async def _prepare(self, runtime: CriRuntime) -> None:
        async def ready() -> bool:
            try:
                return any(item.type == "RuntimeReady" and item.status for item in await runtime.status())
            except RuntimeServiceError:
                return False

        if not await wait_until(ready, clock=self._clock, timeout_s=RUNTIME_TIMEOUT_S):
            raise RuntimeError(f"containerd does not answer on {self._config.socket}")
        loaded = await asyncio.to_thread(
            ensure_images,
            Path(self._config.socket),
            built_in_images(),
            scratch_dir=Path(self._config.run_dir),
        )
        if loaded:
            log.info("images loaded", names=",".join(loaded))
