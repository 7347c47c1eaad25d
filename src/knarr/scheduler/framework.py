"""The scheduling framework: plugins, in the order of upstream's extension points.

PreFilter, Filter, Score, Reserve, Permit, PreBind, Bind, PostBind carry upstream's names and meaning. Filter
and Score work on all nodes at once: a Filter answers with a column of
booleans and a reason, a Score with a column of 0 to 100.

``schedule`` is a pure function of pod, table and the tie-breaking number; ``FitError`` says for every node
why not.

Upstream's counterpart is ``pkg/scheduler/framework``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knarr.api.core import v1 as core
from knarr.scheduler.table import Mask, NodeTable, PodLoad

__all__ = ["CycleState", "FitError", "Framework", "Plugin", "Rejection"]

MAX_SCORE = 100
Scores = NDArray[np.float64]


@dataclass(slots=True)
class CycleState:
    """What plugins note for one pod's cycle, and what all need of the pod."""

    load: PodLoad
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Rejection:
    """Nodes a Filter refuses (``mask`` is True for them). ``reason`` is upstream's text; ``unresolvable``
    ones no preemption would help.
    """

    mask: Mask
    reason: str
    unresolvable: bool = False


class Plugin:
    """Override the extension points a plugin takes part in."""

    name = ""
    #: How much this plugin's score counts, as upstream's defaults.
    weight = 1
    #: Filters whose answer depends only on the pod's specification and ``table.generation``, not on the load.
    #: What they refuse must be unresolvable: preemption does not ask them again.
    static = False

    def pre_filter(self, state: CycleState, pod: core.Pod, table: NodeTable) -> str | None:
        """A reason to refuse the pod on every node, or None."""
        return None

    def filter(self, state: CycleState, pod: core.Pod, table: NodeTable) -> Sequence[Rejection]:
        """The nodes that cannot take the pod, by reason."""
        return ()

    def score(self, state: CycleState, pod: core.Pod, table: NodeTable, feasible: Mask) -> Scores | None:
        """0 to 100 for each node (meaningless where not ``feasible``), or None for no opinion."""
        return None

    def reserve(self, state: CycleState, pod: core.Pod, node: str) -> None:
        """The pod is about to go to ``node``."""

    async def pre_bind(self, state: CycleState, pod: core.Pod, node: str) -> None:
        """What has to be done before the pod is bound; may wait. An exception sends the pod back to the
        queue.
        """

    def unreserve(self, state: CycleState, pod: core.Pod, node: str) -> None:
        """It did not."""


class FitError(Exception):
    """No node can take the pod. ``reasons`` counts nodes by reason; ``by_plugin`` says which plugins refused."""

    def __init__(self, nodes: int, reasons: Counter[str], plugins: set[str]) -> None:
        self.nodes = nodes
        self.reasons = reasons
        self.plugins = plugins
        #: The nodes that might take the pod if others went; None if none would.
        self.resolvable: Mask | None = None
        #: What preemption had to say, added to the message.
        self.preemption = ""
        super().__init__()

    def __str__(self) -> str:
        return self.message()

    def message(self) -> str:
        """``0/3 nodes are available: 1 Insufficient cpu, 2 node(s) …``, as upstream writes it."""
        text = f"0/{self.nodes} nodes are available"
        if not self.reasons:
            return f"{text}." if self.nodes else "no nodes available to schedule pods"
        parts = sorted(f"{count} {reason}" for reason, count in self.reasons.items())
        tail = f" {self.preemption}" if self.preemption else ""
        return f"{text}: {', '.join(parts)}.{tail}"


@dataclass(slots=True)
class Placement:
    """The node chosen and how it came about."""

    node: str
    state: CycleState


