"""A connection to the API server, over a real socket on loopback, without TLS."""

import asyncio
import zlib
from contextlib import asynccontextmanager

import pytest

from knarr.apiserver import http1
from knarr.apiserver.decoding import MAX_BODY_BYTES
from knarr.apiserver.request import SLICE_BYTES, Pieces, Response, Tunnel
from knarr.kit.clock import RealClock


class Clock(RealClock):
    """The machine's, moved on by hand."""

    ahead_s = 0.0

    def monotonic_s(self):
        return super().monotonic_s() + self.ahead_s


class Server:
    """Answers what its test tells it to, and remembers what it was asked."""

    def __init__(self):
        self.clock = Clock()
        self.asked = []
        self.answer = self.echo
        self.connections = http1.Connections(self.handle, clock=self.clock, identify=lambda der: None)

    async def handle(self, request):
        self.asked.append(request)
        return await self.answer(request)

    async def echo(self, request):
        return Response(body=f"{request.method} {request.path} {len(request.body)}".encode(), content_type="text/plain")


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def head(self):
        return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def answer(self):
        head = await self.head()
        length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
        return head, await self.reader.readexactly(length)

    def send(self, data):
        self.writer.write(data)

    async def chunks(self):
        """The body of an answer whose head has been read, sent in chunks."""
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return body

    async def rest(self):
        return await self.reader.read()


@asynccontextmanager
async def served():
    server = Server()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(server.connections, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    try:
        async with asyncio.timeout(10):
            yield server, Client(reader, writer)
    finally:
        writer.close()
        listening.close()
        await server.connections.close(0.0)


def scenario(test):
    """Run an async test on a loop of its own."""

    def run():
        async def main():
            async with served() as (server, client):
                await test(server, client)

        asyncio.run(main())

    run.__name__ = test.__name__
    return run


@scenario
async def test_requests_sent_ahead_are_answered_in_their_order(server, client):
    async def slow_first(request):
        await asyncio.sleep(0.05 if request.path == "/1" else 0)
        return await server.echo(request)

    server.answer = slow_first
    count = 3 * http1.MAX_WAITING
    client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(1, count)))
    for number in range(1, count):
        _, body = await client.answer()
        assert body == f"GET /{number} 0".encode()


@scenario
async def test_a_query_and_an_escaped_path_are_read(server, client):
    client.send(b"GET /api/v1/a%20b?labelSelector=a%3Db&watch HTTP/1.1\r\nHost: x\r\nX-Two: 1\r\nx-two: 2\r\n\r\n")
    await client.answer()
    (request,) = server.asked
    assert request.path == "/api/v1/a b"
    assert request.raw_path == "/api/v1/a%20b?labelSelector=a%3Db&watch"
    assert request.query.get("labelSelector") == "a=b" and request.query.flag("watch")
    assert request.headers["x-two"] == "1,2"


@scenario
async def test_a_body_in_chunks_is_read_whole(server, client):
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await asyncio.sleep(0.01)
    client.send(b"2\r\nde\r\n0\r\n\r\n")
    assert (await client.answer())[1] == b"POST / 5"
    assert server.asked[0].body == b"abcde"


@scenario
async def test_a_client_that_asks_first_is_told_to_send_its_body(server, client):
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert (await client.head()).startswith("HTTP/1.1 100 ")
    client.send(b"ab")
    assert (await client.answer())[1] == b"POST / 2"


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_gets_a_status_and_the_end(announced):
    @scenario
    async def run(server, client):
        size = MAX_BODY_BYTES + 1
        if announced:
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        else:
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % size)
            client.send(b"x" * size)
        head, body = await client.answer()
        assert head.startswith("HTTP/1.1 413 ") and b'"reason":"RequestEntityTooLarge"' in body
        assert await client.rest() == b""
        assert not server.asked

    run()


@scenario
async def test_what_is_no_http_is_refused(server, client):
    client.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    assert (await client.rest()).startswith(b"HTTP/1.1 400 Bad Request\r\n")


@scenario
async def test_a_head_over_the_limit_is_refused(server, client):
    client.send(b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1000) for n in range(80)))
    assert (await client.rest()).startswith(b"HTTP/1.1 431 ")
    assert not server.asked


@scenario
async def test_a_connection_ends_when_the_client_wants_it_to(server, client):
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _ = await client.answer()
    assert "Connection: close" in head
    assert await client.rest() == b""


