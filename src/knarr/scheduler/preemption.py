"""DefaultPreemption: when no node has room for an important pod, find one where less important pods can make
way.

For each node that preemption could help, all pods of lower priority are thought away; if the pod then fits,
as many as possible are thought back, the most important and those protected by disruption budgets first. Of
the
nodes that remain the one is chosen where the least is lost. Pure: the table is changed while thinking and put
back.

Upstream's counterpart is ``pkg/scheduler/framework/preemption``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from knarr.api.core import v1 as core
from knarr.api.policy import v1 as policy
from knarr.api.selectors import from_label_selector
from knarr.scheduler.framework import Framework
from knarr.scheduler.table import Mask, NodeTable, PodLoad

__all__ = ["Candidate", "may_preempt", "preempt"]

#: Nodes looked at before the best so far is taken: a tenth, but at least this many.
MIN_CANDIDATES = 100


@dataclass(slots=True)
class Candidate:
    """A node, and who would have to go from it."""

    node: str
    victims: list[core.Pod]
    violations: int

    def rank(self) -> tuple[int, int, int, int, str]:
        """Smaller is better: broken budgets, the highest priority lost, their sum, their number."""
        priorities = [priority_of(victim) for victim in self.victims]
        # Priorities may be negative; shifted so that more victims always weigh more.
        total = sum(priority + (1 << 31) for priority in priorities)
        return (self.violations, max(priorities), total, len(priorities), self.node)


def priority_of(pod: core.Pod) -> int:
    return pod.spec.priority or 0


def may_preempt(pod: core.Pod) -> bool:
    return pod.spec.preemptionPolicy != "Never"


def preempt(
    pod: core.Pod,
    table: NodeTable,
    framework: Framework,
    budgets: Sequence[policy.PodDisruptionBudget],
    *,
    helped: Mask,
) -> Candidate | None:
    """The best node among ``helped`` (those that might fit if pods went), or None."""
    limit = max(len(table) // 10, MIN_CANDIDATES)
    best: Candidate | None = None
    found = 0
    newcomer = PodLoad.of(pod)
    for row in map(int, np.flatnonzero(helped & table.present)):
        candidate = _on_node(newcomer, row, table, framework, budgets)
        if candidate is None:
            continue
        if best is None or candidate.rank() < best.rank():
            best = candidate
        found += 1
        if found >= limit:
            break
    return best


def _on_node(
    newcomer: PodLoad,
    row: int,
    table: NodeTable,
    framework: Framework,
    budgets: Sequence[policy.PodDisruptionBudget],
) -> Candidate | None:
    name = table.name_of(row)
    lower = [load for load in table.pods_on(row) if priority_of(load.pod) < priority_of(newcomer.pod)]
    if not lower:
        return None

    def fits() -> bool:
        return framework.fits(newcomer, table, row)

    for load in lower:
        table.remove_pod(name, load.pod.metadata.uid)
    gone: list[PodLoad] = []
    try:
        if not fits():
            gone = list(lower)
            return None
        protected, free = _by_budget(lower, budgets)
        violations = 0
        for group, costs in ((protected, True), (free, False)):
            for load in sorted(group, key=_importance, reverse=True):
                if not _thought_back(table, name, load, fits):
                    gone.append(load)
                    violations += 1 if costs else 0
        victims = sorted((load.pod for load in gone), key=priority_of, reverse=True)
        return Candidate(name, victims, violations) if victims else None
    finally:
        for load in gone:
            table.add_pod(name, load.pod.metadata.uid, load)


def _thought_back(table: NodeTable, node: str, load: PodLoad, fits: Callable[[], bool]) -> bool:
    """Put a pod back if there is room for it beside the newcomer."""
    table.add_pod(node, load.pod.metadata.uid, load)
    if fits():
        return True
    table.remove_pod(node, load.pod.metadata.uid)
    return False


def _importance(load: PodLoad) -> tuple[int, str]:
    """Higher priority, then running for longer."""
    started = load.pod.status.startTime or load.pod.metadata.creationTimestamp or ""
    return (priority_of(load.pod), "".join(chr(0x10FFFF - ord(c)) for c in started))


def _by_budget(
    loads: Sequence[PodLoad], budgets: Sequence[policy.PodDisruptionBudget]
) -> tuple[list[PodLoad], list[PodLoad]]:
    """Pods whose going would break a budget, and the others."""
    left = {budget.metadata.uid: budget.status.disruptionsAllowed for budget in budgets}
    protected: list[PodLoad] = []
    free: list[PodLoad] = []
    for load in loads:
        broken = False
        for budget in budgets:
            if budget.metadata.namespace != load.pod.metadata.namespace:
                continue
            if load.pod.metadata.name in budget.status.disruptedPods:
                continue
            if from_label_selector(budget.spec.selector).matches(load.pod.metadata.labels):
                left[budget.metadata.uid] -= 1
                broken = broken or left[budget.metadata.uid] < 0
        (protected if broken else free).append(load)
    return protected, free
