"""InterPodAffinity: pods that want to be near others, or away from them.

Required terms filter, preferred ones score; required anti-affinity of pods that already run counts against
newcomers too.

Upstream's counterpart is ``pkg/scheduler/framework/plugins/interpodaffinity``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.api.selectors import from_label_selector
from knarr.client.informer import Lister
from knarr.scheduler.framework import MAX_SCORE, CycleState, Plugin, Rejection, Scores
from knarr.scheduler.table import Mask, NodeTable

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"
#: What a running pod's required affinity adds to a newcomer's score, as upstream's default.
HARD_WEIGHT = 1


class InterPodAffinity(Plugin):
    name = "InterPodAffinity"
    weight = 2

    def __init__(self, namespaces: Lister[core.Namespace]) -> None:
        self._namespaces = namespaces

    def filter(self, state: CycleState, pod: core.Pod, table: NodeTable) -> Sequence[Rejection]:
        rejections = [*self._affinity(pod, table), *self._anti_affinity(pod, table)]
        refused = np.zeros(table.size, np.bool_)
        for row, other in table.choosy.values():
            for term in _required(other, anti=True):
                if self.matches(term, other, pod):
                    refused |= _same_domain(table, term.topologyKey, row)
        if refused.any():
            rejections.append(Rejection(refused, EXISTING))
        return rejections

    def _affinity(self, pod: core.Pod, table: NodeTable) -> list[Rejection]:
        terms = _required(pod, anti=False)
        if not terms:
            return []
        allowed = table.present.copy()
        anywhere = False
        for term in terms:
            near, found = self._domains_with(term, pod, table)
            ids, _ = table.domains(term.topologyKey)
            anywhere = anywhere or found
            allowed &= near & (ids >= 0)
        if not anywhere and all(self.matches(term, pod, pod) for term in terms):
            # The first of a group that wants to be together has nobody to be near yet.
            allowed = table.present.copy()
            for term in terms:
                ids, _ = table.domains(term.topologyKey)
                allowed &= ids >= 0
        refused = table.present & ~allowed
        return [Rejection(refused, AFFINITY, unresolvable=True)] if refused.any() else []

    def _anti_affinity(self, pod: core.Pod, table: NodeTable) -> list[Rejection]:
        refused = np.zeros(table.size, np.bool_)
        for term in _required(pod, anti=True):
            near, _ = self._domains_with(term, pod, table)
            refused |= near
        refused &= table.present
        return [Rejection(refused, ANTI_AFFINITY)] if refused.any() else []

    def score(self, state: CycleState, pod: core.Pod, table: NodeTable, feasible: Mask) -> Scores | None:
        total = np.zeros(table.size, np.float64)
        for anti, sign in ((False, 1), (True, -1)):
            for weighted in _preferred(pod, anti=anti):
                counts = self._counts(weighted.podAffinityTerm, pod, table)
                total += (
                    sign * weighted.weight * _per_domain(table, weighted.podAffinityTerm.topologyKey, counts)
                )
        for row, other in table.choosy.values():
            total += self._pull(row, other, pod, table)
        values = total[feasible]
        if not len(values) or values.max() == values.min():
            return None
        scores: Scores = MAX_SCORE * (total - values.min()) / (values.max() - values.min())
        return np.clip(scores, 0, MAX_SCORE)

    def _pull(self, row: int, other: core.Pod, pod: core.Pod, table: NodeTable) -> Scores:
        """What a running pod's own wishes say about a newcomer."""
        pull = np.zeros(table.size, np.float64)
        for term in _required(other, anti=False):
            if self.matches(term, other, pod):
                pull[_same_domain(table, term.topologyKey, row)] += HARD_WEIGHT
        for anti, sign in ((False, 1), (True, -1)):
            for weighted in _preferred(other, anti=anti):
                if self.matches(weighted.podAffinityTerm, other, pod):
                    pull[_same_domain(table, weighted.podAffinityTerm.topologyKey, row)] += (
                        sign * weighted.weight
                    )
        return pull

    def _domains_with(self, term: core.PodAffinityTerm, pod: core.Pod, table: NodeTable) -> tuple[Mask, bool]:
        """The nodes in whose domain a matching pod runs, and whether any does anywhere."""
        counts = self._counts(term, pod, table)
        return _per_domain(table, term.topologyKey, counts) > 0, bool(counts.any())

    def _counts(self, term: core.PodAffinityTerm, pod: core.Pod, table: NodeTable) -> Any:
        namespaces = self._namespaces_of(term, pod)
        selector = from_label_selector(_narrowed(term, pod))
        key = ("term", tuple(sorted(namespaces)), str(selector))

        def matches(other: core.Pod) -> bool:
            return other.metadata.namespace in namespaces and selector.matches(other.metadata.labels)

        return table.count_pods(key, matches, selector.exact)

    def matches(self, term: core.PodAffinityTerm, owner: core.Pod, pod: core.Pod) -> bool:
        """Whether ``pod`` is one of those that ``owner``'s term speaks of."""
        return pod.metadata.namespace in self._namespaces_of(term, owner) and from_label_selector(
            _narrowed(term, owner)
        ).matches(pod.metadata.labels)

    def _namespaces_of(self, term: core.PodAffinityTerm, owner: core.Pod) -> set[str]:
        if not term.namespaces and term.namespaceSelector is None:
            return {owner.metadata.namespace}
        found = set(term.namespaces)
        if term.namespaceSelector is not None:
            selector = from_label_selector(term.namespaceSelector)
            found |= {n.metadata.name for n in self._namespaces.list() if selector.matches(n.metadata.labels)}
        return found


