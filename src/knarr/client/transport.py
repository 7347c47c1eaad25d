"""How bytes reach an API server: over HTTP, or inside the process.

``HttpTransport`` is the usual way. ``LoopbackTransport`` (in ``knarr.apiserver``) hands the same request to a
server in the same process, so that a whole cluster runs without a socket. Both give the same answers.

Neighbours: ``client.client`` is the only caller.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from knarr.kit.lean_import import import_http_client

if TYPE_CHECKING:
    import aiohttp

__all__ = ["HttpTransport", "Query", "Response", "StreamResponse", "Transport", "TransportError"]

Query = Sequence[tuple[str, str]]

#: Simultaneous connections one client opens; watches need one each, so this is generous.
MAX_CONNECTIONS = 256
#: How long a request other than a watch may take. Upstream's server-side limit is 60 s.
REQUEST_TIMEOUT_S = 65.0


class TransportError(Exception):
    """The server could not be reached or the connection broke before an answer."""


@dataclass(slots=True)
class Response:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class StreamResponse:
    """An answer whose body arrives in chunks for as long as it lasts."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class Transport(Protocol):
    """Sends one request; raises ``TransportError`` when there is no answer."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Response: ...

    def stream(
        self, method: str, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[StreamResponse]: ...

    async def close(self) -> None: ...


class HttpTransport:
    """HTTP/1.1 with kept connections, TLS, and a client certificate or a bearer token.

    ``server`` is a URL such as ``https://10.0.0.1:6443``. Create it inside a running event loop.
    """

    def __init__(self, server: str, *, tls: ssl.SSLContext | None = None, token: str = "") -> None:
        import_http_client()
        import aiohttp

        self._server = server.rstrip("/")
        #: A library that is imported by the first who needs it: the API server starts without it.
        self._library = aiohttp
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=tls if tls is not None else True)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=True)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Response:
        try:
            async with self._session.request(
                method,
                self._server + path,
                params=list(query),
                headers={**self._headers, **(headers or {})},
                data=body or None,
                timeout=self._library.ClientTimeout(total=REQUEST_TIMEOUT_S),
            ) as answer:
                return Response(answer.status, answer.headers, await answer.read())
        except (TimeoutError, self._library.ClientError, OSError) as error:
            raise TransportError(f"{method} {self._server}{path}: {error or type(error).__name__}") from error

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[StreamResponse]:
        timeout = self._library.ClientTimeout(total=None, sock_connect=10)
        try:
            async with self._session.request(
                method,
                self._server + path,
                params=list(query),
                headers={**self._headers, **(headers or {})},
                timeout=timeout,
                read_bufsize=2**20,
            ) as answer:
                yield StreamResponse(answer.status, answer.headers, _chunks(answer))
        except (TimeoutError, self._library.ClientError, OSError) as error:
            raise TransportError(f"{method} {self._server}{path}: {error or type(error).__name__}") from error

    async def close(self) -> None:
        await self._session.close()


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async for chunk in answer.content.iter_any():
        yield chunk
