"""API servers behind the cluster's own, inside the test's process: functions in place of servers.

``InProcessBackends`` is what an ``InProcessCluster`` is given as ``backends``. A request arrives as it would over TLS: resolved to
an endpoint of the service, with the headers that say who asks.

Neighbours: ``apiserver.aggregation.backends`` has the seam; ``testing.webhooks`` does the same for webhooks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from knarr.api.errors import bad_request, internal_error
from knarr.apiserver.request import Request, Response
from knarr.apiserver.subresources.forwarding import Target

__all__ = ["BackendCall", "InProcessBackends"]


@dataclass(slots=True)
class BackendCall:
    """One request as the server behind sees it; ``headers`` keeps repeated ones."""

    method: str
    target: Target
    headers: list[tuple[str, str]]
    body: bytes

    def said(self, name: str) -> list[str]:
        """The values of a header."""
        return [value for held, value in self.headers if held.lower() == name.lower()]


Handler = Callable[[BackendCall], Awaitable[Response]]


class InProcessBackends:
    """Handlers by server name (``web.default.svc``)."""

    def __init__(self) -> None:
        self.calls: list[BackendCall] = []
        self._handlers: dict[str, Handler] = {}

    def serve(self, server_name: str, handler: Handler) -> None:
        self._handlers[server_name] = handler

    def stop(self, server_name: str) -> None:
        """From now on nobody answers there."""
        del self._handlers[server_name]

    async def send(
        self, request: Request, target: Target, *, method: str = "", added: Iterable[tuple[str, str]] = ()
    ) -> Response:
        handler = self._handlers.get(target.server_name)
        if handler is None:
            raise internal_error(f"error dialing backend: dial tcp {target.host}:{target.port}: connection refused")
        call = BackendCall(
            method or request.method, target, [*request.headers.items(), *added], request.body
        )
        self.calls.append(call)
        return await handler(call)

    def tunnel(self, request: Request, target: Target, *, added: Iterable[tuple[str, str]] = ()) -> Response:
        raise bad_request("an upgrade needs a socket")

    async def close(self) -> None:
        return None
