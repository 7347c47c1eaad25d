"""Handing a request on to another server, and its answer back.

An ordinary request is sent with its headers, each line by itself, but for those that belong to one connection and the client's own
credentials; its answer is streamed, its headers likewise. An upgrade (SPDY, WebSocket) is tunnelled byte for byte.

Upstream's counterpart is ``apimachinery/pkg/util/proxy``. Neighbours: ``node_proxy`` sends to kubelets, pods and
services, ``aggregation`` to other API servers.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from knarr.kit.lean_import import import_http_client

if TYPE_CHECKING:
    import aiohttp

from knarr.api.errors import StatusError, bad_request, internal_error
from knarr.apiserver.request import Request, Response, Tunnel
from knarr.kit.tunnel import UpgradedConnection, carry, request_head

__all__ = ["Forwarder", "Target", "Unreachable"]

CONNECT_TIMEOUT_S = 10.0
#: What belongs to one connection and is not passed on.
HOP_HEADERS = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_OURS = HOP_HEADERS | {"host", "authorization", "content-length"}
_THEIRS = HOP_HEADERS | {"content-length", "date", "server", "content-type"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where to go on: host, port, path with query, and TLS if any; ``server_name`` is what the certificate must
    name if it is not the host.
    """

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None
    server_name: str = ""

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.path}"


class Unreachable(StatusError):
    """Nobody answers there, ``problem`` says why: a 500, if nobody makes something else of it."""

    def __init__(self, problem: str) -> None:
        super().__init__(internal_error(f"error dialing backend: {problem}").status)
        self.problem = problem


class Forwarder:
    """Keeps the connections it makes; ``close`` ends them."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self, request: Request, target: Target, *, method: str = "", added: Iterable[tuple[str, str]] = ()
    ) -> Response:
        """The answer, streamed. ``added`` headers replace the client's of the same names. Raises ``Unreachable``."""
        # Imported by the first who needs it: a server starts a tenth of a second sooner.
        import_http_client()
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        extra = list(added)
        left_out = _OURS | {name.lower() for name, _ in extra}
        headers = [(name, value) for name, value in _lines(request) if name.lower() not in left_out]
        try:
            answer = await self._session.request(
                method or request.method,
                target.url,
                headers=[*headers, *extra],
                # What the client did not say is not said for it.
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                data=request.body or None,
                ssl=target.tls or False,
                server_hostname=target.server_name or None,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"dial tcp {target.authority}: {error or type(error).__name__}") from None
        # Some may come several times (``Set-Cookie``), and must not be made one.
        passed = answer.headers.copy()
        for name in _THEIRS:
            passed.popall(name, None)
        content_type = answer.headers.get("Content-Type", "application/octet-stream")
        return Response(answer.status, _body(answer), content_type, passed)

    def tunnel(self, request: Request, target: Target, *, added: Iterable[tuple[str, str]] = ()) -> Response:
        """The connection itself; an added ``Host`` counts. Raises ``StatusError`` 400 for a request that asks for no upgrade."""
        if not request.can_tunnel or "upgrade" not in request.headers.get("connection", "").lower():
            raise bad_request("Upgrade request required")
        extra = list(added)
        left_out = {name.lower() for name, _ in extra}
        headers = [(name, value) for name, value in request.raw_headers() if name.lower() not in left_out]
        host = next((value for name, value in extra if name.lower() == "host"), target.authority)
        head = request_head(request.method, target.path, host, [*headers, *extra])

        async def run(client: UpgradedConnection) -> None:
            await carry(
                client,
                head,
                host=target.host,
                port=target.port,
                tls=target.tls,
                server_name=target.server_name,
            )

        return Response(101, Tunnel(run))


def _lines(request: Request) -> Iterable[tuple[str, str]]:
    """The request's headers, each line by itself where they came as lines."""
    if not request.header_lines:
        return request.headers.items()
    return [
        (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
        for name, value in request.header_lines
    ]


async def _body(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    finally:
        answer.close()
