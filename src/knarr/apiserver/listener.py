"""The server on a TLS port: aiohttp's low-level server, HTTP/1.1, without a router.

A client certificate signed by the cluster's CA names its user (common name) and groups (organizations).
Upgrades take the connection away from HTTP.

Limits: a body may have ``MAX_BODY_BYTES``; a head 64 KiB; an idle connection is closed after ``KEEPALIVE_S``.

Neighbours: ``server`` answers; ``request`` is the border between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import zlib
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from knarr.api import codec
from knarr.api.errors import request_entity_too_large
from knarr.apiserver.authentication.impersonation import HEADER_PREFIX, impersonation_lines
from knarr.apiserver.decoding import MAX_BODY_BYTES
from knarr.apiserver.request import Query, Request, Response, Tunnel, UserInfo
from knarr.apiserver.server import APIServer
from knarr.kit.log import get_logger
from knarr.kit.tunnel import UpgradedConnection

log = get_logger("listener")

KEEPALIVE_S = 180.0
MAX_HEAD_BYTES = 64 * 1024
#: Answers at least this large are compressed for clients that accept gzip; upstream's threshold.
GZIP_FROM_BYTES = 128 * 1024


#: Certificates whose identity is remembered; more than that come only from a client that makes them up.
MAX_KNOWN_PEERS = 4096


class Listener:
    """Serves ``server`` on one address; with port 0 on a free one, which ``port`` then says once ``listening``."""

    def __init__(self, server: APIServer, *, host: str, port: int, tls: ssl.SSLContext) -> None:
        self._server = server
        self._host = host
        self.port = port
        self.listening = asyncio.Event()
        self._tls = tls
        self._peers = PeerReader()

    async def run(self) -> None:
        """Listen until cancelled; then let requests under way finish for a moment."""
        low_level = web.Server(
            self._handle,
            keepalive_timeout=KEEPALIVE_S,
            max_field_size=MAX_HEAD_BYTES,
            max_line_size=MAX_HEAD_BYTES,
            access_log=None,
        )
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(low_level, self._host, self.port, ssl=self._tls, backlog=1024)
        self.port = listening.sockets[0].getsockname()[1]
        self.listening.set()
        try:
            await asyncio.Event().wait()
        finally:
            listening.close()
            self._server.stop_watches()
            with contextlib.suppress(asyncio.CancelledError):
                await low_level.shutdown(2.0)

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in http.headers.items()}
        if (http.content_length or 0) > MAX_BODY_BYTES:
            return _too_large()
        body = b""
        if http.can_read_body:
            body = await _read_body(http)
            if len(body) > MAX_BODY_BYTES:
                return _too_large()
        upgrading = "upgrade" in headers.get("connection", "").lower()
        request = Request(
            method=http.method,
            path=unquote(http.rel_url.raw_path),
            raw_path=http.path_qs,
            query=Query(list(http.rel_url.query.items())),
            headers=headers,
            body=body,
            remote=http.remote or "",
            peer=self._peers.read(http),
            can_tunnel=upgrading,
            raw_headers=list(http.headers.items()) if upgrading else [],
        )
        if any(name.startswith(HEADER_PREFIX) for name in headers):
            request.impersonation = impersonation_lines(http.headers)
        response = await self._server.handle(request)
        if isinstance(response.body, Tunnel):
            return await _tunnel(http, response.body)
        if isinstance(response.body, bytes):
            return _whole(response, response.body, headers)
        return await _streamed(http, response)


async def _read_body(http: web.BaseRequest) -> bytes:
    """The body, but not more than one byte over the limit."""
    parts, size = [], 0
    async for chunk in http.content.iter_any():
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            break
    return b"".join(parts)


def _too_large() -> web.Response:
    error = request_entity_too_large(f"limit is {MAX_BODY_BYTES}")
    answer = web.Response(status=413, body=codec.encode(error.status), content_type="application/json")
    answer.force_close()
    return answer


def _whole(response: Response, body: bytes, sent: dict[str, str]) -> web.Response:
    headers = {"Content-Type": response.content_type, **response.headers}
    if len(body) >= GZIP_FROM_BYTES and "gzip" in sent.get("accept-encoding", ""):
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        body = packer.compress(body) + packer.flush()
        headers["Content-Encoding"] = "gzip"
    return web.Response(status=response.status, body=body, headers=headers)


async def _streamed(http: web.BaseRequest, response: Response) -> web.StreamResponse:
    answer = web.StreamResponse(
        status=response.status, headers={"Content-Type": response.content_type, **response.headers}
    )
    answer.enable_chunked_encoding()
    await answer.prepare(http)
    body: Any = response.body
    try:
        async for chunk in body:
            await answer.write(chunk)
        await answer.write_eof()
    except ConnectionError:
        # The client has gone: the usual end of a watch. Closing the body releases what it held.
        answer.force_close()
    finally:
        await body.aclose()
    return answer


class PeerReader:
    """The identity in a connection's client certificate. The handshake has verified it; reading it is what costs,
    and a cluster has few certificates, so each is read once.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, UserInfo | None] = {}

    def read(self, http: web.BaseRequest) -> UserInfo | None:
        transport = http.transport
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object") if transport is not None else None
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        if not der:
            return None
        if der not in self._known:
            if len(self._known) >= MAX_KNOWN_PEERS:
                self._known.clear()
            self._known[der] = _identity(der)
        return self._known[der]


def _identity(der: bytes) -> UserInfo | None:
    certificate = x509.load_der_x509_certificate(der)
    subject = certificate.subject
    names = [str(part.value) for part in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = tuple(str(part.value) for part in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    extra = {"authentication.kubernetes.io/credential-id": (f"X509SHA256={fingerprint}",)}
    return UserInfo(names[0], groups, extra=extra) if names else None


async def _tunnel(http: web.BaseRequest, tunnel: Tunnel) -> web.StreamResponse:
    await tunnel.run(UpgradedConnection(http))
    # The connection is gone; aiohttp still wants something to finish with.
    finished = web.Response()
    finished.force_close()
    return finished
