"""The links of a proxied page, led back through the proxy.

A page of a pod says ``<a href="/next">`` and means its own server; a browser that got it through the API server would ask the API
server. ``Links`` says where a URL is to lead, ``LinkRewriter`` finds the URLs in HTML: bytes in, bytes out, as they come.

Upstream's counterpart is ``apimachinery/pkg/util/proxy/transport.go``; elements and attributes are those it knows. On purpose unlike it:
only the links change, where upstream writes every tag anew; a URL of another scheme (``javascript:/x/``) is no link; a tag
that never ends is passed on.

Neighbours: ``proxied`` calls this for answers of pods, services and nodes.

Limit: ``MAX_TAG_BYTES``; behind a longer tag nothing is rewritten. A script that hides a script in a comment is read to the first
``</script>``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

__all__ = ["LinkRewriter", "Links"]

MAX_TAG_BYTES = 1024 * 1024
#: An unfinished tag up to this size is looked at again with every chunk, a longer one each time it has doubled.
_LOOK_AGAIN_BYTES = 4096

_LINKS = {
    b"a": (b"href",),
    b"applet": (b"codebase",),
    b"area": (b"href",),
    b"audio": (b"src",),
    b"base": (b"href",),
    b"blockquote": (b"cite",),
    b"body": (b"background",),
    b"button": (b"formaction",),
    b"command": (b"icon",),
    b"del": (b"cite",),
    b"embed": (b"src",),
    b"form": (b"action",),
    b"frame": (b"longdesc", b"src"),
    b"head": (b"profile",),
    b"html": (b"manifest",),
    b"iframe": (b"longdesc", b"src"),
    b"img": (b"longdesc", b"src", b"usemap"),
    b"input": (b"src", b"usemap", b"formaction"),
    b"ins": (b"cite",),
    b"link": (b"href",),
    b"object": (b"classid", b"codebase", b"data", b"usemap"),
    b"q": (b"cite",),
    b"script": (b"src",),
    b"source": (b"src",),
    b"video": (b"poster", b"src"),
}
#: What stands in these is text, whatever it looks like.
_TEXT_ONLY = (b"iframe", b"noembed", b"noframes", b"noscript", b"script", b"style", b"textarea", b"title", b"xmp")

# Python before 3.11.4 loses groups inside possessive repetitions, so these are none.
_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*+):)?(?://([^/?#]*+)|(?!//))(?=/)")

_SPACE = rb"[ \n\r\t\f]"
_ATTRIBUTE_TEXT = rb"""
    (?P<name> = [^ \n\r\t\f/>=]*+ | [^ \n\r\t\f/>=]++ )
    (?: %(s)s*+ = %(s)s*+ (?: "(?P<double>[^"]*+)" | '(?P<single>[^']*+)' | (?P<bare>(?!["'])[^ \n\r\t\f>]++) | (?=>) )
      | (?! %(s)s*+ = ) )
