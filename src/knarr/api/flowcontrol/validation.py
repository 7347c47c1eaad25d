"""The rules for flow schemas and priority levels.

Counterpart upstream: ``pkg/apis/flowcontrol/validation``. ``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.errors import FieldError, field_forbidden, invalid_value, required
from knarr.api.flowcontrol import v1 as flowcontrol
from knarr.api.rules import Rules, not_negative, one_of

MAX_PRECEDENCE = 10000
SUBJECTS = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}


def check_schema(schema: flowcontrol.FlowSchema) -> list[FieldError]:
    spec = schema.spec
    faults: list[FieldError] = []
    if not 1 <= spec.matchingPrecedence <= MAX_PRECEDENCE:
        text = f"must be between 1 and {MAX_PRECEDENCE}"
        faults.append(invalid_value("spec.matchingPrecedence", spec.matchingPrecedence, text))
    if not spec.priorityLevelConfiguration.name:
        faults.append(required("spec.priorityLevelConfiguration.name", "must reference a priority level"))
    if spec.distinguisherMethod is not None:
        choices = ("ByNamespace", "ByUser")
        faults += one_of("spec.distinguisherMethod.type", spec.distinguisherMethod.type, choices)
    for index, rule in enumerate(spec.rules):
        faults += _check_rule(f"spec.rules[{index}]", rule)
    return faults


def _check_rule(field: str, rule: flowcontrol.PolicyRulesWithSubjects) -> list[FieldError]:
    faults: list[FieldError] = []
    if not rule.subjects:
        faults.append(required(f"{field}.subjects", "subjects must contain at least one value"))
    for index, subject in enumerate(rule.subjects):
        here = f"{field}.subjects[{index}]"
        faults += one_of(f"{here}.kind", subject.kind, SUBJECTS)
        wanted = SUBJECTS.get(subject.kind)
        if wanted is not None and getattr(subject, wanted) is None:
            faults.append(
                required(f"{here}.{wanted}", f"{wanted} is required when subject kind is {subject.kind}")
            )
    if not rule.resourceRules and not rule.nonResourceRules:
        text = "at least one of resourceRules and nonResourceRules has to be non-empty"
        faults.append(required(field, text))
    return faults


def check_level(level: flowcontrol.PriorityLevelConfiguration) -> list[FieldError]:
    spec = level.spec
    faults = one_of("spec.type", spec.type, ("Exempt", "Limited"))
    if spec.type == "Exempt" and spec.limited is not None:
        text = "must be nil if the type is not Limited"
        faults.append(field_forbidden("spec.limited", text))
    if spec.type == "Limited":
        if spec.exempt is not None:
            faults.append(field_forbidden("spec.exempt", "must be nil if the type is Limited"))
        if spec.limited is None:
            faults.append(required("spec.limited", "must not be empty when type is Limited"))
        else:
            faults += _check_limited(spec.limited)
    return faults


def _check_limited(limited: flowcontrol.LimitedPriorityLevelConfiguration) -> list[FieldError]:
    faults = not_negative("spec.limited.nominalConcurrencyShares", limited.nominalConcurrencyShares)
    response, here = limited.limitResponse, "spec.limited.limitResponse"
    faults += one_of(f"{here}.type", response.type, ("Queue", "Reject"))
    queuing = response.queuing
    if response.type == "Reject" and queuing is not None:
        faults.append(
            field_forbidden(f"{here}.queuing", "must be nil if limited.limitResponse.type is not Limited")
        )
    if response.type == "Queue" and queuing is None:
        text = "must not be empty if limited.limitResponse.type is Limited"
        faults.append(required(f"{here}.queuing", text))
    if queuing is not None and queuing.handSize > queuing.queues:
        text = f"should not be greater than queues ({queuing.queues})"
        faults.append(invalid_value(f"{here}.queuing.handSize", queuing.handSize, text))
    return faults


RULES: dict[Any, Rules] = {
    flowcontrol.FlowSchema: Rules(check_schema),
    flowcontrol.PriorityLevelConfiguration: Rules(check_level),
}
