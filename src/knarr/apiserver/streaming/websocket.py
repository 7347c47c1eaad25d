"""A client's WebSocket, on a connection that was taken away from HTTP. The protocol is the library ``websockets``'.

Limits: ``MAX_MESSAGE_BYTES`` a message; a client that takes nothing is waited for, and what it sends meanwhile waits with the
connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from websockets.frames import Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import State
from websockets.server import ServerProtocol

from knarr.apiserver.request import Request
from knarr.kit.tunnel import UpgradedConnection, request_head

__all__ = ["WebSocket"]

MAX_MESSAGE_BYTES = 1024 * 1024
_PROTOCOL = "Sec-WebSocket-Protocol"


class WebSocket:
    """The server's end. ``accept`` comes first."""

    def __init__(self, connection: UpgradedConnection) -> None:
        self._connection = connection
        self._protocol = ServerProtocol(max_size=MAX_MESSAGE_BYTES)

    async def accept(self, request: Request, subprotocol: str) -> bool:
        """Answer the handshake, in a protocol if any; false if it was none, and has been refused. Raises ``ConnectionResetError``."""
        # The library wants to see the request that HTTP has read already. The choice of a protocol is not its: it would
        # refuse the slash in upstream's names.
        headers = [line for line in request.raw_headers() if line[0].lower() != _PROTOCOL.lower()]
        host = request.headers.get("host", "")
        self._protocol.receive_data(request_head(request.method, request.raw_path, host, headers))
        for event in self._protocol.events_received():
            if isinstance(event, Handshake):
                response = self._protocol.accept(event)
                if response.status_code == 101 and subprotocol:
                    response.headers[_PROTOCOL] = subprotocol
                self._protocol.send_response(response)
        await self._flush()
        return self._protocol.state is State.OPEN

    async def messages(self) -> AsyncIterator[bytes]:
        """What the client says, message by message, until it closes. Raises ``ConnectionResetError``."""
        parts: list[bytes] = []
        while self._protocol.state is State.OPEN:
            data = await self._connection.read()
            if not data:
                self._protocol.receive_eof()
                return
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if not isinstance(event, Frame) or event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                    continue
                parts.append(bytes(event.data))
                if event.fin:
                    yield b"".join(parts)
                    parts.clear()
            # Pongs, and the answer to a close.
            await self._flush()

    async def send(self, data: bytes) -> None:
        """One message. Raises ``ConnectionResetError``."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_binary(data)
            await self._flush()

    async def send_text(self, text: str) -> None:
        """The same as text."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_text(text.encode())
            await self._flush()

    async def close(self) -> None:
        """Say goodbye, and end the connection."""
        try:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(1000)
                await self._flush()
        except OSError:
            pass
        finally:
            self._connection.close()

    async def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            # The empty one stands for the end of what is sent.
            if data:
                await self._connection.write(data)
