"""Taking a connection away from HTTP, and carrying its bytes to another server and back.

An upgrade (SPDY, WebSocket) is handed through: the request's head goes on to the next server, and from then
on bytes go both ways until that server ends the
connection, so that whatever the two ends agree on works. The API server tunnels to kubelets this way, and a
kubelet to its runtime.

Limit: ``BUFFER_BYTES`` of the client's may wait for the next server; beyond that its connection is not read
from.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["UpgradedConnection", "carry", "request_head"]

BUFFER_BYTES = 256 * 1024
CHUNK_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 10.0
_NOT_PASSED_ON = frozenset({"host", "authorization", "content-length"})


class UpgradedConnection:
    """The client's side: whoever owns the connection feeds what it reads; ``drain`` waits until the client takes
    more, and raises ``ConnectionResetError`` when it has gone.
    """

    def __init__(self, transport: Any, drain: Callable[[], Awaitable[None]]) -> None:
        self._transport = transport
        self._drain = drain
        self._chunks: list[bytes] = []
        self._size = 0
        self._ended = False
        self._wake = asyncio.Event()

    @classmethod
    def of(cls, request: web.BaseRequest) -> UpgradedConnection:
        """Take the connection of a request from aiohttp, which feeds it as it would its WebSocket parser."""
        assert request.transport is not None
        connection = cls(request.transport, request.protocol._drain_helper)
        request.protocol.set_parser(connection)  # type: ignore[arg-type]
        return connection

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._chunks.append(bytes(data))
        self._size += len(data)
        if self._size > BUFFER_BYTES:
            self._transport.pause_reading()
        self._wake.set()
        return False, b""

    def feed_eof(self) -> None:
        self._ended = True
        self._wake.set()

    async def read(self) -> bytes:
        """The next bytes; empty when the client has closed its side."""
        while not self._chunks and not self._ended:
            self._wake.clear()
            await self._wake.wait()
        data = b"".join(self._chunks)
        self._chunks.clear()
        if self._size > BUFFER_BYTES:
            self._transport.resume_reading()
        self._size = 0
        return data

    async def write(self, data: bytes) -> None:
        """Raises ``ConnectionResetError`` when the client has gone."""
        if self._transport.is_closing():
            raise ConnectionResetError
        self._transport.write(data)
        await self._drain()

    async def fail(self, text: str) -> None:
        """Answer the upgrade with a 500."""
        body = text.encode()
        head = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\nConnection: close\r\n"
        with contextlib.suppress(OSError):
            await self.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def close(self) -> None:
        self.feed_eof()
        if not self._transport.is_closing():
            self._transport.close()


def request_head(method: str, path: str, host: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The request as the next server is to read it; repeated headers stay repeated, credentials stay here."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers if name.lower() not in _NOT_PASSED_ON]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def carry(
    client: UpgradedConnection,
    head: bytes,
    *,
    host: str,
    port: int,
    tls: ssl.SSLContext | None = None,
    server_name: str = "",
) -> None:
    """Send ``head`` to ``host:port`` and carry bytes both ways until that side is done. Closes the client's
    side. The server's certificate must name ``server_name``, or else the host.
    """
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=tls, server_hostname=(server_name or host) if tls else None
            )
    except (OSError, TimeoutError) as error:
        await client.fail(f"error dialing backend: dial tcp {host}:{port}: {error or type(error).__name__}")
        client.close()
        return
    writer.write(head)

    async def upwards() -> None:
        while data := await client.read():
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()

    async def downwards() -> None:
        while data := await reader.read(CHUNK_BYTES):
            await client.write(data)

    up, down = asyncio.ensure_future(upwards()), asyncio.ensure_future(downwards())
    try:
        # The other server's end is the end; the client closing its half may still want the answer.
        await down
    except OSError:
        pass
    finally:
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)
        writer.close()
        client.close()
