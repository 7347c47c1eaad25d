"""What the expressions of policies and match conditions may use, and what they must give.

``object``, ``oldObject`` and ``params`` are of any form; ``request`` and ``namespaceObject`` are known, so that a wrong field is found
when the policy is written; ``variables`` has what the policy's earlier variables are; mutations may make ``Object{...}`` and
``JSONPatch{...}``.

Upstream's counterpart is ``apiserver/pkg/admission/plugin/cel`` (``compile.go``, ``composition.go``). Neighbours:
``expression_validation`` refuses what does not compile, the API server's ``policies`` evaluate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from knarr.api.cel.environment import Environment, Program
from knarr.api.cel.errors import CompileError
from knarr.api.cel.library import STANDARD, patches
from knarr.api.cel.library.authorization import Authorizer, ResourceCheck
from knarr.api.cel.parser import RESERVED
from knarr.api.cel.signatures import Functions
from knarr.api.cel.types import (
    BOOL,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    Field,
    Type,
    list_of,
    map_of,
    object_type,
    opaque,
)  # fmt: skip

__all__ = [
    "APPLY_CONFIGURATION", "AUDIT_ANNOTATION", "CONDITION", "JSON_PATCHES", "MESSAGE", "VARIABLE",
    "Compiled", "ObjectValue", "Scope", "is_identifier",
]  # fmt: skip


def _object(named: str, /, **fields: Type) -> Type:
    return object_type(named, {key: Field(kind, key) for key, kind in fields.items()})


_TEXTS = list_of(STRING)
_LABELS = map_of(STRING, STRING)
_KIND = _object("kubernetes.GroupVersionKind", group=STRING, version=STRING, kind=STRING)
_RESOURCE = _object("kubernetes.GroupVersionResource", group=STRING, version=STRING, resource=STRING)
_USER = _object("kubernetes.UserInfo", username=STRING, uid=STRING, groups=_TEXTS, extra=map_of(STRING, _TEXTS))
REQUEST = _object(
    "kubernetes.AdmissionRequest", kind=_KIND, resource=_RESOURCE, subResource=STRING, requestKind=_KIND,
    requestResource=_RESOURCE, requestSubResource=STRING, name=STRING, namespace=STRING, operation=STRING,
    userInfo=_USER, dryRun=BOOL, options=DYN,
)  # fmt: skip
_CONDITION = _object(
    "kubernetes.NamespaceCondition", status=STRING, type=STRING, lastTransitionTime=TIMESTAMP, message=STRING, reason=STRING
)
NAMESPACE = _object(
    "kubernetes.Namespace",
    metadata=_object(
        "kubernetes.NamespaceMetadata", name=STRING, generateName=STRING, namespace=STRING, labels=_LABELS,
        annotations=_LABELS, UID=STRING, creationTimestamp=TIMESTAMP, deletionGracePeriodSeconds=INT,
        deletionTimestamp=TIMESTAMP, generation=INT, resourceVersion=STRING, finalizers=_TEXTS,
    ),
    spec=_object("kubernetes.NamespaceSpec", finalizers=_TEXTS),
    status=_object("kubernetes.NamespaceStatus", conditions=list_of(_CONDITION), phase=STRING),
)  # fmt: skip

_PATCH = Type("object", "JSONPatch")
#: What expressions must give. Empty: anything.
CONDITION = (BOOL,)
MESSAGE = (STRING,)
AUDIT_ANNOTATION = (STRING, NULL)
VARIABLE: tuple[Type, ...] = ()
APPLY_CONFIGURATION = (Type("object", "Object"),)
JSON_PATCHES = (list_of(_PATCH),)

_PATCH_FIELDS = {"op": STRING, "path": STRING, "from": STRING, "value": DYN}
_WITH_PATCHES = Functions([*STANDARD.functions(), *patches.FUNCTIONS])


class ObjectValue(dict[str, Any]):
    """What ``Object.spec{...}`` makes: the fields, and the name it was made by."""

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        super().__init__(fields)
        self.name = name


def _messages(name: str) -> Callable[[str], Type | None] | None:
    if name == "JSONPatch":
        return _PATCH_FIELDS.get
    if name == "Object" or name.startswith("Object."):
        return lambda field: DYN
    return None


@dataclass(frozen=True, slots=True)
class Compiled:
    """An expression ready to run; where ``program`` is None, ``fault`` says why."""

    source: str
    program: Program | None
    fault: str = ""


class Scope:
    """Where the expressions of one policy are compiled. ``define`` adds a variable for those that follow.

    ``known`` says of what type variables are that can be of any; they are then checked as such.
    """

    def __init__(self, *, params: bool, patches: bool = False, known: Mapping[str, Type] | None = None) -> None:
        self._params = params
        self._known = known or {}
        self._patches = patches
        self._fields: dict[str, Field] = {}
        self.variables: dict[str, Compiled] = {}

    def compile(self, source: str, gives: tuple[Type, ...], *, authorizer: bool = True, composed: bool = True) -> Compiled:
        """Compile one expression. ``composed`` ones may use the policy's variables."""
        environment = self._environment(authorizer=authorizer, composed=composed)
        try:
            program = environment.compile(source)
        except CompileError as error:
            return Compiled(source, None, f"compilation failed: {error}")
        if gives and program.type not in gives:
            return Compiled(source, None, f"must evaluate to {_shown(gives)} but got {program.type.declared()}")
        return Compiled(source, program)

    def define(self, name: str, source: str) -> Compiled:
        compiled = self.compile(source, VARIABLE)
        self.variables[name] = compiled
        self._fields[name] = Field(compiled.program.type if compiled.program is not None else DYN, name)
        return compiled

    def define_all(self, variables: Iterable[Any]) -> None:
        for variable in variables:
            self.define(variable.name, variable.expression)

    def _environment(self, *, authorizer: bool, composed: bool) -> Environment:
        declared: dict[str, Type] = {"object": DYN, "oldObject": DYN, "namespaceObject": NAMESPACE, "request": REQUEST}
        if self._params:
            declared["params"] = DYN
        declared.update(self._known)
        if authorizer:
            declared["authorizer"] = opaque(Authorizer.kind)
            declared["authorizer.requestResource"] = opaque(ResourceCheck.kind)
        if composed:
            declared["variables"] = object_type("kubernetes.variables", dict(self._fields))
        if not self._patches:
            return Environment(declared)
        return Environment(declared, _WITH_PATCHES, messages=_messages, make_message=ObjectValue)


def _shown(gives: tuple[Type, ...]) -> str:
    names = [each.declared() for each in gives]
    return names[0] if len(names) == 1 else f"one of [{' '.join(names)}]"


def is_identifier(name: str) -> bool:
    """Whether expressions can call a variable that."""
    return name.isidentifier() and name.isascii() and name not in RESERVED and name not in ("true", "false", "null", "in")
