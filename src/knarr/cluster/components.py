"""Each component as a process: from files and flags to a running part.

These functions are what ``knarr apiserver``, ``knarr controller-manager``, ``knarr scheduler`` and ``knarr
node`` run. Only here do components
and their neighbours meet; among themselves they meet at the API.

Invariant: each function runs until cancelled (SIGTERM, SIGINT) and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from knarr.client import kubeconfig
from knarr.client.client import Client
from knarr.client.informer import InformerFactory
from knarr.client.leases import LeadershipLost
from knarr.cloud.local_volumes import LocalVolumes
from knarr.cluster.access_options import AccessOptions
from knarr.cluster.election import CONTROLLER_MANAGER, SCHEDULER, ElectionOptions, elected
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock, RealClock
from knarr.kit.durations import parse_duration_s
from knarr.kit.lean_import import import_http_client
from knarr.kit.log import get_logger

if TYPE_CHECKING:
    from knarr.controllers.certificates.signing import ReadAuthority

__all__ = [
    "ApiServerOptions",
    "ControlOptions",
    "FleetOptions",
    "NodeConfig",
    "run_apiserver",
    "run_controllers",
    "run_fleet",
    "run_node",
    "run_process",
]

log = get_logger("process")


class ApiServerOptions(msgspec.Struct, kw_only=True):
    """What an API server is started with."""

    store: str
    host: str
    port: int
    certificate: str
    key: str
    client_ca: str
    service_account_key: str
    kubelet_certificate: str = ""
    kubelet_key: str = ""
    proxy_client_certificate: str = ""
    """With its key: how other API servers, behind this one, know it."""
    proxy_client_key: str = ""
    requestheader_client_ca: str = ""
    service_cidr: str = "10.96.0.0/16"
    service_address: str = "10.96.0.1"
    access: AccessOptions = msgspec.field(default_factory=AccessOptions)


class ControlOptions(msgspec.Struct, kw_only=True):
    """What the controllers are started with; with ``scheduler_kubeconfig`` the scheduler runs in the same
    process, elected in the same way.
    """

    kubeconfig: str
    root_ca: str
    cluster_cidr: str = ""
    load_balancer_cidr: str = ""
    scheduler_kubeconfig: str = ""
    cluster_signing_cert_file: str = ""
    """With its key: the authority that signs what CertificateSigningRequests ask for."""
    cluster_signing_key_file: str = ""
    cluster_signing_duration: str = "8760h0m0s"
    election: ElectionOptions = msgspec.field(default_factory=lambda: ElectionOptions(CONTROLLER_MANAGER))
    host_network: str = ""
    """A cluster's name: keep this machine's own routes and service rules for it."""
    host_index: int = 0
    """Which address plan that cluster has."""


class SchedulerOptions(msgspec.Struct, kw_only=True):
    """What a scheduler is started with."""

    kubeconfig: str
    election: ElectionOptions = msgspec.field(default_factory=lambda: ElectionOptions(SCHEDULER))


class FleetOptions(msgspec.Struct, kw_only=True):
    """What the process of all simulated nodes is started with."""

    cluster: str
    kubeconfig: str
    index: int
    count: int
    client_ca: str
    certificate: str
    key: str


class NodeConfig(msgspec.Struct, kw_only=True):
    """What one node's process is started with."""

    cluster: str
    name: str
    number: int
    index: int
    address: str
    kubeconfig: str
    agent_kubeconfig: str
    """The identity of what is no kubelet here: a kubelet may read little."""
    client_ca: str
    certificate: str
    key: str
    state_dir: str
    run_dir: str
    socket: str
    cgroup: str


