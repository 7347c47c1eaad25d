"""NodeResourcesFit and NodeResourcesBalancedAllocation: room for what a pod asks, spread evenly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knarr.api.core import v1 as core
from knarr.scheduler.framework import MAX_SCORE, CycleState, Plugin, Rejection, Scores
from knarr.scheduler.resources import CPU, MEMORY, PODS
from knarr.scheduler.table import Mask, NodeTable


class NodeResourcesFit(Plugin):
    """A node must have free what the pod requests; emptier nodes score higher (LeastAllocated)."""

    name = "NodeResourcesFit"

    def filter(self, state: CycleState, pod: core.Pod, table: NodeTable) -> Sequence[Rejection]:
        rejections = []
        pods = table.column(PODS)
        assert pods is not None
        full = table.present & (
            table.requested[: table.size, pods] + 1 > table.allocatable[: table.size, pods]
        )
        if full.any():
            rejections.append(Rejection(full, "Too many pods"))
        for name, wanted in state.load.requests.items():
            if wanted == 0:
                continue
            column = table.column(name)
            if column is None:
                short = table.present.copy()
            else:
                free = table.allocatable[: table.size, column] - table.requested[: table.size, column]
                short = table.present & (free < wanted)
            if short.any():
                rejections.append(Rejection(short, f"Insufficient {name}"))
        return rejections

    def score(self, state: CycleState, pod: core.Pod, table: NodeTable, feasible: Mask) -> Scores | None:
        total = np.zeros(table.size, np.float64)
        for column, extra in enumerate(state.load.scoring):
            capacity = table.allocatable[: table.size, column].astype(np.float64)
            used = table.scored[: table.size, column] + extra
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.where(
                    (capacity > 0) & (used <= capacity), (capacity - used) * MAX_SCORE / capacity, 0
                )
            total += np.floor(share)
        return total / 2


class NodeResourcesBalancedAllocation(Plugin):
    """Of nodes with room, those where CPU and memory fill up alike score higher."""

    name = "NodeResourcesBalancedAllocation"

    def score(self, state: CycleState, pod: core.Pod, table: NodeTable, feasible: Mask) -> Scores | None:
        requests = state.load.requests
        if not requests.get(CPU) and not requests.get(MEMORY):
            # Upstream leaves best-effort pods out: they change no node's balance.
            return None
        shares = []
        for column, name in ((0, CPU), (1, MEMORY)):
            capacity = table.allocatable[: table.size, column].astype(np.float64)
            used = table.requested[: table.size, column] + requests.get(name, 0)
            with np.errstate(divide="ignore", invalid="ignore"):
                shares.append(np.where(capacity > 0, np.minimum(used / capacity, 1.0), 0.0))
        deviation = np.abs(shares[0] - shares[1]) / 2
        score: Scores = (1 - deviation) * MAX_SCORE
        return score
