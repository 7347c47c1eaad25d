"""How bytes reach an API server: over HTTP, or inside the process.

``HttpTransport`` is the usual way. ``LoopbackTransport`` (in ``knarr.apiserver``) hands the same request to a
server in the same process, so that a whole cluster runs without a socket. Both give the same answers.

Neighbours: ``client.client`` is the only caller; ``client.http1`` has the connections.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol
from urllib.parse import quote, urlencode, urlsplit

from knarr.client.http1 import Connections, StaleConnectionError

__all__ = ["HttpTransport", "Query", "Response", "StreamResponse", "Transport", "TransportError"]

Query = Sequence[tuple[str, str]]

#: How long a request other than a watch may take. Upstream's server-side limit is 60 s.
REQUEST_TIMEOUT_S = 65.0
#: What may be sent again when the connection turned out to be closed.
IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
#: These tell no length when they bring no body.
BODILESS = frozenset(("GET", "HEAD", "OPTIONS", "DELETE"))
#: Characters that stay as they are in a path, and what is quoted already.
NOT_QUOTED = "/:%?&=~@!$'()*+,;[]"
PLAIN_TARGET = re.compile(r"[!-~]+").fullmatch
HEADER = re.compile(r"[!-9;-~]+: [\t -~\x80-\xff]*").fullmatch


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
        self._server = server.rstrip("/")
        address = urlsplit(self._server)
        self._prefix = address.path
        own = {"Host": address.netloc.rpartition("@")[2]}
        if token:
            own["Authorization"] = f"Bearer {token}"
        self._own = own
        self._connections = Connections(self._server, tls=tls)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Response:
        sent = self._bytes(method, path, query=query, headers=headers, body=body)
        try:
            try:
                return await self._exchange(sent, fresh=False)
            except StaleConnectionError:
                if method not in IDEMPOTENT:
                    raise
                return await self._exchange(sent, fresh=True)
        except OSError as error:
            raise self._failed(method, path, error) from error

    async def _exchange(self, sent: bytes, *, fresh: bool) -> Response:
        connection = await self._connections.take(fresh=fresh)
        try:
            body = await connection.whole(sent, timeout_s=REQUEST_TIMEOUT_S)
            return Response(connection.status, connection.headers, body)
        finally:
            self._connections.give_back(connection)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[StreamResponse]:
        sent = self._bytes(method, path, query=query, headers=headers)
        try:
            # A kept connection saves little where an answer lasts, and might turn out to be closed.
            connection = await self._connections.take(fresh=True)
            try:
                await connection.head(sent)
                yield StreamResponse(connection.status, connection.headers, connection.chunks())
            finally:
                self._connections.give_back(connection)
        except OSError as error:
            raise self._failed(method, path, error) from error

    async def close(self) -> None:
        self._connections.close()

    def _bytes(
        self, method: str, path: str, *, query: Query, headers: Mapping[str, str] | None, body: bytes = b""
    ) -> bytes:
        """A request as it is sent."""
        target = self._prefix + path
        if not PLAIN_TARGET(target):
            target = quote(target, safe=NOT_QUOTED)
        if query:
            target = f"{target}{'&' if '?' in target else '?'}{urlencode(query)}"
        lines = header_lines((*self._own.items(), *(headers or {}).items()))
        length = f"Content-Length: {len(body)}\r\n" if body or method not in BODILESS else ""
        return f"{method} {target} HTTP/1.1\r\n{lines}{length}\r\n".encode("latin-1") + body

    def _failed(self, method: str, path: str, error: OSError) -> TransportError:
        return TransportError(f"{method} {self._server}{path}: {error or type(error).__name__}")


@lru_cache(maxsize=256)
def header_lines(headers: tuple[tuple[str, str], ...]) -> str:
    """Headers as they are sent. A client sends few different ones; raises ``ValueError`` for one that would not be one line."""
    for name, value in headers:
        if not HEADER(f"{name}: {value}"):
            raise ValueError(f"the value of header {name} must be one line of Latin-1 text")
    return "".join(f"{name}: {value}\r\n" for name, value in headers)
