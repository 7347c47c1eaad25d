"""A client that costs next to nothing, so that what is measured is the server: requests as ready bytes, answers
counted, not read.

HTTP/1.1 over TLS with kept connections; one request at a time on each.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import urlsplit

from knarr.client.kubeconfig import Credentials, tls_context

__all__ = ["Wire", "request_bytes", "wires"]

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"transfer-encoding: *chunked", re.IGNORECASE)


def request_bytes(credentials: Credentials, method: str, path: str, body: bytes = b"") -> bytes:
    host = urlsplit(credentials.server).netloc
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n"
    if credentials.token:
        head += f"Authorization: Bearer {credentials.token}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


class Wire(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._expected = -1
        self._answer: asyncio.Future[tuple[int, int]] | None = None
        self._status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's TLS transports are ones in all but name.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the server closed the connection"))

    async def send(self, request: bytes) -> tuple[int, int]:
        """The answer's status and its size in bytes, head included."""
        self._parts.clear()
        self._size, self._expected = 0, -1
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._expected < 0 and not self._read_head():
            return
        ended = self._size >= self._expected if self._expected else self._tail().endswith(b"0\r\n\r\n")
        if ended and self._answer is not None and not self._answer.done():
            self._answer.set_result((self._status, self._size))

    def _read_head(self) -> bool:
        head, found, _ = b"".join(self._parts).partition(b"\r\n\r\n")
        if not found:
            return False
        self._status = int(head[9:12])
        length = LENGTH.search(head)
        # Zero stands for chunked: its end is found by its mark.
        self._expected = 0 if CHUNKED.search(head) else len(head) + 4 + int(length.group(1) if length else 0)
        return True

    def _tail(self) -> bytes:
        return b"".join(self._parts[-3:])[-8:]

    def close(self) -> None:
        self._transport.close()


@asynccontextmanager
async def wires(credentials: Credentials, count: int) -> AsyncIterator[list[Wire]]:
    """``count`` connections, opened one after the other and closed at the end."""
    address = urlsplit(credentials.server)
    loop, tls = asyncio.get_running_loop(), tls_context(credentials)
    opened: list[Wire] = []
    try:
        for _ in range(count):
            _, wire = await loop.create_connection(
                Wire, address.hostname, address.port or 443, ssl=tls, server_hostname=address.hostname
            )
            opened.append(wire)
        yield opened
    finally:
        for wire in opened:
            with contextlib.suppress(OSError):
                wire.close()
        await asyncio.sleep(0)
