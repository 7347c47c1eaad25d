"""The kubelet, wired: one class that makes one node's pods real until it is cancelled.

Everything it needs comes through the constructor, so that a process can hold one kubelet on containerd or
a thousand simulated ones. ``run`` first looks at what the runtime still has (pods are adopted, not
restarted), registers the node, then follows the API.

Upstream counterpart: ``pkg/kubelet/kubelet.go``. Neighbours: the parts of this room, each in its file.

Invariants: cancelling ``run`` ends every task it started and leaves containers running, as a kubelet's
restart must; nothing is killed as an orphan before the API's pods are known.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from knarr.api.core import v1 as core
from knarr.client.client import Client
from knarr.client.events import NORMAL, EventRecorder
from knarr.client.informer import Handler, InformerFactory, Lister
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.kit.tasks import every
from knarr.kubelet import naming
from knarr.kubelet.admission import admit
from knarr.kubelet.cleanup import Cleanup
from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.container_config import NodeFacts
from knarr.kubelet.container_start import ContainerStarter
from knarr.kubelet.fields import PodFacts
from knarr.kubelet.hooks import HookRunner
from knarr.kubelet.images import ImageManager
from knarr.kubelet.log_rotation import LogRotation
from knarr.kubelet.machine import Machine, MachineUse, read_machine, read_use
from knarr.kubelet.node_registration import NodeLease, NodeRegistration, node_reference
from knarr.kubelet.node_status import NodeHealth, allocatable, capacity, extended, initial_node, node_status
from knarr.kubelet.objects import ObjectSource, TokenSource
from knarr.kubelet.pleg import Pleg
from knarr.kubelet.pod_cache import PodCache
from knarr.kubelet.pod_host import LinuxPodHost, PodHost, termination_message
from knarr.kubelet.pod_killer import PodKiller
from knarr.kubelet.pod_sync import PodSync
from knarr.kubelet.pod_workers import PodWorkers, Rejection, WorkerTools
from knarr.kubelet.probes.manager import ProbeManager
from knarr.kubelet.probes.prober import Prober
from knarr.kubelet.requests import PodRequests
from knarr.kubelet.runtime import contract as c
from knarr.kubelet.server.stats import StatsCollector
from knarr.kubelet.status_manager import StatusManager
from knarr.kubelet.volumes.attachments import VolumeAttachments
from knarr.kubelet.volumes.manager import VolumeManager

__all__ = ["Kubelet", "PodFeed"]

log = get_logger("kubelet")


class PodFeed(Protocol):
    """Where a node's pods come from: an informer of its own, or its share of one that serves a fleet."""

    @property
    def synced(self) -> bool: ...

    def add_handler(self, handler: Handler) -> None: ...


