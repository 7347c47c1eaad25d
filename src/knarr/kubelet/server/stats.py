"""What pods and the node use: ``/stats/summary`` (JSON) and ``/metrics/resource`` (text).

Upstream counterpart: ``pkg/kubelet/server/stats``, ``pkg/kubelet/metrics/collectors/resource_metrics.go``.
Neighbours: ``runtime`` counts per container, ``machine`` the node; metrics-server reads the result.

Invariant: rates come from two looks at least ``MIN_INTERVAL_S`` apart, so asking often costs nothing and
lies nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from knarr.kit.clock import Clock, rfc3339
from knarr.kubelet import naming
from knarr.kubelet.machine import MachineUse
from knarr.kubelet.pod_cache import PodCache
from knarr.kubelet.runtime import contract as c

__all__ = ["StatsCollector"]

MIN_INTERVAL_S = 1.0


@dataclass(slots=True)
class _Look:
    at_s: float
    cpu: dict[str, int] = field(default_factory=dict)
    rates: dict[str, int] = field(default_factory=dict)


class StatsCollector:
    def __init__(
        self,
        runtime: c.Runtime,
        cache: PodCache,
        *,
        node_name: str,
        use: Callable[[], MachineUse | None],
        clock: Clock,
    ) -> None:
        self._runtime = runtime
        self._cache = cache
        self._node_name = node_name
        self._use = use
        self._clock = clock
        self._started = clock.now()
        self._last = _Look(-MIN_INTERVAL_S)

    async def _look(self) -> list[c.ContainerStats]:
        # A runtime counts ended containers as well, with zeros that would only mislead.
        listed = await self._runtime.list_container_stats()
        stats = [each for each in listed if self._cache.is_running(each.attributes.id)]
        now_s = self._clock.monotonic_s()
        elapsed_s = now_s - self._last.at_s
        if elapsed_s < MIN_INTERVAL_S:
            return stats
        fresh = _Look(now_s)
        for each in stats:
            fresh.cpu[each.attributes.id] = _cpu(each)
        use = self._use()
        if use is not None:
            fresh.cpu[""] = use.cpu_nanoseconds
        for key, total in fresh.cpu.items():
            if key in self._last.cpu:
                fresh.rates[key] = max(int((total - self._last.cpu[key]) / elapsed_s), 0)
        self._last = fresh
        return stats

    async def summary(self, *, only_cpu_and_memory: bool = False) -> dict[str, Any]:
        stats = await self._look()
        now = rfc3339(self._clock.now())
        pods: dict[str, list[c.ContainerStats]] = defaultdict(list)
        for each in stats:
            pods[each.attributes.labels.get(naming.POD_UID_LABEL, "")].append(each)
        return {
            "node": self._node(now, only_cpu_and_memory),
            "pods": [
                self._pod(uid, members, now, only_cpu_and_memory)
                for uid, members in pods.items()
                if uid in self._cache.records
            ],
        }

    def _node(self, now: str, brief: bool) -> dict[str, Any]:
        node: dict[str, Any] = {"nodeName": self._node_name, "startTime": rfc3339(self._started)}
        use = self._use()
        if use is None:
            return node
        used = use.memory_total_bytes - use.memory_available_bytes
        node["cpu"] = {"time": now, "usageCoreNanoSeconds": use.cpu_nanoseconds}
        if "" in self._last.rates:
            node["cpu"]["usageNanoCores"] = self._last.rates[""]
        node["memory"] = {
            "time": now,
            "availableBytes": use.memory_available_bytes,
            "usageBytes": used,
            "workingSetBytes": used,
        }
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
        pod["cpu"]["usageNanoCores"] = sum(rates)
        return pod

    def _container(self, stats: c.ContainerStats, brief: bool) -> dict[str, Any]:
        name = stats.attributes.labels.get(naming.CONTAINER_NAME_LABEL, "")
        result: dict[str, Any] = {"name": name, "startTime": _time(self._started_at(stats.attributes.id))}
        if stats.cpu is not None:
            result["cpu"] = {"time": _time(stats.cpu.timestamp), "usageCoreNanoSeconds": _cpu(stats)}
            rate = self._last.rates.get(stats.attributes.id, stats.cpu.usage_nano_cores)
            result["cpu"]["usageNanoCores"] = rate or 0
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

    def _started_at(self, container_id: str) -> int:
        for record in self._cache.records.values():
            for container in record.containers:
                if container.id == container_id:
                    return container.status.started_at
        return 0

    async def resource_metrics(self) -> str:
        """The resource metrics endpoint, in Prometheus' text format."""
        stats = await self._look()
        out = _Metrics()
        use = self._use()
        now_ms = int(self._clock.now().timestamp() * 1000)
        if use is not None:
            out.add("node_cpu_usage_seconds_total", "counter", {}, use.cpu_nanoseconds / 1e9, now_ms)
            used = use.memory_total_bytes - use.memory_available_bytes
            out.add("node_memory_working_set_bytes", "gauge", {}, used, now_ms)
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
            started = self._started_at(each.attributes.id)
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
