"""What the proxies to pods, services and nodes do to a request and its answer, beyond handing them on.

The server behind is told where it is seen (``X-Forwarded-Uri``, ``X-Forwarded-For``) and the client's own ``Host``, as upstream does; like
upstream it says no ``X-Forwarded-Host`` or ``-Proto``, which the server knows from ``Host``. Its answer loses what it allows to
other origins, and its redirects and the links of its pages lead back through the proxy. What is not HTML is streamed as it
comes; so is HTML, rewritten on the way.

Upstream's counterpart is ``apimachinery/pkg/util/proxy``. On purpose unlike it: a page is not gathered before it is sent on, and
``deflate`` may be wrapped in zlib, as HTTP has it. Aggregated API servers get none of this.

Neighbours: ``node_proxy`` calls this; ``links`` says where a link leads.

Limit: ``MAX_PLAIN_BYTES`` of a compressed page are unpacked at once, however small they were packed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from knarr.apiserver.request import Request, Response
from knarr.apiserver.subresources.forwarding import Target
from knarr.apiserver.subresources.links import LinkRewriter, Links

if TYPE_CHECKING:
    from multidict import CIMultiDict

__all__ = ["forwarded_headers", "led_back", "links_of", "quoted_path", "slash_added"]

MAX_PLAIN_BYTES = 64 * 1024
_DEFAULT_PORTS = {False: 80, True: 443}
#: What a server allows to other origins, it does not allow for this one.
_CORS = frozenset(f"access-control-allow-{what}" for what in ("credentials", "headers", "methods", "origin"))
_GZIP, _ZLIB, _RAW = 31, 15, -15


def quoted_path(path: str) -> str:
    """A decoded path as it stands in a URL."""
    return quote(path, safe="/:@$&+,;=~", errors="surrogateescape")


def links_of(request: Request, target: Target) -> Links:
    """The links of a page that ``target`` has answered ``request`` with."""
    own = request.path.removesuffix(request.info.rest)
    # Two slashes in front would make the first name a host's.
    prefix = "/" + "/".join(part for part in own.split("/") if part)
    hosts = {target.authority}
    if target.port == _DEFAULT_PORTS[target.tls is not None]:
        hosts.add(target.authority.rpartition(":")[0])
    # Unlike elsewhere in a URL, quotes and ampersands must not stand in HTML.
    return Links(quote(prefix, safe="/:", errors="surrogateescape"), frozenset(hosts), request.headers.get("host", ""))


def slash_added(request: Request, links: Links) -> Response | None:
    """The redirect for a page asked for without the slash at its end, whose relative links would lead astray; None for any
    other request.
    """
    if request.info.rest or request.method not in ("GET", "HEAD"):
        return None
    _, marked, query = request.raw_path.partition("?")
    location = f"{links.prefix}/{marked}{query}"
    return Response(301, b"", "text/plain; charset=utf-8", {"Location": location})


def forwarded_headers(request: Request, links: Links, path: str) -> list[tuple[str, str]]:
    """What the server behind is told besides the client's own headers; ``path`` is where it is asked."""
    headers = [("X-Forwarded-Uri", links.prefix + path)]
    if links.front:
        headers.append(("Host", links.front))
    try:
        client = str(ipaddress.ip_address(request.remote))
    except ValueError:
        return headers
    before = request.headers.get("x-forwarded-for", "")
    return [*headers, ("X-Forwarded-For", f"{before}, {client}" if before else client)]


def led_back(response: Response, links: Links) -> Response:
    """The answer of a ``Forwarder`` as the client is to see it."""
    headers = cast("CIMultiDict[str]", response.headers)
    for name in _CORS:
        headers.popall(name, None)
    if "Location" in headers:
        headers["Location"] = links.location(headers["Location"])
        return Response(response.status, response.body, response.content_type, headers)
    coding = headers.get("Content-Encoding", "").strip().lower()
    body = response.body
    media_type = response.content_type.partition(";")[0].strip().lower()
    if media_type == "text/html" and coding in ("", "gzip", "deflate"):
        body = _rewritten(cast("AsyncIterator[bytes]", body), LinkRewriter(links.through), coding)
    return Response(response.status, body, response.content_type, headers)


async def _rewritten(body: AsyncIterator[bytes], rewriter: LinkRewriter, coding: str) -> AsyncIterator[bytes]:
    packing = _Packing(coding)
    try:
        async for chunk in body:
            for plain in packing.unpacked(chunk):
                yield packing.packed(rewriter.feed(plain))
                # Little can unpack to much; others have their turn.
                await asyncio.sleep(0)
        yield packing.packed(rewriter.end(), last=True)
    finally:
        await cast("Any", body).aclose()


class _Packing:
    """A content coding, undone and done again. What breaks off or is no such coding raises ``zlib.error``."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._wbits = _GZIP
        self._unpacker: Any = None
        self._packer: Any = None

    def unpacked(self, chunk: bytes) -> Iterator[bytes]:
        """The plain text, piece by piece."""
        if not self._coding:
            yield chunk
            return
        more = bool(chunk)
        while more:
            if self._unpacker is None:
                self._begin(chunk)
            piece: bytes = self._unpacker.decompress(chunk, MAX_PLAIN_BYTES)
            chunk = self._unpacker.unconsumed_tail
            # A full piece may have been all that was sent, and still not all that it says.
            more = bool(chunk) or len(piece) == MAX_PLAIN_BYTES
            if self._unpacker.eof:
                # gzip may be of several members.
                chunk, self._unpacker = self._unpacker.unused_data, None
                more = bool(chunk)
            yield piece

    def _begin(self, chunk: bytes) -> None:
        if self._coding == "deflate":
            self._wbits = _ZLIB if chunk[0] & 0x0F == zlib.DEFLATED else _RAW
        self._unpacker = zlib.decompressobj(self._wbits)
        if self._packer is None:
            self._packer = zlib.compressobj(wbits=self._wbits)

    def packed(self, plain: bytes, *, last: bool = False) -> bytes:
        if self._packer is None:
            # Nothing is packed, or nothing has come.
            return plain
        data: bytes = self._packer.compress(plain)
        if not last:
            return data
        if self._unpacker is not None:
            raise zlib.error("the page breaks off")
        end: bytes = self._packer.flush()
        return data + end
