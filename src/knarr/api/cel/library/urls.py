"""URLs: absolute ones, and absolute paths."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from knarr.api.cel.errors import EvaluationError
from knarr.api.cel.signatures import function
from knarr.api.cel.values import Opaque

__all__ = ["FUNCTIONS", "parse_url"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::(\d*))?")
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")


class URL(Opaque):
    """A parsed URL."""

    __slots__ = ("parts", "text")
    kind = "kubernetes.URL"

    def __init__(self, text: str, parts: SplitResult) -> None:
        self.text = text
        self.parts = parts

    def same(self, other: Any) -> bool:
        return isinstance(other, URL) and other.text == self.text

    @property
    def host(self) -> str:
        return self.parts.netloc.rpartition("@")[2]


def parse_url(text: str) -> URL:
    """Raises ``EvaluationError``."""
    problem = _problem(text)
    if problem:
        raise EvaluationError(f'URL parse error during conversion from string: parse "{text}": {problem}')
    return URL(text, urlsplit(text))


def _problem(text: str) -> str:
    if not text:
        return "empty url"
    if text == "*":
        return ""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        return "net/url: invalid control character in URL"
    scheme, colon, _ = text.partition(":")
    if not text.startswith("/") and not (colon and _SCHEME.fullmatch(scheme)):
        return "first path segment in URL cannot contain colon" if colon else "invalid URI for request"
    try:
        parts = urlsplit(text)
    except ValueError as error:
        return str(error)
    if not text.startswith("/") and not text[len(scheme) + 1 :].startswith("/"):
        # An opaque one: ``mailto:someone``.
        return ""
    host = _HOST.fullmatch(parts.netloc.rpartition("@")[2])
    if host is None:
        return f'invalid port ":{parts.netloc.partition(":")[2]}" after host'
    if " " in host[1]:
        return 'invalid character " " in host name'
    if escape := _BAD_ESCAPE.search(parts.path):
        return f'invalid URL escape "{parts.path[escape.start() : escape.start() + 3]}"'
    return ""


def _is_url(text: str) -> bool:
    return not _problem(text)


def _host_name(url: URL) -> str:
    match = _HOST.fullmatch(url.host)
    return match[1].strip("[]") if match else ""


def _port(url: URL) -> str:
    match = _HOST.fullmatch(url.host)
    return (match[2] or "") if match else ""


def _path(url: URL) -> str:
    return quote(url.parts.path, safe="/%:@!$&'()*+,;=-._~")


def _query(url: URL) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for key, value in parse_qsl(url.parts.query, keep_blank_values=True):
        result.setdefault(key, []).append(value)
    return result


FUNCTIONS = [
    function(parse_url, "url(string): kubernetes.URL"),
    function(_is_url, "isURL(string): bool"),
    function(lambda url: url.parts.scheme, "<kubernetes.URL>.getScheme(): string"),
    function(lambda url: url.host, "<kubernetes.URL>.getHost(): string"),
    function(_host_name, "<kubernetes.URL>.getHostname(): string"),
    function(_port, "<kubernetes.URL>.getPort(): string"),
    function(_path, "<kubernetes.URL>.getEscapedPath(): string"),
    function(_query, "<kubernetes.URL>.getQuery(): map(string, list(string))"),
]
