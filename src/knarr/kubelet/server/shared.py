"""One door for many kubelets: a fleet of simulated nodes has no machines, and so no addresses where each could listen.

A kubelet of the fleet answers below ``/nodes/<name>``; its Node says so by the annotation ``api.core.connect.KUBELET_SERVER``, and the
API server asks there instead of at the node's address.

Neighbours: ``listener`` answers for one kubelet; ``cluster.simulated_nodes`` opens the door. Upstream has nothing like it: each of
kubemark's hollow nodes is a pod.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from urllib.parse import unquote

from aiohttp import web

from knarr.kubelet.server.listener import KubeletServer
from knarr.kubelet.server.listening import Listening

__all__ = ["SharedKubeletServer"]


class SharedKubeletServer(Listening):
    """``server_of`` finds a kubelet's server by its node's name, None for a node that is none of the fleet's."""

    def __init__(
        self,
        server_of: Callable[[str], KubeletServer | None],
        *,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        super().__init__(host=host, port=port, tls=tls)
        self._server_of = server_of

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        parts = unquote(request.rel_url.raw_path).split("/", 3)
        server = self._server_of(parts[2]) if len(parts) == 4 and parts[1] == "nodes" else None
        if server is None:
            return web.Response(status=404, text="404 page not found\n")
        return await server.answer(request, f"/{parts[3]}")
