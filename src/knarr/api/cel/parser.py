"""Tokens to a tree, macros included.

The grammar is that of the CEL specification with optional syntax (``.?``, ``[?``, ``{?``). Only the first
fault is told.

Neighbours: ``lexer`` before it, ``token_stream`` below it, ``macros`` beside it, ``checker`` after.
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
from knarr.api.cel.token_stream import (
    BEGINS,
    START,
    START_ENTRY,
    START_ITEM,
    START_OPTIONAL,
    START_OR_CLOSE,
    Stop,
    TokenStream,
    too_deep,
)  # fmt: skip
from knarr.api.cel.types import BOOL, BYTES, DOUBLE, INT, NULL, STRING, UINT
from knarr.api.cel.values import INT_MAX, UINT_MAX, UInt

__all__ = ["SyntaxFault", "parse"]

RESERVED = frozenset(
    ["as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace", "return", "var", "void", "while"]
)
_RELATIONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
_SUMS = frozenset({"+", "-"})
_PRODUCTS = frozenset({"*", "/", "%"})


class SyntaxFault(Exception):
    """The text is no expression."""

    def __init__(self, issues: list[Issue]) -> None:
        super().__init__(issues[0].message)
        self.issues = issues


def parse(source: str, *, binds: bool = False) -> Node:
    """The tree of an expression; ``binds`` says whether there is ``cel.bind``. Raises ``SyntaxFault``."""
    if len(source) > MAX_EXPRESSION_CHARACTERS:
        text = f"expression code point size exceeds limit: size: {len(source)}, limit {MAX_EXPRESSION_CHARACTERS}"
        raise SyntaxFault([Issue(-1, text)])
    issues: list[Issue] = []
    parser = _Parser(tokens_of(source, issues), issues)
    parser.binds = binds
    try:
        node = parser.expression()
        parser.end()
    except Stop:
        raise SyntaxFault(issues) from None
    except RecursionError:
        raise SyntaxFault([*issues, too_deep()]) from None
    if issues:
        raise SyntaxFault(issues)
    return node


class _Parser(TokenStream):
    binds = False

    def expression(self) -> Node:
        self.deeper()
        node = self._either()
        if self.now.kind == "?":
            sign = self.take()
            then = self._either()
            self.expect(":")
            node = Call(sign.position, "_?_:_", [node, then, self.expression()])
        self.depth -= 1
        return node

    def _either(self) -> Node:
        terms, signs = [self._both()], []
        while self.now.kind == "||":
            signs.append(self.take().position)
            terms.append(self._both())
        return Logic(signs[0], "||", terms, signs) if signs else terms[0]

    def _both(self) -> Node:
        terms, signs = [self._binary(0)], []
        while self.now.kind == "&&":
            signs.append(self.take().position)
            terms.append(self._binary(0))
        return Logic(signs[0], "&&", terms, signs) if signs else terms[0]

    def _binary(self, level: int) -> Node:
        """Relations, sums and products: each a chain of the next."""
        signs = (_RELATIONS, _SUMS, _PRODUCTS)[level]
        node = self._binary(level + 1) if level < 2 else self._unary()
        length = 0
        while self.now.kind in signs:
            sign = self.take()
            length += 1
            if length > MAX_NESTING:
                self.issues.append(too_deep())
                raise Stop
            right = self._binary(level + 1) if level < 2 else self._unary()
            name = "@in" if sign.kind == "in" else f"_{sign.kind}_"
            node = Call(sign.position, name, [node, right])
        return node

    def _unary(self) -> Node:
        sign = self.now
        if sign.kind not in ("!", "-"):
            return self._member()
        count = 0
        while self.now.kind == sign.kind:
            self.take()
            count += 1
        if sign.kind == "-" and count == 1 and self.now.kind in ("int", "float"):
            return self._member(negative=sign)
        operand = self._member() if self.now.kind not in ("!", "-") else self._unary()
        return operand if count % 2 == 0 else Call(sign.position, f"{sign.kind}_", [operand])

    def _member(self, *, negative: Token | None = None) -> Node:
        node = self._primary(negative)
        length = 0
        while self.now.kind in (".", "["):
            length += 1
            if length > MAX_NESTING:
                self.issues.append(too_deep())
                raise Stop
            sign = self.take()
            optional = self.now.kind == "?"
            if optional:
                self.take()
            node = self._select(node, sign, optional) if sign.kind == "." else self._index(node, sign, optional)
        return node

    def _select(self, operand: Node, sign: Token, optional: bool) -> Node:
        name = self.now
        if name.kind != "name":
            raise self.syntax(f"no viable alternative at input '.{'' if name.kind == END else name.text}'")
        self.take()
        if self.now.kind == "(" and not optional:
            opening = self.take()
            return self._call(opening, name.text, self._arguments(), operand)
        return Select(sign.position, operand, name.text, optional=optional)

    def _index(self, operand: Node, sign: Token, optional: bool) -> Node:
        if self.now.kind not in BEGINS:
            raise self.mismatch(START if optional else START_OPTIONAL)
        key = self.expression()
        self.expect("]")
        return Call(sign.position, "_[?_]" if optional else "_[_]", [operand, key])

    def _arguments(self) -> list[Node]:
        if self.now.kind == ")":
            self.take()
            return []
        if self.now.kind not in BEGINS:
            raise self.mismatch(START_OR_CLOSE)
        found = [self.expression()]
        while self.now.kind == ",":
            self.take()
            found.append(self.expression())
        self.expect(")")
        return found

    def _call(self, opening: Token, name: str, args: list[Node], target: Node | None) -> Node:
        try:
            macro = expand(opening.position, name, args, target, binds=self.binds)
        except MacroError as error:
            self.issues.append(Issue(error.position, str(error)))
            return Literal(opening.position, None, NULL)
        return macro or Call(opening.position, name, args, target)

    def _primary(self, negative: Token | None) -> Node:
        token = self.now
        match token.kind:
            case "int" | "uint" | "float":
                self.take()
                return self._number(token, negative)
            case "string" | "bytes":
                self.take()
                return Literal(token.position, token.value, STRING if token.kind == "string" else BYTES)
            case "true" | "false":
                self.take()
                return Literal(token.position, token.kind == "true", BOOL)
            case "null":
                self.take()
                return Literal(token.position, None, NULL)
            case "(":
                self.take()
                node = self.expression()
                self.expect(")")
                return node
            case "[":
                return self._list(self.take())
            case "{":
                return self._map(self.take())
            case "." | "name":
                return self._name()
        following = self.tokens[self.at + 1].kind if token.kind != END else END
        if following in BEGINS:
            raise self.syntax(f"extraneous input '{token.text}' expecting {START}")
        raise self.mismatch(START)

    def _number(self, token: Token, negative: Token | None) -> Node:
        position = negative.position if negative else token.position
        sign = -1 if negative else 1
        if token.kind == "float":
            value = sign * float(token.text)
            if math.isinf(value):
                self.issues.append(Issue(position, "invalid double literal"))
            return Literal(position, value, DOUBLE)
        digits = token.text.rstrip("uU")
        number = sign * (int(digits, 16) if digits.startswith("0x") else int(digits))
        if token.kind == "uint":
            if number > UINT_MAX:
                self.issues.append(Issue(position, "invalid uint literal"))
            return Literal(position, UInt(number), UINT)
        if not -INT_MAX - 1 <= number <= INT_MAX:
            self.issues.append(Issue(position, "invalid int literal"))
        return Literal(position, number, INT)

    def _name(self) -> Node:
        first = self.now
        if first.kind == ".":
            # A leading dot only says that the name is not looked up in a container, and there are none.
            self.take()
        token = self.now
        if token.kind != "name":
            raise self.syntax(f"no viable alternative at input '.{'' if token.kind == END else token.text}'")
        self.take()
        if token.text in RESERVED:
            self.issues.append(Issue(token.position, f"reserved identifier: {token.text}"))
        if self.now.kind == "(":
            opening = self.take()
            return self._call(opening, token.text, self._arguments(), None)
        name = self._message_name(token)
        if name is not None:
            return self._message(self.tokens[self.at - 1], name)
        return Ident(first.position, token.text)

    def _message_name(self, first: Token) -> str | None:
        """``Object.spec`` in front of a brace, taken; None, and nothing taken, if there is no brace."""
        at, parts = self.at, [first.text]
        while self.tokens[at].kind == "." and self.tokens[at + 1].kind == "name":
            parts.append(self.tokens[at + 1].text)
            at += 2
        if self.tokens[at].kind != "{":
            return None
        self.at = at + 1
        return ".".join(parts)

    def _message(self, opening: Token, name: str) -> Node:
        fields: list[tuple[int, str, Node, bool]] = []
        while self.now.kind != "}":
            optional = self.optional()
            field = self.now
            if field.kind != "name":
                raise self.mismatch("{'}', ',', '\\u003F', IDENTIFIER}")
            self.take()
            colon = self.expect(":")
            fields.append((colon.position, field.text, self.expression(), optional))
            self.separated("}")
        self.take()
        return Message(opening.position, name, fields)

    def _list(self, opening: Token) -> Node:
        items: list[Node] = []
        optional: set[int] = set()
        while self.now.kind != "]":
            if self.now.kind == END:
                raise self.mismatch(START_ITEM)
            if self.optional():
                optional.add(len(items))
            items.append(self.expression())
            self.separated("]")
        self.take()
        return ListLiteral(opening.position, items, frozenset(optional))

    def _map(self, opening: Token) -> Node:
        entries: list[Entry] = []
        while self.now.kind != "}":
            if self.now.kind == END:
                raise self.mismatch(START_ENTRY)
            optional = self.optional()
            key = self.expression()
            self.expect(":")
            entries.append(Entry(key, self.expression(), optional))
            self.separated("}")
        self.take()
        return MapLiteral(opening.position, entries)
