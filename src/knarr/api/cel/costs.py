"""What an expression costs at least and at most, before anything is there to evaluate it with.

A walk over the checked tree, from the leaves up. Each node has a cost; what has a length has a size as well, which is known from the
expression (a literal, the sum of two texts) or from the way that leads to it from a variable, whose ``Sizes`` say what it may hold. A loop
costs its body as often as there can be elements.

The numbers are upstream's, step by step: definitions are refused by them, and must be refused alike. Upstream estimates macros after it
has replaced them by folds; what a fold adds to its body is in ``_ROUNDS``. The order of steps matters where ways share memory (``Way``).

Upstream's counterpart is ``cel-go/checker/cost.go``. Neighbours: ``checker`` before it, ``call_costs`` for functions, ``sizes``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import or_

from knarr.api.cel.call_costs import Given, Operand, charge, sorting
from knarr.api.cel.ranges import NOTHING, ONE, UNKNOWN, Range, exactly
from knarr.api.cel.sizes import ITEMS, KEYS, NOWHERE, VALUES, SizeAt, Way
from knarr.api.cel.syntax import (
    Bind,
    Call,
    Ident,
    ListLiteral,
    Literal,
    Logic,
    Loop,
    MapLiteral,
    Node,
    OptionalMap,
    Select,
)
from knarr.api.cel.types import Type

__all__ = ["estimate"]

_NEW_LIST = exactly(10)
_NEW_MAP = exactly(30)
_SCALARS = ("bool", "double", "duration", "int", "timestamp", "uint")
#: The keys of a list.
_INDICES = "@indices"


def estimate(tree: Node, types: Callable[[Type], Type], sizes: SizeAt) -> Range:
    """The cost of a checked expression. ``types`` makes the types of nodes final; ``sizes`` knows what variables hold."""
    return _Estimate(types, sizes).cost(tree)


@dataclass(frozen=True, slots=True)
class _Entries:
    """How large the keys and values are of a list or a map that the expression makes."""

    kind: str
    keys: Range
    values: Range

    def __or__(self, other: _Entries) -> _Entries:
        return _Entries(self.kind, self.keys | other.keys, self.values | other.values)


@dataclass(frozen=True, slots=True)
class _Local:
    """A variable of a macro."""

    way: Way
    size: Range | None
    entries: _Entries | None = None


#: What every round of a macro costs with a body, and with the condition before it.
_Round = Callable[[Range, Range | None], Range]


def _optional(added: int) -> _Round:
    """``added`` is what putting the body's value into the result costs; where the condition fails, naming the result is all."""

    def cost(body: Range, condition: Range | None) -> Range:
        put = body + exactly(added)
        return put if condition is None else condition + (put | ONE)

    return cost


#: By kind: what the empty result costs, what a round costs, what looking at the result costs. Of ``all`` and ``exists`` the body may be
#: passed over once the result is certain.
_ROUNDS: dict[str, tuple[Range, _Round, Range]] = {
    "all": (NOTHING, lambda body, _: Range(3, 3) + Range(0, body.most), ONE),
    "exists": (NOTHING, lambda body, _: Range(4, 4) + Range(0, body.most), ONE),
    "exists_one": (NOTHING, lambda body, _: body + Range(1, 2), exactly(2)),
    "map": (_NEW_LIST, _optional(12), ONE),
    "transformList": (_NEW_LIST, _optional(12), ONE),
    "filter": (_NEW_LIST, lambda body, _: body + Range(1, 13), ONE),
    "transformMap": (_NEW_MAP, _optional(3), ONE),
    "transformMapEntry": (_NEW_MAP, _optional(2), ONE),
}  # fmt: skip