""".replace(b"%(s)s", _SPACE)
_ATTRIBUTE = re.compile(_ATTRIBUTE_TEXT, re.VERBOSE)
#: A whole tag, from ``<`` to ``>``; no match while its end has not come.
_TAG = re.compile(
    rb"</?([A-Za-z][^ \n\r\t\f/>]*+)(?:[ \n\r\t\f/]++|" + re.sub(rb"\?P<\w+>", b"?:", _ATTRIBUTE_TEXT) + rb")*+>",
    re.VERBOSE,
)
#: What ends a text that is skipped.
_TEXT_ENDS = {name: re.compile(b"</" + name + b"[ \n\r\t\f/>]", re.IGNORECASE) for name in _TEXT_ONLY}
_COMMENT_END, _ANGLE, _NEVER = re.compile(rb"--!?>"), re.compile(rb">"), re.compile(rb"(?!)")
_EMPTY_COMMENTS = (b"<!-->", b"<!--->")


@dataclass(frozen=True, slots=True)
class Links:
    """Where links lead: ``prefix`` is the proxy's own path without a slash at its end, percent-encoded; ``hosts`` are the
    names by which the page's server goes, ``front`` is the one by which the client reached the proxy.
    """

    prefix: str
    hosts: frozenset[str]
    front: str

    def through(self, url: str) -> str:
        """The URL by which a client reaches it; the same where it is relative, leads elsewhere or through the proxy already."""
        found = _URL.match(url)
        if found is None:
            return url
        scheme, host = found[1] or "", found[2] or ""
        if scheme.lower() not in ("", "http", "https") or (host and host not in self.hosts and host != self.front):
            return url
        origin = found[0] if host and host == self.front else ""
        path = url[found.end() :]
        if path.startswith(self.prefix) and path[len(self.prefix) :][:1] in ("", "/", "?", "#"):
            return origin + path
        return origin + self.prefix + path

    def location(self, url: str) -> str:
        """The same for a ``Location`` header, which has no room for everything that HTML has."""
        return quote(self.through(url), safe="!#$%&'()*+,/:;=?@[]~", errors="surrogateescape")


class LinkRewriter:
    """One page. ``feed`` it, then ``end`` it; both give what can be passed on."""

    def __init__(self, through: Callable[[str], str]) -> None:
        self._through = through
        self._held = b""
        self._look_again_at = 0
        #: What ends the text that is being skipped, and how many bytes of it may have come.
        self._skipping: re.Pattern[bytes] | None = None
        self._tail = 0
        self._given_up = False

    def feed(self, data: bytes) -> bytes:
        if self._given_up:
            return data
        self._held += data
        if len(self._held) < self._look_again_at:
            return b""
        out: list[bytes] = []
        self._held = self._held[self._read(out) :]
        size = len(self._held)
        if size > MAX_TAG_BYTES:
            self._given_up = True
            out.append(self.end())
        self._look_again_at = min(2 * size, MAX_TAG_BYTES + 1) if size > _LOOK_AGAIN_BYTES else 0
        return b"".join(out)

    def end(self) -> bytes:
        rest, self._held = self._held, b""
        return rest

    def _read(self, out: list[bytes]) -> int:
        """How far what is held could be read."""
        held, position = self._held, 0
        while position < len(held):
            if self._skipping is not None:
                end = self._skipped(position)
            elif held[position : position + 1] != b"<":
                end = held.find(b"<", position)
                end = len(held) if end < 0 else end
            else:
                end = self._markup(position, out)
                if end < 0:
                    break
                position = end
                continue
            out.append(held[position:end])
            if end == position and self._skipping is not None:
                break
            position = end
        return position

    def _skipped(self, start: int) -> int:
        """Where the text that is skipped ends, as far as it has come."""
        assert self._skipping is not None
        found = self._skipping.search(self._held, start)
        if found is None:
            return max(start, len(self._held) - self._tail)
        self._skipping = None
        # A raw text's end tag is read as any other.
        return found.start() if self._held.startswith(b"</", found.start()) else found.end()

    def _markup(self, start: int, out: list[bytes]) -> int:
        """Pass on what begins with ``<`` at ``start``; its end, or -1 where more must come first."""
        held = self._held
        head = held[start : start + 6]
        if len(head) < 2 or (len(head) < 3 and head == b"</"):
            return -1
        first = head[1:3].removeprefix(b"/")[:1]
        if first.isalpha() and first.isascii():
            tag = _TAG.match(held, start)
            if tag is None:
                return -1
            out.append(tag[0] if head[1:2] == b"/" else self._start_tag(tag))
            return tag.end()
        if head[1:2] not in (b"!", b"?", b"/"):
            out.append(b"<")
            return start + 1
        return self._declaration(start, head, out)

    def _declaration(self, start: int, head: bytes, out: list[bytes]) -> int:
        """A comment, or what reads as one."""
        empty = next((form for form in _EMPTY_COMMENTS if head.startswith(form)), None)
        if empty is None and len(head) < 6 and any(form.startswith(head) for form in _EMPTY_COMMENTS):
            return -1
        opened = empty or (b"<!--" if head.startswith(b"<!--") else head[:2])
        out.append(opened)
        if empty is None:
            self._skipping, self._tail = (_COMMENT_END, 3) if opened == b"<!--" else (_ANGLE, 0)
        return start + len(opened)

    def _start_tag(self, tag: re.Match[bytes]) -> bytes:
        name = tag[1].lower()
        if name in _TEXT_ONLY:
            self._skipping, self._tail = _TEXT_ENDS[name], len(name) + 2
        elif name == b"plaintext":
            self._skipping, self._tail = _NEVER, 0
        wanted = _LINKS.get(name)
        return tag[0] if wanted is None else self._with_links(tag[0], len(tag[1]) + 1, wanted)

    def _with_links(self, tag: bytes, start: int, wanted: tuple[bytes, ...]) -> bytes:
        parts: list[bytes] = []
        done = 0
        for found in _ATTRIBUTE.finditer(tag, start):
            form = found.lastgroup
            assert form is not None, "an attribute has a name"
            # The last group is the name where there is no value.
            if form == "name" or found["name"].lower() not in wanted:
                continue
            value = found[form].decode("latin-1")
            parts += [tag[done : found.start(form)], self._through(value).encode("latin-1")]
            done = found.end(form)
        return b"".join([*parts, tag[done:]])
