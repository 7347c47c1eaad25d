"""What a client of a stream can speak. Apart from ``websocket``, whose library takes a while to import and is not needed to start."""

from __future__ import annotations

from knarr.apiserver.request import Request

__all__ = ["BASE64", "PORT_FORWARD_PREFIX", "READING", "REMOTE_COMMAND", "offered", "reading_protocol", "wants_websocket"]

#: exec and attach, in the protocol of today's kubectl.
REMOTE_COMMAND = "v5.channel.k8s.io"
#: Before the name of the SPDY protocol that a WebSocket wraps.
PORT_FORWARD_PREFIX = "SPDY/3.1+"
#: A stream that is only read, in base64 for clients that take nothing but text.
BASE64 = "base64.binary.k8s.io"
#: How a stream that is only read can be had; without a name it is binary.
READING = ("", "binary.k8s.io", BASE64)


def wants_websocket(request: Request) -> bool:
    headers = request.headers
    return "upgrade" in headers.get("connection", "").lower() and headers.get("upgrade", "").lower() == "websocket"


def offered(request: Request) -> list[str]:
    """The protocols a client can speak inside a WebSocket, the one it likes best first."""
    return [name.strip() for name in request.headers.get("sec-websocket-protocol", "").split(",") if name.strip()]


def reading_protocol(request: Request) -> str | None:
    """In which protocol a stream is to be read; None where the client offers others only."""
    return next((name for name in offered(request) or [""] if name in READING), None)
