"""The socket behind a kubelet's server, or behind one that many kubelets share."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable

from aiohttp import web

__all__ = ["listen"]

KEEPALIVE_S = 120.0
SHUTDOWN_S = 1.0


async def listen(
    handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    *,
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    started: Callable[[int], None],
) -> None:
    """Until cancelled. ``started`` is told the port: asked for 0, the system chooses one."""
    server = web.Server(handle, keepalive_timeout=KEEPALIVE_S, access_log=None)
    listening = await asyncio.get_running_loop().create_server(server, host, port, ssl=tls)
    started(listening.sockets[0].getsockname()[1])
    try:
        await asyncio.Event().wait()
    finally:
        listening.close()
        with contextlib.suppress(asyncio.CancelledError):
            await server.shutdown(SHUTDOWN_S)
