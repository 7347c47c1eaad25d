"""TaintToleration: nodes that keep pods away, and pods that do not mind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knarr.api.core import v1 as core
from knarr.scheduler.framework import CycleState, Plugin, Rejection, Scores, normalized
from knarr.scheduler.table import Mask, NodeTable


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
    return any(tolerates(toleration, taint) for toleration in tolerations)


class TaintToleration(Plugin):
    name = "TaintToleration"
    weight = 3
    static = True

    def filter(self, state: CycleState, pod: core.Pod, table: NodeTable) -> Sequence[Rejection]:
        masks: dict[str, Mask] = {}
        for row in table.rows():
            for taint in table.node(row).spec.taints:
                if taint.effect in ("NoSchedule", "NoExecute") and not tolerated(taint, pod.spec.tolerations):
                    reason = f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
                    masks.setdefault(reason, np.zeros(table.size, np.bool_))[row] = True
                    # Upstream names the first taint that is not tolerated.
                    break
        return [Rejection(mask, reason, unresolvable=True) for reason, mask in masks.items()]

    def score(self, state: CycleState, pod: core.Pod, table: NodeTable, feasible: Mask) -> Scores | None:
        counts = np.zeros(table.size, np.float64)
        for row in table.rows():
            for taint in table.node(row).spec.taints:
                if taint.effect == "PreferNoSchedule" and not tolerated(taint, pod.spec.tolerations):
                    counts[row] += 1
        if not counts.any():
            return None
        return normalized(counts, feasible, reverse=True)
