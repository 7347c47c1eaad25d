"""What a browser and a log viewer get of pods, services and nodes through the API server, over real sockets on loopback."""

from __future__ import annotations

import asyncio
import base64
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.api.meta import v1 as meta
from knarr.apiserver import http1
from knarr.apiserver.request import Request, Response, UserInfo
from knarr.kit.clock import RealClock
from knarr.testing import InProcessCluster, run
from knarr.testing.proxying import allow_loopback

ADMIN = UserInfo("admin", ("system:masters", "system:authenticated"))
PODS = "/api/v1/namespaces/default/pods"
LINK = b'<a href="/rewriteme">test</a>'

Backend = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Front:
    """A client of the API server; behind it a pod ``web``, a service ``web`` and a node ``n1`` that are all one server."""

    def __init__(self, session: aiohttp.ClientSession, url: str, port: int) -> None:
        self.session = session
        self.url = url
        self.port = port
        self.pod = f"{PODS}/web:{port}/proxy"
        self.ways = (
            self.pod,
            "/api/v1/namespaces/default/services/web:80/proxy",
            f"/api/v1/nodes/n1:{port}/proxy",
        )

    async def get(self, path: str, *, method: str = "GET", **sent: Any) -> tuple[int, bytes, Any]:
        async with self.session.request(method, path, allow_redirects=False, **sent) as answer:
            return answer.status, await answer.read(), answer.headers


@asynccontextmanager
async def fronting(backend: Backend) -> AsyncIterator[Front]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", backend)
    async with (
        asyncio.timeout(20),
        TestServer(app, host="127.0.0.1") as server,
        InProcessCluster(nodes=0, controllers=False, scheduler=False, clock=RealClock(), configure=allow_loopback) as cluster,
    ):
        assert server.port is not None
        await _behind(cluster, server.port)

        async def handle(request: Request) -> Response:
            request.peer = ADMIN
            return await cluster.server.handle(request)

        connections = http1.Connections(handle, clock=RealClock(), identify=lambda der: None)
        front = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{front.sockets[0].getsockname()[1]}"
        try:
            async with aiohttp.ClientSession(url, auto_decompress=False) as session:
                yield Front(session, url, server.port)
        finally:
            front.close()
            await connections.close(0.0)


async def _behind(cluster: InProcessCluster, port: int) -> None:
    """Objects that all lead to a port of this machine."""
    client = cluster.client
    node = core.Node(metadata=meta.ObjectMeta(name="n1"))
    node.status.addresses = [core.NodeAddress(type="InternalIP", address="127.0.0.1")]
    node.status.daemonEndpoints = core.NodeDaemonEndpoints(kubeletEndpoint=core.DaemonEndpoint(Port=port))
    await client.create(node)
    await client.create(core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace="default")))
    pod = core.Pod(metadata=meta.ObjectMeta(name="web", namespace="default"))
    pod.spec.containers = [core.Container(name="main", image="web:1")]
    pod.spec.nodeName = "n1"
    made = await client.create(pod)
    made.status.podIP = "127.0.0.1"
    await client.update_status(made)
    service = core.Service(metadata=meta.ObjectMeta(name="web", namespace="default"))
    service.spec.ports = [core.ServicePort(port=80)]
    await client.create(service)
    labels = {"kubernetes.io/service-name": "web"}
    piece = discovery.EndpointSlice(metadata=meta.ObjectMeta(name="web-1", namespace="default", labels=labels))
    piece.addressType = "IPv4"
    piece.ports = [discovery.EndpointPort(name="", port=port)]
    piece.endpoints = [discovery.Endpoint(addresses=["127.0.0.1"])]
    await client.create(piece)


def html(body: bytes, **headers: str) -> Backend:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers={"Content-Type": "text/html; charset=utf-8", **headers})

    return answer


