"""A connection to a kubelet that is upgraded to SPDY."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec

from knarr.apiserver.subresources.forwarding import CONNECT_TIMEOUT_S, Target
from knarr.kit.tunnel import request_head

__all__ = ["Backend", "Refused", "connect"]

MAX_HEAD_BYTES = 64 * 1024
MAX_REFUSAL_BYTES = 64 * 1024
CHUNK_BYTES = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


class Refused(Exception):
    """The connection was not upgraded; the text says why."""


class Backend:
    """The upgraded connection; bytes go both ways."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        return await self._reader.read(CHUNK_BYTES)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


@asynccontextmanager
async def connect(target: Target, headers: Iterable[tuple[str, str]]) -> AsyncIterator[Backend]:
    """POST to ``target`` with an upgrade to SPDY/3.1. Raises ``Refused``; the connection ends with the block."""
    where = f"{target.host}:{target.port}"
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            name = (target.server_name or target.host) if target.tls else None
            reader, writer = await asyncio.open_connection(
                target.host, target.port, ssl=target.tls, server_hostname=name, limit=MAX_HEAD_BYTES
            )
    except (OSError, TimeoutError) as error:
        raise Refused(f"error dialing backend: dial tcp {where}: {error or type(error).__name__}") from None
    try:
        upgrade = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), *headers]
        # A server must see that no body follows, or it waits for one.
        head = request_head("POST", target.path, where, upgrade)
        writer.write(head[:-2] + b"Content-Length: 0\r\n\r\n")
        await _expect_upgrade(reader)
        yield Backend(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _expect_upgrade(reader: asyncio.StreamReader) -> None:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            head = await reader.readuntil(b"\r\n\r\n")
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise Refused(f"unable to upgrade connection: {error or type(error).__name__}") from None
    status = _STATUS.match(head)
    if status is not None and status[1] == b"101":
        return
    body = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1.0):
            body = await reader.read(MAX_REFUSAL_BYTES)
    raise Refused(f"unable to upgrade connection: {_reason(body)}")


def _reason(body: bytes) -> str:
    """What a refusal says: a Status's message, or its text."""
    try:
        message = msgspec.json.decode(body)["message"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return body.decode(errors="replace").strip() or "the server gave no reason"
    return str(message)
