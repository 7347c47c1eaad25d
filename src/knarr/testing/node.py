"""One simulated node: the real kubelet on a runtime that only keeps accounts.

Stopping it is what a power cut looks like from outside: no status, no lease, no answer. Its runtime keeps what it ran, as a machine keeps its containers while only the
kubelet is down.

Neighbours: ``cluster`` makes nodes; ``kubelet.runtime.simulated`` says how pods behave. Upstream's counterpart is kubemark's hollow node.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from knarr.api import conditions
from knarr.api.core import v1 as core
from knarr.client.client import Client
from knarr.client.informer import InformerFactory
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock
from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.kubelet import Kubelet
from knarr.kubelet.machine import simulated_machine
from knarr.kubelet.pod_host import PodHost
from knarr.kubelet.runtime.simulated import SimulatedRuntime

__all__ = ["NodeShape", "SimulatedNode"]


@dataclass(frozen=True, slots=True)
class NodeShape:
    """What a node has. Quantities as in a manifest."""

    cpu: str = "4"
    memory: str = "8Gi"
    storage: str = "100Gi"
    pods: int = 110
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[core.Taint, ...] = ()
    #: How long a container takes to start.
    start_latency_s: float = 0.1
    #: Images that cannot be pulled here.
    missing_images: frozenset[str] = frozenset()


class SimulatedNode:
    """A node by its name; ``number`` tells its address from the others'."""

    def __init__(
        self,
        name: str,
        number: int,
        client: Client,
        *,
        shape: NodeShape,
        clock: Clock,
        chance: Chance,
        host: PodHost,
    ) -> None:
        self.name = name
        self.address = f"192.168.{number // 250}.{number % 250 + 1}"
        self._client = client
        self._shape = shape
        self._clock = clock
        self._chance = chance
        self._host = host
        self._tasks: list[asyncio.Task[None]] = []
        # Pods that come before the node has been given its range get addresses from one nobody is given.
        self.runtime = SimulatedRuntime(
            clock,
            chance,
            pod_cidr=f"10.{245 + number // 250}.{number % 250}.0/24",
            start_latency_s=shape.start_latency_s,
            missing_images=shape.missing_images,
        )

    @property
    def ready(self) -> bool:
        """The kubelet has registered the node, and the API has it as ready."""
        if not self.running or not self.kubelet.registration.registered.is_set():
            return False
        return conditions.is_true(self.kubelet.registration.node.status.conditions, "Ready")

    @property
    def running(self) -> bool:
        return bool(self._tasks)

    def start(self) -> None:
        """Run a kubelet on the runtime as it stands."""
        assert not self._tasks, f"node {self.name} is running"
        factory = InformerFactory(self._client, clock=self._clock, chance=self._chance)
        shape = self._shape
        self.kubelet = Kubelet(
            self._client,
            factory,
            runtime=self.runtime,
            node_name=self.name,
            addresses=[self.address],
            clock=self._clock,
            chance=self._chance,
            config=KubeletConfig(
                # Nothing is ever written there: the host is simulated.
                root_dir=Path("/nonexistent"),
                max_pods=shape.pods,
                capacity={"cpu": shape.cpu, "memory": shape.memory, "ephemeral-storage": shape.storage},
                node_labels=dict(shape.labels),
                register_with_taints=list(shape.taints),
            ),
            host=self._host,
            machine=simulated_machine(),
        )
        own = factory.informer(core.Node, field_selector=f"metadata.name={self.name}")
        own.add_handler(self._node_changed)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(factory.run(), name=f"{self.name}-informers"),
            loop.create_task(self.kubelet.run(), name=f"{self.name}-kubelet"),
        ]

    def _node_changed(self, event: str, old: core.Node | None, new: core.Node | None) -> None:
        if new is not None and new.spec.podCIDR:
            self.runtime.pod_cidr = new.spec.podCIDR

    async def stop(self) -> None:
        """End the kubelet; safe when it has ended."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
