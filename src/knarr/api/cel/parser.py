"""Tokens to a tree, macros included.

The grammar is that of the CEL specification with optional syntax (``.?``, ``[?``, ``{?``). Faults are told in the words of upstream's
(generated) parser for what people get wrong: something missing, something too much, an end too early. Only the first is told.

Neighbours: ``lexer`` before it, ``checker`` after.
"""

from __future__ import annotations

import math

from knarr.api.cel.errors import Issue
from knarr.api.cel.lexer import END, Token, tokens_of
from knarr.api.cel.limits import MAX_EXPRESSION_CHARACTERS, MAX_NESTING
from knarr.api.cel.macros import MacroError, expand
from knarr.api.cel.syntax import (
    Call,
    Entry,
    Ident,
    ListLiteral,
    Literal,
    Logic,
    MapLiteral,
    Message,
    Node,
    Select,
)
from knarr.api.cel.types import BOOL, BYTES, DOUBLE, INT, NULL, STRING, UINT
from knarr.api.cel.values import INT_MAX, UINT_MAX, UInt

__all__ = ["SyntaxFault", "parse"]

RESERVED = frozenset(
    ["as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace", "return", "var", "void", "while"]
)
_VALUES = "'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
#: What may begin an expression, as upstream lists it.
_START = "{'[', '{', '(', '.', '-', '!', " + _VALUES
_START_OPTIONAL = "{'[', '{', '(', '.', '-', '!', '?', " + _VALUES
_START_ITEM = "{'[', ']', '{', '(', '.', ',', '-', '!', '?', " + _VALUES
_START_ENTRY = "{'[', '{', '}', '(', '.', ',', '-', '!', '?', " + _VALUES
_START_OR_CLOSE = "{'[', '{', '(', ')', '.', '-', '!', " + _VALUES
_BEGINS = frozenset({"[", "{", "(", ".", "-", "!", "true", "false", "null", "float", "int", "uint", "string", "bytes", "name"})
_RELATIONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
_SUMS = frozenset({"+", "-"})
_PRODUCTS = frozenset({"*", "/", "%"})


class SyntaxFault(Exception):
    """The text is no expression."""

    def __init__(self, issues: list[Issue]) -> None:
        super().__init__(issues[0].message)
        self.issues = issues


def parse(source: str) -> Node:
    """The tree of an expression. Raises ``SyntaxFault``."""
    if len(source) > MAX_EXPRESSION_CHARACTERS:
        text = f"expression code point size exceeds limit: size: {len(source)}, limit {MAX_EXPRESSION_CHARACTERS}"
        raise SyntaxFault([Issue(-1, text)])
    issues: list[Issue] = []
    parser = _Parser(tokens_of(source, issues), issues)
    try:
        node = parser.expression()
        parser.end()
    except _Stop:
        raise SyntaxFault(issues) from None
    except RecursionError:
        raise SyntaxFault([*issues, _too_deep()]) from None
    if issues:
        raise SyntaxFault(issues)
    return node


def _too_deep() -> Issue:
    return Issue(-1, f"expression recursion limit exceeded: {MAX_NESTING}")


class _Stop(Exception):
    """The parser cannot go on."""


