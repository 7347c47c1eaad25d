"""The kubelet's server: who may ask, and what the API server, kubectl and collectors are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from kubelet_cluster import SimulatedCluster, make_pod, simulated_cluster

from knarr.api.core import v1 as core
from knarr.kit.clock import RealClock
from knarr.kubelet.server.auth import User, wanted_access
from knarr.kubelet.server.listener import KubeletServer
from knarr.kubelet.server.shared import SharedKubeletServer

LOG = "knarr.dev/simulate-log"
Get = Callable[..., Awaitable[tuple[int, str]]]


class TokenAccess:
    """Two users: one may everything, one nothing."""

    async def user_of_token(self, token: str) -> User | None:
        return User(token) if token in ("boss", "guest") else None

    async def allowed(self, user: User, verb: str, subresource: str) -> bool:
        return user.name == "boss"


@asynccontextmanager
async def serving(root: Path) -> AsyncIterator[tuple[SimulatedCluster, Get]]:
    async with simulated_cluster(root, clock=RealClock(), start_latency_s=0.0) as cluster:
        server = KubeletServer(cluster.kubelet, host="127.0.0.1", port=0, tls=None, access=TokenAccess())
        task = asyncio.ensure_future(server.run())
        try:
            await server.listening.wait()
            async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:

                async def get(path: str, *, token: str = "boss", method: str = "GET") -> tuple[int, str]:
                    headers = {"Authorization": f"Bearer {token}"} if token else {}
                    async with session.request(method, path, headers=headers) as answer:
                        return answer.status, await answer.text()

                yield cluster, get
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def test_only_those_who_may_are_answered(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as (_, get):
            assert await get("/healthz") == (200, "ok")
            assert await get("/healthz", token="nobody") == (401, "Unauthorized")
            status, text = await get("/pods", token="guest")
            assert status == 403
            assert text == "Forbidden (user=guest, verb=get, resource=nodes, subresource(s)=[pods proxy])\n"
            assert (await get("/nothing"))[0] == 404

    asyncio.run(scenario())


def test_every_path_asks_for_its_own_permission() -> None:
    assert wanted_access("GET", "/stats/summary") == ("get", ["stats"])
    assert wanted_access("GET", "/metrics/resource") == ("get", ["metrics"])
    assert wanted_access("POST", "/exec/a/b/c") == ("create", ["proxy"])
    assert wanted_access("GET", "/logs/x") == ("get", ["log"])
    assert wanted_access("GET", "/healthz") == ("get", ["healthz", "proxy"])


def test_pods_and_their_use_are_listed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as (cluster, get):
            await cluster.create("web")
            await cluster.phase("web", "Running")
            status, text = await get("/pods")
            assert status == 200 and '"kind":"PodList"' in text and '"phase":"Running"' in text
            assert '"podRef":{"name":"web"' in (await get("/stats/summary"))[1]
            metrics = (await get("/metrics/resource"))[1]
            assert 'pod_memory_working_set_bytes{namespace="default",pod="web"} 0' in metrics
            assert metrics.count("# TYPE container_cpu_usage_seconds_total counter") == 1
            assert (await get("/configz"))[0] == 200
            assert (await get("/run/default/web/main?cmd=true", method="POST"))[0] == 200

    asyncio.run(scenario())


def test_logs_are_read_and_what_cannot_be_is_explained(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as (cluster, get):
            pod = make_pod("talker", annotations={LOG: "hello world"})
            pod.spec.initContainers = [core.Container(name="never", image="busybox:1.36")]
            pod.metadata.annotations["knarr.dev/simulate-run-seconds.never"] = "0"
            await cluster.client.create(pod)
            await cluster.phase("talker", "Running")
            path = "/containerLogs/default/talker/main"
            assert await get(path) == (200, "hello world\n")
            assert (await get(f"{path}?timestamps=true"))[1].endswith("Z hello world\n")
            assert await get(f"{path}?limitBytes=5") == (200, "hello")
            assert await get(f"{path}?tailLines=0") == (200, "")
            assert await get(f"{path}?previous=true") == (
                400,
                'previous terminated container "main" in pod "talker" not found',
            )
            assert (await get(f"{path}?tailLines=x"))[0] == 400
            assert await get("/containerLogs/default/none/main") == (404, 'pod "none" not found\n')
            assert (await get("/containerLogs/default/talker/none"))[0] == 404

    asyncio.run(scenario())


def test_a_container_that_has_not_started_says_what_it_waits_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as (cluster, get):
            source = core.EnvVarSource(configMapKeyRef=core.ConfigMapKeySelector(name="none", key="k"))
            wanted = core.Container(
                name="main", image="busybox:1.36", env=[core.EnvVar(name="A", valueFrom=source)]
            )
            await cluster.create("waits", containers=[wanted])

            async def refused() -> bool:
                statuses = (await cluster.pod("waits")).status.containerStatuses
                state = statuses[0].state.waiting if statuses else None
                return state is not None and state.reason == "CreateContainerConfigError"

            await cluster.eventually(refused)
            assert await get("/containerLogs/default/waits/main") == (
                400,
                'container "main" in pod "waits" is waiting to start: CreateContainerConfigError',
            )

    asyncio.run(scenario())


def test_what_needs_an_upgrade_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as (cluster, get):
            await cluster.create("web")
            await cluster.phase("web", "Running")
            assert await get("/exec/default/web/main?command=ls&output=1", method="POST") == (
                400,
                "Upgrade request required\n",
            )
            assert (await get("/exec/default/web/main", method="POST"))[0] == 400
            assert (await get("/attach/default/web/none", method="POST"))[0] == 404

    asyncio.run(scenario())


def test_a_fleets_kubelets_answer_behind_one_door(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path, clock=RealClock(), start_latency_s=0.0) as cluster:
            own = KubeletServer(cluster.kubelet, host="", port=0, tls=None, access=TokenAccess())
            servers = {"n1": own}
            shared = SharedKubeletServer(servers.get, host="127.0.0.1", port=0, tls=None)
            task = asyncio.ensure_future(shared.run())
            try:
                await shared.listening.wait()
                async with aiohttp.ClientSession(f"http://127.0.0.1:{shared.port}") as session:

                    async def get(path: str, token: str = "boss") -> tuple[int, str]:
                        headers = {"Authorization": f"Bearer {token}"}
                        async with session.get(path, headers=headers) as answer:
                            return answer.status, await answer.text()

                    status, text = await get("/nodes/n1/metrics/resource")
                    assert status == 200 and "node_cpu_usage_seconds_total" in text
                    assert (await get("/nodes/n1/pods", token="guest"))[0] == 403, "each node asks who it is"
                    assert (await get("/nodes/n2/metrics/resource"))[0] == 404
                    assert (await get("/metrics/resource"))[0] == 404
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
