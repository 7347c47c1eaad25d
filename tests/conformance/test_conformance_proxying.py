"""[sig-network] Proxy, and [sig-node] logs over WebSocket: what stands behind the API server, reached through it over real sockets on loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from conformance_api import API_ONLY, NS, Api, Object
from conformance_objects import meta, pod, service
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from knarr.apiserver import http1
from knarr.apiserver.request import Request, Response, UserInfo
from knarr.cluster.pki import Pki
from knarr.kit.clock import RealClock
from knarr.testing import InProcessCluster
from knarr.testing.proxying import allow_loopback

PREFIX = f"/api/v1/namespaces/{NS}"
HERE = "127.0.0.1"
VERBS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


class Behind:
    """A cluster of which only the API is asked, and servers on this machine that its pod and its service are."""

    def __init__(self, cluster: InProcessCluster, stack: AsyncExitStack) -> None:
        self.cluster = cluster
        self._stack = stack

    async def serve(self, handler: web.Application, tls: ssl.SSLContext | None = None) -> int:
        server = TestServer(handler, host=HERE, scheme="https" if tls else "http")
        await server.start_server(ssl=tls)
        self._stack.push_async_callback(server.close)
        assert server.port is not None
        return server.port

    async def pod(self, name: str, *ports: int, labels: dict[str, str] | None = None) -> None:
        pods = Api(self.cluster, "v1", "pods", NS)
        made = pod(name, labels, nodeName="n1", container={"ports": [{"containerPort": port} for port in ports]})
        await pods.create(made)
        await pods.patch(name, {"status": {"phase": "Running", "podIP": HERE}}, "status")

    async def service(self, name: str, ports: dict[str, tuple[int, int]]) -> None:
        """Ports by name: the service's, and the one of this machine behind it."""
        spec = [{"name": each, "port": number} for each, (number, _) in ports.items()]
        await Api(self.cluster, "v1", "services", NS).create(service(name, ports=spec))
        part = {
            "metadata": meta(f"{name}-1", {"kubernetes.io/service-name": name}),
            "addressType": "IPv4",
            "ports": [{"name": each, "port": real} for each, (_, real) in ports.items()],
            "endpoints": [{"addresses": [HERE], "conditions": {"ready": True}}],
        }
        await Api(self.cluster, "discovery.k8s.io/v1", "endpointslices", NS).create(part)

    async def ask(self, method: str, path: str, /, **query: str) -> tuple[int, str, str]:
        """Status, body and where it leads."""
        answer = await self.cluster.client.raw(method, path, query=list(query.items()))
        return answer.status, answer.body.decode(), answer.headers.get("Location", "")


@asynccontextmanager
async def behind() -> AsyncIterator[Behind]:
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(InProcessCluster(clock=RealClock(), configure=allow_loopback, **API_ONLY))
        await Api(cluster, "v1", "serviceaccounts", NS).create({"metadata": meta("default")})
        yield Behind(cluster, stack)