def test_a_page_links_through_the_proxy() -> None:
    async def scenario() -> None:
        async with fronting(html(LINK)) as front:
            for way in front.ways:
                status, body, headers = await front.get(f"{way}/")
                assert (status, body) == (200, f'<a href="{way}/rewriteme">test</a>'.encode())
                assert headers["Content-Type"] == "text/html; charset=utf-8"
            body = (await front.get(f"{front.pod}/deep/down?x=1"))[1]
            assert body == f'<a href="{front.pod}/rewriteme">test</a>'.encode()
            # A path that names the way awkwardly must not give links to another host.
            body = (await front.get(f"{front.url}/{front.pod}/"))[1]
            assert body == f'<a href="{front.pod}/rewriteme">test</a>'.encode()

    asyncio.run(scenario())


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw"])
def test_a_packed_page_is_unpacked_for_its_links(coding: str) -> None:
    page = b"x" * 300_000 + LINK
    raw = zlib.compressobj(wbits=-15)
    packed = {"gzip": gzip.compress(page), "deflate": zlib.compress(page), "raw": raw.compress(page) + raw.flush()}[coding]
    undo = {"gzip": 31, "deflate": 15, "raw": -15}[coding]
    sent = {"Content-Encoding": "gzip" if coding == "gzip" else "deflate"}

    async def scenario() -> None:
        async with fronting(html(packed, **sent)) as front:
            _, body, headers = await front.get(f"{front.pod}/")
            assert headers["Content-Encoding"] == sent["Content-Encoding"] and "Content-Length" not in headers
            assert zlib.decompress(body, undo) == b"x" * 300_000 + f'<a href="{front.pod}/rewriteme">test</a>'.encode()

    asyncio.run(scenario())


def test_a_packed_page_that_breaks_off_is_not_passed_on_as_whole() -> None:
    async def scenario() -> None:
        async with fronting(html(gzip.compress(LINK)[:-9], **{"Content-Encoding": "gzip"})) as front:
            with pytest.raises(aiohttp.ClientPayloadError):
                await front.get(f"{front.pod}/")

    asyncio.run(scenario())


def test_what_is_no_page_or_packed_otherwise_stays_as_it_is() -> None:
    async def scenario() -> None:
        async with fronting(html(LINK, **{"Content-Encoding": "br"})) as front:
            assert (await front.get(f"{front.pod}/"))[1] == LINK
        async with fronting(html(LINK, **{"Content-Type": "text/plain"})) as front:
            assert (await front.get(f"{front.pod}/"))[1] == LINK

    asyncio.run(scenario())


def test_a_page_is_shown_while_it_is_still_written() -> None:
    more = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/html"})
        await answer.prepare(request)
        await answer.write(b"<p>first <a hr")
        await more.wait()
        await answer.write(b'ef="/next">')
        return answer

    async def scenario() -> None:
        async with fronting(slow) as front, front.session.get(f"{front.pod}/") as answer:
            assert await answer.content.read(100) == b"<p>first "
            more.set()
            assert await answer.content.read() == f'<a href="{front.pod}/next">'.encode()

    asyncio.run(scenario())


def test_a_redirect_leads_back_through_the_proxy() -> None:
    async def elsewhere(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, body=LINK, headers={"Location": request.query["to"], "Content-Type": "text/html"})

    async def scenario() -> None:
        async with fronting(elsewhere) as front:

            async def leads(to: str) -> str:
                status, body, headers = await front.get(f"{front.pod}/", params={"to": to})
                assert (status, body) == (302, LINK)
                return str(headers["Location"])

            assert await leads("/login?next=/a") == f"{front.pod}/login?next=/a"
            assert await leads(f"http://127.0.0.1:{front.port}/login/") == f"{front.pod}/login/"
            assert await leads(f"{front.pod}/there") == f"{front.pod}/there"
            assert await leads("https://example.com/login") == "https://example.com/login"
            assert await leads("sideways") == "sideways"
            assert await leads("/<script>") == f"{front.pod}/%3Cscript%3E"

    asyncio.run(scenario())


def test_a_page_asked_for_without_its_slash_is_found_with_it() -> None:
    async def method(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"{request.method} {request.rel_url}")

    async def scenario() -> None:
        async with fronting(method) as front:
            for way in front.ways:
                for verb in ("GET", "HEAD"):
                    status, body, headers = await front.get(f"{way}?method={verb}&a", method=verb)
                    assert (status, body, headers["Location"]) == (301, b"", f"{way}/?method={verb}&a")
                for verb in ("DELETE", "OPTIONS", "PATCH", "POST", "PUT"):
                    status, body, _ = await front.get(f"{way}?method={verb}", method=verb)
                    assert (status, body) == (200, f"{verb} /?method={verb}".encode())
            assert (await front.get(f"{front.pod}/a%3Fb%20c?d"))[1] == b"GET /a%3Fb%20c?d"
            assert (await front.get(f"{PODS}/none/proxy"))[0] == 404

    asyncio.run(scenario())