class _Parser:
    def __init__(self, tokens: list[Token], issues: list[Issue]) -> None:
        self._tokens = tokens
        self._issues = issues
        self._at = 0
        self._depth = 0

    @property
    def _now(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _fail(self, token: Token, message: str) -> _Stop:
        self._issues.append(Issue(token.position, message))
        return _Stop()

    def _syntax(self, message: str) -> _Stop:
        return self._fail(self._now, f"Syntax error: {message}")

    def _mismatch(self, expected: str) -> _Stop:
        return self._syntax(f"mismatched input '{self._now.text}' expecting {expected}")

    def _expect(self, kind: str) -> Token:
        if self._now.kind == kind:
            return self._take()
        following = self._tokens[self._at + 1] if self._at + 1 < len(self._tokens) else None
        if following is not None and following.kind == kind:
            raise self._syntax(f"extraneous input '{self._now.text}' expecting '{kind}'")
        if kind == ")":
            raise self._syntax(f"missing '{kind}' at '{self._now.text}'")
        raise self._mismatch(f"'{kind}'")

    def end(self) -> None:
        """Nothing may follow."""
        if self._now.kind == END:
            return
        lone = self._tokens[self._at + 1].kind == END
        word = "extraneous" if lone else "mismatched"
        raise self._syntax(f"{word} input '{self._now.text}' expecting {END}")

    def expression(self) -> Node:
        self._deeper()
        node = self._either()
        if self._now.kind == "?":
            sign = self._take()
            then = self._either()
            self._expect(":")
            node = Call(sign.position, "_?_:_", [node, then, self.expression()])
        self._depth -= 1
        return node

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_NESTING:
            self._issues.append(_too_deep())
            raise _Stop

    def _either(self) -> Node:
        terms, signs = [self._both()], []
        while self._now.kind == "||":
            signs.append(self._take().position)
            terms.append(self._both())
        return Logic(signs[0], "||", terms, signs) if signs else terms[0]

    def _both(self) -> Node:
        terms, signs = [self._binary(0)], []
        while self._now.kind == "&&":
            signs.append(self._take().position)
            terms.append(self._binary(0))
        return Logic(signs[0], "&&", terms, signs) if signs else terms[0]

    def _binary(self, level: int) -> Node:
        """Relations, sums and products: each a chain of the next."""
        signs = (_RELATIONS, _SUMS, _PRODUCTS)[level]
        node = self._binary(level + 1) if level < 2 else self._unary()
        length = 0
        while self._now.kind in signs:
            sign = self._take()
            length += 1
            if length > MAX_NESTING:
                self._issues.append(_too_deep())
                raise _Stop
            right = self._binary(level + 1) if level < 2 else self._unary()
            name = "@in" if sign.kind == "in" else f"_{sign.kind}_"
            node = Call(sign.position, name, [node, right])
        return node

    def _unary(self) -> Node:
        sign = self._now
        if sign.kind not in ("!", "-"):
            return self._member()
        count = 0
        while self._now.kind == sign.kind:
            self._take()
            count += 1
        if sign.kind == "-" and count == 1 and self._now.kind in ("int", "float"):
            return self._member(negative=sign)
        operand = self._member() if self._now.kind not in ("!", "-") else self._unary()
        return operand if count % 2 == 0 else Call(sign.position, f"{sign.kind}_", [operand])

    def _member(self, *, negative: Token | None = None) -> Node:
        node = self._primary(negative)
        length = 0
        while self._now.kind in (".", "["):
            length += 1
            if length > MAX_NESTING:
                self._issues.append(_too_deep())
                raise _Stop
            sign = self._take()
            optional = self._now.kind == "?"
            if optional:
                self._take()
            node = self._select(node, sign, optional) if sign.kind == "." else self._index(node, sign, optional)
        return node

    def _select(self, operand: Node, sign: Token, optional: bool) -> Node:
        name = self._now
        if name.kind != "name":
            raise self._syntax(f"no viable alternative at input '.{'' if name.kind == END else name.text}'")
        self._take()
        if self._now.kind == "(" and not optional:
            opening = self._take()
            return self._call(opening, name.text, self._arguments(), operand)
        return Select(sign.position, operand, name.text, optional=optional)

    def _index(self, operand: Node, sign: Token, optional: bool) -> Node:
        if self._now.kind not in _BEGINS:
            raise self._mismatch(_START if optional else _START_OPTIONAL)
        key = self.expression()
        self._expect("]")
        return Call(sign.position, "_[?_]" if optional else "_[_]", [operand, key])

    def _arguments(self) -> list[Node]:
        if self._now.kind == ")":
            self._take()
            return []
        if self._now.kind not in _BEGINS:
            raise self._mismatch(_START_OR_CLOSE)
        found = [self.expression()]
        while self._now.kind == ",":
            self._take()
            found.append(self.expression())
        self._expect(")")
        return found

    def _call(self, opening: Token, name: str, args: list[Node], target: Node | None) -> Node:
        try:
            macro = expand(opening.position, name, args, target)
        except MacroError as error:
            self._issues.append(Issue(error.position, str(error)))
            return Literal(opening.position, None, NULL)
        return macro or Call(opening.position, name, args, target)

    def _primary(self, negative: Token | None) -> Node:
        token = self._now
        match token.kind:
            case "int" | "uint" | "float":
                self._take()
                return self._number(token, negative)
            case "string" | "bytes":
                self._take()
                return Literal(token.position, token.value, STRING if token.kind == "string" else BYTES)
            case "true" | "false":
                self._take()
                return Literal(token.position, token.kind == "true", BOOL)
            case "null":
                self._take()
                return Literal(token.position, None, NULL)
            case "(":
                self._take()
                node = self.expression()
                self._expect(")")
                return node
            case "[":
                return self._list(self._take())
            case "{":
                return self._map(self._take())
            case "." | "name":
                return self._name()
        following = self._tokens[self._at + 1].kind if token.kind != END else END
        if following in _BEGINS:
            raise self._syntax(f"extraneous input '{token.text}' expecting {_START}")
        raise self._mismatch(_START)

    def _number(self, token: Token, negative: Token | None) -> Node:
        position = negative.position if negative else token.position
        sign = -1 if negative else 1
        if token.kind == "float":
            value = sign * float(token.text)
            if math.isinf(value):
                self._issues.append(Issue(position, "invalid double literal"))
            return Literal(position, value, DOUBLE)
        digits = token.text.rstrip("uU")
        number = sign * (int(digits, 16) if digits.startswith("0x") else int(digits))
        if token.kind == "uint":
            if number > UINT_MAX:
                self._issues.append(Issue(position, "invalid uint literal"))
            return Literal(position, UInt(number), UINT)
        if not -INT_MAX - 1 <= number <= INT_MAX:
            self._issues.append(Issue(position, "invalid int literal"))
        return Literal(position, number, INT)

    def _name(self) -> Node:
        first = self._now
        if first.kind == ".":
            # A leading dot only says that the name is not looked up in a container, and there are none.
            self._take()
        token = self._now
        if token.kind != "name":
            raise self._syntax(f"no viable alternative at input '.{'' if token.kind == END else token.text}'")
        self._take()
        if token.text in RESERVED:
            self._issues.append(Issue(token.position, f"reserved identifier: {token.text}"))
        if self._now.kind == "(":
            opening = self._take()
            return self._call(opening, token.text, self._arguments(), None)
        name = self._message_name(token)
        if name is not None:
            return self._message(self._tokens[self._at - 1], name)
        return Ident(first.position, token.text)

    def _message_name(self, first: Token) -> str | None:
        """``Object.spec`` in front of a brace, taken; None, and nothing taken, if there is no brace."""
        at, parts = self._at, [first.text]
        while self._tokens[at].kind == "." and self._tokens[at + 1].kind == "name":
            parts.append(self._tokens[at + 1].text)
            at += 2
        if self._tokens[at].kind != "{":
            return None
        self._at = at + 1
        return ".".join(parts)

    def _message(self, opening: Token, name: str) -> Node:
        fields: list[tuple[int, str, Node, bool]] = []
        while self._now.kind != "}":
            optional = self._optional()
            field = self._now
            if field.kind != "name":
                raise self._mismatch("{'}', ',', '\\u003F', IDENTIFIER}")
            self._take()
            colon = self._expect(":")
            fields.append((colon.position, field.text, self.expression(), optional))
            self._separated("}")
        self._take()
        return Message(opening.position, name, fields)

    def _optional(self) -> bool:
        if self._now.kind == "?":
            self._take()
            return True
        return False

    def _separated(self, close: str) -> None:
        if self._now.kind == ",":
            self._take()
        elif self._now.kind != close:
            following = self._tokens[self._at + 1].kind if self._now.kind != END else END
            word = "extraneous" if following in (close, ",") else "mismatched"
            raise self._syntax(f"{word} input '{self._now.text}' expecting {{'{close}', ','}}")

    def _list(self, opening: Token) -> Node:
        items: list[Node] = []
        optional: set[int] = set()
        while self._now.kind != "]":
            if self._now.kind == END:
                raise self._mismatch(_START_ITEM)
            if self._optional():
                optional.add(len(items))
            items.append(self.expression())
            self._separated("]")
        self._take()
        return ListLiteral(opening.position, items, frozenset(optional))

    def _map(self, opening: Token) -> Node:
        entries: list[Entry] = []
        while self._now.kind != "}":
            if self._now.kind == END:
                raise self._mismatch(_START_ENTRY)
            optional = self._optional()
            key = self.expression()
            self._expect(":")
            entries.append(Entry(key, self.expression(), optional))
            self._separated("}")
        self._take()
        return MapLiteral(opening.position, entries)
