"""The rules for where a pod may run: node selectors, affinity, tolerations, topology spread.

Counterpart upstream: ``validateAffinity`` and its neighbours in ``pkg/apis/core/validation``. Neighbours:
``pod_validation``; persistent volumes and storage classes use ``check_node_selector``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knarr.api import names
from knarr.api.core import v1 as core
from knarr.api.errors import FieldError, duplicate, field_forbidden, invalid_value, required
from knarr.api.rules import each, label_selector, name_field, one_of

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
NODE_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
INCLUSION = ("Honor", "Ignore")
WEIGHT_TEXT = "must be in the range 1-100"


def check_node_selector(field: str, selector: core.NodeSelector) -> list[FieldError]:
    here = f"{field}.nodeSelectorTerms"
    if not selector.nodeSelectorTerms:
        return [required(here, "must have at least one node selector term")]
    faults = []
    for index, term in enumerate(selector.nodeSelectorTerms):
        faults += check_node_selector_term(f"{here}[{index}]", term)
    return faults


def check_node_selector_term(field: str, term: core.NodeSelectorTerm) -> list[FieldError]:
    faults = []
    for index, requirement in enumerate(term.matchExpressions):
        here = f"{field}.matchExpressions[{index}]"
        faults += _check_node_requirement(here, requirement)
        faults += each(f"{here}.key", requirement.key, names.qualified_name(requirement.key))
    for index, requirement in enumerate(term.matchFields):
        faults += _check_field_requirement(f"{field}.matchFields[{index}]", requirement)
    return faults


def _check_node_requirement(field: str, requirement: core.NodeSelectorRequirement) -> list[FieldError]:
    match requirement.operator:
        case "In" | "NotIn":
            if not requirement.values:
                return [required(f"{field}.values", "must be specified when `operator` is 'In' or 'NotIn'")]
        case "Exists" | "DoesNotExist":
            if requirement.values:
                text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                return [field_forbidden(f"{field}.values", text)]
        case "Gt" | "Lt":
            if len(requirement.values) != 1:
                text = "must be specified single value when `operator` is 'Lt' or 'Gt'"
                return [required(f"{field}.values", text)]
        case _:
            return [invalid_value(f"{field}.operator", requirement.operator, "not a valid selector operator")]
    return []


def _check_field_requirement(field: str, requirement: core.NodeSelectorRequirement) -> list[FieldError]:
    faults = []
    if requirement.operator not in ("In", "NotIn"):
        faults.append(
            invalid_value(f"{field}.operator", requirement.operator, "not a valid selector operator")
        )
    elif len(requirement.values) != 1:
        text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        faults.append(required(f"{field}.values", text))
    if requirement.key != "metadata.name":
        text = "not a valid field selector key"
        faults.append(invalid_value(f"{field}.key", requirement.key, text))
    return faults


def check_affinity(field: str, affinity: core.Affinity) -> list[FieldError]:
    faults: list[FieldError] = []
    node = affinity.nodeAffinity
    if node is not None:
        here = f"{field}.nodeAffinity"
        if node.requiredDuringSchedulingIgnoredDuringExecution is not None:
            faults += check_node_selector(
                f"{here}.requiredDuringSchedulingIgnoredDuringExecution",
                node.requiredDuringSchedulingIgnoredDuringExecution,
            )
        for index, preferred in enumerate(node.preferredDuringSchedulingIgnoredDuringExecution):
            place = f"{here}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
            faults += _check_weight(f"{place}.weight", preferred.weight)
            faults += check_node_selector_term(f"{place}.preference", preferred.preference)
    if affinity.podAffinity is not None:
        faults += _check_pod_affinity(f"{field}.podAffinity", affinity.podAffinity)
    if affinity.podAntiAffinity is not None:
        faults += _check_pod_affinity(f"{field}.podAntiAffinity", affinity.podAntiAffinity)
    return faults


def _check_weight(field: str, weight: int) -> list[FieldError]:
    return [] if 1 <= weight <= 100 else [invalid_value(field, weight, WEIGHT_TEXT)]


def _check_pod_affinity(field: str, affinity: Any) -> list[FieldError]:
    faults: list[FieldError] = []
    for index, term in enumerate(affinity.requiredDuringSchedulingIgnoredDuringExecution):
        faults += _check_term(f"{field}.requiredDuringSchedulingIgnoredDuringExecution[{index}]", term)
    for index, weighted in enumerate(affinity.preferredDuringSchedulingIgnoredDuringExecution):
        here = f"{field}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        faults += _check_weight(f"{here}.weight", weighted.weight)
        faults += _check_term(f"{here}.podAffinityTerm", weighted.podAffinityTerm)
    return faults


def _check_term(field: str, term: core.PodAffinityTerm) -> list[FieldError]:
    faults = label_selector(f"{field}.labelSelector", term.labelSelector)
    faults += label_selector(f"{field}.namespaceSelector", term.namespaceSelector)
    for namespace in term.namespaces:
        faults += each(f"{field}.namespace", namespace, names.dns1123_label(namespace))
    if not term.topologyKey:
        faults.append(required(f"{field}.topologyKey", "can not be empty"))
        return faults
    return faults + each(f"{field}.topologyKey", term.topologyKey, names.qualified_name(term.topologyKey))


def check_tolerations(field: str, tolerations: Sequence[core.Toleration]) -> list[FieldError]:
    faults = []
    for index, toleration in enumerate(tolerations):
        faults += _check_toleration(f"{field}[{index}]", toleration)
    return faults


def _check_toleration(field: str, toleration: core.Toleration) -> list[FieldError]:
    faults = []
    operator = toleration.operator
    if toleration.key:
        faults += each(f"{field}.key", toleration.key, names.qualified_name(toleration.key))
    elif operator != "Exists":
        text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        faults.append(invalid_value(f"{field}.operator", operator, text))
    if toleration.tolerationSeconds is not None and toleration.effect != "NoExecute":
        text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        faults.append(invalid_value(f"{field}.effect", toleration.effect, text))
    match operator:
        case "" | "Equal":
            faults += each(f"{field}.operator", toleration.value, names.label_value(toleration.value))
        case "Exists":
            if toleration.value:
                text = "value must be empty when `operator` is 'Exists'"
                faults.append(invalid_value(f"{field}.operator", toleration, text))
        case "Lt" | "Gt":
            if not toleration.value.lstrip("-").isdigit():
                text = "value must be an integer when `operator` is 'Lt' or 'Gt'"
                faults.append(invalid_value(f"{field}.value", toleration.value, text))
        case _:
            faults += one_of(f"{field}.operator", operator, ("Equal", "Exists"))
    return faults + one_of(f"{field}.effect", toleration.effect, EFFECTS, needed=False)


def check_spread(field: str, constraints: Sequence[core.TopologySpreadConstraint]) -> list[FieldError]:
    faults: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, constraint in enumerate(constraints):
        here = f"{field}[{index}]"
        if constraint.maxSkew <= 0:
            faults.append(invalid_value(f"{here}.maxSkew", constraint.maxSkew, "must be greater than zero"))
        if not constraint.topologyKey:
            faults.append(required(f"{here}.topologyKey", "can not be empty"))
        else:
            problems = names.qualified_name(constraint.topologyKey)
            faults += each(f"{here}.topologyKey", constraint.topologyKey, problems)
        faults += one_of(f"{here}.whenUnsatisfiable", constraint.whenUnsatisfiable, UNSATISFIABLE)
        pair = (constraint.topologyKey, constraint.whenUnsatisfiable)
        if pair in seen:
            faults.append(
                duplicate(f"{here}.{{topologyKey, whenUnsatisfiable}}", f"{{{pair[0]}, {pair[1]}}}")
            )
        seen.add(pair)
        faults += _check_spread_options(here, constraint)
    return faults


def _check_spread_options(field: str, constraint: core.TopologySpreadConstraint) -> list[FieldError]:
    faults = label_selector(f"{field}.labelSelector", constraint.labelSelector)
    if constraint.minDomains is not None:
        if constraint.minDomains <= 0:
            text = "must be greater than zero"
            faults.append(invalid_value(f"{field}.minDomains", constraint.minDomains, text))
        if constraint.whenUnsatisfiable != "DoNotSchedule":
            text = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"
            faults.append(invalid_value(f"{field}.minDomains", constraint.minDomains, text))
    for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        if (policy := getattr(constraint, name)) is not None:
            faults += one_of(f"{field}.{name}", policy, INCLUSION)
    if constraint.matchLabelKeys and constraint.labelSelector is None:
        text = "must not be specified when labelSelector is not set"
        faults.append(field_forbidden(f"{field}.matchLabelKeys", text))
    return faults


def check_taints(field: str, taints: Sequence[core.Taint]) -> list[FieldError]:
    """The taints of a node: each key once an effect."""
    faults: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        here = f"{field}[{index}]"
        faults += name_field(f"{here}.key", taint.key, names.qualified_name)
        faults += each(f"{here}.value", taint.value, names.label_value(taint.value))
        faults += one_of(f"{here}.effect", taint.effect, EFFECTS)
        if (taint.key, taint.effect) in seen:
            faults.append(duplicate(here, taint))
        seen.add((taint.key, taint.effect))
    return faults