def test_a_server_that_is_not_there_is_told_as_unavailable() -> None:
    async def scenario() -> None:
        async with fronting(html(LINK)) as front:
            # The discard service's port, where nobody listens.
            async with front.session.get(f"{PODS}/web:9/proxy/") as answer:
                said = await answer.json()
            assert (answer.status, said["reason"]) == (503, "ServiceUnavailable")
            assert said["message"].startswith("error trying to reach service: dial tcp 127.0.0.1:9: ")
            for way, problem in (
                ("pods/web:none", "error trying to reach service: dial tcp: lookup tcp/none: unknown port"),
                ("services/web:none", 'no endpoints available for service "web:none"'),
                ("services/web:81", 'no service port 81 found for service "web"'),
                ("services/web:" + "9" * 5000, f'no endpoints available for service "web:{"9" * 5000}"'),
            ):
                async with front.session.get(f"/api/v1/namespaces/default/{way}/proxy/") as answer:
                    said = await answer.json()
                assert (answer.status, said["message"]) == (503, problem)

    asyncio.run(scenario())


def test_the_machine_itself_is_reached_through_no_pod_and_no_service() -> None:
    async def scenario() -> None:
        async with InProcessCluster(nodes=0, controllers=False, scheduler=False) as cluster:
            await _behind(cluster, 6443)
            answer = await cluster.client.raw("GET", f"{PODS}/web:6443/proxy/")
            assert (answer.status, b"address not allowed" in answer.body) == (400, True)
            answer = await cluster.client.raw("GET", "/api/v1/namespaces/default/services/web:80/proxy/")
            assert (answer.status, b"no endpoints available for service" in answer.body) == (503, True)

    run(scenario())


def test_a_server_behind_knows_where_it_is_seen_and_allows_nobody_else() -> None:
    async def heads(request: web.Request) -> web.StreamResponse:
        allowed = {"Access-Control-Allow-Origin": "*", "access-control-allow-credentials": "true", "X-Own": "kept"}
        return web.json_response({name.lower(): value for name, value in request.headers.items()}, headers=allowed)

    async def scenario() -> None:
        async with fronting(heads) as front:
            sent = {"X-Forwarded-For": "10.1.1.1", "X-Forwarded-Uri": "/lie", "Host": "cluster.example.com:6443"}
            quiet = ("Accept", "Accept-Encoding", "User-Agent")
            url = f"{front.pod}/a b/?q=1"
            async with front.session.get(url, headers={**sent, "Authorization": "Bearer secret"}, skip_auto_headers=quiet) as answer:
                said, headers = await answer.json(), answer.headers
            assert said["x-forwarded-uri"] == f"{front.pod}/a%20b/"
            assert said["x-forwarded-for"] == "10.1.1.1, 127.0.0.1"
            assert said["host"] == "cluster.example.com:6443"
            assert set(said) == {"host", "x-forwarded-for", "x-forwarded-uri"}
            assert not [name for name in headers if name.lower().startswith("access-control")]
            assert headers["X-Own"] == "kept"

    asyncio.run(scenario())


def test_headers_that_come_several_times_are_handed_on_each_by_itself() -> None:
    heard: list[list[str]] = []

    async def backend(request: web.Request) -> web.StreamResponse:
        heard.append(request.headers.getall("X-Tag", []))
        answer = web.Response(body=b"ok")
        answer.headers.add("Set-Cookie", "a=1; Expires=Thu, 01 Jan 2099 00:00:00 GMT")
        answer.headers.add("Set-Cookie", "b=2")
        answer.headers.add("Access-Control-Allow-Origin", "*")
        answer.headers.add("access-control-allow-origin", "http://elsewhere")
        return answer

    async def scenario() -> None:
        async with fronting(backend) as front:
            for way in (front.pod, front.ways[1]):
                sent = [("X-Tag", "one, two"), ("X-Tag", "three"), ("X-Other", "1")]
                _, _, headers = await front.get(f"{way}/", headers=sent)
                assert headers.getall("Set-Cookie") == ["a=1; Expires=Thu, 01 Jan 2099 00:00:00 GMT", "b=2"]
                assert "Access-Control-Allow-Origin" not in headers
        assert heard == [["one, two", "three"]] * 2

    asyncio.run(scenario())