@scenario
async def test_head_brings_the_length_and_no_body(server, client):
    client.send(b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
    assert "Content-Length: 9\r\n" in await client.head()
    assert (await client.answer())[1] == b"GET /b 0"


@scenario
async def test_large_answers_are_compressed_for_those_who_take_it(server, client):
    async def large(request):
        return Response(body=b"x" * http1.GZIP_FROM_BYTES)

    server.answer = large
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
    assert "Content-Encoding: gzip" in await client.head()
    assert zlib.decompress(await client.chunks(), 31) == b"x" * http1.GZIP_FROM_BYTES


@scenario
async def test_a_large_answer_in_pieces_comes_whole_and_lets_others_in_between(server, client):
    items = [b"item %d" % number for number in range(100_000)]
    turns = 0

    async def large(request):
        return Response(body=Pieces(b"[", items, separator=b",", tail=b"]"))

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    server.answer = large
    beside = asyncio.ensure_future(others())
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    _, body = await client.answer()
    beside.cancel()
    assert body == b"[" + b",".join(items) + b"]"
    assert turns > len(body) // SLICE_BYTES
    client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
    assert f"Content-Length: {len(body)}\r\n" in await client.head()
    assert "Content-Encoding: gzip" in await client.head()
    assert zlib.decompress(await client.chunks(), 31) == body


@scenario
async def test_a_watch_comes_in_chunks_and_ends_when_the_client_leaves(server, client):
    ended = asyncio.Event()

    async def events():
        try:
            yield b"one"
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def watch(request):
        return Response(body=events())

    server.answer = watch
    client.send(b"GET /?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert "Transfer-Encoding: chunked" in await client.head()
    assert await client.reader.readexactly(8) == b"3\r\none\r\n"
    client.writer.close()
    await ended.wait()


@scenario
async def test_a_write_is_finished_when_its_client_leaves(server, client):
    done = asyncio.Event()
    begun = asyncio.Event()

    async def slow(request):
        begun.set()
        await asyncio.sleep(0.05)
        done.set()
        return Response(body=b"{}")

    server.answer = slow
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    await begun.wait()
    client.writer.transport.abort()
    await done.wait()


@scenario
async def test_an_upgraded_connection_belongs_to_its_tunnel(server, client):
    async def upgrade(request):
        async def run(connection):
            await connection.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            while data := await connection.read():
                await connection.write(data.upper())
            connection.close()

        return Response(body=Tunnel(run))

    server.answer = upgrade
    client.send(b"POST /exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\nab")
    assert (await client.head()).startswith("HTTP/1.1 101 ")
    assert await client.reader.readexactly(2) == b"AB"
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert await client.reader.readexactly(18) == b"GET / HTTP/1.1\r\n\r\n"


@scenario
async def test_a_refused_upgrade_is_answered_as_any_request(server, client):
    client.send(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert (await client.answer())[1] == b"GET /a 0"
    assert await client.rest() == b""


@pytest.mark.parametrize(
    ("sent", "after_s"),
    [
        (b"", http1.HEAD_TIMEOUT_S),
        (b"GET / HTTP/1.1\r\nHost", http1.HEAD_TIMEOUT_S),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab", http1.BODY_TIMEOUT_S),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", http1.KEEPALIVE_S),
    ],
)
def test_a_connection_that_says_nothing_more_is_ended(sent, after_s):
    @scenario
    async def run(server, client):
        client.send(sent)
        await asyncio.sleep(0.05)
        server.clock.ahead_s = after_s - 1
        server.connections.close_expired()
        assert len(server.connections.open) == 1
        server.clock.ahead_s = after_s + 1
        server.connections.close_expired()
        await client.rest()
        assert not server.connections.open

    run()


@scenario
async def test_a_header_cannot_be_smuggled_into_an_answer(server, client):
    async def quoting(request):
        return Response(body=b"", headers={"Warning": '299 - "a\r\nX-Evil: 1"'})

    server.answer = quoting
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _ = await client.answer()
    assert "\r\nX-Evil" not in head and 'Warning: 299 - "a  X-Evil: 1"' in head


@scenario
async def test_a_server_that_ends_answers_what_was_asked(server, client):
    async def slow(request):
        await asyncio.sleep(0.05)
        return Response(body=b"done")

    server.answer = slow
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.02)
    await server.connections.close(5.0)
    assert (await client.answer())[1] == b"done"
    assert await client.rest() == b""
