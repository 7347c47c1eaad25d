"""exec and attach: a WebSocket of protocol v5 on one side, SPDY streams of protocol v4 on the other.

A message's first byte is its channel: 0 to 4 are stdin, stdout, stderr, the outcome, and sizes of the terminal; 255 closes the channel
that follows, which no earlier protocol can say: by it ``echo x | kubectl exec -i`` comes to its end. Whatever goes wrong after the
handshake is told as the outcome, a Status.

Upstream's counterpart is ``apimachinery/pkg/util/proxy/streamtranslator.go``.
"""

from __future__ import annotations

from collections.abc import Mapping

from knarr.api import codec
from knarr.api.errors import internal_error
from knarr.apiserver.request import Request
from knarr.apiserver.streaming.backend import Backend, Refused, connect
from knarr.apiserver.streaming.offers import REMOTE_COMMAND
from knarr.apiserver.streaming.spdy import Ended, SpdyClient, SpdyError
from knarr.apiserver.streaming.websocket import WebSocket
from knarr.apiserver.subresources.forwarding import Target
from knarr.kit.tasks import until_one_ends
from knarr.kit.tunnel import UpgradedConnection

__all__ = ["Streams", "streams_of", "translate"]

_BACKEND_PROTOCOL = "v4.channel.k8s.io"
STDIN, STDOUT, STDERR, OUTCOME, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255

#: Channel to name of the stream, in the order upstream opens them: the outcome first, for everything can fail.
Streams = Mapping[int, str]


def streams_of(options: object) -> Streams:
    """The streams that exec's or attach's options ask for."""
    names = {STDIN: "stdin", STDOUT: "stdout", STDERR: "stderr"}
    wanted = {channel: name for channel, name in names.items() if getattr(options, name)}
    if getattr(options, "tty", False):
        # A terminal mixes what it prints.
        wanted.pop(STDERR, None)
        wanted[RESIZE] = "resize"
    return {OUTCOME: "error", **wanted}


async def translate(
    connection: UpgradedConnection, request: Request, target: Target, streams: Streams
) -> None:
    """Serve one command; closes the client's connection."""
    socket = WebSocket(connection)
    try:
        if not await socket.accept(request, REMOTE_COMMAND):
            return
        try:
            async with connect(target, [("X-Stream-Protocol-Version", _BACKEND_PROTOCOL)]) as backend:
                await _Session(socket, backend, streams).run()
        except Refused as error:
            status = codec.encode(internal_error(str(error)).status)
            await socket.send(bytes([OUTCOME]) + status)
    except OSError:
        # The client has gone, or the kubelet; there is nobody left to tell, or nothing.
        pass
    finally:
        await socket.close()


class _Session:
    """Carries both ways until the command has ended or the client has."""

    def __init__(self, socket: WebSocket, backend: Backend, streams: Streams) -> None:
        self._socket = socket
        self._backend = backend
        self._spdy = SpdyClient()
        self._streams = {
            channel: self._spdy.open_stream({"streamType": name}) for channel, name in streams.items()
        }
        self._channels = {stream: channel for channel, stream in self._streams.items()}
        self._waited_for = {self._streams[c] for c in (STDOUT, STDERR, OUTCOME) if c in self._streams}

    async def run(self) -> None:
        await self._flush()
        await until_one_ends(self._upwards(), self._downwards())

    async def _flush(self) -> None:
        if data := self._spdy.data_to_send():
            await self._backend.write(data)

    async def _upwards(self) -> None:
        """From the client to the command; ends when the client closes."""
        async for message in self._socket.messages():
            if not message:
                continue
            channel, data = message[0], message[1:]
            closing = channel == CLOSE
            if closing:
                channel, data = (data[0] if data else CLOSE), b""
            stream = self._streams.get(channel)
            if stream is None or channel not in (STDIN, RESIZE):
                continue
            if data or closing:
                self._spdy.send(stream, data, last=closing)
                await self._flush()

    async def _downwards(self) -> None:
        """From the command to the client; ends when every stream has."""
        while self._waited_for:
            data = await self._backend.read()
            if not data:
                return
            try:
                for event in self._spdy.receive(data):
                    if isinstance(event, Ended):
                        self._waited_for.discard(event.stream)
                        continue
                    channel = self._channels.get(event.stream)
                    if channel is not None and event.data:
                        await self._socket.send(bytes([channel]) + event.data)
                    if event.last:
                        self._waited_for.discard(event.stream)
            except SpdyError:
                return
            await self._flush()
