"""One door for many kubelets: a fleet of simulated nodes has no machines, and so no addresses where each could listen.

A kubelet of the fleet answers below ``/nodes/<name>``; its Node says so by the annotation ``api.core.connect.KUBELET_SERVER``, and the
API server asks there instead of at the node's address.

Neighbours: ``listener`` answers for one kubelet; ``cluster.simulated_nodes`` opens the door. Upstream has nothing like it: each of
kubemark's hollow nodes is a pod.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from urllib.parse import unquote

from aiohttp import web

from knarr.kubelet.server.listener import KubeletServer
from knarr.kubelet.server.listening import listen

__all__ = ["SharedKubeletServer"]


class SharedKubeletServer:
    """``server_of`` finds a kubelet's server by its node's name, None for a node that is none of the fleet's."""

    def __init__(
        self,
        server_of: Callable[[str], KubeletServer | None],
        *,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._server_of = server_of
        self._host = host
        self.port = port
        self.listening = asyncio.Event()
        self._tls = tls

    async def run(self) -> None:
        """Listen until cancelled."""
        await listen(self._handle, host=self._host, port=self.port, tls=self._tls, started=self._started)

    def _started(self, port: int) -> None:
        self.port = port
        self.listening.set()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        parts = unquote(request.rel_url.raw_path).split("/", 3)
        server = self._server_of(parts[2]) if len(parts) == 4 and parts[1] == "nodes" else None
        if server is None:
            return web.Response(status=404, text="404 page not found\n")
        return await server.answer(request, f"/{parts[3]}")
