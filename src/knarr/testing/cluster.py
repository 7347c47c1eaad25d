"""A whole cluster in one process: API server, controllers, scheduler and nodes, without a socket, a thread or a file.

``async with InProcessCluster(nodes=3) as cluster:`` is ready when the nodes are. Every part is the real one; only the store is the one in memory, the transport a function
call, and each node's runtime simulated (see ``kubelet.runtime.simulated`` for what a pod can tell it by annotations). Run it under ``knarr.testing.run`` and time is virtual.

Each component has its own identity, so that RBAC is tested as well. The same seed gives the same run.

Upstream's counterpart is ``envtest``; the difference is that here Deployments come up. Neighbours: ``node`` is one simulated node, ``faults`` goes between a component and the server, ``plugin`` makes a pytest fixture of this.

Invariant: after the ``async with`` no task, timer or informer of the cluster is left.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
import yaml

from knarr.api import codec, conditions, quantity, scheme
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError, internal_error
from knarr.apiserver.aggregation.backends import Sender
from knarr.apiserver.config import ServerConfig
from knarr.apiserver.loopback import LoopbackTransport
from knarr.apiserver.request import UserInfo
from knarr.apiserver.server import APIServer
from knarr.apiserver.webhooks.transport import WebhookTransport
from knarr.client.client import Client, raise_refusal
from knarr.client.informer import InformerFactory
from knarr.client.transport import Transport
from knarr.cloud.contract import Volumes
from knarr.controllers.manager import ControllerManager
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock, VirtualClock
from knarr.kit.log import get_logger
from knarr.kubelet.pod_host import SimulatedPodHost
from knarr.scheduler.scheduler import Scheduler
from knarr.store.contract import Store
from knarr.store.memory import MemoryStore
from knarr.testing.keys import service_account_key, signing_authority, stand_in_certificate
from knarr.testing.node import NodeShape, SimulatedNode
from knarr.testing.volumes import WritingPodHost

__all__ = ["InProcessCluster", "NodeShape"]

T = TypeVar("T", bound=msgspec.Struct)

log = get_logger("testing")

ADMIN = UserInfo("kubernetes-admin", ("system:masters",))
CONTROLLERS, SCHEDULER = "controller-manager", "scheduler"
#: ``wait_for`` looks again this soon at first, then more and more slowly.
FIRST_LOOK_S, LAST_LOOK_S, SLOWER = 0.02, 1.0, 1.2
START_TIMEOUT_S = 60.0

#: Puts something between a component (``controller-manager``, ``scheduler`` or a node's name) and the server.
Wrap = Callable[[str, Transport], Transport]


class InProcessCluster:
    """One cluster. ``controllers`` and ``scheduler`` can be left out, ``nodes`` may be 0; ``configure`` may change how the server is set up.

    ``read_authority`` gives certificate and key, in PEM, of the authority that signs what CertificateSigningRequests ask for.
    ``volumes`` provisions volumes; without it all are made by hand. In ``host_root`` the nodes write what their pods' volumes hold
    (``volumes.path_seen_by`` finds it); without it nothing is written. ``webhooks`` is how webhooks are reached, ``backends`` how the servers behind APIServices are: without it over TLS, which needs real
    time (``clock=RealClock()`` and an ordinary loop).
    """

    def __init__(
        self,
        *,
        nodes: int = 1,
        shape: NodeShape | None = None,
        seed: int = 0,
        clock: Clock | None = None,
        controllers: bool = True,
        scheduler: bool = True,
        static_tokens: Mapping[str, UserInfo] | None = None,
        store: Store | None = None,
        wrap: Wrap | None = None,
        configure: Callable[[ServerConfig], None] | None = None,
        webhooks: WebhookTransport | None = None,
        backends: Sender | None = None,
        read_authority: Callable[[], tuple[bytes, bytes]] = signing_authority,
        volumes: Volumes | None = None,
        host_root: Path | None = None,
    ) -> None:
        self.seed = seed
        self.clock = clock or VirtualClock()
        self.chance = Chance(seed)
        self.nodes: dict[str, SimulatedNode] = {}
        self._node_count = nodes
        self._shape = shape or NodeShape()
        self._with_controllers = controllers
        self._with_scheduler = scheduler
        self._static_tokens = dict(static_tokens or {})
        self._given_store = store
        self._own_store: MemoryStore | None = None
        self._wrap = wrap
        self._configure = configure
        self._webhooks = webhooks
        self._backends = backends
        self._read_authority = read_authority
        self._volumes = volumes
        self._host_root = host_root
        self._tasks: list[asyncio.Task[None]] = []
        self._controller_tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _start(self) -> None:
        if self._given_store is None:
            self._own_store = MemoryStore(self.clock)
        store = self._given_store or self._own_store
        assert store is not None
        self.store: Store = store
        config = ServerConfig(
            service_account_key_pem=service_account_key(),
            address="10.0.0.1",
            static_tokens=self._static_tokens,
            webhook_transport=self._webhooks,
            backend_sender=self._backends,
            kubelets=_Kubelets(self.nodes),
        )
        if self._configure is not None:
            self._configure(config)
        self.server = APIServer(self.store, config, clock=self.clock, chance=self.chance)
        serving = self._spawn("apiserver", self.server.run())
        await _first(serving, self.server.ready.wait())
        self.client = Client(LoopbackTransport(self.server, ADMIN))
        if self._with_controllers:
            self.start_controllers()
        if self._with_scheduler:
            self._start_scheduler()
        for number in range(1, self._node_count + 1):
            await self.add_node(f"node-{number}", wait=False)
        await self.wait_for(self._settled, START_TIMEOUT_S)

    def start_controllers(self) -> None:
        """A controller-manager that knows nothing but what the server says; the one before must have been stopped."""
        assert not self._controller_tasks, "the controllers are running"
        client = self._component_client(CONTROLLERS, UserInfo("system:kube-controller-manager"))
        factory = InformerFactory(client, clock=self.clock, chance=self.chance)
        self.controllers = ControllerManager(
            client,
            factory,
            clock=self.clock,
            chance=self.chance,
            cluster_cidr="10.244.0.0/16",
            root_ca_pem=stand_in_certificate(),
            read_authority=self._read_authority,
            volumes=self._volumes,
        )
        self._controller_tasks = [
            self._spawn("controller-informers", factory.run()),
            self._spawn("controllers", self.controllers.run()),
        ]

    async def stop_controllers(self) -> None:
        """The controller-manager ends where it stands, with what it had in hand; safe when it has ended."""
        ending, self._controller_tasks = self._controller_tasks, []
        for task in reversed(ending):
            await self._end(task)

    def _start_scheduler(self) -> None:
        client = self._component_client(SCHEDULER, UserInfo("system:kube-scheduler"))
        factory = InformerFactory(client, clock=self.clock, chance=self.chance)
        self.scheduler = Scheduler(client, factory, clock=self.clock, chance=self.chance)
        self._spawn("scheduler-informers", factory.run())
        self._spawn("scheduler", self.scheduler.run())

    def _component_client(self, component: str, user: UserInfo) -> Client:
        transport: Transport = LoopbackTransport(self.server, user)
        if self._wrap is not None:
            transport = self._wrap(component, transport)
        return Client(transport, user_agent=component)

    def _spawn(self, name: str, work: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.append(task)
        return task

    async def _settled(self) -> bool:
        """Every node is ready, and a pod could be posted to ``default``."""
        if any(not node.ready for node in self.nodes.values()):
            return False
        if not self._with_controllers:
            return True
        return await self.exists(core.ServiceAccount, "default", namespace="default")

    async def close(self) -> None:
        """End everything, the nodes first. Safe to call twice."""
        for node in self.nodes.values():
            await node.stop()
            await node.runtime.close()
        # The server goes last: what the others say at their end should still be heard.
        for task in reversed(self._tasks.copy()):
            await self._end(task)
        if self._own_store is not None:
            await self._own_store.close()
            self._own_store = None

    async def _end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait([task])
        self._tasks.remove(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("component failed", component=task.get_name(), error=repr(error))

    def client_for(self, user: str, groups: tuple[str, ...] = (), *, uid: str = "") -> Client:
        """A client that acts as somebody else; what they may do is for RBAC to say."""
        return Client(LoopbackTransport(self.server, UserInfo(user, tuple(groups), uid)))

    def client_with_token(self, token: str) -> Client:
        """A client that sends a bearer token, as a pod does."""
        return Client(_TokenTransport(self.server, token))

    async def add_node(self, name: str, shape: NodeShape | None = None, *, wait: bool = True) -> SimulatedNode:
        """One more node; with ``wait``, until it is ready."""
        assert name not in self.nodes, f"node {name} is there already"
        client = self._component_client(name, UserInfo(f"system:node:{name}", ("system:nodes",)))
        host = SimulatedPodHost()
        if self._host_root is not None:
            host = WritingPodHost(self._host_root / name, client, self.clock)
        node = SimulatedNode(
            name,
            len(self.nodes) + 1,
            client,
            shape=shape or self._shape,
            clock=self.clock,
            chance=self.chance,
            host=host,
        )
        self.nodes[name] = node
        node.start()
        if wait:
            await self.wait_for(lambda: node.ready, START_TIMEOUT_S)
        return node

    async def stop_node(self, name: str) -> None:
        """The machine goes silent: its kubelet ends, and with it the lease. What its runtime ran is still there on a start."""
        await self.nodes[name].stop()

    async def start_node(self, name: str) -> None:
        """The machine comes back with the pods it had."""
        self.nodes[name].start()

    async def set_usage(
        self, selector: str, *, cpu: str | None = None, memory: str | None = None, namespace: str = "default"
    ) -> None:
        """From now on the running containers of these pods use this much each, as quantities in a manifest say."""
        for pod in await self.pods(selector, namespace=namespace):
            node = self.nodes[pod.spec.nodeName] if pod.spec.nodeName else None
            for container in pod.status.containerStatuses:
                if node is not None and container.state.running is not None:
                    node.runtime.set_usage(
                        container.containerID.rpartition("/")[2],
                        nanocores=None if cpu is None else quantity.nanos(cpu),
                        memory_bytes=None if memory is None else quantity.value(memory),
                    )

    async def sleep(self, seconds: float) -> None:
        """Let the cluster live for a while."""
        await self.clock.sleep(seconds)

    async def wait_for(self, check: Callable[[], Any | Awaitable[Any]], timeout_s: float = 60.0) -> Any:
        """Until ``check``, a function or coroutine function, gives something true; returns that.

        A ``StatusError`` 404 counts as not yet. Raises ``AssertionError`` after ``timeout_s``.
        """
        deadline_s = self.clock.monotonic_s() + timeout_s
        pause_s = FIRST_LOOK_S
        while True:
            problem = ""
            try:
                found = check()
                if inspect.isawaitable(found):
                    found = await found
                if found:
                    return found
            except StatusError as error:
                if error.code != 404:
                    raise
                problem = f": {error}"
            self._raise_failed()
            if self.clock.monotonic_s() >= deadline_s:
                raise AssertionError(f"did not happen within {timeout_s:g} s{problem}")
            await self.clock.sleep(pause_s)
            pause_s = min(pause_s * SLOWER, LAST_LOOK_S)

    def _raise_failed(self) -> None:
        """A component that has died explains better than a time-out why nothing happens."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise AssertionError(f"{task.get_name()} has failed") from error

    async def wait_for_condition(
        self,
        kind: type[T],
        name: str,
        condition: str,
        *,
        status: str = "True",
        namespace: str = "default",
        timeout_s: float = 60.0,
    ) -> T:
        """Until an object's condition has a status, as ``kubectl wait --for=condition=``; returns the object."""
        scope = namespace if scheme.by_type(kind).namespaced else ""

        async def reached() -> T | None:
            obj: Any = await self.client.get(kind, name, namespace=scope)
            held = conditions.get(obj.status.conditions, condition)
            return obj if held is not None and held.status == status else None

        found: T = await self.wait_for(reached, timeout_s)
        return found

    async def wait_for_deletion(
        self, kind: type[Any], name: str, *, namespace: str = "default", timeout_s: float = 60.0
    ) -> None:
        """Until the object is gone, as ``kubectl wait --for=delete``."""

        async def gone() -> bool:
            return not await self.exists(kind, name, namespace=namespace)

        await self.wait_for(gone, timeout_s)

    async def exists(self, kind: type[Any], name: str, *, namespace: str = "default") -> bool:
        scope = namespace if scheme.by_type(kind).namespaced else ""
        try:
            await self.client.get(kind, name, namespace=scope)
        except StatusError as error:
            if error.code != 404:
                raise
            return False
        return True

    async def pods(self, selector: str = "", *, namespace: str = "default") -> list[core.Pod]:
        """The pods that a label selector selects."""
        return (await self.client.list(core.Pod, namespace=namespace, label_selector=selector)).items

    async def events(self, *, namespace: str = "") -> list[core.Event]:
        """Every event, by the order in which they were last written."""
        found = (await self.client.list(core.Event, namespace=namespace)).items
        return sorted(found, key=lambda event: int(event.metadata.resourceVersion))

    async def apply(self, text: str, *, namespace: str = "default") -> list[Any]:
        """Create what YAML documents describe; what is there already is merged with them, as ``kubectl apply`` does.

        Unknown fields are refused. Raises ``StatusError`` for the first document that is.
        """
        documents = [document for document in yaml.safe_load_all(text) if document]
        return [await self._apply(document, namespace) for document in documents]

    async def _apply(self, document: dict[str, Any], namespace: str) -> Any:
        resource = scheme.by_kind(document["apiVersion"], document["kind"])
        if resource is None:
            raise ValueError(f"no kind {document['kind']!r} is known in {document['apiVersion']!r}")
        metadata = document.setdefault("metadata", {})
        scope = metadata.get("namespace", namespace) if resource.namespaced else ""
        path = resource.path(scope)
        strict = [("fieldValidation", "Strict")]
        body = codec.encode(document)
        named = f"{path}/{metadata.get('name', '')}"
        if metadata.get("name") and (await self.client.raw("GET", named)).status == 200:
            headers = {"Content-Type": "application/strategic-merge-patch+json"}
            answer = await self.client.raw("PATCH", named, query=strict, body=body, headers=headers)
        else:
            answer = await self.client.raw(
                "POST", path, query=strict, body=body, headers={"Content-Type": "application/json"}
            )
        raise_refusal(answer)
        return codec.decode(resource.type, answer.body)


class _Kubelets:
    """How the server asks simulated nodes what they use: one that has stopped answers as a machine without power does."""

    def __init__(self, nodes: Mapping[str, SimulatedNode]) -> None:
        self._nodes = nodes

    async def resource_metrics(self, node_name: str) -> str:
        node = self._nodes.get(node_name)
        if node is None or not node.running:
            raise internal_error(f"error dialing backend: {node_name}: no route to host")
        return await node.kubelet.stats.resource_metrics()


class _TokenTransport(LoopbackTransport):
    """Nobody in particular, but for the token in each request's header."""

    def __init__(self, server: APIServer, token: str) -> None:
        super().__init__(server, None)
        self._token = token

    def _request(self, method: str, path: str, query: Any, headers: Any, body: bytes) -> Any:
        sent = {**(headers or {}), "Authorization": f"Bearer {self._token}"}
        return super()._request(method, path, query, sent, body)


async def _first(task: asyncio.Task[None], ready: Any) -> None:
    """Until ``ready``; a ``task`` that ends before that raises its own error."""
    waiting = asyncio.ensure_future(ready)
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        waiting.cancel()
        await task
