"""What a kubelet's counters say: read from its text, and as usage between two readings. Pure.

Counterpart: metrics-server's ``pkg/scraper/client/resource`` and ``pkg/storage``. Neighbours: ``scraper`` keeps two readings a node.

Invariant: a pod counts only whole: where one of its containers cannot be told yet, none is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from knarr.kit.rates import Reading, rate

__all__ = ["NodePoints", "NodeUsage", "Point", "Usage", "node_usage", "read_points"]

#: Below it a container's start would be most of what is seen of it; metrics-server's figure.
YOUNGEST_S = 10.0
#: How old an earlier reading may be.
OLDEST_S = 60.0

PodKey = tuple[str, str]
_LINE = re.compile(r"(\w+)(?:\{([^}]*)\})? (\S+)(?: (\d+))?")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_NODE_CPU, _NODE_MEMORY = "node_cpu_usage_seconds_total", "node_memory_working_set_bytes"
_CPU, _MEMORY, _START = "container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_start_time_seconds"


@dataclass(frozen=True, slots=True)
class Point:
    """Seconds of CPU time used so far, and memory held."""

    cpu: Reading
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class NodePoints:
    node: Point | None = None
    pods: dict[PodKey, dict[str, Point]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Of the ``window_s`` before ``at_s``."""

    at_s: float
    window_s: float
    nanocores: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class NodeUsage:
    node: Usage | None = None
    pods: dict[PodKey, dict[str, Usage]] = field(default_factory=dict)


def read_points(text: str, *, now_s: float) -> NodePoints:
    """Of Prometheus' text format. Lines that are none of ours, or that cannot be read, are left out."""
    found: dict[str, dict[tuple[str, str, str], tuple[float, float]]] = {
        name: {} for name in (_NODE_CPU, _NODE_MEMORY, _CPU, _MEMORY, _START)
    }
    for line in text.splitlines():
        match = _LINE.fullmatch(line.rstrip())
        if match is None or match[1] not in found:
            continue
        labels = dict(_LABEL.findall(match[2] or ""))
        key = (labels.get("namespace", ""), labels.get("pod", ""), labels.get("container", ""))
        try:
            found[match[1]][key] = (float(match[3]), int(match[4]) / 1000 if match[4] else now_s)
        except ValueError:
            continue
    nodes = _points(found[_NODE_CPU], found[_NODE_MEMORY], {})
    result = NodePoints(node=next(iter(nodes.values()), None))
    for (namespace, pod, container), point in _points(found[_CPU], found[_MEMORY], found[_START]).items():
        result.pods.setdefault((namespace, pod), {})[container] = point
    return result


def _points(
    cpu: Mapping[tuple[str, str, str], tuple[float, float]],
    memory: Mapping[tuple[str, str, str], tuple[float, float]],
    starts: Mapping[tuple[str, str, str], tuple[float, float]],
) -> dict[tuple[str, str, str], Point]:
    points = {}
    for key, (total_s, at_s) in cpu.items():
        if key in memory:
            since_s = starts[key][0] if key in starts else float("-inf")
            points[key] = Point(Reading(at_s, total_s, since_s), int(memory[key][0]))
    return points


def node_usage(before: NodePoints, now: NodePoints) -> NodeUsage:
    """What a node and its pods use, by two answers of its kubelet."""
    result = NodeUsage(_usage(before.node, now.node) if now.node is not None else None)
    for pod, points in now.pods.items():
        earlier = before.pods.get(pod, {})
        usages = {name: _usage(earlier.get(name), point) for name, point in points.items()}
        known = {name: usage for name, usage in usages.items() if usage is not None}
        if len(known) == len(points):
            result.pods[pod] = known
    return result


def _usage(before: Point | None, now: Point) -> Usage | None:
    found = rate(before.cpu if before is not None else None, now.cpu, youngest_s=YOUNGEST_S, oldest_s=OLDEST_S)
    if found is None:
        return None
    return Usage(now.cpu.at_s, found.window_s, round(found.per_second * 1e9), now.memory_bytes)
