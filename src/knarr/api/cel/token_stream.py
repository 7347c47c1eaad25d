"""The tokens of an expression, taken one by one, and what is said when another one was expected.

The words are those of upstream's (generated) parser, for what people get wrong: something missing, something too much, an end too early.

Neighbour: ``parser``.
"""

from __future__ import annotations

from knarr.api.cel.errors import Issue
from knarr.api.cel.lexer import END, Token
from knarr.api.cel.limits import MAX_NESTING

__all__ = ["BEGINS", "START", "START_ENTRY", "START_ITEM", "START_OPTIONAL", "START_OR_CLOSE", "Stop", "TokenStream", "too_deep"]

_VALUES = "'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
#: What may begin an expression, as upstream lists it.
START = "{'[', '{', '(', '.', '-', '!', " + _VALUES
START_OPTIONAL = "{'[', '{', '(', '.', '-', '!', '?', " + _VALUES
START_ITEM = "{'[', ']', '{', '(', '.', ',', '-', '!', '?', " + _VALUES
START_ENTRY = "{'[', '{', '}', '(', '.', ',', '-', '!', '?', " + _VALUES
START_OR_CLOSE = "{'[', '{', '(', ')', '.', '-', '!', " + _VALUES
BEGINS = frozenset({"[", "{", "(", ".", "-", "!", "true", "false", "null", "float", "int", "uint", "string", "bytes", "name"})


def too_deep() -> Issue:
    return Issue(-1, f"expression recursion limit exceeded: {MAX_NESTING}")


class Stop(Exception):
    """The parser cannot go on."""


class TokenStream:
    """Where the parser stands, and how deep. Faults go to ``issues``; the first ends the parsing (``Stop``)."""

    def __init__(self, tokens: list[Token], issues: list[Issue]) -> None:
        self.tokens = tokens
        self.issues = issues
        self.at = 0
        self.depth = 0

    @property
    def now(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def fail(self, token: Token, message: str) -> Stop:
        self.issues.append(Issue(token.position, message))
        return Stop()

    def syntax(self, message: str) -> Stop:
        return self.fail(self.now, f"Syntax error: {message}")

    def mismatch(self, expected: str) -> Stop:
        return self.syntax(f"mismatched input '{self.now.text}' expecting {expected}")

    def expect(self, kind: str) -> Token:
        if self.now.kind == kind:
            return self.take()
        following = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else None
        if following is not None and following.kind == kind:
            raise self.syntax(f"extraneous input '{self.now.text}' expecting '{kind}'")
        if kind == ")":
            raise self.syntax(f"missing '{kind}' at '{self.now.text}'")
        raise self.mismatch(f"'{kind}'")

    def end(self) -> None:
        """Nothing may follow."""
        if self.now.kind == END:
            return
        lone = self.tokens[self.at + 1].kind == END
        word = "extraneous" if lone else "mismatched"
        raise self.syntax(f"{word} input '{self.now.text}' expecting {END}")

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_NESTING:
            self.issues.append(too_deep())
            raise Stop

    def optional(self) -> bool:
        if self.now.kind == "?":
            self.take()
            return True
        return False

    def separated(self, close: str) -> None:
        if self.now.kind == ",":
            self.take()
        elif self.now.kind != close:
            following = self.tokens[self.at + 1].kind if self.now.kind != END else END
            word = "extraneous" if following in (close, ",") else "mismatched"
            raise self.syntax(f"{word} input '{self.now.text}' expecting {{'{close}', ','}}")
