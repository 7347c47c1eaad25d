"""What calls of functions cost at least and at most, by how large their arguments can be.

A function that is not named here costs one step. Looking through a text costs a tenth of its length, a regular expression a quarter of its
own for each of those, and comparing all items of lists with each other the product of their lengths. Numbers are upstream's, and where
they look odd they are its too: definitions are accepted or refused by them.

Upstream's counterparts are ``apiserver/pkg/cel/library/cost.go`` and the estimates in ``cel-go/checker`` and ``cel-go/ext``. Neighbours:
``costs`` knows the arguments; ``library`` does the work.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from knarr.api.cel.ranges import MOST, NOTHING, ONE, Range, capped, exactly
from knarr.api.cel.signatures import Signature
from knarr.api.cel.syntax import Literal, Node
from knarr.api.cel.types import Type

__all__ = ["COMPARISON", "LOOK", "Charge", "Given", "Operand", "charge", "sorting"]

#: A tenth for each character that is looked at.
LOOK = 0.1
#: An expression of a pattern is taken to be four characters long.
PATTERN = 0.25
#: Comparing all items of a list with each other.
COMPARISON = 2.0
#: A call that makes a list: the call and the list.
_NEW_LIST = exactly(11)
#: The bytes of an address.
_ADDRESS = Range(4, 16)
_FORMAT_CHARACTERS = 64
_FORMAT_PATTERN_CHARACTERS = 128
_TEXTS = ("string", "bytes")


@dataclass(frozen=True, slots=True)
class Operand:
    """An argument. ``elements`` is the size of a list's items, None if it is no list or they are unknown."""

    node: Node
    type: Type
    size: Range
    known: bool
    elements: Range | None

    def literal(self) -> int | None:
        """The number, where one is written."""
        node = self.node
        return node.value if isinstance(node, Literal) and type(node.value) is int else None


@dataclass(frozen=True, slots=True)
class Given:
    """What one overload is called with."""

    signature: Signature
    target: Operand | None
    args: list[Operand]

    @property
    def receiver(self) -> Operand:
        assert self.target is not None, self.signature
        return self.target


@dataclass(frozen=True, slots=True)
class Charge:
    """What the call costs without its arguments, and how large its result is, if that follows."""

    cost: Range
    size: Range | None = None


Rule = Callable[[Given], Charge]


def charge(given: Given) -> Charge:
    """Of one overload that takes the arguments."""
    rule = _RULES.get((given.signature.name, given.target is not None))
    return rule(given) if rule is not None else Charge(ONE)


def _look_through(given: Given) -> Charge:
    return Charge(given.args[0].size.scaled(LOOK))


def _parse(given: Given) -> Charge:
    """As large as the text it is made of."""
    return Charge(given.args[0].size.scaled(LOOK), given.args[0].size)


def _rewrite(given: Given) -> Charge:
    return Charge(given.receiver.size.scaled(LOOK), given.receiver.size)


def _look_twice(given: Given) -> Charge:
    return Charge(given.args[0].size.scaled(2 * LOOK))


def _each_item(given: Given) -> Charge:
    """Every item is compared once; texts, and the texts in a list, are looked through."""
    target = given.receiver
    if target.elements is None:
        return Charge(target.size.scaled(LOOK))
    compared = ONE
    if target.type.params[0].kind in _TEXTS:
        compared += target.elements.scaled(LOOK)
    return Charge(target.size * compared)


def _pattern(text: Range, pattern: Range) -> Range:
    # One more than the text has: an empty one does not make a pattern free.
    return (text + ONE).scaled(LOOK) * pattern.scaled(PATTERN)


def _matches(given: Given) -> Charge:
    return Charge(_pattern(given.receiver.size, given.args[0].size))


def _find(given: Given) -> Charge:
    text = given.receiver.size
    return Charge(_pattern(text, given.args[0].size), Range(0, text.most))


def _contains(given: Given) -> Charge:
    return Charge(given.receiver.size.scaled(LOOK) * given.args[0].size.scaled(LOOK))


def _replace(given: Given) -> Charge:
    text, old, new = given.receiver.size, given.args[0].size, given.args[1].size
    if old.least == 0:
        # What is nothing is found between all characters, and they stay.
        most = (text.most + 1) * new.most + text.most if text.most < MOST else MOST * new.most + MOST
    elif new.most <= old.least:
        most = text.most
    else:
        most = math.ceil(float(text.most) / float(old.least)) * new.most
    if old.most == 0:
        least = (text.least + 1) * new.least + text.least
    elif old.most <= new.least:
        least = text.least
    else:
        least = math.ceil(float(text.least) / float(old.most)) * new.least
    return Charge(text.scaled(2 * LOOK), Range(capped(least), capped(most)))


def _split(given: Given) -> Charge:
    text = given.receiver.size
    limit = given.args[1].literal() if len(given.args) > 1 else None
    # All there are, said as a negative number, is upstream the largest there is.
    return Charge(text.scaled(2 * LOOK), Range(0, text.most if limit is None else limit % 2**64))


def _join(given: Given) -> Charge:
    target = given.receiver
    size = NOTHING if target.elements is None else target.size * target.elements
    if given.args:
        between = Range(max(target.size.least - 1, 0), max(target.size.most - 1, 0))
        size += given.args[0].size * between
    return Charge(size.scaled(LOOK), size)


def _format(given: Given) -> Charge:
    return Charge(given.receiver.size.scaled(LOOK))


def _validate(given: Given) -> Charge:
    return Charge(given.args[0].size.scaled(LOOK).scaled(_FORMAT_PATTERN_CHARACTERS * PATTERN))


def _ip(given: Given) -> Charge:
    return _look_through(given) if given.args else Charge(ONE)