def test_a_websocket_to_a_pod_sees_the_host_its_page_came_from() -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(f"{request.headers['Host']} {request.rel_url}")
        await socket.close()
        return socket

    async def scenario() -> None:
        async with fronting(echo) as front:
            async with front.session.ws_connect(f"{front.pod}?a=1", headers={"Host": "cluster.example.com"}) as client:
                assert (await client.receive_str()) == "cluster.example.com /?a=1"

    asyncio.run(scenario())


async def log(request: web.Request) -> web.StreamResponse:
    """A kubelet's answer for ``web``: two pieces, then whatever the client's query wants."""
    refusal = int(request.query.get("tailLines", "0"))
    if refusal:
        return web.Response(status=refusal, text="it is waiting to start")
    assert request.path == "/containerLogs/default/web/main"
    answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await answer.prepare(request)
    await answer.write(b"container is ")
    await answer.write("alive\xff\n".encode("latin-1"))
    return answer


async def received(front: Front, protocols: list[str], query: str = "") -> tuple[str | None, list[Any], int | None]:
    url = f"{PODS}/web/log?container=main{query}"
    async with front.session.ws_connect(url, protocols=protocols) as client:
        said = [message.data async for message in client]
        return client.protocol, said, client.close_code


def test_a_log_comes_through_a_websocket() -> None:
    async def scenario() -> None:
        async with fronting(log) as front:
            for protocols in (["binary.k8s.io"], [], ["other", "binary.k8s.io"]):
                protocol, said, code = await received(front, protocols)
                assert protocol == (protocols[-1] if protocols else None)
                assert said[0] == b"" and b"".join(said) == b"container is alive\xff\n" and code == 1000
            protocol, said, code = await received(front, ["base64.binary.k8s.io"])
            assert (protocol, said[0], code) == ("base64.binary.k8s.io", "", 1000)
            # Pieces of a base64 text cannot be joined before they are decoded.
            decode = base64.b64decode
            assert b"".join(decode(each) for each in said) == b"container is alive\xff\n"

    asyncio.run(scenario())


def test_a_log_that_is_followed_ends_with_its_client() -> None:
    left = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            while True:
                await answer.write(b".")
                await asyncio.sleep(0.01)
        finally:
            left.set()

    async def scenario() -> None:
        async with fronting(endless) as front:
            url = f"{PODS}/web/log?follow=true"
            async with front.session.ws_connect(url, protocols=["binary.k8s.io"]) as client:
                assert await client.receive_bytes() == b""
                await client.send_str("nobody listens to this")
                assert set(await client.receive_bytes()) == {ord(".")}
                assert await client.close()
                assert client.close_code == 1000
            await left.wait()

    asyncio.run(scenario())


def test_a_log_that_cannot_be_had_is_explained_before_a_websocket_opens() -> None:
    async def scenario() -> None:
        async with fronting(log) as front:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await received(front, ["binary.k8s.io"], "&tailLines=400")
            assert caught.value.status == 400
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await received(front, ["channel.k8s.io"])
            assert caught.value.status == 403

            async def message(code: int) -> tuple[str, str]:
                async with front.session.get(f"{PODS}/web/log?tailLines={code}") as answer:
                    assert answer.status == code
                    said = await answer.json()
                    return said["reason"], said["message"]

            assert await message(400) == ("BadRequest", "it is waiting to start")
            assert await message(500) == ("InternalError", "Internal error occurred: it is waiting to start")
            assert await message(404) == ("NotFound", "the server could not find the requested resource ( pods/log web)")
            assert await message(403) == ("Forbidden", "it is waiting to start ( pods/log web)")

    asyncio.run(scenario())
