"""The in-process transport: a client's request handed to a server in the same process, without a socket.

The answers are the same bytes a socket would carry. A stream that its reader leaves is closed at once.

Neighbours: ``client.transport`` defines the seam; ``testing`` builds whole clusters on it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast
from urllib.parse import unquote, urlencode

from knarr.apiserver.authentication import with_group
from knarr.apiserver.authentication.impersonation import impersonation_lines
from knarr.apiserver.request import Pieces, Request, Tunnel, UserInfo
from knarr.apiserver.request import Query as ServerQuery
from knarr.apiserver.server import APIServer
from knarr.client.transport import Query, Response, StreamResponse, TransportError


class LoopbackTransport:
    """Reaches ``server`` as ``user``; as nobody known, but for what a request's headers say, with None."""

    def __init__(self, server: APIServer, user: UserInfo | None) -> None:
        self._server = server
        self._user = with_group(user) if user is not None else None

    def _request(
        self, method: str, path: str, query: Query, headers: Mapping[str, str] | None, body: bytes
    ) -> Request:
        if not self._server.ready.is_set():
            raise TransportError("the API server is not running")
        pairs = list(query)
        return Request(
            method=method,
            path=unquote(path),
            raw_path=f"{path}?{urlencode(pairs)}" if pairs else path,
            query=ServerQuery(pairs),
            headers={name.lower(): value for name, value in (headers or {}).items()},
            body=body,
            remote="loopback",
            peer=self._user,
            impersonation=impersonation_lines(headers) if headers else [],
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Response:
        answer = await self._server.handle(self._request(method, path, query, headers, body))
        if isinstance(answer.body, Pieces):
            answer.body = answer.body.whole()
        if isinstance(answer.body, bytes):
            return Response(answer.status, _headers(answer.headers, answer.content_type), answer.body)
        if isinstance(answer.body, Tunnel):
            raise TransportError("an upgrade needs a socket")
        chunks = [chunk async for chunk in answer.body]
        return Response(answer.status, _headers(answer.headers, answer.content_type), b"".join(chunks))

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[StreamResponse]:
        answer = await self._server.handle(self._request(method, path, query, headers, b""))
        sent = _headers(answer.headers, answer.content_type)
        if isinstance(answer.body, Pieces):
            answer.body = answer.body.whole()
        if isinstance(answer.body, bytes):
            yield StreamResponse(answer.status, sent, _once(answer.body))
            return
        if isinstance(answer.body, Tunnel):
            raise TransportError("an upgrade needs a socket")
        async with aclosing(cast(Any, answer.body)) as chunks:
            yield StreamResponse(answer.status, sent, chunks)

    async def close(self) -> None:
        return None


def _headers(headers: Mapping[str, str], content_type: str) -> dict[str, str]:
    return {**headers, "Content-Type": content_type}


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