def _contains_ip(given: Given) -> Charge:
    return Charge((_ADDRESS + _ADDRESS).scaled(LOOK) + _parsed(given))


def _contains_cidr(given: Given) -> Charge:
    # The outer range is masked first.
    return Charge((_ADDRESS + _ADDRESS).scaled(LOOK) + _ADDRESS.scaled(LOOK) + ONE + _parsed(given))


def _parsed(given: Given) -> Range:
    return given.args[0].size.scaled(LOOK) if given.signature.params[1].kind == "string" else NOTHING


def _bytes(given: Given) -> Charge:
    size = given.args[0].size
    if given.signature.params[0].kind != "string":
        return Charge(ONE)
    # A character is up to four bytes. What does not fit begins again at 0, here and below.
    return Charge(size.scaled(LOOK), Range(size.least, size.most * 4 % 2**64))


def _string(given: Given) -> Charge:
    size = given.args[0].size
    if given.signature.params[0].kind != "bytes":
        return Charge(ONE)
    return Charge(size.scaled(LOOK), Range(size.least // 4, size.most))


def _quote(given: Given) -> Charge:
    size = given.args[0].size
    return Charge(size.scaled(LOOK), Range(size.least + 2, (size.most * 2 + 2) % 2**64))


def _in(given: Given) -> Charge:
    return Charge(given.args[1].size if given.signature.params[1].kind == "list" else ONE)


def _add(given: Given) -> Charge:
    kind = given.signature.params[0].kind
    if kind not in ("list", *_TEXTS):
        return Charge(ONE)
    size = given.args[0].size + given.args[1].size
    return Charge(ONE if kind == "list" else size.scaled(LOOK), size)


def _order(given: Given) -> Charge:
    return _compared(given) if given.signature.params[0].kind in _TEXTS else Charge(ONE)


def _compared(given: Given) -> Charge:
    """As far as the shorter one goes."""
    most = min(each.size.most for each in given.args)
    return Charge(Range(min(most, 1), most).scaled(LOOK))


def _equal(given: Given) -> Charge:
    left, right = given.args
    if left.type == right.type and left.type.kind == "opaque":
        match left.type.name:
            case "net.IP" | "net.CIDR" | "kubernetes.Quantity" | "kubernetes.Semver":
                return Charge(ONE)
            case "kubernetes.NamedFormat":
                return Charge(Range(1, _FORMAT_CHARACTERS).scaled(LOOK))
            case "kubernetes.URL":
                return Charge(Range(1, right.size.most if right.known else 1).scaled(LOOK))
    return _compared(given)


def _sets(factor: float) -> Rule:
    return lambda given: Charge((given.args[0].size * given.args[1].size).scaled(factor) + ONE)


def _new_list(size: Range, factor: float = 1) -> Charge:
    return Charge(size.scaled(factor) + _NEW_LIST, size)


def _number(operand: Operand, otherwise: int) -> int:
    written = operand.literal()
    return otherwise if written is None else max(written, 0)


def _slice(given: Given) -> Charge:
    start, end = _number(given.args[0], 0), _number(given.args[1], given.receiver.size.most)
    return _new_list(exactly((end - start) % 2**64))


def _range(given: Given) -> Charge:
    return _new_list(exactly(_number(given.args[0], MOST)))


def _reverse(given: Given) -> Charge:
    return _new_list(given.receiver.size)


def _flatten(given: Given) -> Charge:
    return _new_list(given.receiver.size, float(_number(given.args[0], MOST)) if given.args else 1)


def _distinct(given: Given) -> Charge:
    return _new_list(given.receiver.size * given.receiver.size, COMPARISON)


def _sort(given: Given) -> Charge:
    return sorting(given.receiver.size, given.receiver.type.params[0].kind if given.receiver.type.params else "dyn")


def sorting(size: Range, kind: str) -> Charge:
    """Putting so many items in the order of keys of one kind."""
    texts, others = _new_list(size * size, COMPARISON + LOOK), _new_list(size * size, COMPARISON)
    if kind in _TEXTS:
        return texts
    return Charge(texts.cost | others.cost, others.size) if kind == "dyn" else others


#: By name, and whether it is a member.
_RULES: dict[tuple[str, bool], Rule] = {
    **dict.fromkeys([(name, True) for name in ("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf")], _each_item),
    **dict.fromkeys([(name, True) for name in ("lowerAscii", "upperAscii", "substring", "trim")], _rewrite),
    **dict.fromkeys([(name, False) for name in ("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver")], _look_through),
    **dict.fromkeys([(name, True) for name in ("startsWith", "endsWith")], _look_through),
    **dict.fromkeys([(f"_{sign}_", False) for sign in ("<", "<=", ">", ">=")], _order),
    **dict.fromkeys([(name, True) for name in ("find", "findAll")], _find),
    **dict.fromkeys([("sets.contains", False), ("sets.intersects", False)], _sets(1)),
    ("sets.equivalent", False): _sets(2),
    ("url", False): _parse,
    ("ip", False): _ip,
    ("ip.isCanonical", False): _look_twice,
    ("containsIP", True): _contains_ip,
    ("containsCIDR", True): _contains_cidr,
    ("validate", True): _validate,
    ("matches", True): _matches,
    ("contains", True): _contains,
    ("replace", True): _replace,
    ("split", True): _split,
    ("join", True): _join,
    ("format", True): _format,
    ("bytes", False): _bytes,
    ("string", False): _string,
    ("strings.quote", False): _quote,
    ("slice", True): _slice,
    ("lists.range", False): _range,
    ("reverse", True): _reverse,
    ("flatten", True): _flatten,
    ("distinct", True): _distinct,
    ("sort", True): _sort,
    ("@in", False): _in,
    ("_+_", False): _add,
    ("_==_", False): _equal,
    ("_!=_", False): _compared,
}
