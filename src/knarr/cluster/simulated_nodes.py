"""A fleet of nodes that only pretend to run pods: real kubelets on simulated runtimes, all in one process.

The whole fleet shares one watch of pods, which ``PodShares`` splits by node, and one of nodes, from which each
runtime learns its pod range. Nodes are started a few at a time, so that a fleet of thousands does not fall on the
API server at once.

Upstream's counterpart is kubemark's hollow nodes. Neighbours: ``components`` starts it as the process
``simulated-nodes``; ``kubelet.runtime.simulated`` says how a pod tells what to pretend.

Limits: a fleet is started ``STARTING`` nodes at a time; above ``SMALL_FLEET`` nodes the kubelets look around less
often, which keeps a fleet's idle load to a few requests a node and minute.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from knarr.api.core import v1 as core
from knarr.api.core.connect import KUBELET_SERVER
from knarr.client.client import Client
from knarr.client.events import EventRate
from knarr.client.informer import DELETED, Handler, Informer, InformerFactory
from knarr.cluster.addresses import AddressPlan
from knarr.cluster.layout import simulated_node_name
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.kubelet import Kubelet
from knarr.kubelet.machine import simulated_machine
from knarr.kubelet.pod_host import SimulatedPodHost
from knarr.kubelet.runtime.simulated import SimulatedRuntime
from knarr.kubelet.server.auth import ApiAccess
from knarr.kubelet.server.listener import KubeletServer
from knarr.kubelet.server.shared import SharedKubeletServer

__all__ = ["PodShares", "SimulatedFleet"]

STARTING = 32
#: Statuses the fleet writes at once, its nodes having a processor in common: those of a storm are then written once and not step by
#: step. Its events have one rate together, so that pods need not wait for what is told of them.
STATUSES_AT_ONCE = 4
#: On the bridge's address nobody else listens there.
KUBELET_PORT = 10250
SMALL_FLEET = 500
HOUSEKEEPING_S = 30.0
#: Still well inside the 50 s after which a silent node counts as unknown: a quarter of it is the renewal period.
LARGE_FLEET_LEASE_S = 120
LARGE_FLEET_STATUS_S = 60.0
TYPE_LABEL = "node.kubernetes.io/instance-type"

log = get_logger("simulated-nodes")


class _Share:
    """What one node sees of the fleet's pods."""

    def __init__(self, shares: PodShares, node: str) -> None:
        self._shares = shares
        self._node = node

    @property
    def synced(self) -> bool:
        return self._shares.informer.synced

    def add_handler(self, handler: Handler) -> None:
        self._shares.add(self._node, handler)


class PodShares:
    """One informer of all pods, told on by node: an event costs one look-up, however many nodes there are."""

    def __init__(self, informer: Informer[core.Pod]) -> None:
        self.informer = informer
        self._handlers: dict[str, Handler] = {}
        informer.lister.add_index("node", lambda pod: [pod.spec.nodeName] if pod.spec.nodeName else [])
        informer.add_handler(self._told)

    def of(self, node: str) -> _Share:
        return _Share(self, node)

    def add(self, node: str, handler: Handler) -> None:
        """From now on ``handler`` hears of the node's pods; of those there are already it hears at once."""
        self._handlers[node] = handler
        for pod in self.informer.lister.by_index("node", node):
            handler("ADDED", None, pod)

    def _told(self, event: str, old: core.Pod | None, new: core.Pod | None) -> None:
        pod = new or old
        assert pod is not None
        handler = self._handlers.get(pod.spec.nodeName)
        if handler is None:
            return
        if old is not None and not old.spec.nodeName and event != DELETED:
            # Before it was bound the pod was nobody's: to its node it is new.
            event, old = "ADDED", None
        handler(event, old, new)


class SimulatedFleet:
    """``count`` nodes of one cluster."""

    def __init__(
        self,
        cluster: str,
        client: Client,
        *,
        count: int,
        plan: AddressPlan,
        clock: Clock,
        chance: Chance,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``tls`` is what the fleet's kubelets are served with, on the bridge's address; without it they have no server."""
        self._cluster = cluster
        self._client = client
        self._count = count
        self._plan = plan
        self._clock = clock
        self._chance = chance
        self._factory = InformerFactory(client, clock=clock, chance=chance)
        self._shares = PodShares(self._factory.informer(core.Pod))
        self._runtimes: dict[str, SimulatedRuntime] = {}
        self._tls = tls
        self._kubelets: dict[str, Kubelet] = {}
        self._servers: dict[str, KubeletServer] = {}
        self._event_rate = EventRate(clock)
        self._status_turns = asyncio.Semaphore(STATUSES_AT_ONCE)
        self._factory.informer(core.Node).add_handler(self._node_changed)

    async def run(self) -> None:
        """Run every node until cancelled."""
        starting = asyncio.Semaphore(STARTING)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._factory.run())
            if self._tls is not None:
                host = self._plan.bridge_address
                shared = SharedKubeletServer(self._server_of, host=host, port=KUBELET_PORT, tls=self._tls)
                group.create_task(shared.run())
            for number in range(self._count):
                await starting.acquire()
                kubelet = self._kubelet(number)
                group.create_task(kubelet.run(), name=kubelet.node_name)
                group.create_task(_release_once_registered(kubelet, starting))
            log.info("simulated nodes started", count=self._count)

    def _server_of(self, node: str) -> KubeletServer | None:
        """Made by the first question to a node: most of a large fleet are never asked."""
        kubelet, server = self._kubelets.get(node), self._servers.get(node)
        if server is None and kubelet is not None:
            access = ApiAccess(self._client, node, clock=self._clock)
            # It listens nowhere itself: the shared door hands requests on, and its certificate check with them.
            server = self._servers[node] = KubeletServer(kubelet, host="", port=0, tls=self._tls, access=access)
        return server

    def _kubelet(self, number: int) -> Kubelet:
        name = simulated_node_name(self._cluster, number)
        runtime = self._runtimes[name] = SimulatedRuntime(
            self._clock, self._chance, pod_cidr=self._plan.simulated_node_pod_cidr(number)
        )
        config = KubeletConfig(
            # Nothing is ever written there: the host is simulated.
            root_dir=Path("/nonexistent"),
            node_labels={TYPE_LABEL: "knarr-simulated"},
            provider_id=f"knarr://{self._cluster}/{name}",
            housekeeping_period_s=HOUSEKEEPING_S,
        )
        if self._tls is not None:
            config.node_annotations[KUBELET_SERVER] = f"{self._plan.bridge_address}:{KUBELET_PORT}"
        if self._count > SMALL_FLEET:
            config.node_lease_duration_s = LARGE_FLEET_LEASE_S
            config.node_status_update_s = LARGE_FLEET_STATUS_S
        made = self._kubelets[name] = Kubelet(
            self._client,
            self._factory,
            runtime=runtime,
            node_name=name,
            addresses=[self._plan.simulated_node_address(number)],
            clock=self._clock,
            chance=self._chance,
            config=config,
            host=SimulatedPodHost(),
            machine=simulated_machine(),
            pods=self._shares.of(name),
        )
        made.recorder.rate = self._event_rate
        made.statuses.turns = self._status_turns
        return made

    def _node_changed(self, event: str, old: core.Node | None, new: core.Node | None) -> None:
        runtime = self._runtimes.get(new.metadata.name) if new is not None else None
        if new is not None and runtime is not None and new.spec.podCIDR:
            runtime.pod_cidr = new.spec.podCIDR


async def _release_once_registered(kubelet: Kubelet, starting: asyncio.Semaphore) -> None:
    await kubelet.registration.registered.wait()
    starting.release()
