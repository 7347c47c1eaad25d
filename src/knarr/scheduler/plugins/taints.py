"""TaintToleration: nodes that keep pods away, and pods that do not mind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knarr.api.core import v1 as core
from knarr.api.core.placement import tolerated
from knarr.scheduler.framework import CycleState, Plugin, Rejection, Scores, normalized
from knarr.scheduler.table import Mask, NodeTable


class TaintToleration(Plugin):
    name = "TaintToleration"
    weight = 3
    static = True

    def filter(self, state: CycleState, pod: core.Pod, table: NodeTable) -> Sequence[Rejection]:
        mask: Mask = np.zeros(table.size, np.bool_)
        for row in table.rows():
            mask[row] = any(
                taint.effect in ("NoSchedule", "NoExecute") and not tolerated(taint, pod.spec.tolerations)
                for taint in table.node(row).spec.taints
            )
        # Which taint it was is not said: the text would grow with every taint in the cluster.
        return [Rejection(mask, "node(s) had untolerated taint(s)", unresolvable=True)] if mask.any() else ()

    def score(self, state: CycleState, pod: core.Pod, table: NodeTable, feasible: Mask) -> Scores | None:
        counts = np.zeros(table.size, np.float64)
        for row in table.rows():
            for taint in table.node(row).spec.taints:
                if taint.effect == "PreferNoSchedule" and not tolerated(taint, pod.spec.tolerations):
                    counts[row] += 1
        if not counts.any():
            return None
        return normalized(counts, feasible, reverse=True)
