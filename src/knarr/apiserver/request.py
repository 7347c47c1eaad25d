"""What the server handles: requests, who sends them, what they ask for, and answers.

Nothing here but a tunnel knows HTTP machinery, so that the same server stands behind a TLS port and behind
the in-process
transport.
Upstream's counterpart of ``RequestInfo`` is ``apiserver/pkg/endpoints/request``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from knarr.kit.tunnel import UpgradedConnection

__all__ = ["FrontProxyPeer", "Pieces", "Query", "Request", "RequestInfo", "Response", "Tunnel", "UserInfo", "no_such_page", "parse_request_info"]


@dataclass(frozen=True, slots=True)
class UserInfo:
    """An identity, as authentication established it."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS = UserInfo("system:anonymous", ("system:unauthenticated",))


class Query:
    """The query string: the first value of a name counts, as in Go's ``url.Values.Get``."""

    __slots__ = ("_values",)

    def __init__(self, pairs: list[tuple[str, str]] | tuple[tuple[str, str], ...] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for key, value in pairs:
            self._values.setdefault(key, []).append(value)

    def get(self, name: str, default: str = "") -> str:
        values = self._values.get(name)
        return values[0] if values else default

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def flag(self, name: str) -> bool:
        """True for ``true``, ``1``, anything else and a name without a value, but for ``false`` (also ``False``, as
        Python clients write it) and ``0``; as upstream parses booleans in queries.
        """
        if name not in self._values:
            return False
        return self._values[name][0].lower() not in ("false", "0")

    def pairs(self) -> list[tuple[str, str]]:
        return [(key, value) for key, values in self._values.items() for value in values]


#: Takes a connection over, and writes even the status line.
TunnelRunner = Callable[[UpgradedConnection], Awaitable[None]]


@dataclass(slots=True)
class Tunnel:
    """An answer that takes the connection over; the runner writes even the status line."""

    run: TunnelRunner


class FrontProxyPeer:
    """Who shows the front proxy's certificate: nobody by itself, but it may say who asks."""


@dataclass(slots=True)
class Request:
    """One request. Header names are lower case; ``path`` is percent-decoded, ``raw_path`` is as sent, with
    the query.
    """

    method: str
    path: str
    query: Query
    headers: Mapping[str, str]
    body: bytes = b""
    raw_path: str = ""
    remote: str = ""
    peer: UserInfo | None = None
    """The identity in a verified client certificate, or of an in-process client."""
    user: UserInfo = ANONYMOUS
    info: RequestInfo = field(default_factory=lambda: _NOT_READ)
    warnings: list[str] = field(default_factory=list)
    can_tunnel: bool = False
    header_lines: Sequence[tuple[bytes, bytes]] = ()
    """Every header line as it came, where the request came over a connection; who hands it on passes each by itself."""
    impersonation: list[tuple[str, str]] = field(default_factory=list)
    """The lines that say whom the request acts as; a group may have a comma in its name, so none are joined."""
    front_proxy: list[tuple[str, str]] | None = None
    """On the front proxy's connection, the lines in which it says who asks; None on any other."""
    requester: UserInfo | None = None
    """Who sent the request, where it acts as somebody else."""
    audit_annotations: dict[str, str] = field(default_factory=dict)
    task: asyncio.Task[Any] | None = None
    """What answers the request, where it is known without asking."""

    def raw_headers(self) -> list[tuple[str, str]]:
        """Every header line, letter for byte, as a tunnel passes them on."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.header_lines]


#: About how much of a large answer is put together at once.
SLICE_BYTES = 256 * 1024


class Pieces:
    """A large body as the pieces it is made of, put together slice by slice as it is sent: a list of 10,000 objects is
    never one string, and others get their turn between slices.
    """

    __slots__ = ("_head", "_items", "_separator", "_tail", "size")

    def __init__(self, head: bytes, items: Sequence[bytes], *, separator: bytes, tail: bytes) -> None:
        self._head = head
        self._items = items
        self._separator = separator
        self._tail = tail
        between = len(separator) * max(len(items) - 1, 0)
        self.size = len(head) + sum(map(len, items)) + between + len(tail)

    def slices(self) -> Iterator[bytes]:
        items, separator = self._items, self._separator
        step = max(1, SLICE_BYTES * len(items) // max(self.size, 1))
        yield self._head
        for start in range(0, len(items), step):
            part = separator.join(items[start : start + step])
            yield separator + part if start else part
        yield self._tail

    def whole(self) -> bytes:
        return b"".join(self.slices())


@dataclass(slots=True)
class Response:
    """An answer: whole, in pieces, streamed in chunks, or a tunnel."""

    status: int = 200
    body: bytes | Pieces | AsyncIterator[bytes] | Tunnel = b""
    content_type: str = "application/json"
    headers: MutableMapping[str, str] = field(default_factory=dict)
    """What another server answered may hold several of one name: then it is a multidict."""


@dataclass(slots=True)
class RequestInfo:
    """What a path asks for, in the terms authorization uses."""

    verb: str = ""
    is_resource: bool = False
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    field_selector: str = ""
    """Of a list, a watch or a deletion of many: authorization may depend on it."""
    rest: str = ""
    """What follows the sub-resource (the path behind ``proxy``), with its leading slash."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


#: Of a request that has not been looked at yet.
_NOT_READ: RequestInfo = RequestInfo()

_VERBS = {
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
    "GET": "get",
    "HEAD": "get",
}

#: Sub-resources whose path goes on behind them.
_OPEN_ENDED = {"proxy"}
#: Sub-resources of a namespace; anything else behind ``/namespaces/x/`` is a resource inside it.
_NAMESPACE_SUBRESOURCES = {"status", "finalize"}


#: Readings that are remembered, of paths up to a length: what is read again and again is few paths.
MAX_READINGS, MAX_REMEMBERED_CHARS = 4096, 256


def parse_request_info(method: str, path: str, query: Query) -> RequestInfo:
    """Read a path. Anything that is not a resource request has only a verb (the lower-case method). What comes back may
    be shared and is not to be changed.
    """
    if len(query) == 0 and len(path) <= MAX_REMEMBERED_CHARS:
        return _remembered(method, path)
    return _read(method, path, query)


@lru_cache(maxsize=MAX_READINGS)
def _remembered(method: str, path: str) -> RequestInfo:
    return _read(method, path, Query())


def _read(method: str, path: str, query: Query) -> RequestInfo:
    parts = [part for part in path.split("/") if part]
    info = RequestInfo(verb=method.lower())
    if len(parts) >= 3 and parts[0] == "api":
        info.version = parts[1]
        rest = parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        info.group, info.version = parts[1], parts[2]
        rest = parts[3:]
    else:
        return info
    info.is_resource = True
    info.verb = _VERBS.get(method, method.lower())
    if rest[0] == "watch" and len(rest) > 1:
        # The deprecated /watch/ prefix is still served by upstream.
        rest = rest[1:]
        info.verb = "watch"
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
        info.namespace = rest[1]
        rest = rest[2:]
    info.resource = rest[0]
    if len(rest) > 1:
        info.name = rest[1]
    if len(rest) > 2:
        info.subresource = rest[2]
        if rest[2] in _OPEN_ENDED:
            info.rest = _behind(path, len(parts) - len(rest) + 3)
    if info.resource == "namespaces" and info.name:
        info.namespace = info.name
    if not info.name:
        info.verb = {"get": "list", "delete": "deletecollection"}.get(info.verb, info.verb)
    if info.verb in ("list", "get") and (query.flag("watch")) and method == "GET":
        info.verb = "watch"
    if info.verb in _SELECTING:
        selector = query.get("fieldSelector")
        if selector:
            info.field_selector = selector
            if not info.name and "metadata.name" in selector and info.verb != "deletecollection":
                info.name = _selected_name(selector)
    return info


_SELECTING = {"list", "watch", "deletecollection"}


def _selected_name(selector: str) -> str:
    """The one name a selector admits: whoever may read that object may also list or watch it alone."""
    for part in selector.split(","):
        field, equals, value = part.strip().partition("=")
        if field == "metadata.name" and equals:
            name = value.removeprefix("=")
            return "" if not name or "/" in name or "%" in name or name in (".", "..") else name
    return ""


def _behind(path: str, depth: int) -> str:
    """The part of ``path`` behind so many names, trailing slashes kept: a proxied server may care."""
    found = re.match(rf"(?:/*[^/]+){{{depth}}}", path)
    assert found is not None, "as many names have been read"
    return path[found.end() :]


def no_such_page() -> Response:
    """Upstream tells in words of Go's own server that nothing at all is served there; only within a group it serves does it answer
    with a Status.
    """
    headers = {"X-Content-Type-Options": "nosniff"}
    return Response(404, b"404 page not found\n", "text/plain; charset=utf-8", headers)
