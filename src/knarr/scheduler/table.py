"""All nodes as columns: what the plugins compute on.

A row is a node, a column one fact about all nodes: free CPU, pods running, whether the label ``zone=a`` is
there. Filters and scores are then a few operations on whole
columns, however many nodes there are. Columns of labels are made when first asked for and dropped when labels
change.

The table is kept up to date row by row from informers and from pods the scheduler has assumed; ``generation``
grows with every change of anything but the load.

Upstream's counterpart is ``pkg/scheduler/internal/cache`` with its snapshot; the difference is the layout.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from knarr.api.core import v1 as core
from knarr.scheduler.resources import (
    CPU,
    EPHEMERAL,
    MEMORY,
    PODS,
    Amounts,
    amounts,
    host_ports,
    requests,
    scoring_requests,
)

__all__ = ["NodeTable", "PodLoad"]

Mask = NDArray[np.bool_]
#: Columns every table has; others are added as nodes offer them.
BASE_RESOURCES = (CPU, MEMORY, EPHEMERAL, PODS)
GROWTH = 64


@dataclass(frozen=True, slots=True)
class PodLoad:
    """What one pod takes from a node, and the pod itself (shared; not to be changed)."""

    requests: Amounts
    scoring: tuple[int, int]
    ports: tuple[tuple[str, str, int], ...]
    pod: core.Pod

    @classmethod
    def of(cls, pod: core.Pod) -> PodLoad:
        exact = requests(pod)
        return cls(exact, scoring_requests(pod, exact), tuple(host_ports(pod)), pod)


#: Which pods a count counts; equal keys share one column.
Matcher = Callable[[core.Pod], bool]
#: A label and its value.
Pair = tuple[str, str]
#: What the columns of counted pods may take; beyond this they are made anew when asked for.
TRACK_LIMIT_BYTES = 16 << 20


@dataclass(slots=True)
class _Row:
    node: core.Node
    pods: dict[str, PodLoad] = field(default_factory=dict)


class NodeTable:
    """Rows are added and removed by node name; a removed row's place is reused."""

    def __init__(self) -> None:
        self.generation = 0
        self.resources: list[str] = list(BASE_RESOURCES)
        self._column = {name: index for index, name in enumerate(self.resources)}
        self._rows: list[_Row | None] = []
        self._index: dict[str, int] = {}
        self._free: list[int] = []
        #: Pods of nodes that are not known yet (or no longer): counted as soon as the node comes.
        self._homeless: dict[str, dict[str, PodLoad]] = {}
        self.allocatable: NDArray[np.int64] = np.zeros((0, len(self.resources)), np.int64)
        self.requested: NDArray[np.int64] = np.zeros((0, len(self.resources)), np.int64)
        #: CPU and memory as scoring counts them.
        self.scored: NDArray[np.int64] = np.zeros((0, 2), np.int64)
        self.present: Mask = np.zeros(0, np.bool_)
        self._labels: dict[tuple[str, str | None], Mask] = {}
        self._ports: dict[tuple[str, int], dict[int, list[str]]] = {}
        self._images: dict[str, dict[int, int]] = {}
        self._domains: dict[str, tuple[NDArray[np.int64], list[str]]] = {}
        self._tracked: dict[Hashable, tuple[Pair | None, NDArray[np.int64]]] = {}
        #: What is tracked, by a label that all pods it counts have: a pod is shown only to those it could concern.
        self._matchers: dict[Pair | None, dict[Hashable, tuple[Matcher, NDArray[np.int64]]]] = {}
        self._by_label: dict[Pair, dict[str, tuple[int, core.Pod]]] = {}
        #: Pods that keep others away or draw them near: few, so they are looked through one by one.
        self.choosy: dict[str, tuple[int, core.Pod]] = {}

    def __len__(self) -> int:
        return len(self._index)

    @property
    def size(self) -> int:
        """Rows including unused ones: the length of every column."""
        return len(self._rows)

    def row_of(self, name: str) -> int | None:
        return self._index.get(name)

    def name_of(self, row: int) -> str:
        return self.node(row).metadata.name

    def node(self, row: int) -> core.Node:
        held = self._rows[row]
        assert held is not None, "an unused row has no node"
        return held.node

    def rows(self) -> Iterable[int]:
        return self._index.values()

    def column(self, resource: str) -> int | None:
        """Where a resource stands in ``allocatable`` and ``requested``; None if no node offers it."""
        return self._column.get(resource)

    def set_node(self, node: core.Node) -> bool:
        """Add or replace a node; whether anything that matters to placement changed."""
        name = node.metadata.name
        row = self._index.get(name)
        if row is None:
            row = self._new_row(name, node)
            for uid, load in self._homeless.pop(name, {}).items():
                self._take(row, uid, load)
        else:
            held = self._rows[row]
            assert held is not None
            if _same(held.node, node):
                held.node = node
                return False
            self._forget_images(row)
            held.node = node
        self._fill(row, node)
        self.generation += 1
        return True

    def remove_node(self, name: str) -> None:
        row = self._index.pop(name, None)
        if row is None:
            return
        held = self._rows[row]
        assert held is not None
        for uid, load in list(held.pods.items()):
            self._give(row, uid)
            self._homeless.setdefault(name, {})[uid] = load
        self._forget_images(row)
        self._rows[row] = None
        self.present[row] = False
        self._free.append(row)
        self._labels.clear()
        self._domains.clear()
        self.generation += 1

    def add_pod(self, node: str, uid: str, load: PodLoad) -> None:
        """Count a pod on its node; counting it again changes nothing."""
        row = self._index.get(node)
        if row is None:
            self._homeless.setdefault(node, {})[uid] = load
            return
        held = self._rows[row]
        assert held is not None
        if uid in held.pods:
            self._give(row, uid)
        self._take(row, uid, load)

    def remove_pod(self, node: str, uid: str) -> None:
        row = self._index.get(node)
        if row is None:
            self._homeless.get(node, {}).pop(uid, None)
            return
        self._give(row, uid)

    def has_label(self, key: str, value: str | None = None) -> Mask:
        """The nodes with a label, of one value or (None) of any."""
        mask = self._labels.get((key, value))
        if mask is None:
            mask = np.zeros(self.size, np.bool_)
            for row in self._index.values():
                held = self.node(row).metadata.labels.get(key)
                mask[row] = held is not None if value is None else held == value
            self._labels[(key, value)] = mask
        return mask

    def label_values(self, key: str) -> dict[int, str]:
        """The value of a label on each node that has it."""
        found = {}
        for row in self._index.values():
            value = self.node(row).metadata.labels.get(key)
            if value is not None:
                found[row] = value
        return found

    def domains(self, key: str) -> tuple[NDArray[np.int64], list[str]]:
        """For each node the number of its value of a label (-1 without one), and the values by number."""
        held = self._domains.get(key)
        if held is None:
            ids = np.full(self.size, -1, np.int64)
            numbers: dict[str, int] = {}
            for row, value in self.label_values(key).items():
                ids[row] = numbers.setdefault(value, len(numbers))
            held = self._domains[key] = (ids, list(numbers))
        return held

    def count_pods(self, key: Hashable, matches: Matcher, labels: Iterable[Pair] = ()) -> NDArray[np.int64]:
        """How many pods on each node ``matches`` accepts; kept up to date under ``key`` from then on.

        ``labels`` are some that every pod it accepts has.
        """
        held = self._tracked.get(key)
        if held is not None and len(held[1]) == self.size:
            return held[1]
        if held is not None:
            del self._matchers[held[0]][key]
        rarest = min(labels, key=lambda pair: len(self._by_label.get(pair, ())), default=None)
        counts = np.zeros(self.size, np.int64)
        if rarest is None:
            for row in self._index.values():
                counts[row] = sum(1 for load in self.pods_on(row) if matches(load.pod))
        else:
            for row, pod in self._by_label.get(rarest, {}).values():
                counts[row] += matches(pod)
        if (len(self._tracked) + 1) * counts.nbytes > TRACK_LIMIT_BYTES:
            self._tracked.clear()
            self._matchers.clear()
        self._tracked[key] = (rarest, counts)
        self._matchers.setdefault(rarest, {})[key] = (matches, counts)
        return counts

    def pods_on(self, row: int) -> list[PodLoad]:
        """The pods counted on a node."""
        held = self._rows[row]
        return list(held.pods.values()) if held is not None else []

    def port_users(self, protocol: str, port: int) -> dict[int, list[str]]:
        """By row, the addresses on which a host port is taken."""
        return self._ports.get((protocol, port), {})

    def image_bytes(self, image: str) -> dict[int, int]:
        """By row, the size of an image that is there already."""
        return self._images.get(image, {})

    def _new_row(self, name: str, node: core.Node) -> int:
        if not self._free:
            self._grow()
        row = self._free.pop()
        self._rows[row] = _Row(node)
        self._index[name] = row
        self.requested[row] = 0
        self.scored[row] = 0
        return row

    def _grow(self) -> None:
        """Columns get longer by a part of their length, so that adding n nodes costs about n steps."""
        extra = max(GROWTH, len(self.present) // 4)
        first = len(self._rows)
        self._rows.extend([None] * extra)
        # The lowest row is taken first.
        self._free.extend(range(first + extra - 1, first - 1, -1))
        self.allocatable = np.vstack([self.allocatable, np.zeros((extra, len(self.resources)), np.int64)])
        self.requested = np.vstack([self.requested, np.zeros((extra, len(self.resources)), np.int64)])
        self.scored = np.vstack([self.scored, np.zeros((extra, 2), np.int64)])
        self.present = np.concatenate([self.present, np.zeros(extra, np.bool_)])

    def _fill(self, row: int, node: core.Node) -> None:
        offered = amounts(node.status.allocatable or node.status.capacity)
        for name in offered:
            if name not in self._column:
                self._add_resource(name)
        self.allocatable[row] = [offered.get(name, 0) for name in self.resources]
        self.present[row] = True
        self._labels.clear()
        self._domains.clear()
        for image in node.status.images:
            for name in image.names:
                self._images.setdefault(name, {})[row] = image.sizeBytes or 0

    def _forget_images(self, row: int) -> None:
        for image in self.node(row).status.images:
            for name in image.names:
                rows = self._images.get(name, {})
                rows.pop(row, None)
                if not rows:
                    self._images.pop(name, None)

    def _add_resource(self, name: str) -> None:
        self._column[name] = len(self.resources)
        self.resources.append(name)
        zeros = np.zeros((len(self.present), 1), np.int64)
        self.allocatable = np.hstack([self.allocatable, zeros])
        self.requested = np.hstack([self.requested, zeros])
        for row in self._index.values():
            held = self._rows[row]
            if held is not None:
                self.requested[row, -1] = sum(load.requests.get(name, 0) for load in held.pods.values())

    def _take(self, row: int, uid: str, load: PodLoad) -> None:
        held = self._rows[row]
        assert held is not None
        held.pods[uid] = load
        self._count(row, load, 1)
        for protocol, address, port in load.ports:
            self._ports.setdefault((protocol, port), {}).setdefault(row, []).append(address)

    def _give(self, row: int, uid: str) -> None:
        held = self._rows[row]
        assert held is not None
        load = held.pods.pop(uid, None)
        if load is None:
            return
        self._count(row, load, -1)
        for protocol, address, port in load.ports:
            users = self._ports[(protocol, port)]
            users[row].remove(address)
            if not users[row]:
                del users[row]

    def _count(self, row: int, load: PodLoad, sign: int) -> None:
        line = self.requested[row]
        for name, value in load.requests.items():
            column = self._column.get(name)
            if column is not None:
                line[column] += sign * value
        line[self._column[PODS]] += sign
        self._count_tracked(row, load.pod, sign)
        affinity = load.pod.spec.affinity
        if affinity is not None and (
            affinity.podAffinity is not None or affinity.podAntiAffinity is not None
        ):
            if sign > 0:
                self.choosy[load.pod.metadata.uid] = (row, load.pod)
            else:
                self.choosy.pop(load.pod.metadata.uid, None)
        self.scored[row, 0] += sign * load.scoring[0]
        self.scored[row, 1] += sign * load.scoring[1]


    def _count_tracked(self, row: int, pod: core.Pod, sign: int) -> None:
        self._tell(None, row, pod, sign)
        uid = pod.metadata.uid
        for pair in pod.metadata.labels.items():
            self._tell(pair, row, pod, sign)
            if sign > 0:
                self._by_label.setdefault(pair, {})[uid] = (row, pod)
            elif (held := self._by_label.get(pair)) is not None:
                held.pop(uid, None)
                if not held:
                    del self._by_label[pair]

    def _tell(self, pair: Pair | None, row: int, pod: core.Pod, sign: int) -> None:
        for matches, counts in self._matchers.get(pair, {}).values():
            if row < len(counts) and matches(pod):
                counts[row] += sign


def _same(old: core.Node, new: core.Node) -> bool:
    """Whether nothing that placement looks at differs: a heartbeat changes only conditions' times."""
    return (
        old.metadata.labels == new.metadata.labels
        and old.spec.taints == new.spec.taints
        and old.spec.unschedulable == new.spec.unschedulable
        and old.status.allocatable == new.status.allocatable
        and old.status.capacity == new.status.capacity
        and old.status.images == new.status.images
    )
