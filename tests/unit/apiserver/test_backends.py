"""Nobody but the API server tells an aggregated server who asks, however the client writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from knarr.api.apiregistration import v1 as apiregistration
from knarr.apiserver.aggregation.backends import Backends
from knarr.apiserver.request import Query, Request, Response, UserInfo
from knarr.apiserver.subresources.forwarding import Target


class Somewhere:
    """Every service is at one address."""

    def webhook(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        return "10.0.0.1", port


class Listening:
    """Keeps what it is to send."""

    def __init__(self) -> None:
        self.lines: list[tuple[bytes, bytes]] = []
        self.headers: dict[str, str] = {}
        self.added: list[tuple[str, str]] = []

    async def send(
        self, request: Request, target: Target, *, method: str = "", added: Iterable[tuple[str, str]] = ()
    ) -> Response:
        self.lines, self.headers, self.added = list(request.header_lines), dict(request.headers), list(added)
        return Response()

    def tunnel(self, request: Request, target: Target, *, added: Iterable[tuple[str, str]] = ()) -> Response:
        raise AssertionError("nobody asked for one")

    async def close(self) -> None:
        pass


def test_what_a_client_says_of_itself_is_not_handed_on() -> None:
    lines = [
        (b"Authorization", b"Bearer secret"),
        (b"X-Remote-Group", b"system:masters"),
        (b"x-REMOTE-uid", b"0"),
        (b"X-Remote-Extra-Scopes", b"all"),
        (b"X-Tag", b"one"),
        (b"X-Tag", b"two"),
    ]
    headers: dict[str, str] = {}
    for name, value in lines:
        lower = name.decode().lower()
        headers[lower] = f"{headers[lower]},{value.decode()}" if lower in headers else value.decode()
    request = Request("GET", "/apis/a.b/v1", Query(), headers, header_lines=lines, user=UserInfo("ann", ("team",)))
    spec = apiregistration.APIServiceSpec(
        service=apiregistration.ServiceReference(name="a", namespace="b", port=443), insecureSkipTLSVerify=True
    )
    sender = Listening()
    backends = Backends(sender, Somewhere())  # type: ignore[arg-type]
    asyncio.run(backends.forward(apiregistration.APIService(spec=spec), request))
    assert sender.lines == [(b"X-Tag", b"one"), (b"X-Tag", b"two")]
    assert sender.headers == {"x-tag": "one,two"}
    assert sender.added == [("X-Remote-User", "ann"), ("X-Remote-Group", "team")]
