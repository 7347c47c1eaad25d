"""PodTopologySpread: pods of one kind spread over zones, nodes, or whatever a label divides nodes into.

``DoNotSchedule`` constraints filter: the domain a pod goes to may hold at most ``maxSkew`` more matching pods
than the emptiest one. ``ScheduleAnyway`` constraints score. A pod that
says nothing is spread over nodes and zones by what its owner selects, as upstream's system defaults do.

Upstream's counterpart is ``pkg/scheduler/framework/plugins/podtopologyspread``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from knarr.api.core import v1 as core
from knarr.api.core.placement import tolerated
from knarr.api.meta import v1 as meta
from knarr.api.owners import controller_of
from knarr.api.selectors import LabelSelector, from_label_selector
from knarr.scheduler.framework import MAX_SCORE, CycleState, Plugin, Rejection, Scores
from knarr.scheduler.plugins.node_affinity import NodeAffinity
from knarr.scheduler.table import Mask, NodeTable

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
SKEWED = "node(s) didn't match pod topology spread constraints"
UNLABELLED = "node(s) didn't match pod topology spread constraints (missing required label)"
DO_NOT_SCHEDULE = "DoNotSchedule"
#: Upstream's system defaults: topology key and largest skew, as preferences.
SYSTEM_DEFAULTS = ((HOSTNAME, 3), (ZONE, 5))


class PodTopologySpread(Plugin):
    name = "PodTopologySpread"
    weight = 2

    def filter(self, state: CycleState, pod: core.Pod, table: NodeTable) -> Sequence[Rejection]:
        rejections = []
        for constraint in pod.spec.topologySpreadConstraints:
            if constraint.whenUnsatisfiable == DO_NOT_SCHEDULE:
                rejections += self._refused(constraint, pod, table)
        return rejections

    def _refused(
        self, constraint: core.TopologySpreadConstraint, pod: core.Pod, table: NodeTable
    ) -> list[Rejection]:
        ids, names = table.domains(constraint.topologyKey)
        unlabelled = table.present & (ids < 0)
        rejections = [Rejection(unlabelled, UNLABELLED, unresolvable=True)] if unlabelled.any() else []
        eligible = _eligible(constraint, pod, table) & (ids >= 0)
        selector = _selector(constraint, pod)
        counts = table.count_pods(*_counting(pod.metadata.namespace, selector))
        totals = _by_domain(counts, ids, eligible, len(names))
        reachable = np.unique(ids[eligible])
        fewest = int(totals[reachable].min()) if len(reachable) else 0
        if constraint.minDomains is not None and len(reachable) < constraint.minDomains:
            # Domains that are still to come count as empty.
            fewest = 0
        own = 1 if selector.matches(pod.metadata.labels) else 0
        skewed = np.zeros(table.size, np.bool_)
        labelled = table.present & (ids >= 0)
        skewed[labelled] = totals[ids[labelled]] + own - fewest > constraint.maxSkew
        if skewed.any():
            rejections.append(Rejection(skewed, SKEWED))
        return rejections

    def score(self, state: CycleState, pod: core.Pod, table: NodeTable, feasible: Mask) -> Scores | None:
        wanted = [c for c in pod.spec.topologySpreadConstraints if c.whenUnsatisfiable != DO_NOT_SCHEDULE]
        if not pod.spec.topologySpreadConstraints:
            wanted = _defaults(pod)
        total = np.zeros(table.size, np.float64)
        used = False
        for constraint in wanted:
            ids, names = table.domains(constraint.topologyKey)
            labelled = feasible & (ids >= 0)
            if not labelled.any():
                continue
            counts = table.count_pods(*_counting(pod.metadata.namespace, _selector(constraint, pod)))
            totals = _by_domain(counts, ids, table.present & (ids >= 0), len(names))
            # Counting is several times cheaper than ``unique``, which sorts.
            weight = np.log(np.count_nonzero(np.bincount(ids[labelled])) + 2)
            total[labelled] += totals[ids[labelled]] * weight + (constraint.maxSkew - 1)
            used = True
        if not used:
            return None
        values = total[feasible]
        high, low = float(values.max()), float(values.min())
        if high == 0:
            return np.full(table.size, MAX_SCORE, np.float64)
        scores: Scores = MAX_SCORE * (high + low - total) / high
        return np.clip(scores, 0, MAX_SCORE)


def _selector(constraint: core.TopologySpreadConstraint, pod: core.Pod) -> LabelSelector:
    """The constraint's selector, narrowed by the pod's own values of ``matchLabelKeys``."""
    selector = constraint.labelSelector
    own = {key: pod.metadata.labels[key] for key in constraint.matchLabelKeys if key in pod.metadata.labels}
    if selector is not None and own:
        selector = meta.LabelSelector(
            matchLabels={**selector.matchLabels, **own}, matchExpressions=list(selector.matchExpressions)
        )
    return from_label_selector(selector)


def _counting(
    namespace: str, selector: LabelSelector
) -> tuple[tuple[str, str, str], Callable[[core.Pod], bool], tuple[tuple[str, str], ...]]:
    """A count of the namespace's matching pods; those on their way out do not count."""

    def matches(pod: core.Pod) -> bool:
        return (
            pod.metadata.namespace == namespace
            and pod.metadata.deletionTimestamp is None
            and selector.matches(pod.metadata.labels)
        )

    return ("spread", namespace, str(selector)), matches, selector.exact


def _by_domain(
    counts: NDArray[np.int64], ids: NDArray[np.int64], nodes: Mask, domains: int
) -> NDArray[np.int64]:
    return np.bincount(ids[nodes], weights=counts[nodes], minlength=domains).astype(np.int64)


def _eligible(constraint: core.TopologySpreadConstraint, pod: core.Pod, table: NodeTable) -> Mask:
    """The nodes whose pods are counted: those the pod could go to at all."""
    eligible = table.present.copy()
    if constraint.nodeAffinityPolicy != "Ignore":
        for rejection in NodeAffinity().filter(None, pod, table):  # type: ignore[arg-type]
            eligible &= ~rejection.mask
    if constraint.nodeTaintsPolicy == "Honor":
        for row in table.rows():
            taints = [t for t in table.node(row).spec.taints if t.effect in ("NoSchedule", "NoExecute")]
            if not all(tolerated(taint, pod.spec.tolerations) for taint in taints):
                eligible[row] = False
    return eligible


def _defaults(pod: core.Pod) -> list[core.TopologySpreadConstraint]:
    """Preferences for a pod that has an owner and labels to be known by."""
    if controller_of(pod) is None or not pod.metadata.labels:
        return []
    selector = meta.LabelSelector(matchLabels=dict(pod.metadata.labels))
    return [
        core.TopologySpreadConstraint(
            maxSkew=skew, topologyKey=key, whenUnsatisfiable="ScheduleAnyway", labelSelector=selector
        )
        for key, skew in SYSTEM_DEFAULTS
    ]
