"""What pods and the node use: ``/stats/summary`` (JSON) and ``/metrics/resource`` (text).

Upstream counterpart: ``pkg/kubelet/server/stats``, ``pkg/kubelet/metrics/collectors/resource_metrics.go``.
Neighbours: ``runtime`` counts per container, ``pod_host`` and ``machine`` the node; the API server's resource
metrics, or a metrics-server, reads the result.

Nothing is read while nobody asks; upstream's cadvisor looks every ten seconds. So a rate comes from the look
before this one if that is at most ``OLDEST_LOOK_S`` old; after a longer silence the collector looks twice,
``SHORTEST_WINDOW_S`` apart, and the one who asks waits for it.

Invariant: asking often costs nothing and lies nothing: a look younger than ``FRESH_S`` keeps its rates.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from knarr.kit.clock import Clock, rfc3339
from knarr.kit.rates import Reading, rate
from knarr.kubelet import naming
from knarr.kubelet.machine import MachineUse, NodeUse
from knarr.kubelet.pod_cache import PodCache
from knarr.kubelet.runtime import contract as c

__all__ = ["StatsCollector"]

FRESH_S = 10.0
OLDEST_LOOK_S = 60.0
SHORTEST_WINDOW_S = 2.0
#: The node among the containers' ids.
NODE = ""


@dataclass(slots=True)
class _Look:
    """Totals of CPU time at one moment, in nanoseconds, and the rates since the look before, in nanocores."""

    at_s: float = float("-inf")
    totals: dict[str, Reading] = field(default_factory=dict)
    rates: dict[str, int] = field(default_factory=dict)


class StatsCollector:
    """``machine_use`` tells of disk and memory, ``node_use`` of what the node uses; both may know nothing."""

    def __init__(
        self,
        runtime: c.Runtime,
        cache: PodCache,
        *,
        node_name: str,
        machine_use: Callable[[], MachineUse | None],
        node_use: Callable[[], NodeUse | None],
        clock: Clock,
    ) -> None:
        self._runtime = runtime
        self._cache = cache
        self._node_name = node_name
        self._machine_use = machine_use
        self._read_node_use = node_use
        self._clock = clock
        self._started = clock.now()
        self._last = _Look()
        self._looking = asyncio.Lock()
        #: Of containers that have ended, where nothing but containers tells what the node has used.
        self._ended_nanoseconds = 0
        self._counted: dict[str, int] = {}

    async def _stats(self) -> list[c.ContainerStats]:
        # A runtime counts ended containers as well, with zeros that would only mislead.
        listed = await self._runtime.list_container_stats()
        return [each for each in listed if self._cache.is_running(each.attributes.id)]

    def _node_use(self, stats: list[c.ContainerStats]) -> NodeUse:
        use = self._read_node_use()
        if use is not None:
            return use
        now = {each.attributes.id: _cpu(each) for each in stats}
        self._ended_nanoseconds += sum(total for key, total in self._counted.items() if key not in now)
        self._counted = now
        return NodeUse(self._ended_nanoseconds + sum(now.values()), sum(map(_memory, stats)))

    async def _rated_stats(self) -> tuple[list[c.ContainerStats], NodeUse]:
        """The containers and the node, with rates in ``_last`` that are good to tell."""
        # Whoever asks meanwhile gets what this look finds.
        async with self._looking:
            age_s = self._clock.monotonic_s() - self._last.at_s
            if age_s < FRESH_S:
                stats = await self._stats()
                return stats, self._node_use(stats)
            if age_s > OLDEST_LOOK_S:
                await self._look()
                await self._clock.sleep(SHORTEST_WINDOW_S)
            return await self._look()

    async def _look(self) -> tuple[list[c.ContainerStats], NodeUse]:
        stats = await self._stats()
        now_s, used = self._clock.monotonic_s(), self._node_use(stats)
        fresh = _Look(now_s)
        fresh.totals[NODE] = Reading(now_s, used.cpu_nanoseconds)
        for each in stats:
            if each.cpu is not None:
                started_s = self._cache.started_at(each.attributes.id) / 1e9
                fresh.totals[each.attributes.id] = Reading(each.cpu.timestamp / 1e9, _cpu(each), started_s)
        for key, now in fresh.totals.items():
            found = rate(self._last.totals.get(key), now, youngest_s=SHORTEST_WINDOW_S, oldest_s=OLDEST_LOOK_S)
            if found is not None:
                fresh.rates[key] = int(found.per_second)
        self._last = fresh
        return stats, used

    async def summary(self, *, only_cpu_and_memory: bool = False) -> dict[str, Any]:
        stats, used = await self._rated_stats()
        now = rfc3339(self._clock.now())
        pods: dict[str, list[c.ContainerStats]] = defaultdict(list)
        for each in stats:
            pods[each.attributes.labels.get(naming.POD_UID_LABEL, "")].append(each)
        return {
            "node": self._node(now, used, only_cpu_and_memory),
            "pods": [
                self._pod(uid, members, now, only_cpu_and_memory)
                for uid, members in pods.items()
                if uid in self._cache.records
            ],
        }

    def _node(self, now: str, used: NodeUse, brief: bool) -> dict[str, Any]:
        node: dict[str, Any] = {"nodeName": self._node_name, "startTime": rfc3339(self._started)}
        node["cpu"] = {"time": now, "usageCoreNanoSeconds": used.cpu_nanoseconds}
        if NODE in self._last.rates:
            node["cpu"]["usageNanoCores"] = self._last.rates[NODE]
        memory = {"usageBytes": used.working_set_bytes, "workingSetBytes": used.working_set_bytes}
        node["memory"] = {"time": now, **memory}
        use = self._machine_use()
        if use is None:
            return node
        node["memory"]["availableBytes"] = use.memory_available_bytes
        if not brief:
            node["fs"] = {
                "time": now,
                "availableBytes": use.fs_available_bytes,
                "capacityBytes": use.fs_capacity_bytes,
                "usedBytes": use.fs_capacity_bytes - use.fs_available_bytes,
                "inodesFree": use.inodes_free,
                "inodes": use.inodes,
                "inodesUsed": use.inodes - use.inodes_free,
            }
            node["rlimit"] = {"time": now, "maxpid": use.pid_max, "curproc": use.processes}
        return node

    def _pod(self, uid: str, members: list[c.ContainerStats], now: str, brief: bool) -> dict[str, Any]:
        record = self._cache.get(uid)
        started = record.sandboxes[-1].created_at if record.sandboxes else 0
        containers = [self._container(each, brief) for each in members]
        pod: dict[str, Any] = {
            "podRef": {"name": record.name, "namespace": record.namespace, "uid": uid},
            "startTime": _time(started),
            "containers": containers,
            "cpu": {"time": now, "usageCoreNanoSeconds": sum(map(_cpu, members))},
            "memory": {"time": now, "workingSetBytes": sum(map(_memory, members))},
        }
        rates = [
            self._last.rates[each.attributes.id] for each in members if each.attributes.id in self._last.rates
        ]
        if len(rates) == len(members):
            pod["cpu"]["usageNanoCores"] = sum(rates)
        return pod

    def _container(self, stats: c.ContainerStats, brief: bool) -> dict[str, Any]:
        name = stats.attributes.labels.get(naming.CONTAINER_NAME_LABEL, "")
        result: dict[str, Any] = {"name": name, "startTime": _time(self._cache.started_at(stats.attributes.id))}
        if stats.cpu is not None:
            result["cpu"] = {"time": _time(stats.cpu.timestamp), "usageCoreNanoSeconds": _cpu(stats)}
            nanocores = self._last.rates.get(stats.attributes.id, stats.cpu.usage_nano_cores)
            if nanocores is not None:
                result["cpu"]["usageNanoCores"] = nanocores
        if stats.memory is not None:
            fields = {
                "workingSetBytes": stats.memory.working_set_bytes,
                "usageBytes": stats.memory.usage_bytes,
                "rssBytes": stats.memory.rss_bytes,
                "availableBytes": stats.memory.available_bytes,
                "pageFaults": stats.memory.page_faults,
                "majorPageFaults": stats.memory.major_page_faults,
            }
            known = {key: value for key, value in fields.items() if value is not None}
            result["memory"] = {"time": _time(stats.memory.timestamp), **known}
        if stats.writable_layer is not None and not brief:
            layer = stats.writable_layer
            result["rootfs"] = {
                "time": _time(layer.timestamp),
                "usedBytes": layer.used_bytes or 0,
                "inodesUsed": layer.inodes_used or 0,
            }
        return result

    async def resource_metrics(self) -> str:
        """The resource metrics endpoint, in Prometheus' text format."""
        stats = await self._stats()
        out = _Metrics()
        use = self._node_use(stats)
        now_ms = int(self._clock.now().timestamp() * 1000)
        out.add("node_cpu_usage_seconds_total", "counter", {}, use.cpu_nanoseconds / 1e9, now_ms)
        out.add("node_memory_working_set_bytes", "gauge", {}, use.working_set_bytes, now_ms)
        totals: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        for each in stats:
            labels = each.attributes.labels
            pod = (labels.get(naming.POD_NAMESPACE_LABEL, ""), labels.get(naming.POD_NAME_LABEL, ""))
            names = {
                "container": labels.get(naming.CONTAINER_NAME_LABEL, ""),
                "namespace": pod[0],
                "pod": pod[1],
            }
            cpu_ms = (each.cpu.timestamp if each.cpu is not None else 0) // 1_000_000
            out.add("container_cpu_usage_seconds_total", "counter", names, _cpu(each) / 1e9, cpu_ms)
            out.add("container_memory_working_set_bytes", "gauge", names, _memory(each), cpu_ms)
            started = self._cache.started_at(each.attributes.id)
            out.add("container_start_time_seconds", "gauge", names, started / 1e9, None)
            totals[pod][0] += _cpu(each)
            totals[pod][1] += _memory(each)
        for (namespace, name), (cpu, memory) in totals.items():
            names = {"namespace": namespace, "pod": name}
            out.add("pod_cpu_usage_seconds_total", "counter", names, cpu / 1e9, now_ms)
            out.add("pod_memory_working_set_bytes", "gauge", names, memory, now_ms)
        out.add("resource_scrape_error", "gauge", {}, 0, None)
        return out.text()


class _Metrics:
    """Lines grouped by metric, as the format wants them."""

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}
        self._lines: dict[str, list[str]] = defaultdict(list)

    def add(self, name: str, kind: str, labels: dict[str, str], value: float, stamp_ms: int | None) -> None:
        self._kinds[name] = kind
        shown = ",".join(f'{key}="{text}"' for key, text in labels.items())
        where = f"{{{shown}}}" if shown else ""
        stamp = f" {stamp_ms}" if stamp_ms else ""
        self._lines[name].append(f"{name}{where} {value:.17g}{stamp}")

    def text(self) -> str:
        parts = [
            f"# TYPE {name} {kind}\n" + "\n".join(self._lines[name]) for name, kind in self._kinds.items()
        ]
        return "\n".join(parts) + "\n"


def _cpu(stats: c.ContainerStats) -> int:
    return (stats.cpu.usage_core_nano_seconds or 0) if stats.cpu is not None else 0


def _memory(stats: c.ContainerStats) -> int:
    return (stats.memory.working_set_bytes or 0) if stats.memory is not None else 0


def _time(nanoseconds: int) -> str | None:
    return rfc3339(datetime.fromtimestamp(nanoseconds / 1e9, UTC)) if nanoseconds > 0 else None
