"""Handing a connection through to the runtime's streaming server, byte for byte.

exec, attach and port-forward upgrade their connection (SPDY or WebSocket). The runtime speaks both; the
kubelet only replaces the request's path by the one the runtime gave out and then carries bytes, so
whatever the two ends agree on works.

Upstream counterpart: ``UpgradeAwareHandler`` as used by ``proxyStream``. Neighbour: ``listener``.

Limit: ``BUFFER_BYTES`` of the client's may wait for the runtime; beyond that its connection is not read from.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

__all__ = ["is_upgrade", "tunnel"]

BUFFER_BYTES = 256 * 1024
CHUNK_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 10.0
_NOT_PASSED_ON = frozenset({"host", "authorization", "content-length"})


class _Client:
    """The client's side: what aiohttp has read of it comes in through ``feed_data``, as to a WebSocket
    parser.
    """

    def __init__(self, request: web.BaseRequest) -> None:
        assert request.transport is not None
        self._protocol = request.protocol
        self._transport: Any = request.transport
        self._chunks: list[bytes] = []
        self._size = 0
        self._ended = False
        self._wake = asyncio.Event()

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
        if self._transport.is_closing():
            raise ConnectionResetError
        self._transport.write(data)
        await self._protocol._drain_helper()

    def close(self) -> None:
        if not self._transport.is_closing():
            self._transport.close()


def is_upgrade(request: web.BaseRequest) -> bool:
    return "upgrade" in request.headers.get("Connection", "").lower()


async def tunnel(request: web.BaseRequest, url: str) -> web.StreamResponse:
    """Carry the connection to ``url`` and back until one side ends it."""
    client = _Client(request)
    request.protocol.set_parser(client)  # type: ignore[arg-type]
    try:
        await _carry(request, client, url)
    finally:
        client.close()
    # The connection is gone; aiohttp still wants something to finish with.
    finished = web.Response()
    finished.force_close()
    return finished


async def _carry(request: web.BaseRequest, client: _Client, url: str) -> None:
    target = urlsplit(url)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(target.hostname, target.port)
    except (OSError, TimeoutError) as error:
        await client.write(_failure(f"error dialing runtime: {error}"))
        return
    path = f"{target.path}?{target.query}" if target.query else target.path
    lines = [f"{request.method} {path} HTTP/1.1", f"Host: {target.netloc}"]
    lines += [
        f"{name}: {value}" for name, value in request.headers.items() if name.lower() not in _NOT_PASSED_ON
    ]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

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
        # The runtime's end is the end; the client closing its half may still want the answer.
        await down
    except OSError:
        return
    finally:
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)
        writer.close()


def _failure(text: str) -> bytes:
    body = text.encode()
    head = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
