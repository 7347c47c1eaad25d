"""Find what is wrong with an expression before it runs, and what type it has.

Every name must be declared, every field of a known object defined, every function taken by some overload. Where something is dynamic
(``object`` of a policy) nothing is known and everything goes; the same is then asked of values at run time.

Upstream's counterpart is ``cel-go/checker``. Neighbours: ``types`` knows what fits, ``signatures`` what functions take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from knarr.api.cel.errors import Issue
from knarr.api.cel.operators import SIGNATURES
from knarr.api.cel.signatures import Functions, Signature
from knarr.api.cel.syntax import (
    Bind,
    Call,
    Ident,
    ListLiteral,
    Literal,
    Logic,
    Loop,
    MapLiteral,
    Message,
    Node,
    OptionalMap,
    Select,
)
from knarr.api.cel.types import BOOL, DYN, ERROR, INT, Inference, Type, list_of, map_of, optional_of

__all__ = ["Checker"]

_DYNAMIC = ("dyn", "any", "error", "param")
#: The type of a message's field; None where there is no such field, ``None`` as answer for a name that is no message.
Messages = Callable[[str], Callable[[str], Type | None] | None]


class Checker:
    """Checks one expression."""

    def __init__(self, variables: Mapping[str, Type], functions: Functions, messages: Messages) -> None:
        self._scopes: list[Mapping[str, Type]] = [variables]
        self._functions = functions
        self._messages = messages
        self._types = Inference()
        self._mixed = False
        """Whether elements of a list may be of different types here."""
        self.issues: list[Issue] = []

    def check(self, node: Node) -> Type:
        """The type of the whole; ``issues`` says whether it is to be trusted."""
        return self.final(self._check(node))

    def final(self, one: Type) -> Type:
        """The type of a node once all is checked; what was not found out is dynamic."""
        return self._types.resolve(one, final=True)

    def _check(self, node: Node) -> Type:
        kind = node.type = self._of(node)
        return kind

    def _of(self, node: Node) -> Type:
        match node:
            case Literal():
                return node.of
            case Ident():
                return self._ident(node)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case Logic():
                return self._logic(node)
            case ListLiteral():
                return self._list(node)
            case MapLiteral():
                return self._map(node)
            case Loop():
                return self._loop(node)
            case OptionalMap():
                return self._optional_map(node)
            case Bind():
                return self._bind(node)
            case Message():
                return self._message(node)
        raise AssertionError(node)

    def _fault(self, position: int, message: str) -> Type:
        self.issues.append(Issue(position, message))
        return ERROR

    def _shown(self, one: Type) -> str:
        return str(self.final(one))

    def _lookup(self, name: str) -> Type | None:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return None

    def _ident(self, node: Ident) -> Type:
        found = self._lookup(node.name)
        if found is None:
            return self._fault(node.position, f"undeclared reference to '{node.name}' (in container '')")
        return found

    def _select(self, node: Select) -> Type:
        if not node.test and not node.optional:
            whole = _qualified(node)
            if (whole is not None and self._lookup(whole.split(".", 1)[0]) is None) or whole in self._scopes[0]:
                found = self._lookup(whole or "")
                if found is not None:
                    node.qualified = whole or ""
                    return found
        operand = self._types.resolve(self._check(node.operand))
        through = operand.kind == "optional_type"
        if through:
            operand = self._types.resolve(operand.params[0])
        result = self._field(node, operand)
        if node.test:
            return BOOL
        if (through or node.optional) and result.kind != "error":
            return result if result.kind == "optional_type" else optional_of(result)
        return result

    def _field(self, node: Select, operand: Type) -> Type:
        if operand.kind == "map":
            return operand.params[1]
        if operand.kind in _DYNAMIC:
            return DYN
        if operand.kind != "object":
            return self._fault(node.position, f"type '{operand}' does not support field selection")
        if operand.fields is None:
            return DYN
        field = operand.fields.get(node.name)
        if field is None:
            return self._fault(node.position, f"undefined field '{node.name}'")
        node.key = field.key
        return field.type

    def _call(self, node: Call) -> Type:
        if node.function in SIGNATURES:
            return self._choose(node, SIGNATURES[node.function], node.args, member=False)
        if node.target is not None:
            owner = _qualified(node.target)
            if owner is not None:
                full = f"{owner}.{node.function}"
                if overloads := self._functions.find(full, member=False):
                    node.function, node.target = full, None
                    return self._choose(node, [each.signature for each in overloads], node.args, member=False)
        args = [node.target, *node.args] if node.target is not None else node.args
        overloads = self._functions.find(node.function, member=node.target is not None)
        if not overloads and not self._functions.known(node.function):
            for each in args:
                self._check(each)
            return self._fault(node.position, f"undeclared reference to '{node.function}' (in container '')")
        return self._choose(node, [each.signature for each in overloads], args, member=node.target is not None)

    def _choose(self, node: Call, signatures: list[Signature], args: list[Node], *, member: bool) -> Type:
        given = [self._argument(each, of=node.function) for each in args]
        result: Type | None = None
        for signature in signatures:
            if len(signature.params) != len(given):
                continue
            *wanted, gives = self._types.renamed((*signature.params, signature.result))
            if self._types.fits(list(zip(wanted, given, strict=True))):
                node.overloads.append(signature)
                gives = self._types.resolve(gives)
                result = gives if result is None or result == gives else DYN
        if result is not None:
            return result
        return self._no_overload(node.position, node.function, given, member=member)

    def _argument(self, node: Node, *, of: str) -> Type:
        if of == "format" and isinstance(node, ListLiteral):
            # The one list whose elements are meant to be of different types.
            self._mixed = True
            node.type = self._list(node)
            self._mixed = False
            return node.type
        return self._check(node)

    def _no_overload(self, position: int, name: str, given: list[Type], *, member: bool = False) -> Type:
        shown = [self._shown(each) for each in given]
        text = f"{shown[0]}.({', '.join(shown[1:])})" if member else f"({', '.join(shown)})"
        return self._fault(position, f"found no matching overload for '{name}' applied to '{text}'")

    def _logic(self, node: Logic) -> Type:
        sound = True
        for term in node.terms:
            kind = self._check(term)
            if kind.kind != "error" and not self._types.fits([(BOOL, kind)]):
                self._mismatch(term, BOOL, kind)
                sound = False
        return BOOL if sound else ERROR

    def _mismatch(self, node: Node, wanted: Type, given: Type) -> Type:
        return self._fault(node.position, f"expected type '{wanted}' but found '{self._shown(given)}'")

    def _list(self, node: ListLiteral) -> Type:
        element: Type | None = None
        for index, item in enumerate(node.items):
            given = self._check(item)
            if index in node.optional:
                given = self._unwrapped(item, given)
            element = self._joined(item, element, given)
        return list_of(self._types.fresh() if element is None else element)

    def _unwrapped(self, node: Node, given: Type) -> Type:
        given = self._types.resolve(given)
        if given.kind == "optional_type":
            return given.params[0]
        if given.kind in _DYNAMIC:
            return DYN
        return self._mismatch(node, optional_of(DYN), given)

    def _joined(self, node: Node, so_far: Type | None, given: Type) -> Type:
        if so_far is None:
            return given
        held, new = self._types.resolve(so_far), self._types.resolve(given)
        joined = self._types.join(held, new)
        unlike = held != new if _settled(held) and _settled(new) else joined.kind == "dyn"
        if unlike and not self._mixed and not {held.kind, new.kind} & {"error", "param"}:
            self._mismatch(node, held, new)
        return joined

    def _map(self, node: MapLiteral) -> Type:
        key: Type | None = None
        value: Type | None = None
        for entry in node.entries:
            key = self._joined(entry.key, key, self._check(entry.key))
            given = self._check(entry.value)
            if entry.optional:
                given = self._unwrapped(entry.value, given)
            value = self._joined(entry.value, value, given)
        return map_of(self._types.fresh() if key is None else key, self._types.fresh() if value is None else value)

    def _loop(self, node: Loop) -> Type:
        over = self._types.resolve(self._check(node.over))
        first, second = DYN, DYN
        if over.kind == "list":
            first, second = (over.params[0], DYN) if len(node.variables) == 1 else (INT, over.params[0])
        elif over.kind == "map":
            first, second = over.params
        elif over.kind == "any" or over.kind not in _DYNAMIC:
            text = f"expression of type '{over}' cannot be range of a comprehension (must be list, map, or dynamic)"
            self._fault(node.over.position, text)
            first = second = ERROR
        self._scopes.append(dict(zip(node.variables, (first, second), strict=False)))
        try:
            return self._loop_body(node, first)
        finally:
            self._scopes.pop()

    def _loop_body(self, node: Loop, element: Type) -> Type:
        if node.condition is not None:
            condition = self._check(node.condition)
            body = self._check(node.body)
            self._must_be_bool(node, condition, list_of(body))
        else:
            body = self._check(node.body)
        match node.kind:
            case "all" | "exists":
                if body.kind != "error" and not self._types.fits([(BOOL, body)]):
                    self._mismatch(node.body, BOOL, body)
                return BOOL
            case "exists_one":
                self._must_be_bool(node, body, INT)
                return BOOL
            case "filter":
                self._must_be_bool(node, body, list_of(element))
                return list_of(element)
            case "map" | "transformList":
                return list_of(body)
            case "sortBy":
                return list_of(element)
            case "transformMap":
                key = self._types.resolve(node.over.type)
                return map_of(key.params[0] if key.kind == "map" else INT if key.kind == "list" else DYN, body)
        entry = self._types.resolve(body)
        if entry.kind != "map" and entry.kind not in _DYNAMIC:
            return self._no_overload(node.position, "cel.@mapInsert", [map_of(DYN, DYN), entry])
        return entry

    def _must_be_bool(self, node: Loop, condition: Type, other: Type) -> None:
        if condition.kind != "error" and not self._types.fits([(BOOL, condition)]):
            self._no_overload(node.position, "_?_:_", [condition, other, other])

    def _optional_map(self, node: OptionalMap) -> Type:
        target = self._types.resolve(self._check(node.target))
        if target.kind == "optional_type":
            inner = target.params[0]
        elif target.kind in _DYNAMIC:
            inner = DYN
        else:
            self._no_overload(node.position, "hasValue", [target], member=True)
            return self._no_overload(node.position, "value", [target], member=True)
        self._scopes.append({node.name: inner})
        body = self._check(node.body)
        self._scopes.pop()
        if not node.flat:
            return optional_of(body)
        body = self._types.resolve(body)
        if body.kind != "optional_type" and body.kind not in _DYNAMIC:
            return self._no_overload(node.position, "_?_:_", [BOOL, body, optional_of(DYN)])
        return body

    def _bind(self, node: Bind) -> Type:
        value = self._check(node.value)
        self._scopes.append({node.name: value})
        body = self._check(node.body)
        self._scopes.pop()
        return body

    def _message(self, node: Message) -> Type:
        fields = self._messages(node.name)
        if fields is None:
            return self._fault(node.position, f"undeclared reference to '{node.name}' (in container '')")
        for position, name, value, optional in node.fields:
            given = self._check(value)
            wanted = fields(name)
            if wanted is None:
                text = f"expected type of field '{name}' is '' but provided type is '{self._shown(given)}'"
                self._fault(position, text)
                continue
            if optional:
                given = self._unwrapped(value, given)
            if not self._types.fits([(wanted, given)]):
                text = f"expected type of field '{name}' is '{wanted}' but provided type is '{self._shown(given)}'"
                self._fault(position, text)
        return Type("object", node.name)


def _settled(one: Type) -> bool:
    """Whether nothing of the type is still to be found out."""
    return one.kind not in ("param", "error") and all(map(_settled, one.params))


def _qualified(node: Node) -> str | None:
    """The dotted name a chain of selections spells, or None if it is none."""
    if isinstance(node, Ident):
        return node.name
    if isinstance(node, Select) and not node.test and not node.optional:
        owner = _qualified(node.operand)
        return f"{owner}.{node.name}" if owner is not None else None
    return None


