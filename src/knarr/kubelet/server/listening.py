"""The socket behind a kubelet's server, or behind one that many kubelets share."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from aiohttp import web

__all__ = ["Listening"]

KEEPALIVE_S = 120.0
SHUTDOWN_S = 1.0


class Listening:
    """Answers by ``_handle``. ``port`` is the one the system chose, where 0 was asked for, once ``listening`` is set."""

    def __init__(self, *, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._host = host
        self.port = port
        self.listening = asyncio.Event()
        self._tls = tls

    async def run(self) -> None:
        """Listen until cancelled."""
        server = web.Server(self._handle, keepalive_timeout=KEEPALIVE_S, access_log=None)
        opened = await asyncio.get_running_loop().create_server(server, self._host, self.port, ssl=self._tls)
        self.port = opened.sockets[0].getsockname()[1]
        self.listening.set()
        try:
            await asyncio.Event().wait()
        finally:
            opened.close()
            with contextlib.suppress(asyncio.CancelledError):
                await server.shutdown(SHUTDOWN_S)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raise NotImplementedError