class Framework:
    """Runs a fixed set of plugins."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self.plugins = list(plugins)
        self._static: dict[bytes, tuple[int, Mask, list[tuple[str, Rejection]]]] = {}

    def schedule(self, pod: core.Pod, table: NodeTable, *, signature: bytes, tie_break: int = 0) -> Placement:
        """Choose a node. ``signature`` is equal for pods with equal scheduling constraints. Raises
        ``FitError``.
        """
        state = CycleState(PodLoad.of(pod))
        for plugin in self.plugins:
            reason = plugin.pre_filter(state, pod, table)
            if reason is not None:
                raise FitError(len(table), Counter({reason: len(table)}), {plugin.name})
        feasible, static = self._run_static(state, pod, table, signature)
        feasible = feasible.copy()
        rejections = list(static)
        for plugin in self.plugins:
            if plugin.static:
                continue
            for rejection in plugin.filter(state, pod, table):
                rejections.append((plugin.name, rejection))
                feasible &= ~rejection.mask
        count = int(feasible.sum())
        if count == 0:
            raise _fit_error(table, rejections)
        row = int(feasible.argmax()) if count == 1 else self._best(state, pod, table, feasible, tie_break)
        return Placement(table.name_of(row), state)

    def _run_static(
        self, state: CycleState, pod: core.Pod, table: NodeTable, signature: bytes
    ) -> tuple[Mask, list[tuple[str, Rejection]]]:
        """Filters that pods of one kind share: computed once for them all until nodes change."""
        held = self._static.get(signature)
        if held is not None and held[0] == table.generation:
            return held[1], held[2]
        feasible = table.present.copy()
        rejections: list[tuple[str, Rejection]] = []
        for plugin in self.plugins:
            if not plugin.static:
                continue
            for rejection in plugin.filter(state, pod, table):
                rejections.append((plugin.name, rejection))
                feasible &= ~rejection.mask
        if len(self._static) >= SIGNATURE_LIMIT:
            self._static.clear()
        self._static[signature] = (table.generation, feasible, rejections)
        return feasible, rejections

    def _best(
        self, state: CycleState, pod: core.Pod, table: NodeTable, feasible: Mask, tie_break: int
    ) -> int:
        total = np.zeros(len(feasible), np.float64)
        for plugin in self.plugins:
            scores = plugin.score(state, pod, table, feasible)
            if scores is not None:
                total += plugin.weight * np.floor(scores)
        total[~feasible] = -1
        best = np.flatnonzero(total == total.max())
        return int(best[tie_break % len(best)])

    def fits(self, load: PodLoad, table: NodeTable, row: int) -> bool:
        """Whether one node can take the pod as things stand; for preemption, which asks about imagined
        states. A node that a static filter refuses is beyond help and not asked about.
        """
        state, pod = CycleState(load), load.pod
        for plugin in self.plugins:
            if plugin.pre_filter(state, pod, table) is not None:
                return False
            if not plugin.static and any(rejection.mask[row] for rejection in plugin.filter(state, pod, table)):
                return False
        return True

    def reserve(self, placement: Placement, pod: core.Pod) -> None:
        for plugin in self.plugins:
            plugin.reserve(placement.state, pod, placement.node)

    async def pre_bind(self, placement: Placement, pod: core.Pod) -> None:
        for plugin in self.plugins:
            await plugin.pre_bind(placement.state, pod, placement.node)

    def unreserve(self, placement: Placement, pod: core.Pod) -> None:
        for plugin in reversed(self.plugins):
            plugin.unreserve(placement.state, pod, placement.node)


#: Kinds of pods whose static filters are remembered.
SIGNATURE_LIMIT = 1024


def _fit_error(table: NodeTable, rejections: list[tuple[str, Rejection]]) -> FitError:
    """Count each node under the first plugin that refused it, with all of that plugin's reasons, as upstream
    does.
    """
    reasons: Counter[str] = Counter()
    plugins: set[str] = set()
    decided: dict[int, str] = {}
    for plugin, rejection in rejections:
        for row in map(int, np.flatnonzero(rejection.mask & table.present)):
            if decided.setdefault(row, plugin) != plugin:
                continue
            reasons[rejection.reason] += 1
            plugins.add(plugin)
    error = FitError(len(table), reasons, plugins)
    hopeless = np.zeros(table.size, np.bool_)
    for _, rejection in rejections:
        if rejection.unresolvable:
            hopeless |= rejection.mask
    error.resolvable = table.present & ~hopeless
    return error


def normalized(values: Scores, feasible: Mask, *, reverse: bool = False) -> Scores:
    """Raw counts as 0 to 100 relative to the largest among feasible nodes; ``reverse`` turns fewer into more."""
    largest = float(values[feasible].max()) if feasible.any() else 0.0
    if largest == 0:
        return np.full(len(values), MAX_SCORE if reverse else 0, np.float64)
    scaled = values * MAX_SCORE / largest
    return MAX_SCORE - scaled if reverse else scaled
