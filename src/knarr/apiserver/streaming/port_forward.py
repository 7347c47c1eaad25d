"""Port-forward: SPDY wrapped in a WebSocket, unwrapped for the kubelet. Bytes are carried as they are.

Upstream's counterpart is ``apimachinery/pkg/util/proxy/streamtunnel.go``.
"""

from __future__ import annotations

from knarr.apiserver.request import Request
from knarr.apiserver.streaming.backend import Backend, Refused, connect
from knarr.apiserver.streaming.offers import PORT_FORWARD_PREFIX
from knarr.apiserver.streaming.websocket import WebSocket
from knarr.apiserver.subresources.forwarding import Target
from knarr.kit.log import get_logger
from knarr.kit.tasks import until_one_ends
from knarr.kit.tunnel import UpgradedConnection

__all__ = ["tunnel"]

log = get_logger("streaming")


async def tunnel(connection: UpgradedConnection, request: Request, target: Target, protocol: str) -> None:
    """Carry until one side ends; ``protocol`` is what was offered, with its prefix. Closes the client's connection."""
    socket = WebSocket(connection)
    try:
        wrapped = protocol.removeprefix(PORT_FORWARD_PREFIX)
        async with connect(target, [("X-Stream-Protocol-Version", wrapped)]) as backend:
            if await socket.accept(request, protocol):
                await _carry(socket, backend)
    except Refused as error:
        await connection.fail(str(error))
    except OSError as error:
        log.debug("port-forward ended", error=error)
    finally:
        await socket.close()


async def _carry(socket: WebSocket, backend: Backend) -> None:
    async def upwards() -> None:
        async for message in socket.messages():
            await backend.write(message)

    async def downwards() -> None:
        while data := await backend.read():
            await socket.send(data)

    await until_one_ends(upwards(), downwards())
