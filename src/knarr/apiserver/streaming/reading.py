"""A stream that is only read, a log, inside a WebSocket: for browsers, which can have a stream in no other way.

An empty message comes first, then what the stream says, message by message, then the close. What the client says is ignored, until it
closes.

Upstream's counterpart is ``streaming/pkg/httpstream/wsstream/stream.go``.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any, cast

from knarr.apiserver.request import Request
from knarr.apiserver.streaming.offers import BASE64
from knarr.apiserver.streaming.websocket import WebSocket
from knarr.kit.tasks import until_one_ends
from knarr.kit.tunnel import UpgradedConnection

__all__ = ["read"]


async def read(connection: UpgradedConnection, request: Request, protocol: str, stream: AsyncIterator[bytes]) -> None:
    """Send ``stream`` to its end, or until the client leaves; closes both."""
    socket = WebSocket(connection)

    async def send(data: bytes) -> None:
        if protocol == BASE64:
            await socket.send_text(base64.b64encode(data).decode())
        else:
            await socket.send(data)

    async def downwards() -> None:
        await send(b"")
        async for chunk in stream:
            await send(chunk)

    async def upwards() -> None:
        async for _ in socket.messages():
            pass

    try:
        if await socket.accept(request, protocol):
            await until_one_ends(upwards(), downwards())
    except OSError:
        # The client has gone; there is nobody left to tell.
        pass
    finally:
        await socket.close()
        await cast("Any", stream).aclose()
