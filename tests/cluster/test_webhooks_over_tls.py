"""Webhooks over real TLS, on the loopback address and real time: a wrong certificate must not be taken for the user's webhook."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from knarr.apiserver.webhooks.transport import HttpsTransport, Target, TransportFailure
from knarr.cluster.pki import Pki
from knarr.kit.clock import RealClock
from knarr.testing import InProcessCluster
from knarr.testing.webhooks import allowed

NAME = "hook.default.svc"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    made = Pki(tmp_path_factory.mktemp("pki"))
    made.ensure_ca()
    return made


@asynccontextmanager
async def serving(pki: Pki, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[int]:
    """The port of a TLS server that goes by ``NAME`` and by its address."""
    certificate, key = pki.ensure("hook", "hook", server_names=[NAME, "127.0.0.1"], client=False)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    server = web.Server(handler)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def target(port: int, ca_pem: bytes, name: str = NAME) -> Target:
    return Target("127.0.0.1", port, name, "/review?timeout=1s", ca_pem, f"{name}:443")


async def echo(request: web.BaseRequest) -> web.Response:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    said = {"host": request.headers["Host"], "path": request.path_qs, "peer": peer, "body": json.loads(await request.read())}
    return web.json_response(said)


def test_a_service_is_known_by_its_name_and_its_connection_is_used_again(pki: Pki) -> None:
    async def scenario() -> None:
        transport = HttpsTransport()
        async with serving(pki, echo) as port:
            answers = [await transport.post(target(port, pki.ca_pem), b'{"a":1}', max_bytes=1000) for _ in range(2)]
            first, second = [json.loads(answer.body) for answer in answers]
            assert first["host"] == f"{NAME}:443" and first["path"] == "/review?timeout=1s" and first["body"] == {"a": 1}
            assert first["peer"] == second["peer"]
            await transport.close()

    asyncio.run(scenario())


def test_the_servers_own_certificate_will_do_as_its_bundle(pki: Pki) -> None:
    async def scenario() -> None:
        transport = HttpsTransport()
        async with serving(pki, echo) as port:
            own = pki.path("hook.crt").read_bytes()
            assert (await transport.post(target(port, own), b"{}", max_bytes=1000)).status == 200
        await transport.close()

    asyncio.run(scenario())


def test_a_connection_that_breaks_as_it_is_used_again_costs_no_write(pki: Pki) -> None:
    seen: list[Any] = []

    async def once_a_connection(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        peer = request.transport.get_extra_info("peername")
        if peer in seen or dead:
            request.transport.close()
        seen.append(peer)
        return web.json_response({})

    dead: list[bool] = []

    async def scenario() -> None:
        transport = HttpsTransport()
        async with serving(pki, once_a_connection) as port:
            for _ in range(2):
                assert (await transport.post(target(port, pki.ca_pem), b"{}", max_bytes=100)).status == 200
            assert len(seen) == 3 and len(set(seen)) == 2
            dead.append(True)
            with pytest.raises(TransportFailure) as caught:
                await transport.post(target(port, pki.ca_pem), b"{}", max_bytes=100)
            assert str(caught.value) == "EOF"
        await transport.close()

    asyncio.run(scenario())


def test_a_server_that_cannot_prove_its_name_or_is_not_there_is_told_apart(pki: Pki, tmp_path: Path) -> None:
    other = Pki(tmp_path / "other")
    other.ensure_ca()

    async def failure(transport: HttpsTransport, where: Target, *, max_bytes: int = 1000) -> str:
        with pytest.raises(TransportFailure) as caught:
            await transport.post(where, b"{}", max_bytes=max_bytes)
        return str(caught.value)

    async def scenario() -> None:
        transport = HttpsTransport()
        async with serving(pki, echo) as port:
            unknown = await failure(transport, target(port, other.ca_pem))
            assert unknown == "tls: failed to verify certificate: x509: certificate signed by unknown authority"
            assert "tls: failed to verify certificate: x509: " in await failure(transport, target(port, pki.ca_pem, "evil.default.svc"))
            assert "unable to load root certificates" in await failure(transport, target(port, b"no certificate"))
            assert "larger than the limit of 10 bytes" in await failure(transport, target(port, pki.ca_pem), max_bytes=10)
        assert await failure(transport, target(port, pki.ca_pem)) == f"dial tcp 127.0.0.1:{port}: connect: connection refused"
        await transport.close()

    asyncio.run(scenario())


def test_a_cluster_asks_a_webhook_on_a_real_socket(pki: Pki) -> None:
    async def review(request: web.BaseRequest) -> web.Response:
        asked = json.loads(await request.read())
        if asked["request"]["name"] == "slow":
            await asyncio.sleep(5)
        return web.json_response(allowed(asked, [{"op": "add", "path": "/data", "value": {"by": "webhook"}}]))

    async def call(cluster: InProcessCluster, path: str, body: Any) -> Any:
        answer = await cluster.client.raw("POST", path, body=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
        said = json.loads(answer.body)
        return said if answer.status < 400 else said["message"]

    async def scenario() -> None:
        async with (
            serving(pki, review) as port,
            InProcessCluster(nodes=0, controllers=False, scheduler=False, clock=RealClock()) as cluster,
        ):
            url = f"https://127.0.0.1:{port}/review"
            webhook = {
                "name": "real.example.com",
                "clientConfig": {"url": url, "caBundle": base64.b64encode(pki.ca_pem).decode()},
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "timeoutSeconds": 1,
            }
            await call(
                cluster,
                "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
                {"metadata": {"name": "real"}, "webhooks": [webhook]},
            )
            path = "/api/v1/namespaces/default/configmaps"
            assert (await call(cluster, path, {"metadata": {"name": "fast"}}))["data"] == {"by": "webhook"}
            late = await call(cluster, path, {"metadata": {"name": "slow"}})
            wanted = f'Internal error occurred: failed calling webhook "real.example.com": failed to call webhook: Post "{url}?timeout=1s": '
            assert late == wanted + "context deadline exceeded"

    asyncio.run(scenario())