class _Estimate:
    """Of one expression."""

    def __init__(self, types: Callable[[Type], Type], sizes: SizeAt) -> None:
        self._types = types
        self._given = sizes
        self._ways: dict[Node, Way] = {}
        self._sizes: dict[Node, Range] = {}
        self._entries: dict[Node, _Entries] = {}
        self._locals: list[tuple[str, _Local]] = []

    def cost(self, node: Node) -> Range:
        match node:
            case Literal():
                return NOTHING
            case Ident():
                return self._ident(node, node.name)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case Logic():
                costs = [self.cost(term) for term in node.terms]
                return Range(costs[0].least, _sum(costs).most)
            case ListLiteral():
                return self._list(node)
            case MapLiteral():
                return self._map(node)
            case Loop():
                return self._sort_by(node) if node.kind == "sortBy" else self._loop(node)
            case OptionalMap():
                return self._optional_map(node)
            case Bind():
                return self._bind(node)
        raise AssertionError(node)

    def _ident(self, node: Node, name: str) -> Range:
        local = self._local(name)
        self._ways[node] = NOWHERE.to(name) if local is None else local.way
        return ONE

    def _select(self, node: Select) -> Range:
        if node.qualified:
            return self._ident(node, node.qualified)
        cost = self.cost(node.operand)
        if node.test:
            return cost
        if node.optional:
            return cost + ONE
        self._ways[node] = self._way(node.operand).to(node.name)
        return cost + ONE if self._types(node.operand.type).kind in ("map", "object") else cost

    def _list(self, node: ListLiteral) -> Range:
        cost, sizes = self._parts(node.items)
        self._entries[node] = _Entries("list", ONE, _any_of(sizes))
        return cost + _NEW_LIST

    def _map(self, node: MapLiteral) -> Range:
        cost, sizes = NOTHING, []
        for entry in node.entries:
            added, pair = self._parts([entry.key, entry.value])
            cost += added
            sizes += pair
        self._entries[node] = _Entries("map", _any_of(sizes[::2]), _any_of(sizes[1::2]))
        return cost + _NEW_MAP

    def _parts(self, nodes: list[Node]) -> tuple[Range, list[Range]]:
        costs, sizes = NOTHING, []
        for node in nodes:
            costs += self.cost(node)
            sizes.append(self._known_size(node) or UNKNOWN)
        return costs, sizes

    def _call(self, node: Call) -> Range:
        if node.function == "dyn":
            cost = self.cost(node.args[0]) + ONE
            self._same(node, node.args[0])
            return cost
        if node.function == "_?_:_":
            return self._conditional(node)
        cost, args = NOTHING, []
        for each in node.args:
            cost += self.cost(each)
            args.append(self._operand(each))
        target = None
        if node.target is not None:
            cost += self.cost(node.target)
            target = self._operand(node.target)
        charges: Range | None = None
        size: Range | None = None
        for signature in node.overloads:
            charged = charge(Given(signature, target, args))
            charges = charged.cost if charges is None else charges | charged.cost
            if charged.size is not None:
                size = charged.size if size is None else size | charged.size
            if node.function == "_[_]" and signature.params[0].kind in ("list", "map"):
                size = self._index(node, ITEMS if signature.params[0].kind == "list" else VALUES)
            size = size or self._known_size(node)
        if node.function == "_+_":
            self._join_entries(node, node.args)
        if size is not None:
            self._sizes[node] = size
        assert charges is not None, node
        return cost + charges

    def _index(self, node: Call, step: str) -> Range | None:
        held = self._entries_of(node.args[0])
        self._ways[node] = self._way(node.args[0]).to(step)
        return held.values if held is not None else None

    def _conditional(self, node: Call) -> Range:
        condition, then, otherwise = node.args
        cost = self.cost(condition)
        cost_of_then, sizes = self._parts([then])
        cost_otherwise, more = self._parts([otherwise])
        self._sizes[node] = _any_of(sizes + more)
        self._join_entries(node, [then, otherwise])
        return cost + (cost_of_then | cost_otherwise)

    def _join_entries(self, node: Node, parts: list[Node]) -> None:
        left, right = (self._entries_of(each) for each in parts)
        if left is not None and right is not None:
            self._entries[node] = left | right

    def _operand(self, node: Node) -> Operand:
        size, of = self._known_size(node), self._types(node.type)
        way = self._way(node)
        elements = (self._given(Way([*way.steps, ITEMS], way.length + 1)) if way.length else None) or UNKNOWN
        return Operand(node, of, size or UNKNOWN, size is not None, elements if of.params else None)

    def _loop(self, node: Loop) -> Range:
        over = self.cost(node.over)
        self._enter(node)
        condition = self.cost(node.condition) if node.condition is not None else None
        body = self.cost(node.body)
        made = self._element(node)
        del self._locals[-len(node.variables) :]
        begin, each_round, end = _ROUNDS[node.kind]
        count = self._known_size(node.over) or UNKNOWN
        quantifier = begin is NOTHING
        self._sizes[node] = ONE if quantifier else count
        if made is not None:
            self._entries[node] = _Entries("list", ONE, Range(0, made.most))
        return over + begin + count * each_round(body, condition) + end

    def _element(self, node: Loop) -> Range | None:
        """How large an item of the list is that the macro makes."""
        if node.kind in ("map", "transformList"):
            return self._known_size(node.body) or UNKNOWN
        if node.kind != "filter":
            return None
        return self._known_size(self._named(node.variables[0], self._types(node.type).params[0])) or UNKNOWN

    def _named(self, name: str, of: Type) -> Ident:
        """What upstream's fold writes where the macro's author wrote nothing."""
        node = Ident(-1, name)
        node.type = of
        self._ident(node, name)
        return node

    def _enter(self, node: Loop) -> None:
        """Bring the loop's variables in, which lead on from what is gone through."""
        over = node.over
        # One after the other: the second may hide what the loop goes over.
        for number, name in enumerate(node.variables):
            held = self._entries_of(over)
            of_list = (held.kind if held is not None else self._types(over.type).kind) == "list"
            value = number == 1 or (len(node.variables) == 1 and of_list)
            step = (ITEMS if of_list else VALUES) if value else _INDICES if of_list else KEYS
            size = None if held is None else held.values if value else held.keys
            self._locals.append((name, _Local(self._way(over).to(step), size)))

    def _sort_by(self, node: Loop) -> Range:
        """The list is bound to a name, its keys are made by ``map``, and all of them are compared."""
        over = self.cost(node.over)
        self._let("@sorted", node.over)
        keys = Loop(node.position, "map", self._named("@sorted", self._types(node.over.type)), node.variables, node.body)
        made = self.cost(keys)
        self._locals.pop()
        compared = sorting(self._sizes[keys], self._types(node.body.type).kind)
        assert compared.size is not None
        self._sizes[node] = compared.size
        return _NEW_LIST + over + ONE + made + compared.cost

    def _bind(self, node: Bind) -> Range:
        value = self.cost(node.value)
        self._let(node.name, node.value)
        body = self.cost(node.body)
        self._same(node, node.body)
        self._locals.pop()
        return _NEW_LIST + value + body

    def _let(self, name: str, value: Node) -> None:
        self._locals.append((name, _Local(self._way(value), self._known_size(value), self._entries_of(value))))

    def _optional_map(self, node: OptionalMap) -> Range:
        """If there is a value, it is bound to a name and the body's value made an optional; otherwise there is none."""
        target = self.cost(node.target) + ONE
        inner = self._types(node.target.type)
        inner = inner.params[0] if inner.kind == "optional_type" else inner
        self._locals.append((node.name, _Local(NOWHERE, _size_of_type(inner))))
        bound = _NEW_LIST + target + self.cost(node.body)
        size = self._known_size(node.body) if node.flat else None
        self._locals.pop()
        by_type = _size_of_type(self._types(node.type))
        self._sizes[node] = (size or by_type or UNKNOWN) | (by_type or UNKNOWN)
        return target + ((bound if node.flat else bound + ONE) | ONE)

    def _local(self, name: str) -> _Local | None:
        return next((local for held, local in reversed(self._locals) if held == name), None)

    def _local_of(self, node: Node) -> _Local | None:
        return self._local(node.name) if isinstance(node, Ident) else None

    def _way(self, node: Node) -> Way:
        local = self._local_of(node)
        return local.way if local is not None else self._ways.get(node, NOWHERE)

    def _same(self, node: Node, other: Node) -> None:
        if (size := self._known_size(other)) is not None:
            self._sizes[node] = size
        if (entries := self._entries_of(other)) is not None:
            self._entries[node] = entries

    def _entries_of(self, node: Node) -> _Entries | None:
        found = self._entries.get(node)
        local = self._local_of(node) if found is None else None
        return local.entries if local is not None else found

    def _known_size(self, node: Node) -> Range | None:
        if (found := self._sizes.get(node) or _size_as_written(node)) is not None:
            return found
        if (found := self._given(self._way(node))) is not None:
            self._sizes[node] = found
            return found
        if (found := _size_of_type(self._types(node.type))) is not None:
            return found
        local = self._local_of(node)
        return local.size if local is not None else None


def _sum(costs: list[Range]) -> Range:
    return sum(costs, NOTHING)


def _any_of(sizes: list[Range]) -> Range:
    return reduce(or_, sizes) if sizes else NOTHING


def _size_as_written(node: Node) -> Range | None:
    match node:
        case Literal():
            return exactly(len(node.value)) if isinstance(node.value, str | bytes) else ONE
        case ListLiteral():
            return exactly(len(node.items))
        case MapLiteral():
            return exactly(len(node.entries))
    return None


def _size_of_type(of: Type) -> Range | None:
    if of.kind == "optional_type":
        return _size_of_type(of.params[0])
    return ONE if of.kind in _SCALARS else None
