"""Text to tokens: names, numbers, strings with their escapes, signs.

Faults are collected in the words of upstream's (generated) lexer, which skips what it cannot read and goes on. Neighbour: ``parser``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from knarr.api.cel.errors import Issue

__all__ = ["END", "Token", "tokens_of"]

#: The kind of the token behind the last.
END = "<EOF>"

_PATTERN = re.compile(
    r"""
    (?P<space>[ \t\r\n\f]+|//[^\n]*)
  | (?P<string>(?:[rR][bB]?|[bB][rR]?)?(?:\"\"\"|'''|"|'))
  | (?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
  | (?P<uint>(?:0x[0-9a-fA-F]+|\d+)[uU])
  | (?P<int>0x[0-9a-fA-F]+|\d+)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<sign>==|!=|<=|>=|&&|\|\||[\[\](){}.,:?!<>+\-*/%])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:([abfnrtv\\?\"'`])|x([0-9a-fA-F]{2})|X([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2}))")
_SINGLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "?": "?", '"': '"', "'": "'", "`": "`"}
_WORDS = frozenset({"true", "false", "null", "in"})


@dataclass(frozen=True, slots=True)
class Token:
    """``kind`` is ``name``, ``int``, ``uint``, ``float``, ``string``, ``bytes``, or the sign or word itself."""

    kind: str
    text: str
    position: int
    value: Any = None


def tokens_of(source: str, issues: list[Issue]) -> list[Token]:
    """Every token, and one of kind ``END``. Faults go to ``issues``."""
    found: list[Token] = []
    at, length = 0, len(source)
    while at < length:
        match = _PATTERN.match(source, at)
        if match is None:
            # A sign of which only the first half is there takes the next character with it.
            wide = 2 if source[at] in "=&|" else 1
            issues.append(_unread(at, source[at : at + wide]))
            at += wide
            continue
        kind = match.lastgroup
        text = match.group()
        if kind == "string":
            at = _string(source, match, found, issues)
            continue
        at = match.end()
        if kind == "space":
            continue
        if kind in ("sign",) or (kind == "name" and text in _WORDS):
            kind = text
        assert kind is not None
        found.append(Token(kind, text, match.start()))
    found.append(Token(END, END, length))
    return found


def _unread(at: int, text: str) -> Issue:
    return Issue(at, f"Syntax error: token recognition error at: '{text}'")


def _string(source: str, match: re.Match[str], found: list[Token], issues: list[Issue]) -> int:
    """Read one string literal; returns where to go on."""
    opening = match.group()
    prefix = opening.rstrip("\"'").lower()
    quote = opening[len(prefix) :]
    raw, binary = "r" in prefix, "b" in prefix
    start = at = match.end()
    while True:
        if source.startswith(quote, at):
            break
        if at >= len(source) or (len(quote) == 1 and source[at] in "\r\n"):
            issues.append(_unread(match.start(), source[match.start() : at]))
            return at
        if source[at] == "\\" and not raw:
            escape = _ESCAPE.match(source, at)
            if escape is None:
                issues.append(_unread(match.start(), source[match.start() : at + 2]))
                return at + 2
            at = escape.end()
        else:
            at += 1
    body = source[start:at]
    text = source[match.start() : at + len(quote)]
    value: Any
    try:
        value = _bytes(body, raw) if binary else body if raw else _ESCAPE.sub(_unescape, body)
    except (ValueError, OverflowError):
        issues.append(Issue(match.start(), f"invalid {'bytes' if binary else 'string'} literal"))
        value = b"" if binary else ""
    found.append(Token("bytes" if binary else "string", text, match.start(), value))
    return at + len(quote)


def _unescape(match: re.Match[str]) -> str:
    single, *codes, octal = match.groups()
    if single:
        return _SINGLE[single]
    code = int(octal, 8) if octal else int(next(code for code in codes if code), 16)
    if 0xD800 <= code <= 0xDFFF:
        raise ValueError("a surrogate is no character")
    return chr(code)


def _bytes(body: str, raw: bool) -> bytes:
    if raw:
        return body.encode()
    out, at = bytearray(), 0
    for match in _ESCAPE.finditer(body):
        out += body[at : match.start()].encode()
        single, low, high, short, long, octal = match.groups()
        if low or high or octal:
            # In bytes these stand for the byte, not for the character.
            out.append(int(octal, 8) if octal else int(low or high, 16))
        else:
            out += (_SINGLE[single] if single else chr(int(short or long, 16))).encode()
        at = match.end()
    return bytes(out + body[at:].encode())
