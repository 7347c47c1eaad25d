"""An expression as a tree. ``position`` is where an error about the node points; ``type`` is set by ``checker``.

Macros are nodes of their own (``Loop``, ``OptionalMap``) rather than the folds upstream expands them into: what they do is
then said once, where they are compiled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from knarr.api.cel.signatures import Signature
from knarr.api.cel.types import DYN, Type

__all__ = ["Bind", "Call", "Entry", "Ident", "ListLiteral", "Literal", "Logic", "Loop", "MapLiteral", "Message", "Node", "OptionalMap", "Select"]


@dataclass(slots=True, eq=False)
class Node:
    position: int
    type: Type = field(default=DYN, init=False)


@dataclass(slots=True, eq=False)
class Literal(Node):
    value: Any
    of: Type


@dataclass(slots=True, eq=False)
class Ident(Node):
    name: str


@dataclass(slots=True, eq=False)
class Select(Node):
    """``operand.name``; with ``test`` it asks whether the field is there, with ``optional`` it is ``.?name``."""

    operand: Node
    name: str
    test: bool = False
    optional: bool = False
    key: str = ""
    """The field's key in the data, if the checker knows better than ``name``."""
    qualified: str = ""
    """Set by the checker when the whole chain is one declared name (``net.IP``)."""


@dataclass(slots=True, eq=False)
class Call(Node):
    function: str
    args: list[Node]
    target: Node | None = None
    overloads: list[Signature] = field(default_factory=list, init=False)
    """Those that take the arguments; set by ``checker``."""


@dataclass(slots=True, eq=False)
class Logic(Node):
    """``a && b && …`` or ``a || b || …``; ``operators`` are the positions of the signs."""

    operator: str
    terms: list[Node]
    operators: list[int]


@dataclass(slots=True, eq=False)
class ListLiteral(Node):
    items: list[Node]
    optional: frozenset[int]


@dataclass(slots=True, eq=False)
class Entry:
    key: Node
    value: Node
    optional: bool


@dataclass(slots=True, eq=False)
class MapLiteral(Node):
    entries: list[Entry]


@dataclass(slots=True, eq=False)
class Message(Node):
    """``Object.spec{replicas: 1}``."""

    name: str
    fields: list[tuple[int, str, Node, bool]]
    """Position, name, value, and whether the value is an optional."""


@dataclass(slots=True, eq=False)
class Loop(Node):
    """A macro over a list or a map: ``all``, ``exists``, ``exists_one``, ``map``, ``filter``, ``transformList``,
    ``transformMap``, ``transformMapEntry``, ``sortBy``.
    """

    kind: str
    over: Node
    variables: tuple[str, ...]
    body: Node
    condition: Node | None = None


@dataclass(slots=True, eq=False)
class Bind(Node):
    """``cel.bind``: a name for a value, within the body."""

    name: str
    value: Node
    body: Node


@dataclass(slots=True, eq=False)
class OptionalMap(Node):
    """``optMap`` and ``optFlatMap``."""

    flat: bool
    target: Node
    name: str
    body: Node