def run_process(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``main`` on uvloop until it ends or a signal cancels it; who loses an election ends as one that failed,
    and is started again to wait for the next.
    """
    import uvloop

    async def guarded() -> None:
        task = asyncio.ensure_future(main())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    lost: BaseException | None = None
    try:
        uvloop.run(guarded())
    except* LeadershipLost as group:
        lost = group
    while isinstance(lost, BaseExceptionGroup):
        lost = lost.exceptions[0]
    if lost is not None:
        log.error("process ends", reason=lost)
        sys.exit(1)


async def run_apiserver(options: ApiServerOptions) -> None:
    """Serve the API on TLS."""
    from knarr.apiserver.aggregation.front_proxy import FrontProxy
    from knarr.apiserver.config import ServerConfig
    from knarr.apiserver.lifecycle import serve
    from knarr.apiserver.listener import Listener
    from knarr.apiserver.server import APIServer
    from knarr.cluster import access_files
    from knarr.cluster.admission_file import read_admission_file
    from knarr.store.open import open_store

    clock, chance = RealClock(), Chance()
    admission = read_admission_file(options.access.admission_control_config_file)
    store = await open_store(options.store, clock)
    try:
        server = APIServer(
            store,
            ServerConfig(
                service_account_key_pem=_read(options.service_account_key),
                address=options.host,
                port=options.port,
                service_cidr=options.service_cidr,
                service_address=options.service_address,
                kubelet_tls=_kubelet_tls(options),
                front_proxy=FrontProxy(
                    certificate=options.proxy_client_certificate,
                    key=options.proxy_client_key,
                    ca_pem=_text(options.requestheader_client_ca),
                    client_ca_pem=_text(options.client_ca),
                ),
                authentication=access_files.authentication_options(options.access),
                authorization=access_files.authorization_options(options.access),
                pod_security=admission.pod_security,
                event_limits=admission.event_limits,
                more_admission=access_files.more_admission(options.access),
                audit=access_files.audit_options(options.access),
                max_requests_inflight=options.access.max_requests_inflight,
                max_mutating_requests_inflight=options.access.max_mutating_requests_inflight,
                request_timeout_s=parse_duration_s(options.access.request_timeout),
            ),
            clock=clock,
            chance=chance,
        )
        listener = Listener(
            server,
            host=options.host,
            port=options.port,
            tls=server_tls(
                options.certificate, options.key, options.client_ca, options.requestheader_client_ca
            ),
            clock=clock,
            front_proxy_ca=_text(options.requestheader_client_ca),
        )
        await serve(server, listener, delay_s=parse_duration_s(options.access.shutdown_delay_duration))
    finally:
        await store.close()


def _text(path: str) -> str:
    return _read(path).decode() if path else ""


def server_tls(certificate: str, key: str, *client_cas: str) -> ssl.SSLContext:
    """A server's TLS: a client may show a certificate, and then one of these authorities must have signed it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    for authority in filter(None, client_cas):
        context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _kubelet_tls(options: ApiServerOptions) -> ssl.SSLContext | None:
    if not options.kubelet_certificate:
        return None
    context = ssl.create_default_context(cafile=options.client_ca)
    context.load_cert_chain(options.kubelet_certificate, options.kubelet_key)
    return context


async def run_controllers(options: ControlOptions) -> None:
    """Run the controllers, and the scheduler if it is to share the process."""
    from knarr.controllers.manager import ControllerManager

    clock, chance = RealClock(), Chance()
    async with contextlib.AsyncExitStack() as stack:
        client = await _client(options.kubeconfig, stack, CONTROLLER_MANAGER)
        factory = InformerFactory(client, clock=clock, chance=chance)

        async def lead() -> None:
            # Not before: informers start when somebody asks for them, and who only waits needs none.
            manager = ControllerManager(
                client,
                factory,
                clock=clock,
                chance=chance,
                cluster_cidr=options.cluster_cidr,
                root_ca_pem=_read(options.root_ca).decode(),
                load_balancer_cidr=options.load_balancer_cidr,
                volumes=LocalVolumes() if options.host_network else None,
                read_authority=_authority(options),
                signing_duration_s=parse_duration_s(options.cluster_signing_duration),
            )
            await manager.run()

        async with asyncio.TaskGroup() as group:
            group.create_task(factory.run())
            group.create_task(elected(options.election, client, lead, clock=clock, chance=chance))
            if options.host_network:
                from knarr.cluster.addresses import AddressPlan
                from knarr.cluster.node_network import run_host_network

                plan = AddressPlan(options.host_index)
                group.create_task(
                    run_host_network(options.host_network, client, factory, plan=plan, clock=clock)
                )
            if options.scheduler_kubeconfig:
                election = msgspec.structs.replace(options.election, leader_elect_resource_name=SCHEDULER)
                scheduler = SchedulerOptions(kubeconfig=options.scheduler_kubeconfig, election=election)
                group.create_task(run_scheduler(scheduler))


def _authority(options: ControlOptions) -> ReadAuthority | None:
    certificate, key = options.cluster_signing_cert_file, options.cluster_signing_key_file
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise ValueError("expected both --cluster-signing-cert-file and --cluster-signing-key-file, or neither")
    return lambda: (_read(certificate), _read(key))


async def run_scheduler(options: SchedulerOptions) -> None:
    """Run the scheduler."""
    from knarr.scheduler.scheduler import Scheduler

    clock, chance = RealClock(), Chance()
    async with contextlib.AsyncExitStack() as stack:
        client = await _client(options.kubeconfig, stack, SCHEDULER)
        factory = InformerFactory(client, clock=clock, chance=chance)

        async def lead() -> None:
            await Scheduler(client, factory, clock=clock, chance=chance).run()

        async with asyncio.TaskGroup() as group:
            group.create_task(factory.run())
            group.create_task(elected(options.election, client, lead, clock=clock, chance=chance))


async def run_node(config: NodeConfig) -> None:
    """Run a node's kubelet, service proxy, DNS and pod network; the process is already in the node's
    namespaces.
    """
    # Before the kubelet brings it in the slow way.
    import_http_client()
    from knarr.cluster.node_process import NodeProcess

    clock, chance = RealClock(), Chance()
    async with contextlib.AsyncExitStack() as stack:
        client = await _client(config.kubeconfig, stack, f"kubelet/{config.name}")
        agent = await _client(config.agent_kubeconfig, stack, f"node-agent/{config.name}")
        await NodeProcess(config, client, agent, clock=clock, chance=chance).run()


async def run_fleet(options: FleetOptions) -> None:
    """Run nodes that only pretend to run pods."""
    import_http_client()
    from knarr.cluster.addresses import AddressPlan
    from knarr.cluster.simulated_nodes import SimulatedFleet

    async with contextlib.AsyncExitStack() as stack:
        client = await _client(options.kubeconfig, stack, "simulated-nodes")
        fleet = SimulatedFleet(
            options.cluster,
            client,
            count=options.count,
            plan=AddressPlan(options.index),
            clock=RealClock(),
            chance=Chance(),
            tls=server_tls(options.certificate, options.key, options.client_ca),
        )
        await fleet.run()


async def _client(path: str, stack: contextlib.AsyncExitStack, agent: str) -> Client:
    transport = kubeconfig.transport(kubeconfig.load([Path(path)]))
    client = Client(transport, user_agent=f"knarr/{agent}")
    stack.push_async_callback(client.close)
    return client


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


async def wait_until(
    check: Callable[[], Awaitable[bool]], *, clock: Clock, timeout_s: float, pause_s: float = 0.02
) -> bool:
    """Ask ``check`` again and again until it says yes or the time is over."""
    deadline_s = clock.monotonic_s() + timeout_s
    while clock.monotonic_s() < deadline_s:
        if await check():
            return True
        await clock.sleep(pause_s)
    return False
