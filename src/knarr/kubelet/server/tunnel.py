"""Handing a connection through to the runtime's streaming server, byte for byte.

exec, attach and port-forward upgrade their connection (SPDY or WebSocket). The runtime speaks both; the
kubelet only replaces the request's path by the one the runtime gave
out. Upstream counterpart: ``UpgradeAwareHandler`` as used by ``proxyStream``. Neighbours: ``listener``,
``kit.tunnel``.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from knarr.kit.tunnel import UpgradedConnection, carry, request_head

__all__ = ["is_upgrade", "tunnel"]


def is_upgrade(request: web.BaseRequest) -> bool:
    return "upgrade" in request.headers.get("Connection", "").lower()


async def tunnel(request: web.BaseRequest, url: str) -> web.StreamResponse:
    """Carry the connection to ``url`` and back until one side ends it."""
    target = urlsplit(url)
    assert target.hostname and target.port, "the runtime gives out whole URLs"
    path = f"{target.path}?{target.query}" if target.query else target.path
    head = request_head(request.method, path, target.netloc, request.headers.items())
    await carry(UpgradedConnection.of(request), head, host=target.hostname, port=target.port)
    # The connection is gone; aiohttp still wants something to finish with.
    finished = web.Response()
    finished.force_close()
    return finished