class Kubelet:
    """One node's kubelet. ``host`` and ``machine`` default to this machine; simulated nodes bring their
    own.
    """

    def __init__(
        self,
        client: Client,
        informers: InformerFactory,
        *,
        runtime: c.Runtime,
        node_name: str,
        addresses: Sequence[str],
        clock: Clock,
        chance: Chance,
        config: KubeletConfig,
        hostname: str = "",
        host: PodHost | None = None,
        machine: Machine | None = None,
        pods: PodFeed | None = None,
        nodes: Lister[core.Node] | None = None,
    ) -> None:
        self.client = client
        self.runtime = runtime
        self.node_name = node_name
        self.config = config
        self.addresses = tuple(addresses)
        self.clock = clock
        self.recorder = EventRecorder(client, "kubelet", clock=clock, chance=chance, host=node_name)
        self.machine = machine or read_machine(config.root_dir)
        self.is_real = machine is None and host is None
        self._pods: PodFeed = pods or informers.informer(
            core.Pod, field_selector=f"spec.nodeName={node_name}"
        )
        # Labels and taints change by other hands; admission must not judge by what was registered once.
        own = f"metadata.name={node_name}"
        self._nodes = nodes or informers.informer(core.Node, field_selector=own).lister
        self._services = informers.informer(core.Service)
        self._capacity = capacity(self.machine, config)
        self._allocatable = allocatable(self._capacity, config)
        self._version = c.Version("", "", "")
        self._requests = PodRequests()
        self._ended = False
        self._following = False
        self._wire(client, chance, hostname or node_name, host)

    def _wire(self, client: Client, chance: Chance, hostname: str, host: PodHost | None) -> None:
        config, clock, runtime = self.config, self.clock, self.runtime
        self.objects = ObjectSource(client, clock)
        self.volumes = VolumeManager(config.root_dir, self.objects, TokenSource(client, clock), clock=clock)
        self.host = host or LinuxPodHost(
            root_dir=config.root_dir,
            container_logs_dir=config.container_logs_dir,
            pod_logs_dir=config.pod_logs_dir,
            cgroup_root=config.cgroup_root,
            cluster_domain=config.cluster_domain,
            volumes=self.volumes,
            chance=chance,
        )
        self.cache = PodCache(runtime, termination_message) if host is None else PodCache(runtime)
        self.stats = StatsCollector(
            runtime,
            self.cache,
            node_name=self.node_name,
            machine_use=self.read_use,
            node_use=self.host.node_use,
            clock=clock,
        )
        self.images = ImageManager(
            runtime, self.objects, self.recorder, clock=clock, serialize=config.serialize_image_pulls
        )
        self.pleg = Pleg(
            self.cache,
            runtime,
            clock=clock,
            period_s=config.relist_period_s,
            period_with_events_s=config.relist_period_with_events_s,
            on_change=self._runtime_changed,
        )
        self.statuses = StatusManager(client, clock=clock, current=lambda uid: self.workers.pod(uid))
        self.registration = NodeRegistration(
            client,
            wanted=initial_node(
                self.node_name, self.machine, config, hostname=hostname, addresses=self.addresses
            ),
            observe=self._observe_node,
            recorder=self.recorder,
            config=config,
            clock=clock,
        )
        self.lease = NodeLease(client, lambda: self.registration.node, config=config, clock=clock)
        self.attachments = VolumeAttachments(
            self.objects, lambda: self._nodes.get("", self.node_name), self.registration.look_now, clock=clock
        )
        self._hostname = hostname
        self._wire_workers()

    def _wire_workers(self) -> None:
        config, clock, runtime = self.config, self.clock, self.runtime
        hooks = HookRunner(runtime, self._requests, clock)
        drain_s = config.termination_drain_s
        killer = PodKiller(runtime, hooks, self.recorder, clock=clock, drain_s=drain_s)
        self.probes = ProbeManager(
            Prober(runtime, self._requests),
            self.recorder,
            clock=clock,
            on_change=lambda uid: self.workers.wake(uid),
            pod_ip=self.pod_ip,
        )
        tools = WorkerTools(
            cache=self.cache,
            sync=self._pod_sync(hooks, killer),
            killer=killer,
            host=self.host,
            attachments=self.attachments,
            probes=self.probes,
            statuses=self.statuses,
            recorder=self.recorder,
            runtime=runtime,
            config=config,
            clock=clock,
            host_ips=self.addresses,
            runtime_name=lambda: self._version.runtime_name,
            admit=self._admit,
            log_directory=lambda pod: naming.log_directory(str(config.pod_logs_dir), pod),
        )
        self.workers = PodWorkers(tools)
        self.cleanup = Cleanup(self)
        self.log_rotation = LogRotation(runtime, config)

    def _pod_sync(self, hooks: HookRunner, killer: PodKiller) -> PodSync:
        node = NodeFacts(
            pod_logs_dir=str(self.config.pod_logs_dir),
            seccomp_root=self.config.root_dir / "seccomp",
            memory_capacity_bytes=self.machine.memory_bytes,
            unified_cgroups=self.host.unified_cgroups,
        )
        starter = ContainerStarter(
            runtime=self.runtime,
            host=self.host,
            objects=self.objects,
            images=self.images,
            hooks=hooks,
            recorder=self.recorder,
            services=self._services.lister.list,
            config=self.config,
            node=node,
            facts=self._facts,
            clock=self.clock,
        )
        return PodSync(
            runtime=self.runtime,
            host=self.host,
            attachments=self.attachments,
            objects=self.objects,
            starter=starter,
            killer=killer,
            recorder=self.recorder,
            config=self.config,
            node=node,
            facts=self._facts,
            host_ips=self.addresses,
        )

    def _facts(self, pod: core.Pod, ips: list[str]) -> PodFacts:
        own = self.addresses if pod.spec.hostNetwork else tuple(ips)
        return PodFacts(own, self.addresses, tuple(self._allocatable.items()))

    def pod_ip(self, pod: core.Pod) -> str:
        """Where probes and hooks reach the pod now."""
        if pod.spec.hostNetwork:
            return self.addresses[0]
        ips = self.cache.get(pod.metadata.uid).ips
        return ips[0] if ips else pod.status.podIP

    async def run(self) -> None:
        """Run until cancelled. Raises ``RuntimeServiceError`` when the runtime cannot be reached at the
        start.
        """
        self._version = await self.runtime.version()
        self.recorder.event_about(node_reference(self.node_name), NORMAL, "Starting", "Starting kubelet.")
        try:
            async with asyncio.TaskGroup() as group:
                for part in (
                    self.recorder.run(),
                    self.pleg.run(),
                    self.registration.run(),
                    self._lease_once_registered(),
                    self._follow_pods(),
                ):
                    group.create_task(part)
                for name, period_s, step in self._chores():
                    group.create_task(every(period_s, step, clock=self.clock, log=log, name=name))
        finally:
            self._ended = True
            with contextlib.suppress(Exception):
                await self.workers.close()
                await self.probes.close()
            await self._requests.close()

    def _chores(self) -> list[tuple[str, float, Callable[[], Awaitable[None]]]]:
        config = self.config
        chores: list[tuple[str, float, Callable[[], Awaitable[None]]]] = [
            ("housekeeping", config.housekeeping_period_s, self.cleanup.orphans),
        ]
        if self.is_real:
            chores += [
                ("container-gc", config.container_gc_period_s, self.cleanup.dead_containers),
                ("eviction", config.eviction_period_s, self.cleanup.relieve_pressure),
                ("image-gc", config.image_gc_period_s, self.cleanup.unused_images),
                ("log-rotation", config.container_log_monitor_s, self.log_rotation.rotate),
            ]
        return chores

    async def _lease_once_registered(self) -> None:
        await self.registration.registered.wait()
        await self.lease.run()

    async def _follow_pods(self) -> None:
        """Hand the API's pods to their workers, once it is known what runs already."""
        await self.pleg.wait_first_look()
        await self._services.wait_synced()
        self._pods.add_handler(self._pod_changed)
        self._following = True
        await self.statuses.run()

    @property
    def pods_synced(self) -> bool:
        return self._pods.synced

    def _pod_changed(self, event: str, old: core.Pod | None, new: core.Pod | None) -> None:
        pod = new or old
        assert pod is not None
        # An informer may outlive the kubelet that asked for it, or serve several.
        if self._ended or pod.spec.nodeName != self.node_name:
            return
        if new is None:
            self.workers.removed(pod)
            return
        if old is not None and old.metadata.uid != new.metadata.uid:
            self.workers.removed(old)
        self.workers.update(new)
        self.statuses.recheck(new.metadata.uid)

    def _runtime_changed(self, uids: list[str]) -> None:
        for uid in uids:
            self.workers.wake(uid)

    def _admit(self, pod: core.Pod) -> Rejection | None:
        node = self._nodes.get("", self.node_name) or self.registration.node
        room: dict[str, str] = {**extended(node.status.allocatable), **self._allocatable}
        return admit(pod, node, self.workers.pods(), allocatable=room)

    def read_use(self) -> MachineUse | None:
        return read_use(self.config.root_dir) if self.is_real else None

    async def _observe_node(self, node: core.Node) -> core.NodeStatus:
        conditions: list[c.RuntimeCondition] = []
        images: list[c.Image] = []
        failure = ""
        try:
            conditions = await self.runtime.status()
            images = await self.runtime.list_images()
        except c.RuntimeServiceError as error:
            failure = str(error)
        addresses = [core.NodeAddress(type="InternalIP", address=address) for address in self.addresses]
        addresses.append(core.NodeAddress(type="Hostname", address=self._hostname))
        return node_status(
            node,
            self.machine,
            self.config,
            addresses=addresses,
            version=self._version,
            images=images,
            health=NodeHealth(conditions, failure, self.pleg.healthy, self.read_use()),
            volumes_in_use=self.attachments.in_use(
                node.status.volumesInUse, self.workers.pods() if self._following and self.pods_synced else None
            ),
            now=self.clock.now(),
        )
