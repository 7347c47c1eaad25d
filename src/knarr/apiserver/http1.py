"""HTTP/1.1 on one connection: bytes in, ``Request``; ``Response``, bytes out.

``httptools`` parses; what is here decides what a connection may do. Requests of a connection are answered one after
the other, in the order they came. A body is read whole before its request is handed on. An answer is written in one
piece, in chunks as they come (a watch), or not at all when the connection is taken away from HTTP (an upgrade).

It is our own and not aiohttp's server since a request costs 47 us here and 86 us there (TLS, both ends on one
machine; ``docs/performance.md``), and most requests cost less than that for themselves.

Limits: ``MAX_HEAD_BYTES``, ``MAX_BODY_BYTES``, ``MAX_WAITING`` requests sent ahead, ``HEAD_TIMEOUT_S`` from the first
byte of a request to the end of its head (as upstream), ``BODY_TIMEOUT_S`` from there to its last byte,
``KEEPALIVE_S`` for a connection that says nothing. ``expired`` is asked every few seconds by the listener.

Neighbours: ``listener`` makes connections; ``server`` answers; ``kit.tunnel`` carries what was upgraded.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import httptools

from knarr.api import codec
from knarr.api.errors import request_entity_too_large
from knarr.apiserver.authentication import request_header
from knarr.apiserver.authentication.impersonation import HEADER_PREFIX
from knarr.apiserver.decoding import MAX_BODY_BYTES
from knarr.apiserver.request import (
    SLICE_BYTES,
    FrontProxyPeer,
    Pieces,
    Query,
    Request,
    Response,
    Tunnel,
    UserInfo,
)
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.kit.tunnel import UpgradedConnection

__all__ = ["Connection", "Connections"]

log = get_logger("http")

MAX_HEAD_BYTES = 64 * 1024
#: Requests a client may send before the first is answered; beyond that its connection is not read from.
MAX_WAITING = 16
#: A length with more digits than this is as good as any that is too large.
MAX_LENGTH_DIGITS = 12
HEAD_TIMEOUT_S = 32.0
BODY_TIMEOUT_S = 60.0
KEEPALIVE_S = 180.0
#: Answers at least this large are compressed for clients that accept gzip; upstream's threshold.
GZIP_FROM_BYTES = 128 * 1024
#: Head and body are written together up to this size; beyond it, slice by slice.
JOIN_UP_TO_BYTES = 64 * 1024
#: Header names whose lower-case form is remembered; clients have few.
MAX_KNOWN_NAMES = 1024

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_BAD_REQUEST = b"HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n%s"
#: These have no body, and no length either.
_BODILESS = (204, 304)
_NO_QUERY = Query()

#: Who shows a certificate (DER).
Identify = Callable[[bytes], UserInfo | FrontProxyPeer | None]
Handle = Callable[[Request], Awaitable[Response]]


class Connections:
    """What the connections of one listener share, and which of them are open."""

    def __init__(self, handle: Handle, *, clock: Clock, identify: Identify) -> None:
        self.handle = handle
        self.clock = clock
        self.identify = identify
        self.open: set[Connection] = set()
        self.names: dict[bytes, str] = {}
        #: Whether a client has ever acted as somebody else: only then are such lines looked for.
        self.impersonating = False
        self._date = ""
        self._date_until_s = 0.0

    def __call__(self) -> Connection:
        return Connection(self)

    def date(self) -> str:
        """The ``Date`` of answers, made once a second."""
        now_s = self.clock.monotonic_s()
        if now_s >= self._date_until_s:
            self._date = formatdate(self.clock.now().timestamp(), usegmt=True)
            self._date_until_s = now_s + 1.0
        return self._date

    def name(self, raw: bytes) -> str:
        """A header's name in lower case."""
        known = self.names.get(raw)
        if known is None:
            known = raw.decode("latin-1").lower()
            if known.startswith(HEADER_PREFIX):
                self.impersonating = True
            if len(self.names) < MAX_KNOWN_NAMES:
                self.names[raw] = known
        return known

    def close_expired(self) -> None:
        """End connections that took too long over a request, or said nothing for long."""
        now_s = self.clock.monotonic_s()
        for connection in list(self.open):
            if connection.expired(now_s):
                connection.close()

    async def close(self, patience_s: float) -> None:
        """End idle connections at once, and the others when they have answered, at the latest after a while."""
        for connection in list(self.open):
            connection.finish()
        deadline_s = self.clock.monotonic_s() + patience_s
        while self.open and self.clock.monotonic_s() < deadline_s:
            await self.clock.sleep(0.02)
        for connection in list(self.open):
            connection.abort()


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, shared: Connections) -> None:
        self._shared = shared
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._peer: UserInfo | None = None
        self._is_front_proxy = False
        self._remote = ""
        # The request being read.
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._read: dict[str, str] = {}
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._deadline_s: float | None = shared.clock.monotonic_s() + HEAD_TIMEOUT_S
        # Requests read, and the one being answered.
        self._waiting: deque[Request | Response] = deque()
        self._task: asyncio.Task[None] | None = None
        self._streaming = False
        self._closing = False
        self._refused = False
        self._keep_alive = True
        self._tunnel: UpgradedConnection | None = None
        self._writable: asyncio.Future[None] | None = None
        self._paused = False

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's TLS transports are ones in all but name.
        self._transport = cast("asyncio.Transport", transport)
        self._shared.open.add(self)
        address = transport.get_extra_info("peername")
        self._remote = str(address[0]) if address else ""
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        peer = self._shared.identify(der) if der else None
        self._is_front_proxy = isinstance(peer, FrontProxyPeer)
        self._peer = None if isinstance(peer, FrontProxyPeer) else peer

    def connection_lost(self, error: Exception | None) -> None:
        self._shared.open.discard(self)
        self._closing = True
        self._waiting.clear()
        if self._tunnel is not None:
            self._tunnel.feed_eof()
        if self._writable is not None and not self._writable.done():
            self._writable.set_exception(ConnectionResetError("the client has gone"))
        elif self._streaming and self._task is not None:
            # The usual end of a watch. A write under way is finished: its answer is lost, its effect is not.
            self._task.cancel()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    async def drain(self) -> None:
        """Wait until the client takes more. Raises ``ConnectionResetError`` when it has gone."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client has gone")
        if self._paused:
            self._writable = asyncio.get_running_loop().create_future()
            try:
                await self._writable
            finally:
                self._writable = None

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.feed_data(data)
            return
        if self._closing or self._refused:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._begin_tunnel(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            if not self._refused:
                self._refuse(b"400 Bad Request")

    # What the parser says.

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._body = []
        self._head_bytes = self._body_bytes = 0
        self._deadline_s = self._shared.clock.monotonic_s() + HEAD_TIMEOUT_S

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._count_head(0)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")
            raise httptools.HttpParserError("head too large")

    def on_headers_complete(self) -> None:
        name_of = self._shared.name
        headers: dict[str, str] = {}
        for name, value in self._headers:
            lower, text = name_of(name), value.decode("utf-8", "surrogateescape")
            # Lines of one name are one list, but for those whose values may hold a comma.
            headers[lower] = f"{headers[lower]},{text}" if lower in headers else text
        self._read = headers
        size = headers.get("content-length", "")
        if size.isdecimal() and int(size[:MAX_LENGTH_DIGITS]) > MAX_BODY_BYTES:
            self._too_large()
        if headers.get("expect", "").lower() == "100-continue" and not self._waiting and not self._task:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if size or "transfer-encoding" in headers:
            self._deadline_s = self._shared.clock.monotonic_s() + BODY_TIMEOUT_S

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES:
            self._too_large()
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._deadline_s = None
        if not self._parser.should_keep_alive() or self._parser.should_upgrade():
            self._keep_alive = False
        self._take(self._request())

    def _too_large(self) -> None:
        error = request_entity_too_large(f"limit is {MAX_BODY_BYTES}")
        self._refused, self._keep_alive = True, False
        self._take(Response(413, codec.encode(error.status)))
        raise httptools.HttpParserError("body too large")

    def _refuse(self, status: bytes) -> None:
        """What is no HTTP gets Go's plain answer, and no other."""
        self._refused = True
        self._transport.write(_BAD_REQUEST % (status, status))
        self.close()

    def _request(self) -> Request:
        headers = self._read
        target = self._url.decode("latin-1")
        if not target.startswith("/"):
            # A proxy's form: the whole URL.
            parts = urlsplit(target)
            target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        path, marked, query = target.partition("?")
        upgrading = "connection" in headers and "upgrade" in headers["connection"].lower()
        request = Request(
            method=self._parser.get_method().decode("latin-1"),
            path=unquote(path) if "%" in path else path,
            raw_path=target,
            query=Query(parse_qsl(query, keep_blank_values=True)) if marked else _NO_QUERY,
            headers=headers,
            body=b"".join(self._body),
            remote=self._remote,
            peer=self._peer,
            can_tunnel=upgrading,
            header_lines=self._headers,
        )
        if self._shared.impersonating:
            request.impersonation = self._lines(HEADER_PREFIX)
        if self._is_front_proxy:
            request.front_proxy = self._lines(request_header.HEADER_PREFIX)
        return request

    def _lines(self, prefix: str) -> list[tuple[str, str]]:
        """The headers of the request being read whose name begins so, one line each."""
        lines = ((self._shared.name(name), value.decode("utf-8", "surrogateescape")) for name, value in self._headers)
        return [line for line in lines if line[0].startswith(prefix)]

    # Answering.

    def _take(self, request: Request | Response) -> None:
        """Answer after what came before; a ``Response`` is one that needs no asking."""
        self._waiting.append(request)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._answer())
        elif len(self._waiting) >= MAX_WAITING:
            self._transport.pause_reading()

    async def _answer(self) -> None:
        """Answer what waits; ends when nothing does."""
        try:
            while self._waiting and not self._closing:
                request = self._waiting.popleft()
                if isinstance(request, Response):
                    self._write_whole(request, cast("bytes", request.body), None)
                    continue
                request.task = self._task
                response = await self._shared.handle(request)
                if isinstance(response.body, Tunnel):
                    await self._run_tunnel(response.body)
                elif isinstance(response.body, bytes) and len(response.body) <= JOIN_UP_TO_BYTES:
                    self._write_whole(response, response.body, request)
                    if self._paused:
                        await self.drain()
                elif isinstance(response.body, bytes | Pieces):
                    await self._write_large(response, response.body, request)
                else:
                    await self._stream(response, response.body, request)
                if len(self._waiting) < MAX_WAITING:
                    self._transport.resume_reading()
        except ConnectionError:
            self._transport.abort()
        except Exception as error:
            # An answer broke off in its middle; all that is left to say is that it has no end.
            log.exception("answer broke off", error=error)
            self._transport.abort()
        finally:
            self._task = None
            if not self._keep_alive:
                self.close()
            elif self._deadline_s is None:
                self._deadline_s = self._shared.clock.monotonic_s() + KEEPALIVE_S

    def _head(self, response: Response) -> str:
        status = response.status
        head = (
            f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\nContent-Type: {response.content_type}\r\n"
            f"Date: {self._shared.date()}\r\n"
        )
        for name, value in response.headers.items():
            if "\n" in value or "\r" in value:
                # A warning may quote what a client sent.
                value = value.replace("\r", " ").replace("\n", " ")
            head += f"{name}: {value}\r\n"
        return head if self._keep_alive else head + "Connection: close\r\n"

    def _write_whole(self, response: Response, body: bytes, request: Request | None) -> None:
        if self._transport.is_closing():
            return
        length = "" if response.status in _BODILESS else f"Content-Length: {len(body)}\r\n"
        head = f"{self._head(response)}{length}\r\n".encode()
        if response.status in _BODILESS or (request is not None and request.method == "HEAD"):
            self._transport.write(head)
        else:
            self._transport.write(head + body)

    async def _write_large(self, response: Response, body: bytes | Pieces, request: Request) -> None:
        """Slice by slice, compressed if the client takes it; in between, others have their turn."""
        size = body.size if isinstance(body, Pieces) else len(body)
        slices = body.slices() if isinstance(body, Pieces) else _sliced(body)
        if size >= GZIP_FROM_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
            response.headers["Content-Encoding"] = "gzip"
            await self._stream(response, _compressed(slices), request)
            return
        self._transport.write(f"{self._head(response)}Content-Length: {size}\r\n\r\n".encode())
        if request.method == "HEAD":
            return
        for part in slices:
            await self.drain()
            self._transport.write(part)
            await asyncio.sleep(0)

    async def _stream(self, response: Response, body: AsyncIterator[bytes], request: Request) -> None:
        """Chunks as they come; a client of HTTP/1.0 gets them bare, and the end of the connection as their end."""
        chunked = self._parser.get_http_version() != "1.0"
        self._keep_alive = self._keep_alive and chunked
        self._streaming = True
        write = self._transport.write
        try:
            encoding = "Transfer-Encoding: chunked\r\n\r\n" if chunked else "\r\n"
            write((self._head(response) + encoding).encode())
            if request.method != "HEAD":
                async for chunk in body:
                    if chunk:
                        write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
                        await self.drain()
                if chunked:
                    write(b"0\r\n\r\n")
        finally:
            self._streaming = False
            await cast("Any", body).aclose()

    # Upgrades.

    def _begin_tunnel(self, rest: bytes) -> None:
        """From here on bytes belong to whoever takes the connection over, if somebody does."""
        self._tunnel = UpgradedConnection(self._transport, self.drain)
        if rest:
            self._tunnel.feed_data(rest)

    async def _run_tunnel(self, tunnel: Tunnel) -> None:
        if self._tunnel is None:
            self._begin_tunnel(b"")
        assert self._tunnel is not None
        await tunnel.run(self._tunnel)

    # Ending.

    def expired(self, now_s: float) -> bool:
        return self._deadline_s is not None and now_s > self._deadline_s and self._tunnel is None

    def finish(self) -> None:
        """Close once what was asked is answered."""
        self._keep_alive = False
        if self._task is None:
            self.close()

    def close(self) -> None:
        self._closing = True
        self._transport.close()

    def abort(self) -> None:
        """End at once, whatever is under way."""
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()


def _sliced(body: bytes) -> Iterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(view), SLICE_BYTES):
        yield bytes(view[start : start + SLICE_BYTES])


async def _compressed(slices: Iterator[bytes]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    for part in slices:
        yield packer.compress(part)
        await asyncio.sleep(0)
    yield packer.flush()
