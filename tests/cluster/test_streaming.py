"""exec and port-forward for today's kubectl: WebSocket in front, SPDY behind, over real sockets on loopback."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect

from knarr.apiserver import http1
from knarr.apiserver.request import Request, Response, Tunnel
from knarr.apiserver.streaming import port_forward, remote_command
from knarr.apiserver.streaming.offers import PORT_FORWARD_PREFIX, REMOTE_COMMAND
from knarr.apiserver.subresources.forwarding import Target
from knarr.kit.clock import RealClock
from knarr.kit.tunnel import UpgradedConnection

Kubelet = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
#: Streams in the order they are opened.
ERROR, STDIN, STDOUT = 1, 3, 5
STREAMS = {remote_command.OUTCOME: "error", remote_command.STDIN: "stdin", remote_command.STDOUT: "stdout"}


def frame(stream: int, data: bytes, *, last: bool = False) -> bytes:
    return struct.pack("!II", stream, (1 if last else 0) << 24 | len(data)) + data


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bool, bytes]:
    """Stream (0 for a control frame), whether it is the last, data."""
    first, second = struct.unpack("!II", await reader.readexactly(8))
    data = await reader.readexactly(second & 0xFFFFFF)
    return (0 if first >> 31 else first), bool(second >> 24 & 1), data


def upgrading(then: Kubelet, heads: list[str] | None = None) -> Kubelet:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if heads is not None:
            heads.append(head)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
        await then(reader, writer)
        writer.close()

    return serve


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What comes in goes out in capitals; at its end, success."""
    while True:
        stream, last, data = await read_frame(reader)
        if stream != STDIN:
            continue
        writer.write(frame(STDOUT, data.upper()))
        if last:
            writer.write(frame(STDOUT, b"", last=True))
            writer.write(frame(ERROR, b'{"status":"Success"}') + frame(ERROR, b"", last=True))
            return


@asynccontextmanager
async def serving(kubelet: Kubelet, protocol: str, *, forward: bool) -> AsyncIterator[int]:
    """The port of an API server before this kubelet."""
    behind = await asyncio.start_server(kubelet, "127.0.0.1", 0)
    host, port = behind.sockets[0].getsockname()
    target = Target(host, port, "/exec/ns/pod/main?input=1", None)

    async def handle(request: Request) -> Response:
        async def run(client: UpgradedConnection) -> None:
            if forward:
                await port_forward.tunnel(client, request, target, protocol)
            else:
                await remote_command.translate(client, request, target, STREAMS)

        return Response(101, Tunnel(run))

    connections = http1.Connections(handle, clock=RealClock(), identify=lambda der: None)
    front = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0)
    try:
        async with asyncio.timeout(10):
            yield front.sockets[0].getsockname()[1]
    finally:
        front.close()
        behind.close()
        await connections.close(0.0)


@asynccontextmanager
async def streaming(kubelet: Kubelet, protocol: str) -> AsyncIterator[ClientConnection]:
    """A client's WebSocket for exec."""
    async with serving(kubelet, protocol, forward=False) as number:
        async with connect(f"ws://127.0.0.1:{number}/exec", subprotocols=[protocol]) as client:  # type: ignore[list-item]
            assert client.subprotocol == protocol
            yield client


@asynccontextmanager
async def forwarding(kubelet: Kubelet) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A client's WebSocket for port-forward; of another library, which takes upstream's name with its slash."""
    protocol = PORT_FORWARD_PREFIX + "portforward.k8s.io"
    async with serving(kubelet, protocol, forward=True) as number, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"http://127.0.0.1:{number}/portforward", protocols=[protocol]) as client:
            assert client.protocol == protocol
            yield client


def test_a_pipe_into_a_command_comes_to_its_end() -> None:
    heads: list[str] = []

    async def main() -> None:
        async with streaming(upgrading(shout, heads), REMOTE_COMMAND) as client:
            await client.send(b"\x00hello ")
            await client.send([b"\x00wor", b"ld"])
            await client.send(b"\xff\x00")
            said = [message async for message in client]
        out = b"".join(message[1:] for message in said if message[0] == 1)  # type: ignore[misc]
        assert out == b"HELLO WORLD"
        assert said[-1] == b'\x03{"status":"Success"}' and client.close_code == 1000

    asyncio.run(main())
    (head,) = heads
    assert head.startswith("POST /exec/ns/pod/main?input=1 HTTP/1.1\r\n")
    assert "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n" in head and "Upgrade: SPDY/3.1\r\n" in head


def test_a_kubelet_that_refuses_is_told_as_the_outcome() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"kind":"Status","message":"container not found (\\"main\\")"}'
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        writer.close()

    async def main() -> None:
        async with streaming(refuse, REMOTE_COMMAND) as client:
            message = await client.recv()
        assert isinstance(message, bytes) and message[0] == 3
        status = json.loads(message[1:])
        assert status["status"] == "Failure" and status["reason"] == "InternalError"
        assert status["message"].endswith('unable to upgrade connection: container not found ("main")')

    asyncio.run(main())


def test_a_client_that_leaves_ends_the_command() -> None:
    gone = asyncio.Event()

    async def wait_for_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        gone.set()

    async def main() -> None:
        async with streaming(upgrading(wait_for_end), REMOTE_COMMAND) as client:
            await client.send(b"\x00x")
            await client.close()
            await gone.wait()

    asyncio.run(main())


def test_a_ping_is_answered_while_a_command_is_silent() -> None:
    async def main() -> None:
        async with streaming(upgrading(shout), REMOTE_COMMAND) as client:
            await (await client.ping())

    asyncio.run(main())


def test_wrapped_spdy_is_unwrapped_byte_for_byte() -> None:
    heads: list[str] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)

    async def main() -> None:
        async with forwarding(upgrading(echo, heads)) as client:
            await client.send_bytes(b"\x80\x03anything")
            assert await client.receive_bytes() == b"\x80\x03anything"

    asyncio.run(main())
    assert "X-Stream-Protocol-Version: portforward.k8s.io\r\n" in heads[0]


def test_a_port_forward_that_is_refused_is_no_websocket() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno")

    async def main() -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with forwarding(refuse):
                pass
        assert caught.value.status == 500

    asyncio.run(main())
