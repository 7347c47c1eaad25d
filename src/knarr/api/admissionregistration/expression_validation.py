"""The expressions of policies and match conditions, judged when they are written: each is there, compiles and gives what it must.

Upstream's counterpart is the part of ``apis/admissionregistration/validation`` on expressions. Neighbours: ``validation`` checks the rest
and calls here only where there is an expression, ``expressions`` compiles.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from knarr.api import names
from knarr.api.admissionregistration import v1 as registration
from knarr.api.admissionregistration.expressions import (
    APPLY_CONFIGURATION,
    AUDIT_ANNOTATION,
    CONDITION,
    JSON_PATCHES,
    MESSAGE,
    Compiled,
    Scope,
    is_identifier,
)  # fmt: skip
from knarr.api.cel.types import Type
from knarr.api.errors import FieldError, duplicate, invalid_value, not_supported, required, too_many
from knarr.api.rules import each

__all__ = ["check_match_conditions", "check_mutating", "check_validating"]

MAX_MATCH_CONDITIONS = 64
MAX_AUDIT_ANNOTATIONS = 20
MAX_VALUE_EXPRESSION_BYTES = 5 * 1024
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
PATCH_TYPES = ("ApplyConfiguration", "JSONPatch")
_LINE_BREAK = re.compile(r"[\n\r]+")


def check_match_conditions(
    field: str, conditions: Sequence[registration.MatchCondition], *, params: bool = False
) -> list[FieldError]:
    """Those of a webhook, or of a policy, which may have parameters."""
    faults: list[FieldError] = []
    if len(conditions) > MAX_MATCH_CONDITIONS:
        faults.append(too_many(field, len(conditions), MAX_MATCH_CONDITIONS))
    scope = Scope(params=params)
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        here, text = f"{field}[{index}]", condition.expression.strip()
        if not text:
            faults.append(required(f"{here}.expression"))
        else:
            faults += _faults(f"{here}.expression", scope.compile(text, CONDITION, composed=False))
        if not condition.name:
            faults.append(required(f"{here}.name"))
        else:
            faults += each(f"{here}.name", condition.name, names.qualified_name(condition.name))
            if condition.name in seen:
                faults.append(duplicate(f"{here}.name", condition.name))
        seen.add(condition.name)
    return faults


def _faults(field: str, compiled: Compiled) -> list[FieldError]:
    return [invalid_value(field, compiled.source, compiled.fault)] if compiled.fault else []


def _variables(scope: Scope, variables: Sequence[registration.Variable]) -> list[FieldError]:
    faults: list[FieldError] = []
    for index, variable in enumerate(variables):
        here = f"spec.variables[{index}]"
        if not variable.name.strip():
            faults.append(required(f"{here}.name", "name is not specified"))
        elif not is_identifier(variable.name):
            faults.append(invalid_value(f"{here}.name", variable.name, "must be a valid CEL identifier"))
        if not variable.expression.strip():
            faults.append(required(f"{here}.expression", "expression is not specified"))
        else:
            faults += _faults(f"{here}.expression", scope.define(variable.name, variable.expression))
    return faults


def check_validating(policy: registration.ValidatingAdmissionPolicy) -> list[FieldError]:
    spec = policy.spec
    scope = Scope(params=spec.paramKind is not None)
    faults = check_match_conditions("spec.matchConditions", spec.matchConditions, params=spec.paramKind is not None)
    faults += _variables(scope, spec.variables)
    for index, validation in enumerate(spec.validations):
        faults += _validation(f"spec.validations[{index}]", validation, scope, composed=bool(spec.variables))
    if len(spec.auditAnnotations) > MAX_AUDIT_ANNOTATIONS:
        text = f"must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations"
        # As upstream shows what it has no JSON form for: by the names its own code has.
        shown = [{"Key": each.key, "ValueExpression": each.valueExpression} for each in spec.auditAnnotations]
        faults.append(invalid_value("spec.auditAnnotations", shown, text))
    keys: set[str] = set()
    for index, annotation in enumerate(spec.auditAnnotations):
        here = f"spec.auditAnnotations[{index}]"
        faults += _audit_annotation(here, annotation, policy.metadata.name, scope, composed=bool(spec.variables))
        if annotation.key in keys:
            faults.append(duplicate(f"{here}.key", annotation.key))
        keys.add(annotation.key)
    return faults


def _validation(here: str, validation: registration.Validation, scope: Scope, *, composed: bool) -> list[FieldError]:
    faults: list[FieldError] = []
    message = validation.message.strip()
    if not validation.expression.strip():
        faults.append(required(f"{here}.expression", "expression is not specified"))
    else:
        faults += _faults(f"{here}.expression", scope.compile(validation.expression, CONDITION, composed=composed))
    if validation.messageExpression and not validation.messageExpression.strip():
        faults.append(invalid_value(f"{here}.messageExpression", validation.messageExpression, "must be non-empty if specified"))
    elif validation.messageExpression:
        compiled = scope.compile(validation.messageExpression, MESSAGE, authorizer=False, composed=composed)
        faults += _faults(f"{here}.messageExpression", compiled)
    if validation.message and not message:
        faults.append(invalid_value(f"{here}.message", validation.message, "must be non-empty if specified"))
    elif _LINE_BREAK.search(message):
        faults.append(invalid_value(f"{here}.message", validation.message, "must not contain line breaks"))
    if validation.reason is not None and validation.reason not in REASONS:
        faults.append(not_supported(f"{here}.reason", validation.reason, REASONS))
    return faults


def _audit_annotation(
    here: str, annotation: registration.AuditAnnotation, policy: str, scope: Scope, *, composed: bool
) -> list[FieldError]:
    faults: list[FieldError] = []
    if policy:
        key = f"{policy}/{annotation.key}"
        faults += each(f"{here}.key", key, names.qualified_name(key))
    else:
        faults.append(invalid_value(f"{here}.key", annotation.key, "requires metadata.name be non-empty"))
    text = annotation.valueExpression.strip()
    if not text:
        faults.append(required(f"{here}.valueExpression", "valueExpression is not specified"))
    elif len(text.encode()) > MAX_VALUE_EXPRESSION_BYTES:
        faults.append(required(f"{here}.valueExpression", f"must not exceed {MAX_VALUE_EXPRESSION_BYTES} bytes in length"))
    else:
        compiled = scope.compile(text, AUDIT_ANNOTATION, composed=composed)
        if compiled.fault:
            faults.append(invalid_value(f"{here}.valueExpression", annotation.valueExpression, compiled.fault))
    return faults


def check_mutating(policy: registration.MutatingAdmissionPolicy) -> list[FieldError]:
    spec = policy.spec
    scope = Scope(params=spec.paramKind is not None, patches=True)
    faults = check_match_conditions("spec.matchConditions", spec.matchConditions, params=spec.paramKind is not None)
    faults += _variables(scope, spec.variables)
    for index, mutation in enumerate(spec.mutations):
        faults += _mutation(f"spec.mutations[{index}]", mutation, scope)
    return faults


def _mutation(here: str, mutation: registration.Mutation, scope: Scope) -> list[FieldError]:
    if not mutation.patchType:
        return [required(f"{here}.patchType")]
    if mutation.patchType not in PATCH_TYPES:
        return [not_supported(f"{here}.patchType", mutation.patchType, PATCH_TYPES)]
    faults: list[FieldError] = []
    for name, kind, gives in (
        ("jsonPatch", "JSONPatch", JSON_PATCHES),
        ("applyConfiguration", "ApplyConfiguration", APPLY_CONFIGURATION),
    ):
        given = getattr(mutation, name)
        if mutation.patchType != kind:
            if given is not None:
                text = f"must not be specified when patchType is {mutation.patchType}"
                faults.append(invalid_value(f"{here}.{name}", f"{{{name}}}", text))
        elif given is None:
            faults.append(required(f"{here}.{name}", f"must be specified when patchType is {kind}"))
        else:
            faults += _patch(f"{here}.{name}.expression", given, gives, scope)
    return faults


def _patch(field: str, given: Any, gives: tuple[Type, ...], scope: Scope) -> list[FieldError]:
    text = given.expression.strip()
    return _faults(field, scope.compile(text, gives)) if text else [required(field)]
