"""NodeAffinity: ``nodeSelector`` and affinity to nodes, required and preferred."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knarr.api.core import v1 as core
from knarr.scheduler.framework import CycleState, Plugin, Rejection, Scores, normalized
from knarr.scheduler.table import Mask, NodeTable

REASON = "node(s) didn't match Pod's node affinity/selector"


class NodeAffinity(Plugin):
    name = "NodeAffinity"
    weight = 2
    static = True

    def filter(self, state: CycleState, pod: core.Pod, table: NodeTable) -> Sequence[Rejection]:
        affinity = pod.spec.affinity.nodeAffinity if pod.spec.affinity else None
        required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
        if not pod.spec.nodeSelector and required is None:
            return ()
        allowed = table.present.copy()
        for key, value in pod.spec.nodeSelector.items():
            allowed &= table.has_label(key, value)
        if required is not None:
            allowed &= matching(required.nodeSelectorTerms, table)
        return (Rejection(table.present & ~allowed, REASON, unresolvable=True),)

    def score(self, state: CycleState, pod: core.Pod, table: NodeTable, feasible: Mask) -> Scores | None:
        affinity = pod.spec.affinity.nodeAffinity if pod.spec.affinity else None
        preferred = affinity.preferredDuringSchedulingIgnoredDuringExecution if affinity else []
        if not preferred:
            return None
        total = np.zeros(table.size, np.float64)
        for term in preferred:
            total[matching([term.preference], table)] += term.weight
        return normalized(total, feasible)


def matching(terms: Sequence[core.NodeSelectorTerm], table: NodeTable) -> Mask:
    """The nodes that satisfy any of ``terms``; an empty term satisfies none."""
    found = np.zeros(table.size, np.bool_)
    for term in terms:
        if not term.matchExpressions and not term.matchFields:
            continue
        mask = table.present.copy()
        for requirement in term.matchExpressions:
            mask &= _expression(requirement, table)
        for requirement in term.matchFields:
            mask &= _field(requirement, table)
        found |= mask
    return found


def _expression(requirement: core.NodeSelectorRequirement, table: NodeTable) -> Mask:
    key, values = requirement.key, requirement.values
    if requirement.operator == "Exists":
        return table.has_label(key)
    if requirement.operator == "DoesNotExist":
        return table.present & ~table.has_label(key)
    if requirement.operator in ("Gt", "Lt"):
        return _compared(requirement, table)
    among = np.zeros(table.size, np.bool_)
    for value in values:
        among |= table.has_label(key, value)
    return among if requirement.operator == "In" else table.present & ~among


def _compared(requirement: core.NodeSelectorRequirement, table: NodeTable) -> Mask:
    mask = np.zeros(table.size, np.bool_)
    try:
        bound = int(requirement.values[0])
    except (IndexError, ValueError):
        return mask
    for row, text in table.label_values(requirement.key).items():
        try:
            value = int(text)
        except ValueError:
            continue
        mask[row] = value > bound if requirement.operator == "Gt" else value < bound
    return mask


def _field(requirement: core.NodeSelectorRequirement, table: NodeTable) -> Mask:
    """Fields: only ``metadata.name`` is one."""
    named = np.zeros(table.size, np.bool_)
    if requirement.key != "metadata.name":
        return named
    for name in requirement.values:
        row = table.row_of(name)
        if row is not None:
            named[row] = True
    return named if requirement.operator == "In" else table.present & ~named
