"""Services on this machine that the API server asks over TLS, and an API server that is itself asked so.

Everything runs on real time: sockets do not wait for a virtual clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from knarr.apiserver.config import ServerConfig
from knarr.apiserver.listener import Listener
from knarr.client.kubeconfig import Credentials
from knarr.cluster.components import server_tls
from knarr.cluster.pki import CA, FRONT_PROXY_CA, Pki
from knarr.kit.clock import RealClock
from knarr.testing import InProcessCluster

#: Answers a request: method, path and decoded body to status and body.
Answer = Callable[[str, str, Any], tuple[int, Any]]


class Service:
    """A server under ``url`` that says what ``answer`` says and remembers what it was asked."""

    def __init__(self, pki: Pki, answer: Answer) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self._pki = pki
        self._answer = answer
        self.url = ""

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.url, ca_pem=self._pki.ca_pem)

    async def _handle(self, http: web.BaseRequest) -> web.Response:
        body = await http.read()
        self.asked.append((http.method, http.path, json.loads(body) if body else None))
        status, answer = self._answer(*self.asked[-1])
        return web.json_response(answer, status=status)

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[Service]:
        server = web.Server(self._handle)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self._pki.path("service.crt"), self._pki.path("service.key"))
        listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=tls)
        self.url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            listening.close()
            await server.shutdown(1)


def make_pki(directory: Path) -> Pki:
    pki = Pki(directory)
    pki.ensure_ca()
    pki.ensure("service", "service", server_names=["127.0.0.1"], client=False)
    return pki


class Remote:
    """An API server on TLS, and a way to send it anything."""

    def __init__(self, cluster: InProcessCluster, pki: Pki, port: int) -> None:
        self.cluster = cluster
        self._pki = pki
        self.url = f"https://127.0.0.1:{port}"

    async def send(
        self,
        method: str,
        path: str,
        *,
        user: str = "",
        groups: list[str] | None = None,
        authority: str = CA,
        pair: tuple[Path, Path] | None = None,
        headers: list[tuple[str, str]] | None = None,
        body: Any = None,
    ) -> tuple[int, Any, Any]:
        """Status, headers and decoded body, sent with ``user``'s certificate, with ``pair`` (certificate and key), or with none."""
        tls = ssl.create_default_context(cafile=str(self._pki.path("ca.crt")))
        if user:
            pair = self._pki.ensure(f"{authority}-{user}", user, groups=groups or [], authority=authority)
        if pair is not None:
            tls.load_cert_chain(*pair)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
            async with session.request(method, self.url + path, headers=headers, json=body) as answer:
                text = await answer.text()
                return answer.status, answer.headers, json.loads(text) if text.startswith("{") else text

    async def whoami(self, **sent: Any) -> Any:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        status, _, answer = await self.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=body, **sent)
        return answer["status"]["userInfo"] if status == 201 else (status, answer.get("message"))


@contextlib.asynccontextmanager
async def serving(
    pki: Pki, configure: Callable[[ServerConfig], None] | None = None, *, controllers: bool = False
) -> AsyncIterator[Remote]:
    """A server on real time, listening on this machine; controllers, if any, sign with its clients' authority."""
    quiet: dict[str, Any] = {"nodes": 0, "controllers": controllers, "scheduler": False}
    quiet["read_authority"] = lambda: (pki.ca_pem, pki.path(f"{CA}.key").read_bytes())
    async with InProcessCluster(clock=RealClock(), configure=configure, **quiet) as cluster:
        front_proxy_ca = pki.path(f"{FRONT_PROXY_CA}.crt")
        tls = server_tls(
            str(pki.path("service.crt")), str(pki.path("service.key")), str(pki.path("ca.crt")), str(front_proxy_ca)
        )
        listener = Listener(
            cluster.server,
            host="127.0.0.1",
            port=0,
            tls=tls,
            clock=RealClock(),
            front_proxy_ca=front_proxy_ca.read_text(),
        )
        task = asyncio.ensure_future(listener.run())
        await listener.listening.wait()
        try:
            yield Remote(cluster, pki, listener.port)
        finally:
            task.cancel()
            await asyncio.wait([task])
