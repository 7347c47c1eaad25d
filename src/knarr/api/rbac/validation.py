"""The rules for roles and bindings.

Counterpart upstream: ``pkg/apis/rbac/validation``. ``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knarr.api import names
from knarr.api.errors import FieldError, invalid_value, required
from knarr.api.rbac import v1 as rbac
from knarr.api.rbac.defaults import GROUP
from knarr.api.rules import Rules, each, label_selector, name_field, one_of


def _check_rules(rules: Sequence[rbac.PolicyRule], *, namespaced: bool) -> list[FieldError]:
    faults: list[FieldError] = []
    for index, rule in enumerate(rules):
        here = f"rules[{index}]"
        if not rule.verbs:
            faults.append(required(f"{here}.verbs", "verbs must contain at least one value"))
        if rule.nonResourceURLs:
            if namespaced:
                text = "namespaced rules cannot apply to non-resource URLs"
                faults.append(invalid_value(f"{here}.nonResourceURLs", rule.nonResourceURLs, text))
            if rule.apiGroups or rule.resources or rule.resourceNames:
                text = "rules cannot apply to both regular resources and non-resource URLs"
                faults.append(invalid_value(f"{here}.nonResourceURLs", rule.nonResourceURLs, text))
            continue
        if not rule.apiGroups:
            text = "resource rules must supply at least one api group"
            faults.append(required(f"{here}.apiGroups", text))
        if not rule.resources:
            text = "resource rules must supply at least one resource"
            faults.append(required(f"{here}.resources", text))
    return faults


def check_role(role: rbac.Role) -> list[FieldError]:
    return _check_rules(role.rules, namespaced=True)


def check_cluster_role(role: rbac.ClusterRole) -> list[FieldError]:
    faults = _check_rules(role.rules, namespaced=False)
    if role.aggregationRule is not None:
        selectors = role.aggregationRule.clusterRoleSelectors
        if not selectors:
            text = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            faults.append(required("aggregationRule.clusterRoleSelectors", text))
        for index, selector in enumerate(selectors):
            faults += label_selector(f"aggregationRule.clusterRoleSelectors[{index}]", selector)
    return faults


def check_role_binding(binding: rbac.RoleBinding) -> list[FieldError]:
    return _check_binding(binding, ("ClusterRole", "Role"), namespaced=True)


def check_cluster_role_binding(binding: rbac.ClusterRoleBinding) -> list[FieldError]:
    return _check_binding(binding, ("ClusterRole",), namespaced=False)


def _check_binding(binding: Any, kinds: Sequence[str], *, namespaced: bool) -> list[FieldError]:
    reference = binding.roleRef
    faults: list[FieldError] = []
    if reference.apiGroup != GROUP:
        faults += one_of("roleRef.apiGroup", reference.apiGroup, (GROUP,))
    faults += one_of("roleRef.kind", reference.kind, kinds)
    faults += name_field("roleRef.name", reference.name, names.path_segment)
    for index, subject in enumerate(binding.subjects):
        faults += _check_subject(f"subjects[{index}]", subject, namespaced=namespaced)
    return faults


def _check_subject(field: str, subject: rbac.Subject, *, namespaced: bool) -> list[FieldError]:
    faults: list[FieldError] = [] if subject.name else [required(f"{field}.name")]
    match subject.kind:
        case "ServiceAccount":
            if subject.name:
                faults += each(f"{field}.name", subject.name, names.dns1123_subdomain(subject.name))
            if subject.apiGroup:
                faults += one_of(f"{field}.apiGroup", subject.apiGroup, ("",))
            if not namespaced and not subject.namespace:
                faults.append(required(f"{field}.namespace"))
        case "User" | "Group":
            if subject.apiGroup != GROUP:
                faults += one_of(f"{field}.apiGroup", subject.apiGroup, (GROUP,))
        case _:
            faults += one_of(f"{field}.kind", subject.kind, ("Group", "ServiceAccount", "User"))
    return faults


def check_binding_update(new: Any, old: Any) -> list[FieldError]:
    if new.roleRef == old.roleRef:
        return []
    return [invalid_value("roleRef", new.roleRef, "cannot change roleRef")]


RULES: dict[Any, Rules] = {
    rbac.ClusterRole: Rules(check_cluster_role, name=names.path_segment),
    rbac.ClusterRoleBinding: Rules(check_cluster_role_binding, check_binding_update, names.path_segment),
    rbac.Role: Rules(check_role, name=names.path_segment),
    rbac.RoleBinding: Rules(check_role_binding, check_binding_update, names.path_segment),
}
