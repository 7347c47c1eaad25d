"""Questions about names outside the cluster: asked of the resolvers that a ``resolv.conf`` names.

Resolvers are asked in order, one that did not answer last time comes last. Over UDP one socket a resolver is
kept, and questions are told apart by numbers drawn at random; over TCP each question gets a connection.
Upstream counterpart: CoreDNS' forward plugin. Neighbours: ``dns`` asks here what ``zone`` does not own.

Invariants: an answer counts only with the number and the question it was asked with; no question waits longer
than ``ASK_TIMEOUT_S`` a resolver.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from knarr.kit.chance import Chance
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.network.dns_message import rewrite_id
from knarr.network.families import family_of

__all__ = ["Forwarder", "nameservers"]

ASK_TIMEOUT_S = 2.0
#: resolv.conf names no more than three resolvers that count.
MAX_RESOLVERS = 3
#: Questions under way at once; more are answered with a failure.
MAX_QUESTIONS = 1_000
#: How often the file is looked at again.
REREAD_INTERVAL_S = 5.0

log = get_logger("dns")


def nameservers(text: str) -> list[str]:
    """The resolvers a ``resolv.conf`` names."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and family_of(words[1]) is not None:
            found.append(words[1])
    return found[:MAX_RESOLVERS]


class _Asked(asyncio.DatagramProtocol):
    """The socket to one resolver and the questions that wait at it."""

    def __init__(self) -> None:
        self.waiting: dict[int, tuple[bytes, asyncio.Future[bytes]]] = {}

    def datagram_received(self, data: bytes, addr: object) -> None:
        if len(data) < 12 or not data[2] & 0x80:
            return
        question, answer = self.waiting.get(int.from_bytes(data[:2], "big"), (b"", None))
        # The question comes back with the answer: a forger would have to know it.
        if answer is not None and not answer.done() and data[12 : 12 + len(question)].lower() == question:
            answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        for _, answer in self.waiting.values():
            if not answer.done():
                answer.set_exception(exc)


class Forwarder:
    """Asks the resolvers of one ``resolv.conf``; ``own`` addresses are left out, or a question would go in
    circles.
    """

    def __init__(
        self,
        resolv_conf: Path,
        *,
        clock: Clock,
        chance: Chance,
        own: frozenset[str] = frozenset(),
        port: int = 53,
    ) -> None:
        self._path = resolv_conf
        self._clock = clock
        self._chance = chance
        self._own = own
        self._port = port
        self._read_at_s = -REREAD_INTERVAL_S
        self._resolvers: list[str] = []
        self._sockets: dict[str, tuple[asyncio.DatagramTransport, _Asked]] = {}
        self._under_way = 0

    async def ask(self, packet: bytes, question_end: int, *, tcp: bool) -> bytes | None:
        """The answer to a packet whose question ends at ``question_end``; None if nobody answers."""
        if self._under_way >= MAX_QUESTIONS:
            return None
        self._under_way += 1
        try:
            for resolver in list(self._current()):
                try:
                    async with asyncio.timeout(ASK_TIMEOUT_S):
                        if tcp:
                            return await self._ask_tcp(resolver, packet)
                        return await self._ask_udp(resolver, packet, question_end)
                except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                    log.debug("resolver did not answer", resolver=resolver, error=repr(error))
                    self._demote(resolver)
            return None
        finally:
            self._under_way -= 1

    def close(self) -> None:
        for transport, _ in self._sockets.values():
            transport.close()
        self._sockets.clear()

    def _current(self) -> list[str]:
        now_s = self._clock.monotonic_s()
        if now_s - self._read_at_s >= REREAD_INTERVAL_S:
            self._read_at_s = now_s
            try:
                listed = nameservers(self._path.read_text())
            except OSError as error:
                log.warning("resolv.conf cannot be read", path=self._path, error=error)
                listed = []
            listed = [resolver for resolver in listed if resolver not in self._own]
            if set(listed) != set(self._resolvers):
                self._resolvers = listed
        return self._resolvers

    def _demote(self, resolver: str) -> None:
        if resolver in self._resolvers:
            self._resolvers = [other for other in self._resolvers if other != resolver] + [resolver]

    async def _ask_udp(self, resolver: str, packet: bytes, question_end: int) -> bytes:
        transport, asked = await self._socket(resolver)
        number = self._chance.index(1 << 16)
        while number in asked.waiting:
            number = self._chance.index(1 << 16)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        asked.waiting[number] = (packet[12:question_end].lower(), answer)
        try:
            transport.sendto(rewrite_id(packet, number))
            return rewrite_id(await answer, int.from_bytes(packet[:2], "big"))
        finally:
            del asked.waiting[number]

    async def _socket(self, resolver: str) -> tuple[asyncio.DatagramTransport, _Asked]:
        held = self._sockets.get(resolver)
        if held is None or held[0].is_closing():
            loop = asyncio.get_running_loop()
            address = (resolver, self._port)
            held = self._sockets[resolver] = await loop.create_datagram_endpoint(_Asked, remote_addr=address)
        return held

    async def _ask_tcp(self, resolver: str, packet: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(resolver, self._port)
        try:
            writer.write(len(packet).to_bytes(2, "big") + packet)
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = await reader.readexactly(size)
        finally:
            writer.close()
        if answer[:2] != packet[:2]:
            raise OSError("the answer has another question's number")
        return answer
