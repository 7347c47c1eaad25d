"""The client's connections, to a server on loopback that says exactly what its test tells it to, without TLS."""

import asyncio
from contextlib import ExitStack, asynccontextmanager
from unittest.mock import patch

import pytest

from knarr.client.transport import HttpTransport, TransportError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers each request of a connection with the next of ``answers``; None closes the connection instead."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.heads = []
        self.bodies = []
        self.connections = 0
        self.writers = []
        self.news = asyncio.Condition()
        self.gate = asyncio.Event()
        self.gate.set()

    async def asked(self, count):
        """Wait until so many requests are there."""
        async with self.news:
            await self.news.wait_for(lambda: len(self.heads) >= count)

    async def serve(self, reader, writer):
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next((line for line in head.split("\r\n") if line.startswith("Content-Length")), ":0").split(":")[1]
                self.bodies.append(await reader.readexactly(int(length)))
                async with self.news:
                    self.heads.append(head)
                    self.news.notify_all()
                await self.gate.wait()
                answer = self.answers.pop(0) if self.answers else OK
                if answer is None:
                    return
                for piece in answer if isinstance(answer, list) else [answer]:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if any(mark in answer for mark in (b"Connection: close", b"until the end", b"SSH")):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def served(*answers, prefix="", token=""):
    server = Server(*answers)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    client = HttpTransport(f"http://127.0.0.1:{port}{prefix}", token=token)
    try:
        async with asyncio.timeout(10):
            yield server, client
    finally:
        await client.close()
        server.gate.set()
        for writer in server.writers:
            writer.close()
        listening.close()
        await listening.wait_closed()


def scenario(*answers, limits=None, **options):
    """Run an async test on a loop of its own, against a server that gives these answers; ``limits`` of the client are set so meanwhile."""

    def decorate(test):
        def run():
            async def main():
                async with served(*answers, **options) as (server, client):
                    await test(server, client)

            with ExitStack() as stack:
                for name, value in (limits or {}).items():
                    stack.enter_context(patch(f"knarr.client.{name}", value))
                asyncio.run(main())

        run.__name__ = test.__name__
        return run

    return decorate


@scenario()
async def test_requests_one_after_the_other_share_a_connection(server, client):
    for _ in range(3):
        answer = await client.request("GET", "/livez")
        assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"ok", "2")
    assert server.connections == 1


@scenario(prefix="/clusters/one", token="abc")
async def test_a_request_carries_its_query_headers_identity_and_body(server, client):
    await client.request(
        "POST", "/api/v1/pods", query=[("labelSelector", "a in (b, c)")], headers={"User-Agent": "test"}, body=b"{}"
    )
    (head,) = server.heads
    first, *lines = head.strip().split("\r\n")
    assert first == "POST /clusters/one/api/v1/pods?labelSelector=a+in+%28b%2C+c%29 HTTP/1.1"
    assert {"User-Agent: test", "Authorization: Bearer abc", "Content-Length: 2"} < set(lines)
    assert server.bodies == [b"{}"]


@scenario()
async def test_a_header_s_value_cannot_become_another_header(server, client):
    for value in ("a\r\nX-Remote-User: admin", "a\nb", "\x00"):
        with pytest.raises(ValueError, match="must be one line"):
            await client.request("GET", "/livez", headers={"User-Agent": value})
    assert not server.heads


@scenario()
async def test_a_path_cannot_become_a_header(server, client):
    await client.request("GET", "/livez HTTP/1.1\r\nX-Remote-User: admin\r\n é%20")
    assert server.heads[0].startswith("GET /livez%20HTTP/1.1%0D%0AX-Remote-User:%20admin%0D%0A%20%C3%A9%20 HTTP/1.1\r\n")


@scenario(OK, None)
async def test_a_read_is_sent_again_when_the_kept_connection_was_closed_meanwhile(server, client):
    await client.request("GET", "/1")
    assert (await client.request("GET", "/2")).body == b"ok"
    assert server.connections == 2 and len(server.heads) == 3


@scenario(OK, None)
async def test_a_creation_is_never_sent_twice(server, client):
    await client.request("GET", "/1")
    with pytest.raises(TransportError, match="closed the connection"):
        await client.request("POST", "/2", body=b"{}")
    assert len(server.heads) == 2


@scenario(None, None)
async def test_a_new_connection_that_breaks_is_an_error_and_not_tried_for_ever(server, client):
    with pytest.raises(TransportError):
        await client.request("GET", "/1")
    assert server.connections == 1


@scenario(
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nuntil the end",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nd\r\nuntil the end",
    b"SSH-2.0-OpenSSH\r\n",
)
async def test_an_answer_that_is_not_whole_is_an_error(server, client):
    for _ in range(3):
        with pytest.raises(TransportError):
            await client.request("GET", "/1")


