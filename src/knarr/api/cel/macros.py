"""Calls that are no calls: ``has``, the loops over lists and maps, and what optionals have of that kind.

A macro is recognised by its name and the number of its arguments; anything else of that name is an ordinary call, which the checker
will not find. Neighbour: ``parser``.
"""

from __future__ import annotations

from dataclasses import replace

from knarr.api.cel.syntax import Bind, Ident, Loop, Node, OptionalMap, Select

__all__ = ["MacroError", "expand"]

#: Macros of one variable, and of two: name -> (kind, whether there may be a condition before the body).
_ONE = {"all": "all", "exists": "exists", "exists_one": "exists_one", "map": "map", "filter": "filter", "sortBy": "sortBy"}
_TWO = {"all": "all", "exists": "exists", "existsOne": "exists_one", "exists_one": "exists_one",
        "transformList": "transformList", "transformMap": "transformMap", "transformMapEntry": "transformMapEntry"}  # fmt: skip
_WITH_CONDITION = ("transformList", "transformMap", "transformMapEntry")


class MacroError(Exception):
    """A macro with arguments it cannot have."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position


def expand(position: int, name: str, args: list[Node], target: Node | None, *, binds: bool) -> Node | None:
    """What the call stands for, or None if it is an ordinary one; ``binds`` says whether there is ``cel.bind``. Raises ``MacroError``."""
    if target is None:
        return _has(position, args[0]) if name == "has" and len(args) == 1 else None
    if name in ("optMap", "optFlatMap") and len(args) == 2:
        text = f"{name}() variable name must be a simple identifier"
        return OptionalMap(position, name == "optFlatMap", target, _variable(args[0], text), args[1])
    if binds and name == "bind" and len(args) == 3 and isinstance(target, Ident) and target.name == "cel":
        variable = _variable(args[0], "cel.bind() variable names must be simple identifiers")
        return Bind(position, variable, args[1], args[2])
    if name in _ONE and len(args) == 2:
        variable = _variable(args[0], _simple(name))
        return Loop(position, _ONE[name], target, (variable,), args[1])
    if name == "map" and len(args) == 3:
        variable = _variable(args[0], _simple(name))
        return Loop(position, "map", target, (variable,), args[2], args[1])
    if name in _TWO and len(args) in (3, 4) and (len(args) == 3 or name in _WITH_CONDITION):
        first = _variable(args[0], "argument must be a simple name")
        second = _variable(args[1], "argument must be a simple name")
        if first == second:
            raise MacroError(args[1].position, "duplicate variable name: " + second)
        condition = args[2] if len(args) == 4 else None
        return Loop(position, _TWO[name], target, (first, second), args[-1], condition)
    return None


def _simple(name: str) -> str:
    return "argument is not an identifier" if name in ("map", "filter") else "argument must be a simple name"


def _variable(node: Node, fault: str) -> str:
    if isinstance(node, Ident):
        return node.name
    raise MacroError(node.position, fault)


def _has(position: int, argument: Node) -> Node:
    if not isinstance(argument, Select) or argument.test:
        raise MacroError(argument.position, "invalid argument to has() macro")
    return replace(argument, test=True, position=position)
