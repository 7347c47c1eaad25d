"""HTTP/1.1 to one server: kept connections, each of which carries one request at a time.

``httptools`` parses; what is here decides when a connection is opened, kept and closed. A whole answer is one future, a
streamed one a buffer that stops reading when it holds ``STREAM_BUFFER_BYTES``. Upstream's counterpart is Go's
``http.Transport``.

It is our own and not aiohttp's client since whoever reconciles sends thousands of small requests: one costs the client less
than half the processor time (``docs/performance.md``).

Limits: ``MAX_CONNECTIONS`` open at once, requests beyond wait; ``CONNECT_TIMEOUT_S``; ``KEEPALIVE_S`` for one that is
not used. An answer is never asked for compressed: client and server are near, and processors dearer than wires.

Neighbours: ``client.transport`` says what to send and for how long to wait.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

__all__ = ["Connection", "Connections", "StaleConnectionError"]

#: Simultaneous connections one client opens; watches need one each, so this is generous.
MAX_CONNECTIONS = 256
CONNECT_TIMEOUT_S = 10.0
#: Shorter than any server's patience, so that a connection is seldom closed under a request.
KEEPALIVE_S = 15.0
STREAM_BUFFER_BYTES = 2**20


class StaleConnectionError(ConnectionResetError):
    """A kept connection was closed before anything of the answer came: the server may never have seen the request."""


class Connection(asyncio.Protocol):
    """One connection to the server, and the answer it is receiving."""

    def __init__(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.open = False
        self.idle_since_s = 0.0
        self.status = 0
        self._requests = 0
        #: Whether anything of the present answer has come.
        self._heard = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._buffered = 0
        self._complete = True
        self._kept_alive = True
        self._streaming = False
        #: Whether the answer ends with its head, whatever length that names.
        self._only_head = False
        #: Who waits for the answer, for its head, or for more of its body.
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    @property
    def reusable(self) -> bool:
        """Whether another request may follow."""
        return self.open and self._complete and self._kept_alive

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self._headers}

    async def whole(self, request: bytes, *, timeout_s: float) -> bytes:
        """Send a request and give its answer's body. Raises ``OSError``, ``TimeoutError`` among them."""
        self._begin(request, streaming=False)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(timeout_s, self.fail, TimeoutError(f"no answer within {timeout_s:g} s"))
        try:
            await self._wait(loop)
        finally:
            timer.cancel()
        body = self._body
        return body[0] if len(body) == 1 else b"".join(body)

    async def head(self, request: bytes) -> None:
        """Send a request and wait for the head of its answer; ``chunks`` gives the rest."""
        self._begin(request, streaming=True)
        await self._wait(asyncio.get_running_loop())

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises ``OSError`` if the connection ends before it does."""
        loop = asyncio.get_running_loop()
        while True:
            if self._body:
                body, self._body = self._body, []
                if self._buffered >= STREAM_BUFFER_BYTES and self.open:
                    self._transport.resume_reading()
                self._buffered = 0
                yield body[0] if len(body) == 1 else b"".join(body)
            elif self._complete:
                return
            else:
                await self._wait(loop)

    def close(self) -> None:
        """End the connection at once."""
        if self.open:
            self.open = False
            self._transport.abort()

    def fail(self, error: Exception) -> None:
        """End the connection, and tell whoever waits why."""
        if self._error is None:
            self._error = error
        self.close()
        self._wake()

    def _begin(self, request: bytes, *, streaming: bool) -> None:
        assert self._complete, "one request at a time"
        self._heard = self._complete = False
        self.status = 0
        self._requests += 1
        self._streaming = streaming
        self._only_head = request.startswith(b"HEAD ")
        self._headers, self._body = [], []
        self._transport.write(request)

    async def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._error is None:
            self._waiter = loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._error is not None:
            raise self._error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's TLS transports are ones in all but name.
        self._transport = cast("asyncio.Transport", transport)
        self.open = True

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._complete:
            # Nobody asked: whatever it is, the next answer would be taken for something else.
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(ConnectionError(f"the server does not speak HTTP/1.1: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._complete:
            return
        if error is None and self._ends_with_connection():
            self._complete = True
            self._wake()
            return
        kind = StaleConnectionError if self._requests > 1 and not self._heard else ConnectionResetError
        self.fail(kind(str(error or "the server closed the connection before the answer was complete")))

    def _ends_with_connection(self) -> bool:
        """Whether the body has no other end than the connection's."""
        names = {name.lower() for name, _ in self._headers}
        return self.status >= 200 and not names & {b"content-length", b"transfer-encoding"}

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self._only_head and self.status >= 200:
            # The parser waits for a body that will not come, and is of no use for another answer.
            self._kept_alive = False
            self._complete = True
        if self._streaming or self._complete:
            self._wake()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        if self._streaming:
            before = self._buffered
            self._buffered = before + len(body)
            if before < STREAM_BUFFER_BYTES <= self._buffered:
                self._transport.pause_reading()
            self._wake()

    def on_message_complete(self) -> None:
        if self.status < 200:
            # Only a word before the answer.
            self._headers = []
            return
        # The parser knows it only here.
        self._kept_alive = self._parser.should_keep_alive()
        self._complete = True
        self._wake()


class Connections:
    """All connections to one server. ``url`` is its scheme, host and port; make it inside a running event loop."""

    def __init__(self, url: str, *, tls: ssl.SSLContext | None) -> None:
        address = urlsplit(url)
        secure = address.scheme == "https"
        self._host = address.hostname or ""
        self._port = address.port or (443 if secure else 80)
        self._tls = (tls or ssl.create_default_context()) if secure else None
        self._seats = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._sweeping = False

    async def take(self, *, fresh: bool = False) -> Connection:
        """A connection for one request, kept from an earlier one unless it must be ``fresh``; ``give_back`` follows.
        Raises ``OSError``, ``TimeoutError`` among them.
        """
        await self._seats.acquire()
        try:
            connection = None if fresh else self._kept()
            if connection is None:
                connection = await self._connect()
            self._busy.add(connection)
            return connection
        except BaseException:
            self._seats.release()
            raise

    def give_back(self, connection: Connection) -> None:
        """Keep the connection for the next request, or close it where its answer is not complete."""
        self._busy.discard(connection)
        self._seats.release()
        if not connection.reusable:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since_s = loop.time()
        self._idle.append(connection)
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(KEEPALIVE_S, self._sweep)

    def close(self) -> None:
        """End every connection; requests under way fail."""
        for connection in (*self._idle, *self._busy):
            connection.fail(ConnectionAbortedError("the client was closed"))
        self._idle.clear()

    def _kept(self) -> Connection | None:
        while self._idle:
            # The last one used: the others have a chance to grow old.
            connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    async def _connect(self) -> Connection:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, connection = await asyncio.get_running_loop().create_connection(
                Connection, self._host, self._port, ssl=self._tls, server_hostname=self._host if self._tls else None
            )
        return connection

    def _sweep(self) -> None:
        """Close what was not used for long; asks for no further look when nothing is kept."""
        loop = asyncio.get_running_loop()
        oldest_s = loop.time() - KEEPALIVE_S
        kept = []
        for connection in self._idle:
            if connection.open and connection.idle_since_s > oldest_s:
                kept.append(connection)
            else:
                connection.close()
        self._idle = kept
        self._sweeping = bool(kept)
        if kept:
            loop.call_later(KEEPALIVE_S, self._sweep)
