"""What is suspicious in a policy's expressions, once ``object`` is taken for what the policy is about.

When a policy runs, ``object`` may be of any form, and a field that no kind has is only absent. Here it is of each kind that the policy names,
one after the other, so that a wrong field or a wrong type is found; what is found is a warning and changes nothing.

Upstream's counterpart is ``policy/validating/typechecking.go``. Neighbour: the controller that writes a policy's status.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from knarr.api.admissionregistration import v1 as registration
from knarr.api.admissionregistration.expressions import VARIABLE, Scope
from knarr.api.apiextensions.declared import escaped
from knarr.api.cel.types import (
    BOOL,
    DOUBLE,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    Field,
    Type,
    list_of,
    map_of,
    object_type,
)
from knarr.api.quantity import Quantity
from knarr.api.shapes import Shape, struct_fields

__all__ = ["MAX_TYPES", "Kind", "check", "named_resources", "type_of_struct"]

#: How many kinds a policy is checked against.
MAX_TYPES = 10

#: Group, version and kind.
Kind = tuple[str, str, str]
#: The kind a group, version and resource are of, and its type; None for what is not served.
Resolve = Callable[[str, str, str], Awaitable[tuple[Kind, Type] | None]]


class _Fields(Mapping[str, Field]):
    """The fields of a struct, worked out when they are asked for: some kinds contain themselves."""

    def __init__(self, cls: type) -> None:
        self._shapes = {name: (shape, name) for name, shape in struct_fields(cls).items()}
        for name in list(self._shapes):
            other = escaped(name)
            if other is not None:
                # Either spelling is right: objects of policies are plain data, in which nothing is escaped.
                self._shapes.setdefault(other, self._shapes[name])

    def __getitem__(self, name: str) -> Field:
        shape, key = self._shapes[name]
        return Field(_type(shape), key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def type_of_struct(cls: type) -> Type:
    """The type of a built-in kind."""
    return object_type(cls.__name__, _Fields(cls))


_LEAVES: dict[type, Type] = {str: STRING, bool: BOOL, int: INT, float: DOUBLE, Quantity: STRING}


def _type(shape: Shape) -> Type:
    match shape.form:
        case "struct":
            return type_of_struct(shape.type)
        case "list":
            return list_of(_type(shape.element) if shape.element else DYN)
        case "map":
            return map_of(STRING, _type(shape.element) if shape.element else DYN)
        case "moment":
            return TIMESTAMP
    # Ints that may be texts, and what is free in form, are judged when they are there.
    return _LEAVES.get(shape.type, DYN) if shape.form == "leaf" and not _is_union(shape) else DYN


def _is_union(shape: Shape) -> bool:
    """An ``int | str`` has the shape of its first part, without a width."""
    return shape.type is int and not shape.bits


def named_resources(policy: registration.ValidatingAdmissionPolicy) -> list[tuple[str, str, str]]:
    """Groups, versions and resources that the policy's rules name without a wildcard."""
    found = []
    constraints = policy.spec.matchConstraints
    for rule in constraints.resourceRules if constraints is not None else []:
        if any("*" in each for each in (*rule.apiGroups, *rule.apiVersions)):
            continue
        resources = sorted(each for each in rule.resources if "*" not in each and "/" not in each)
        found += [
            (group, version, resource)
            for group in sorted(rule.apiGroups)
            for version in sorted(rule.apiVersions)
            for resource in resources
        ]
    return list(dict.fromkeys(found))


def check(
    policy: registration.ValidatingAdmissionPolicy, kinds: Sequence[tuple[Kind, Type]], params: Type | None
) -> list[registration.ExpressionWarning]:
    """Every warning, for the kinds the policy is about and the type of its parameters (None: not known)."""
    warnings = []
    ordered = sorted(kinds, key=lambda pair: pair[0])[:MAX_TYPES]
    scopes = [(kind, _scope(policy, object_kind, params)) for kind, object_kind in ordered]
    for index, validation in enumerate(policy.spec.validations):
        for name in ("expression", "messageExpression"):
            source = getattr(validation, name)
            faults = [_fault(kind, scope, source) for kind, scope in scopes] if source else []
            if text := "\n".join(fault for fault in faults if fault):
                warnings.append(registration.ExpressionWarning(fieldRef=f"spec.validations[{index}].{name}", warning=text))
    return warnings


def _scope(policy: registration.ValidatingAdmissionPolicy, kind: Type, params: Type | None) -> Scope:
    known = {"object": kind, "oldObject": kind}
    if params is not None:
        known["params"] = params
    scope = Scope(params=policy.spec.paramKind is not None, known=known)
    scope.define_all(policy.spec.variables)
    return scope


def _fault(kind: Kind, scope: Scope, source: str) -> str:
    fault = scope.compile(source, VARIABLE).fault
    group, version, name = kind
    return f"{f'{group}/' if group else '/'}{version}, Kind={name}: {fault}\n" if fault else ""
