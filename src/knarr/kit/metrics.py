"""Counters, gauges and histograms in the Prometheus text format.

Our own and not ``prometheus_client``, because there a labelled observation costs what a whole small request may: finding the labels' child
and a lock each time. Here a family is a dictionary by label values and everything runs on one event loop, so that nothing is locked.

Limits: a family keeps ``MAX_SERIES`` series; what comes then is counted under ``other`` in every label, so that no client can fill memory
by making up values.
"""

from __future__ import annotations

import os
import resource
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

__all__ = ["CONTENT_TYPE", "Counter", "Gauge", "Histogram", "Metrics", "process_metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_SERIES = 10_000

Labels = tuple[str, ...]
Sample = tuple[Labels, float]


class _Family:
    """One metric with its labels."""

    kind = ""

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self.name = name
        self.text = text
        self.labels = tuple(labels)

    def _limited(self, held: Mapping[Labels, object], values: Labels) -> Labels:
        return values if len(held) < MAX_SERIES else ("other",) * len(self.labels)

    def _series(self, name: str, values: Labels, value: float, more: str = "") -> str:
        pairs = [f'{label}="{_escaped(text)}"' for label, text in zip(self.labels, values, strict=True)]
        if more:
            pairs.append(more)
        named = f"{name}{{{','.join(pairs)}}}" if pairs else name
        return f"{named} {_number(value)}\n"

    def lines(self) -> Iterator[str]:
        raise NotImplementedError

    def render(self) -> Iterator[str]:
        first = True
        for line in self.lines():
            if first:
                yield f"# HELP {self.name} {self.text}\n# TYPE {self.name} {self.kind}\n"
                first = False
            yield line


class Counter(_Family):
    """Only grows."""

    kind = "counter"

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, text, labels)
        self.values: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, values: Labels = (), amount: float = 1.0) -> None:
        held = self.values
        if values in held:
            held[values] += amount
        else:
            values = self._limited(held, values)
            held[values] = held.get(values, 0.0) + amount

    def lines(self) -> Iterator[str]:
        for values, value in sorted(self.values.items()):
            yield self._series(self.name, values, value)


class Gauge(_Family):
    """What is so now: set by hand, or read when somebody asks."""

    kind = "gauge"

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str] = (),
        *,
        read: Callable[[], Iterable[Sample]] | None = None,
        kind: str = "gauge",
    ) -> None:
        super().__init__(name, text, labels)
        self.kind = kind
        self.values: dict[Labels, float] = {}
        self._read = read

    def set(self, value: float, values: Labels = ()) -> None:
        self.values[self._limited(self.values, values) if values not in self.values else values] = value

    def lines(self) -> Iterator[str]:
        samples = self._read() if self._read is not None else self.values.items()
        for values, value in sorted(samples):
            yield self._series(self.name, values, value)


class Histogram(_Family):
    """How often values fell below each bound."""

    kind = "histogram"

    def __init__(self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        super().__init__(name, text, labels)
        self.bounds = tuple(bounds)
        #: By labels: a count for each bucket, the last one for everything above; then the sum.
        self.values: dict[Labels, list[float]] = {}
        #: Where the values come from when somebody asks, if not from ``observe``.
        self.read: Callable[[], Mapping[Labels, list[float]]] | None = None

    def observe(self, values: Labels, value: float) -> None:
        held = self.values.get(values)
        if held is None:
            values = self._limited(self.values, values)
            held = self.values.setdefault(values, [0.0] * (len(self.bounds) + 2))
        held[bisect_left(self.bounds, value)] += 1
        held[-1] += value

    def lines(self) -> Iterator[str]:
        values_now = self.read() if self.read is not None else self.values
        for values, held in sorted(values_now.items()):
            count = 0.0
            for bound, inside in zip((*self.bounds, float("inf")), held, strict=False):
                count += inside
                yield self._series(f"{self.name}_bucket", values, count, f'le="{_number(bound)}"')
            yield self._series(f"{self.name}_sum", values, held[-1])
            yield self._series(f"{self.name}_count", values, count)


class Metrics:
    """All families of a process."""

    def __init__(self) -> None:
        self._families: list[_Family] = []

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        family = Counter(name, text, labels)
        self._families.append(family)
        return family

    def gauge(
        self,
        name: str,
        text: str,
        labels: Sequence[str] = (),
        *,
        read: Callable[[], Iterable[Sample]] | None = None,
        kind: str = "gauge",
    ) -> Gauge:
        family = Gauge(name, text, labels, read=read, kind=kind)
        self._families.append(family)
        return family

    def histogram(self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]) -> Histogram:
        family = Histogram(name, text, labels, bounds)
        self._families.append(family)
        return family

    def render(self) -> bytes:
        """Everything, as a scraper reads it."""
        ordered = sorted(self._families, key=lambda family: family.name)
        return "".join(line for family in ordered for line in family.render()).encode()


def process_metrics(metrics: Metrics) -> None:
    """What the operating system knows of this process, under the names every client library gives it."""
    started_s = _started_s()

    def one(read: Callable[[], float]) -> Callable[[], Iterable[Sample]]:
        return lambda: [((), read())]

    for name, text, kind, read in (
        ("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", "counter", _cpu_s),
        ("process_resident_memory_bytes", "Resident memory size in bytes.", "gauge", _resident_bytes),
        ("process_virtual_memory_bytes", "Virtual memory size in bytes.", "gauge", _virtual_bytes),
        ("process_open_fds", "Number of open file descriptors.", "gauge", _open_files),
        ("process_max_fds", "Maximum number of open file descriptors.", "gauge", _max_files),
    ):
        metrics.gauge(name, text, read=one(read), kind=kind)
    text = "Start time of the process since unix epoch in seconds."
    metrics.gauge("process_start_time_seconds", text, read=lambda: [((), started_s)])


def _started_s() -> float:
    ticks = float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    up_s = float(Path("/proc/uptime").read_text().split()[0])
    # The machine's time, whatever clock a cluster runs on: this is about a process.
    return time.time() - up_s + ticks / os.sysconf("SC_CLK_TCK")


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _resident_bytes() -> float:
    return float(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _virtual_bytes() -> float:
    return float(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _open_files() -> float:
    return float(len(os.listdir("/proc/self/fd")))


def _max_files() -> float:
    return float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)
