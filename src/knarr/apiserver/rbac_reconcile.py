"""Default roles and bindings that are there already get what a newer version adds; what users have added stays.

An object whose annotation ``rbac.authorization.kubernetes.io/autoupdate`` says ``false`` is left alone.

Upstream's counterpart is ``pkg/registry/rbac/reconciliation``. Neighbours: ``bootstrap`` calls this at every start.
"""

from __future__ import annotations

from typing import Any

from knarr.api.rbac import v1 as rbac
from knarr.apiserver.admission.escalation import missing
from knarr.apiserver.rbac_rules import AUTOUPDATE

__all__ = ["complete", "is_default_kind", "must_be_remade"]


def is_default_kind(obj: Any) -> bool:
    return isinstance(obj, rbac.ClusterRole | rbac.Role | rbac.ClusterRoleBinding | rbac.RoleBinding)


def is_left_alone(held: Any) -> bool:
    return bool(held.metadata.annotations.get(AUTOUPDATE) == "false")


def must_be_remade(held: Any, wanted: Any) -> bool:
    """A binding to another role: what a binding points at cannot be changed."""
    return hasattr(wanted, "roleRef") and held.roleRef != wanted.roleRef and not is_left_alone(held)


def complete(held: Any, wanted: Any) -> Any:
    """``held``, changed to grant at least what ``wanted`` does."""
    if is_left_alone(held):
        return held
    held.metadata.labels = {**wanted.metadata.labels, **held.metadata.labels}
    held.metadata.annotations = {**wanted.metadata.annotations, **held.metadata.annotations}
    if hasattr(wanted, "subjects"):
        held.subjects = [*held.subjects, *(each for each in wanted.subjects if each not in held.subjects)]
        return held
    aggregation = getattr(wanted, "aggregationRule", None)
    if aggregation is None:
        lacking = [each for each in wanted.rules if missing(held.rules, [each])]
        held.rules = [*held.rules, *lacking]
        return held
    # The rules of an aggregated role are the controller's.
    if held.aggregationRule is None:
        held.aggregationRule = aggregation
    selectors = held.aggregationRule.clusterRoleSelectors
    held.aggregationRule.clusterRoleSelectors = [
        *selectors,
        *(each for each in aggregation.clusterRoleSelectors if each not in selectors),
    ]
    return held
