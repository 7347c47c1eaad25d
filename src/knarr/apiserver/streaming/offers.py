"""What a client of a stream can speak. Apart from ``websocket``, whose library takes a while to import and is not needed to start."""

from __future__ import annotations

from knarr.apiserver.request import Request

__all__ = ["PORT_FORWARD_PREFIX", "REMOTE_COMMAND", "offered", "wants_websocket"]

#: exec and attach, in the protocol of today's kubectl.
REMOTE_COMMAND = "v5.channel.k8s.io"
#: Before the name of the SPDY protocol that a WebSocket wraps.
PORT_FORWARD_PREFIX = "SPDY/3.1+"


def wants_websocket(request: Request) -> bool:
    headers = request.headers
    return "upgrade" in headers.get("connection", "").lower() and headers.get("upgrade", "").lower() == "websocket"


def offered(request: Request) -> list[str]:
    """The protocols a client can speak inside a WebSocket, the one it likes best first."""
    return [name.strip() for name in request.headers.get("sec-websocket-protocol", "").split(",") if name.strip()]
