"""Functions: what they take, what they give and what does the work.

A signature is text close to that of the CEL documentation: ``<string>.indexOf(string, int): int`` for a member, ``sets.contains(list(A),
list(A)): bool`` for what is called by name; capitals are type parameters. A library is a list of ``function(...)``.

Neighbours: ``checker`` chooses by static types, ``compiler`` again by values, for what is dynamic.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from knarr.api.cel.limits import Meter
from knarr.api.cel.types import (
    ANY,
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    UINT,
    Type,
    list_of,
    map_of,
    opaque,
    optional_of,
    type_of,
)  # fmt: skip

__all__ = ["Function", "Functions", "Overload", "Signature", "function", "parse_type"]

_NAMED = {
    "dyn": DYN, "any": ANY, "bool": BOOL, "int": INT, "uint": UINT, "double": DOUBLE, "string": STRING, "bytes": BYTES,
    "null": NULL, "timestamp": TIMESTAMP, "duration": DURATION,
}  # fmt: skip
_TOKEN = re.compile(r"\s*([\w.]+|[(),])")


@dataclass(frozen=True, slots=True)
class Signature:
    """``params`` begin with the receiver of a member."""

    name: str
    member: bool
    params: tuple[Type, ...]
    result: Type


@dataclass(frozen=True, slots=True)
class Overload:
    signature: Signature
    run: Callable[..., Any]
    cost: Callable[..., int] | None
    """What a call costs besides one step, from the arguments; None for the size of texts and lists among them."""
    meter: bool = False
    """Whether ``run`` is given the meter as a first argument, because only it knows what it costs."""


@dataclass(frozen=True, slots=True)
class Function:
    """One or several overloads done by the same code."""

    overloads: tuple[Overload, ...]


def function(run: Callable[..., Any], *signatures: str, cost: Callable[..., int] | None = None, meter: bool = False) -> Function:
    """``run`` does the work of every one of the signatures."""
    return Function(tuple(Overload(_signature(text), run, cost, meter) for text in signatures))


def _signature(text: str) -> Signature:
    head, _, result = text.rpartition(":")
    match = re.fullmatch(r"(?:<(.+)>\.)?([\w.]+)\((.*)\)", head.strip())
    assert match is not None, text
    params = tuple(parse_type(part) for part in _split(match[3]))
    if match[1]:
        params = (parse_type(match[1]), *params)
    return Signature(match[2], bool(match[1]), params, parse_type(result))


def _split(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]] if text.strip() else []


def parse_type(text: str) -> Type:
    """The type a text names: ``list(int)``, ``map(string, A)``, ``net.IP``."""
    words = [match[1] for match in _TOKEN.finditer(text)]
    return _type(words)


def _type(words: list[str]) -> Type:
    name = words.pop(0)
    params: list[Type] = []
    if words and words[0] == "(":
        words.pop(0)
        while words[0] != ")":
            params.append(_type(words))
            if words[0] == ",":
                words.pop(0)
        words.pop(0)
    if name == "list":
        return list_of(params[0])
    if name == "map":
        return map_of(params[0], params[1])
    if name == "optional":
        return optional_of(params[0])
    if name == "type":
        return type_of(params[0])
    if name in _NAMED:
        return _NAMED[name]
    return Type("param", name) if len(name) == 1 else opaque(name)


class Functions:
    """Every function an environment has, by name and by whether it is a member."""

    def __init__(self, functions: Iterable[Function] = ()) -> None:
        self._all = list(functions)
        self._held: dict[tuple[str, bool], list[Overload]] = {}
        for each in self._all:
            for overload in each.overloads:
                key = (overload.signature.name, overload.signature.member)
                self._held.setdefault(key, []).append(overload)

    def functions(self) -> list[Function]:
        """All of them, for an environment that has more."""
        return self._all

    def find(self, name: str, *, member: bool) -> list[Overload]:
        return self._held.get((name, member), [])

    def known(self, name: str) -> bool:
        return (name, True) in self._held or (name, False) in self._held


def charge_sizes(meter: Meter, args: tuple[Any, ...]) -> None:
    """What looking through texts and lists costs."""
    size = sum(len(each) for each in args if isinstance(each, str | bytes | list | dict))
    if size >= 10:
        meter.charge(size // 10)