@scenario(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
async def test_an_answer_without_a_length_ends_with_its_connection(server, client):
    assert (await client.request("GET", "/1")).body == b"until the end"
    assert (await client.request("GET", "/2")).body == b"ok"
    assert server.connections == 2


@scenario(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
async def test_a_connection_that_the_server_ends_after_its_answer_is_not_used_again(server, client):
    assert (await client.request("GET", "/1")).body == b"ok"
    assert (await client.request("POST", "/2", body=b"{}")).body == b"ok"
    assert server.connections == 2


@scenario(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
async def test_an_answer_to_head_ends_with_its_head(server, client):
    answer = await client.request("HEAD", "/1")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "1000")
    assert (await client.request("GET", "/2")).body == b"ok"


@scenario(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK)
async def test_a_word_before_the_answer_is_not_the_answer(server, client):
    answer = await client.request("GET", "/1")
    assert (answer.status, answer.body, "Link" in answer.headers) == (200, b"ok", False)


@scenario(limits={"transport.REQUEST_TIMEOUT_S": 0.05})
async def test_a_silent_server_is_not_waited_for_for_ever(server, client):
    server.gate.clear()
    with pytest.raises(TransportError, match=r"no answer within 0\.05 s"):
        await client.request("GET", "/1")


def test_a_server_that_is_not_there_is_an_error_of_the_transport():
    async def main():
        await HttpTransport("http://127.0.0.1:1").request("GET", "/livez")

    with pytest.raises(TransportError, match=r"^GET http://127\.0\.0\.1:1/livez: .*127\.0\.0\.1"):
        asyncio.run(main())


@scenario()
async def test_who_stops_waiting_leaves_no_connection_with_half_an_answer(server, client):
    server.gate.clear()
    task = asyncio.ensure_future(client.request("GET", "/1"))
    await server.asked(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.gate.set()
    assert (await client.request("GET", "/2")).body == b"ok"
    assert server.connections == 2


@scenario(limits={"http1.MAX_CONNECTIONS": 3})
async def test_no_more_connections_are_opened_than_the_limit_and_the_others_wait(server, client):
    server.gate.clear()
    tasks = [asyncio.ensure_future(client.request("GET", f"/{number}")) for number in range(8)]
    await server.asked(3)
    await asyncio.sleep(0.02)
    assert (server.connections, len(server.heads)) == (3, 3)
    server.gate.set()
    assert [answer.body for answer in await asyncio.gather(*tasks)] == [b"ok"] * 8
    assert server.connections == 3


@scenario(limits={"http1.KEEPALIVE_S": 0.02})
async def test_connections_that_are_not_used_are_closed_and_nothing_runs_on(server, client):
    await asyncio.gather(*(client.request("GET", "/1") for _ in range(4)))
    assert server.connections == 4
    await asyncio.sleep(0.1)
    connections = client._connections
    assert (connections._idle, connections._sweeping) == ([], False)
    assert (await client.request("GET", "/2")).body == b"ok"


@scenario([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n"])
async def test_a_stream_gives_what_comes_as_it_comes(server, client):
    async with client.stream("GET", "/watch", query=[("watch", "true")]) as answer:
        assert answer.status == 200
        assert b"".join([chunk async for chunk in answer.chunks]) == b"onetwo"


@scenario(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"3\r\none\r\nuntil the end")
async def test_a_stream_that_breaks_says_so(server, client):
    with pytest.raises(TransportError):
        async with client.stream("GET", "/watch") as answer:
            assert await anext(answer.chunks) == b"one"
            await anext(answer.chunks)


PIECES = [b"2710\r\n" + b"x" * 10_000 + b"\r\n"] * 2_000


@scenario(
    [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *PIECES, b"0\r\n\r\n"],
    limits={"http1.STREAM_BUFFER_BYTES": 10_000},
)
async def test_a_slow_reader_of_a_stream_holds_up_the_server_and_loses_nothing(server, client):
    async with client.stream("GET", "/watch") as answer:
        await asyncio.sleep(0.1)
        (connection,) = client._connections._busy
        # Nothing is read once more than the limit is there, and one read brings at most 256 KiB.
        assert connection._buffered < 10_000 + 2**18
        assert sum([len(chunk) async for chunk in answer.chunks]) == len(PIECES) * 10_000


@scenario()
async def test_closing_the_client_ends_what_is_under_way(server, client):
    server.gate.clear()
    task = asyncio.ensure_future(client.request("POST", "/1", body=b"{}"))
    await server.asked(1)
    await client.close()
    with pytest.raises(TransportError, match="the client was closed"):
        await task
