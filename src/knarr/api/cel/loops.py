"""Macros over lists and maps, compiled.

``all`` and ``exists`` stop at the first element that decides, and forgive an error if a later one does; the others need every element.
Each round is charged before it runs. Neighbour: ``compiler``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from knarr.api.cel.errors import CostExceeded, EvaluationError, no_such_overload
from knarr.api.cel.library.lists import sort
from knarr.api.cel.syntax import Loop, OptionalMap
from knarr.api.cel.values import ABSENT, Optional, find, kind_of

if TYPE_CHECKING:
    from knarr.api.cel.calls import Code, Slots
    from knarr.api.cel.compiler import Compiler

__all__ = ["compile_loop", "compile_optional_map", "decided"]


def compile_loop(compiler: Compiler, node: Loop) -> tuple[Code, int]:
    over, cost = compiler.compile(node.over)
    slots_of = [compiler.slot(name) for name in node.variables]
    condition, condition_cost = compiler.compile(node.condition) if node.condition is not None else (None, 0)
    body, body_cost = compiler.compile(node.body)
    compiler.leave(len(slots_of))
    rounds = _rounds(over, slots_of, body_cost + condition_cost + 1)
    make = _QUANTIFIERS.get(node.kind) or _COLLECTORS[node.kind]
    return make(rounds, condition, body, slots_of), cost + 1


Rounds = Callable[["Slots"], Iterable[Any]]


def _rounds(over: Code, slots_of: list[int], cost: int) -> Rounds:
    """Go through what ``over`` is, each element in its slot; gives the key of each round."""
    first, second = slots_of[0], slots_of[-1]
    paired = len(slots_of) == 2

    def rounds(slots: Slots) -> Iterable[Any]:
        held = over(slots)
        charge = slots[0].charge
        if isinstance(held, list):
            pairs: Iterable[tuple[Any, Any]] = enumerate(held)
        elif isinstance(held, dict):
            pairs = held.items() if paired else ((key, key) for key in held)
        else:
            raise EvaluationError(f"got 'types.{kind_of(held).title().replace('_Type', '')}', expected iterable type")
        for key, value in pairs:
            charge(cost)
            slots[first] = key
            slots[second] = value
            yield key

    return rounds


def decided(codes: Iterable[Code], slots: Slots, *, decisive: bool) -> bool:
    """Whether one of them is ``decisive``, which ends it; an error counts only if none is. Raises ``EvaluationError``."""
    error: EvaluationError | None = None
    for code in codes:
        try:
            value = code(slots)
        except CostExceeded:
            raise
        except EvaluationError as raised:
            error = error or raised
            continue
        if value is decisive:
            return bool(decisive)
        if type(value) is not bool:
            error = error or no_such_overload()
    if error is not None:
        raise error
    return not decisive


def _decided_by(decisive: bool) -> Callable[..., Code]:
    def make(rounds: Rounds, condition: Code | None, body: Code, slots_of: list[int]) -> Code:
        def quantify(slots: Slots) -> bool:
            return decided((body for _ in rounds(slots)), slots, decisive=decisive)

        return quantify

    return make


def _holds(code: Code, slots: Slots) -> bool:
    value = code(slots)
    if type(value) is not bool:
        raise no_such_overload()
    return value is True


def _exists_one(rounds: Rounds, condition: Code | None, body: Code, slots_of: list[int]) -> Code:
    return lambda slots: sum(_holds(body, slots) for _ in rounds(slots)) == 1


def _map(rounds: Rounds, condition: Code | None, body: Code, slots_of: list[int]) -> Code:
    if condition is None:
        return lambda slots: [body(slots) for _ in rounds(slots)]
    wanted = condition
    return lambda slots: [body(slots) for _ in rounds(slots) if _holds(wanted, slots)]


def _filter(rounds: Rounds, condition: Code | None, body: Code, slots_of: list[int]) -> Code:
    at = slots_of[0]

    def kept(slots: Slots) -> list[Any]:
        # With one variable the slot holds the element of a list, or the key of a map.
        return [slots[at] for _ in rounds(slots) if _holds(body, slots)]

    return kept


def _sort_by(rounds: Rounds, condition: Code | None, body: Code, slots_of: list[int]) -> Code:
    at = slots_of[0]

    def ordered(slots: Slots) -> list[Any]:
        pairs = [(body(slots), slots[at]) for _ in rounds(slots)]
        slots[0].charge(len(pairs) ** 2)
        return sort([item for _, item in pairs], [key for key, _ in pairs])

    return ordered


def _transform_map(rounds: Rounds, condition: Code | None, body: Code, slots_of: list[int]) -> Code:
    def transformed(slots: Slots) -> dict[Any, Any]:
        return {key: body(slots) for key in rounds(slots) if condition is None or _holds(condition, slots)}

    return transformed


def _transform_entries(rounds: Rounds, condition: Code | None, body: Code, slots_of: list[int]) -> Code:
    def transformed(slots: Slots) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for _ in rounds(slots):
            if condition is not None and not _holds(condition, slots):
                continue
            entry = body(slots)
            if not isinstance(entry, dict):
                raise no_such_overload()
            for key, value in entry.items():
                if find(result, key) is not ABSENT:
                    raise EvaluationError(f"insert failed: key {key} already exists")
                result[key] = value
        return result

    return transformed


_QUANTIFIERS: dict[str, Callable[..., Code]] = {"all": _decided_by(False), "exists": _decided_by(True), "exists_one": _exists_one}
_COLLECTORS: dict[str, Callable[..., Code]] = {
    "map": _map,
    "transformList": _map,
    "filter": _filter,
    "sortBy": _sort_by,
    "transformMap": _transform_map,
    "transformMapEntry": _transform_entries,
}


def compile_optional_map(compiler: Compiler, node: OptionalMap) -> tuple[Code, int]:
    target, cost = compiler.compile(node.target)
    at = compiler.slot(node.name)
    body, body_cost = compiler.compile(node.body)
    compiler.leave(1)
    flat = node.flat

    def mapped(slots: Slots) -> Optional:
        held = target(slots)
        if not isinstance(held, Optional):
            raise no_such_overload("hasValue", [])
        if not held.has_value:
            return held
        slots[at] = held.held
        result = body(slots)
        if not flat:
            return Optional(result)
        if not isinstance(result, Optional):
            raise no_such_overload()
        return result

    return mapped, cost + body_cost + 1
