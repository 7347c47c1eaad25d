"""What a client is given of a kubelet's answer to a question for a log: the text, or what was wrong as a Status.

A client that asks for a WebSocket gets the text inside one (``streaming.reading``); what goes wrong is told before it is opened.

Upstream's counterpart is ``pkg/registry/core/pod/rest/log.go`` with ``generic/rest`` below ``apiserver/pkg/registry``. Neighbour:
``node_proxy`` asks the kubelet.

Limit: ``MAX_REFUSAL_BYTES`` of what a kubelet says against it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from knarr.api.errors import refused_by_backend
from knarr.apiserver.request import Request, Response, Tunnel
from knarr.apiserver.streaming.offers import reading_protocol, wants_websocket

__all__ = ["told"]

#: As upstream.
MAX_REFUSAL_BYTES = 50_000
_SUCCESS = range(200, 207)


async def told(request: Request, answer: Response) -> Response:
    """The answer to ``request``, after the kubelet's. Raises ``StatusError`` as the kubelet refuses."""
    stream = cast("AsyncIterator[bytes]", answer.body)
    if answer.status not in _SUCCESS:
        said = (await _beginning(stream)).decode(errors="replace")
        raise refused_by_backend(answer.status, "pods/log", request.info.name, said)
    if not (wants_websocket(request) and request.can_tunnel):
        return Response(200, stream, "text/plain")
    protocol = reading_protocol(request)
    if protocol is None:
        await cast("Any", stream).aclose()
        return Response(403, b"", "text/plain")
    # Its library takes a while to import, and the server should start without it.
    from knarr.apiserver.streaming import reading

    return Response(101, Tunnel(lambda client: reading.read(client, request, protocol, stream)))


async def _beginning(stream: AsyncIterator[bytes]) -> bytes:
    said = bytearray()
    async with aclosing(cast("Any", stream)) as chunks:
        async for chunk in chunks:
            said += chunk
            if len(said) >= MAX_REFUSAL_BYTES:
                break
    return bytes(said[:MAX_REFUSAL_BYTES])
