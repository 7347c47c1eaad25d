"""An API server and kubelets with simulated runtimes in one process, on virtual time; for the kubelet's
own tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.apiserver.config import ServerConfig
from knarr.apiserver.loopback import LoopbackTransport
from knarr.apiserver.request import UserInfo
from knarr.apiserver.server import APIServer
from knarr.client.client import Client
from knarr.client.informer import InformerFactory
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock, VirtualClock, VirtualTimeLoop
from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.kubelet import Kubelet
from knarr.kubelet.machine import simulated_machine
from knarr.kubelet.pod_host import SimulatedPodHost
from knarr.kubelet.runtime.simulated import SimulatedRuntime
from knarr.store.memory import MemoryStore

ADMIN = UserInfo("admin", ("system:masters",))


class SimulatedCluster:
    def __init__(
        self, client: Client, clock: Clock, chance: Chance, runtime: SimulatedRuntime, root: Path
    ) -> None:
        self.client = client
        self.clock = clock
        self.runtime = runtime
        self._chance = chance
        self._root = root
        self._tasks: list[asyncio.Future[None]] = []

    def start_kubelet(self) -> None:
        factory = InformerFactory(self.client, clock=self.clock, chance=self._chance)
        self.kubelet = Kubelet(
            self.client,
            factory,
            runtime=self.runtime,
            node_name="n1",
            addresses=["192.168.0.1"],
            clock=self.clock,
            chance=self._chance,
            config=KubeletConfig(root_dir=self._root, pod_logs_dir=self._root / "logs"),
            host=SimulatedPodHost(),
            machine=simulated_machine(),
        )
        self._tasks = [asyncio.ensure_future(factory.run()), asyncio.ensure_future(self.kubelet.run())]

    async def stop_kubelet(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def restart_kubelet(self) -> None:
        await self.stop_kubelet()
        self.start_kubelet()

    async def pod(self, name: str) -> core.Pod:
        return await self.client.get(core.Pod, name, namespace="default")

    async def gone(self, name: str) -> bool:
        try:
            await self.pod(name)
        except StatusError as error:
            return error.code == 404
        return False

    async def eventually(self, check: Callable[[], Awaitable[Any]], within_s: float = 60.0) -> Any:
        deadline = self.clock.monotonic_s() + within_s
        while not (result := await check()):
            if self.clock.monotonic_s() > deadline:
                raise AssertionError(f"did not happen within {within_s} s")
            await self.clock.sleep(0.05)
        return result

    async def phase(self, name: str, phase: str, within_s: float = 60.0) -> core.Pod:
        async def reached() -> core.Pod | None:
            pod = await self.pod(name)
            return pod if pod.status.phase == phase else None

        try:
            return await self.eventually(reached, within_s)
        except AssertionError:
            raise AssertionError(codec.encode((await self.pod(name)).status).decode()) from None

    async def create(self, name: str, **more: Any) -> core.Pod:
        return await self.client.create(make_pod(name, **more))

    async def events(self, name: str) -> list[tuple[str, str]]:
        found = await self.client.list(core.Event, namespace="default")
        return [(each.reason, each.message) for each in found if each.involvedObject.name == name]


def make_pod(name: str, *, annotations: dict[str, str] | None = None, **spec: Any) -> core.Pod:
    spec.setdefault("containers", [core.Container(name="main", image="busybox:1.36")])
    return core.Pod(
        metadata=meta.ObjectMeta(name=name, namespace="default", annotations=annotations or {}),
        spec=core.PodSpec(nodeName="n1", **spec),
    )


@asynccontextmanager
async def simulated_cluster(
    root: Path,
    *,
    start_latency_s: float = 0.05,
    missing_images: frozenset[str] = frozenset(),
    clock: Clock | None = None,
) -> AsyncIterator[SimulatedCluster]:
    clock, chance = clock or VirtualClock(), Chance(7)
    config = ServerConfig(_service_account_key(), address="10.0.0.1")
    server = APIServer(MemoryStore(clock), config, clock=clock, chance=chance)
    client = Client(LoopbackTransport(server, ADMIN))
    serving = asyncio.ensure_future(server.run())
    started = asyncio.ensure_future(server.ready.wait())
    cluster: SimulatedCluster | None = None
    try:
        await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
        account = core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace="default"))
        await client.create(account)
        runtime = SimulatedRuntime(
            clock, chance, start_latency_s=start_latency_s, missing_images=missing_images
        )
        cluster = SimulatedCluster(client, clock, chance, runtime, root)
        cluster.start_kubelet()
        yield cluster
    finally:
        if cluster is not None:
            await cluster.stop_kubelet()
        for task in (serving, started):
            task.cancel()
        await asyncio.gather(serving, started, return_exceptions=True)


def _service_account_key() -> bytes:
    return rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def run(scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario)