def _narrowed(term: core.PodAffinityTerm, owner: core.Pod) -> meta.LabelSelector | None:
    """The selector with ``matchLabelKeys`` and ``mismatchLabelKeys`` filled in from the owner's labels."""
    selector = term.labelSelector
    if selector is None or not (term.matchLabelKeys or term.mismatchLabelKeys):
        return selector
    labels = owner.metadata.labels
    extra = [
        meta.LabelSelectorRequirement(key=key, operator=operator, values=[labels[key]])
        for keys, operator in ((term.matchLabelKeys, "In"), (term.mismatchLabelKeys, "NotIn"))
        for key in keys
        if key in labels
    ]
    return meta.LabelSelector(
        matchLabels=dict(selector.matchLabels), matchExpressions=[*selector.matchExpressions, *extra]
    )


def _required(pod: core.Pod, *, anti: bool) -> list[core.PodAffinityTerm]:
    affinity = pod.spec.affinity
    part: Any = None
    if affinity is not None:
        part = affinity.podAntiAffinity if anti else affinity.podAffinity
    return list(part.requiredDuringSchedulingIgnoredDuringExecution) if part is not None else []


def _preferred(pod: core.Pod, *, anti: bool) -> list[core.WeightedPodAffinityTerm]:
    affinity = pod.spec.affinity
    part: Any = None
    if affinity is not None:
        part = affinity.podAntiAffinity if anti else affinity.podAffinity
    return list(part.preferredDuringSchedulingIgnoredDuringExecution) if part is not None else []


def _same_domain(table: NodeTable, key: str, row: int) -> Mask:
    """The nodes that share a node's value of a label."""
    ids, _ = table.domains(key)
    if ids[row] < 0:
        return np.zeros(table.size, np.bool_)
    same: Mask = table.present & (ids == ids[row])
    return same


def _per_domain(table: NodeTable, key: str, counts: Any) -> Any:
    """Counts of nodes summed over their domains, and given to each node of it; nothing for nodes without the
    label.
    """
    ids, names = table.domains(key)
    labelled = table.present & (ids >= 0)
    totals = np.bincount(ids[labelled], weights=counts[labelled], minlength=max(len(names), 1))
    result = np.zeros(table.size, np.float64)
    result[labelled] = totals[ids[labelled]]
    return result