def porter(body: str) -> web.Application:
    """Says one thing, whatever it is asked; as a page if it is one."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=body, content_type="text/html" if "<" in body else "text/plain")

    return answering(answer)


def answering(handler: object) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)  # type: ignore[arg-type]
    return app


async def says_its_method(request: web.Request) -> web.Response:
    return web.json_response({"Method": request.method, "Body": "foo"})


@pytest.mark.conformance("[sig-network] Proxy version v1 should proxy through a service and a pod [Conformance]")
def test_a_service_and_a_pod_are_reached_by_port_name_and_scheme(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.ensure_ca()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*pki.ensure("porter", "porter", server_names=["anything"], client=False))

    async def scenario() -> None:
        async with behind() as it:
            link = await it.serve(porter('<a href="/rewriteme">test</a>'))
            foo, bar = await it.serve(porter("foo")), await it.serve(porter("bar"))
            tls_link = await it.serve(porter('<a href="/tlsrewriteme">test</a>'), tls)
            baz = await it.serve(porter("tls baz"), tls)
            await it.pod("porter", link, foo, bar, tls_link, baz)
            await it.service("porter", {"portname1": (80, foo), "portname2": (81, bar), "tlsportname1": (443, baz)})
            services, pods = f"{PREFIX}/services", f"{PREFIX}/pods"
            expected = {f"{services}/porter:portname1/proxy": "foo", f"{services}/http:porter:portname1/proxy": "foo"}
            expected |= {f"{services}/porter:portname2/proxy": "bar", f"{services}/http:porter:portname2/proxy": "bar"}
            expected |= {f"{services}/https:porter:tlsportname1/proxy": "tls baz", f"{pods}/https:porter:{baz}/proxy": "tls baz"}
            expected |= {f"{pods}/porter:{foo}/proxy": "foo", f"{pods}/http:porter:{bar}/proxy": "bar"}
            for way in (f"{pods}/porter/proxy", f"{pods}/porter:{link}/proxy", f"{pods}/http:porter:{link}/proxy"):
                expected[way] = f'<a href="{way}/rewriteme">test</a>'
            secure = f"{pods}/https:porter:{tls_link}/proxy"
            expected[secure] = f'<a href="{secure}/tlsrewriteme">test</a>'
            assert {way: (await it.ask("GET", f"{way}/"))[:2] for way in expected} == {way: (200, text) for way, text in expected.items()}

    asyncio.run(scenario())


@asynccontextmanager
async def one_server() -> AsyncIterator[tuple[Behind, tuple[str, str]]]:
    """A pod and a service that say what they were asked, and their proxies' paths."""
    async with behind() as it:
        port = await it.serve(answering(says_its_method))
        await it.pod("agnhost", port)
        await it.service("test", {"": (80, port)})
        yield it, (f"{PREFIX}/pods/agnhost/proxy", f"{PREFIX}/services/test/proxy")


@pytest.mark.conformance("[sig-network] Proxy version v1 A set of valid responses are returned for both pod and service ProxyWithPath [Conformance]")
def test_every_method_reaches_a_path_behind_a_pod_and_a_service() -> None:
    async def scenario() -> None:
        async with one_server() as (it, ways):
            for way in ways:
                for verb in VERBS:
                    status, body, _ = await it.ask(verb, f"{way}/some/path/with/{verb}")
                    assert (status, body) == (200, "" if verb == "HEAD" else f'{{"Method": "{verb}", "Body": "foo"}}')

    asyncio.run(scenario())


@pytest.mark.conformance("[sig-network] Proxy version v1 A set of valid responses are returned for both pod and service Proxy [Conformance]")
def test_every_method_reaches_a_pod_and_a_service_and_readers_are_sent_to_the_slash() -> None:
    async def scenario() -> None:
        async with one_server() as (it, ways):
            for way in ways:
                for verb in VERBS:
                    status, body, location = await it.ask(verb, way, method=verb)
                    if verb in ("GET", "HEAD"):
                        assert (status, location) == (301, f"{way}/?method={verb}")
                    else:
                        assert (status, body) == (200, f'{{"Method": "{verb}", "Body": "foo"}}')

    asyncio.run(scenario())


@pytest.mark.conformance(
    "[sig-node] Pods should support retrieving logs from the container over websockets [NodeConformance] [Conformance]"
)
def test_a_log_comes_in_a_websocket_s_messages() -> None:
    async def log(request: web.Request) -> web.Response:
        return web.Response(text="container is alive\n" if request.path == f"/containerLogs/{NS}/talker/main" else "?")

    async def scenario() -> None:
        async with behind() as it:
            kubelet = await it.serve(answering(log))
            addresses = [{"type": "InternalIP", "address": HERE}]
            status: Object = {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet}}}
            await Api(it.cluster, "v1", "nodes").create({"metadata": meta("n1"), "status": status})
            await it.pod("talker")

            async def handle(request: Request) -> Response:
                request.peer = UserInfo("admin", ("system:masters",))
                return await it.cluster.server.handle(request)

            connections = http1.Connections(handle, clock=RealClock(), identify=lambda der: None)
            front = await asyncio.get_running_loop().create_server(connections, HERE, 0)
            url = f"ws://{HERE}:{front.sockets[0].getsockname()[1]}{PREFIX}/pods/talker/log?container=main"
            async with connect(url, subprotocols=[Subprotocol("binary.k8s.io")]) as client:
                said = [message async for message in client]
            assert b"".join(each for each in said if isinstance(each, bytes)) == b"container is alive\n"
            assert (client.subprotocol, client.close_code) == ("binary.k8s.io", 1000)
            front.close()
            await connections.close(0.0)

    asyncio.run(scenario())
