"""What can go wrong between a client and its server, on purpose and repeatably.

``FaultyTransport`` wraps any transport. Its ``Faults`` say how likely each mishap is; a ``Chance`` with a seed decides, so that the same seed breaks the same requests.
A ``cut`` transport reaches nothing until it is mended, as behind a broken link.

Neighbours: ``client.transport`` defines the seam; ``cluster`` puts this between a component and the server. Upstream has no counterpart.

Invariant: with ``Faults()`` everything passes unchanged.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from knarr.api import codec
from knarr.api.errors import (
    StatusError,
    conflict,
    expired,
    internal_error,
    service_unavailable,
    timeout,
    too_many_requests,
)
from knarr.client.transport import Query, Response, StreamResponse, Transport, TransportError
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock

__all__ = ["Faults", "FaultyTransport"]

#: Methods that change something: only these can meet a conflict.
WRITES = ("PUT", "PATCH", "DELETE")


@dataclass(slots=True)
class Faults:
    """Each a probability from 0 to 1 for every request or watch, but for the durations."""

    refuse: float = 0.0
    """The connection is refused: nothing reaches the server."""
    lose_answer: float = 0.0
    """The server does what was asked, and the answer never arrives."""
    time_out: float = 0.0
    """The server does what was asked, and the answer is a 504 that does not say so."""
    crash: float = 0.0
    """``on_crash`` is called, before the request or after it was carried out; whoever asked never goes on."""
    conflict: float = 0.0
    """409 to a PUT, PATCH or DELETE that was not carried out."""
    expire: float = 0.0
    """410 to a list that names a revision, and inside a watch, which then ends."""
    fail: float = 0.0
    """500, 503 or 429, and nothing was done."""
    delay: float = 0.0
    """The request waits up to ``delay_s`` before it is sent."""
    delay_s: float = 2.0
    drop_watch: float = 0.0
    """A watch breaks within ``drop_after_s`` of its start."""
    drop_after_s: float = 10.0


@dataclass(slots=True)
class FaultyTransport:
    """``inner`` with faults. ``counts`` says how often each happened."""

    inner: Transport
    faults: Faults
    clock: Clock
    chance: Chance
    cut: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    on_crash: Callable[[], None] | None = None

    async def request(
        self, method: str, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Response:
        await self._perhaps_crash()
        await self._before(method, path)
        refused = self._refusal(method, path, query)
        if refused is not None:
            return refused
        answer = await self.inner.request(method, path, query=query, headers=headers, body=body)
        await self._perhaps_crash()
        if self.cut or self._happens("lose_answer", self.faults.lose_answer):
            raise TransportError(f"{method} {path}: the connection broke before the answer came")
        if self._happens("time_out", self.faults.time_out):
            return _answer(timeout("injected: the request did not complete within the requested timeout"))
        return answer

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[StreamResponse]:
        await self._before(method, path)
        refused = self._refusal(method, path, ())
        if refused is not None:
            yield StreamResponse(refused.status, refused.headers, _once(refused.body))
            return
        asked = list(query)
        end = b""
        if self._happens("drop_watch", self.faults.drop_watch):
            # The server itself ends it: a stream left open on this side would still be held on the other.
            seconds = max(1, round(self.chance.uniform(0, self.faults.drop_after_s)))
            asked = [(key, value) for key, value in asked if key != "timeoutSeconds"] + [("timeoutSeconds", str(seconds))]
            if self._happens("expire", self.faults.expire):
                end = b'{"type":"ERROR","object":%s}\n' % codec.encode(expired().status)
        async with self.inner.stream(method, path, query=asked, headers=headers) as answer:
            yield StreamResponse(answer.status, answer.headers, self._chunks(answer.chunks, end))

    async def close(self) -> None:
        await self.inner.close()

    async def _before(self, method: str, path: str) -> None:
        if self._happens("delay", self.faults.delay):
            await self.clock.sleep(self.chance.uniform(0, self.faults.delay_s))
        if self.cut or self._happens("refuse", self.faults.refuse):
            raise TransportError(f"{method} {path}: connection refused")

    async def _perhaps_crash(self) -> None:
        """A process that dies writes nothing more, not even on its way out."""
        if self.on_crash is None or self.cut or not self._happens("crash", self.faults.crash / 2):
            return
        self.cut = True
        self.on_crash()
        await asyncio.Event().wait()

    def _refusal(self, method: str, path: str, query: Query) -> Response | None:
        """An answer in the server's place, if one is due."""
        if method in WRITES and self._happens("conflict", self.faults.conflict):
            return _answer(conflict("", "objects", path.rsplit("/", 1)[-1]))
        if any(key in ("continue", "resourceVersion") for key, _ in query) and self._happens("expire", self.faults.expire):
            return _answer(expired("The provided continue parameter is too old to display a consistent list result."))
        if self._happens("fail", self.faults.fail):
            choices = [internal_error("injected"), service_unavailable("injected"), too_many_requests("injected")]
            return _answer(choices[self.chance.index(len(choices))])
        return None

    async def _chunks(self, chunks: AsyncIterator[bytes], end: bytes) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            if self.cut:
                raise TransportError("the connection broke")
            yield chunk
        if end:
            yield end

    def _happens(self, name: str, probability: float) -> bool:
        if probability <= 0 or self.chance.uniform(0, 1) >= probability:
            return False
        self.counts[name] += 1
        return True


def _answer(error: StatusError) -> Response:
    return Response(error.code, {"Content-Type": "application/json"}, codec.encode(error.status))


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
