"""May this pod be on this node? The two rules that more than one component has to judge: taints and node
affinity.

The scheduler places by them (on columns, for affinity), the kubelet admits by them, controllers evict by them
and place daemon pods by them.
Upstream's counterpart is ``component-helpers/scheduling/corev1``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knarr.api.core import v1 as core

__all__ = ["matches_node", "tolerated", "tolerates"]


def tolerates(toleration: core.Toleration, taint: core.Taint) -> bool:
    """Whether one toleration covers one taint."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return toleration.operator in ("", "Equal") and toleration.value == taint.value


def tolerated(taint: core.Taint, tolerations: Sequence[core.Toleration]) -> bool:
    """Whether any toleration covers the taint."""
    return any(tolerates(toleration, taint) for toleration in tolerations)


def matches_node(spec: core.PodSpec, node: core.Node) -> bool:
    """``nodeSelector`` and required node affinity."""
    labels = node.metadata.labels
    if any(labels.get(key) != value for key, value in spec.nodeSelector.items()):
        return False
    affinity = spec.affinity.nodeAffinity if spec.affinity is not None else None
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity is not None else None
    if required is None:
        return True
    fields = {"metadata.name": node.metadata.name}
    return any(
        (term.matchExpressions or term.matchFields)
        and all(_holds(each, labels) for each in term.matchExpressions)
        and all(_holds(each, fields) for each in term.matchFields)
        for term in required.nodeSelectorTerms
    )


def _holds(requirement: core.NodeSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(requirement.key), requirement.values
    match requirement.operator:
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            try:
                left, right = int(value or ""), int(values[0])
            except (ValueError, IndexError):
                return False
            return left > right if requirement.operator == "Gt" else left < right
    return False
