"""An API server and kubelets with simulated runtimes in one process, on virtual time; for the kubelet's own tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.apiserver.loopback import LoopbackTransport
from knarr.apiserver.request import UserInfo
from knarr.apiserver.server import APIServer, ServerConfig
from knarr.client.client import Client
from knarr.client.informer import InformerFactory
from knarr.kit.chance import Chance
from knarr.kit.clock import VirtualClock, VirtualTimeLoop
from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.kubelet import Kubelet
from knarr.kubelet.machine import simulated_machine
from knarr.kubelet.pod_host import SimulatedPodHost
from knarr.kubelet.runtime.simulated import SimulatedRuntime
from knarr.store.memory import MemoryStore

ADMIN = UserInfo("admin", ("system:masters",))


@dataclass
class TestCluster:
    server: APIServer
    client: Client
    clock: VirtualClock
    runtime: SimulatedRuntime
    kubelet: Kubelet

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
async def test_cluster(
    root: Path, *, start_latency_s: float = 0.05, missing_images: frozenset[str] = frozenset()
) -> AsyncIterator[TestCluster]:
    clock, chance = VirtualClock(), Chance(7)
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    server = APIServer(MemoryStore(clock), ServerConfig(pem, address="10.0.0.1"), clock=clock, chance=chance)
    client = Client(LoopbackTransport(server, ADMIN))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(server.run())]
        await server.ready.wait()
        factory = InformerFactory(client, clock=clock, chance=chance)
        tasks.append(group.create_task(factory.run()))
        await client.create(
            core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace="default"))
        )
        runtime = SimulatedRuntime(
            clock, chance, start_latency_s=start_latency_s, missing_images=missing_images
        )
        kubelet = Kubelet(
            client,
            factory,
            runtime=runtime,
            node_name="n1",
            addresses=["192.168.0.1"],
            clock=clock,
            chance=chance,
            config=KubeletConfig(root_dir=root),
            host=SimulatedPodHost(),
            machine=simulated_machine(),
        )
        tasks.append(group.create_task(kubelet.run()))
        try:
            yield TestCluster(server, client, clock, runtime, kubelet)
        finally:
            for task in tasks:
                task.cancel()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario)
