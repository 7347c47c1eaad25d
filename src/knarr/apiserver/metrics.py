"""What the API server counts, under upstream's names.

Most of it is read when a scraper asks; what must be counted as it happens is one dictionary entry a request.

Upstream's counterpart is ``apiserver/pkg/endpoints/metrics``. Neighbours: ``kit.metrics`` renders; ``server`` calls ``begin`` and ``end``.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from knarr.apiserver.health import version_document
from knarr.apiserver.request import Request
from knarr.kit.metrics import CONTENT_TYPE, MAX_SERIES, Metrics, process_metrics

if TYPE_CHECKING:
    from knarr.apiserver.flowcontrol.controller import FlowControl
    from knarr.apiserver.registry.generic import GenericRegistry

__all__ = ["CONTENT_TYPE", "ServerMetrics"]

_REQUEST = ("verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component", "code")
_DURATION = ("verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component")
_BOUNDS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
_STEP_BOUNDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)
_VERBS = {"get": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
_READING = ("GET", "HEAD", "OPTIONS")
#: Verbs a client can make up are counted together.
_KNOWN_VERBS = {"GET", "POST", "PUT", "PATCH", "DELETE", "LIST", "WATCH", "DELETECOLLECTION", "APPLY", "CONNECT", "HEAD", "OPTIONS"}


class ServerMetrics:
    """The counters of one server."""

    def __init__(self, registries: Callable[[], Iterable[GenericRegistry]]) -> None:
        self.metrics = metrics = Metrics()
        self._registries = registries
        self.inflight = {"mutating": 0, "readOnly": 0}
        #: What was asked and how it was answered, as it comes; a scraper's labels are made when he asks.
        self._answered: dict[tuple[Any, ...], list[float]] = {}
        self.known_users = self.refused_users = 0
        metrics.gauge(
            "apiserver_request_total",
            "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
            _REQUEST,
            read=self._request_counts,
            kind="counter",
        )
        self._durations = metrics.histogram(
            "apiserver_request_duration_seconds", "Response latency distribution in seconds.", _DURATION, _BOUNDS
        )
        self._durations.read = self._request_durations
        self._terminations = metrics.counter(
            "apiserver_request_terminations_total",
            "Number of requests which apiserver terminated in self-defense.",
            ("verb", "group", "version", "resource", "subresource", "scope", "component", "code"),
        )
        metrics.gauge(
            "authentication_attempts",
            "Counter of authenticated attempts.",
            ("result",),
            read=lambda: [(("failure",), self.refused_users), (("success",), self.known_users)],
            kind="counter",
        )
        self.admission_steps = metrics.histogram(
            "apiserver_admission_step_admission_duration_seconds",
            "Admission sub-step latency in seconds.",
            ("type", "operation", "rejected"),
            _STEP_BOUNDS,
        )
        self.longrunning: dict[tuple[str, ...], int] = {}
        metrics.gauge(
            "apiserver_longrunning_requests",
            "Gauge of all active long-running apiserver requests.",
            ("verb", "group", "version", "resource", "subresource", "scope", "component"),
            read=lambda: [(labels, count) for labels, count in self.longrunning.items() if count],
        )
        metrics.gauge(
            "apiserver_current_inflight_requests",
            "Maximal number of currently used inflight request limit of this apiserver per request kind.",
            ("request_kind",),
            read=lambda: [((kind,), count) for kind, count in self.inflight.items()],
        )
        for name in ("apiserver_storage_objects", "apiserver_resource_objects"):
            metrics.gauge(
                name,
                "Number of stored objects at the time of last check split by kind.",
                ("resource",) if name == "apiserver_storage_objects" else ("group", "resource"),
                read=self._objects if name == "apiserver_storage_objects" else self._objects_by_group,
            )
        metrics.gauge(
            "apiserver_watch_events_total",
            "Number of events sent in watch clients.",
            ("group", "version", "kind"),
            read=self._watch_events,
            kind="counter",
        )
        metrics.gauge(
            "apiserver_registered_watchers",
            "Number of currently registered watchers for a given resource.",
            ("group", "version", "kind"),
            read=self._watchers,
        )
        self._build_info()
        process_metrics(metrics)

    def _build_info(self) -> None:
        version = version_document()
        labels = ("major", "minor", "git_version", "git_commit", "git_tree_state", "build_date", "go_version", "compiler", "platform")
        keys = ("major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform")
        text = "A metric with a constant '1' value labeled by major, minor, git version and other facts of the build."
        info = self.metrics.gauge("kubernetes_build_info", text, labels)
        info.set(1, tuple(version[key] for key in keys))
        python = self.metrics.gauge("python_info", "Python platform information.", ("implementation", "version"))
        python.set(1, (platform.python_implementation(), platform.python_version()))

    def follow(self, flow: FlowControl) -> None:
        """Read priority and fairness as well."""
        name = "apiserver_flowcontrol"
        levels = flow.seats.levels
        for suffix, text, value in (
            ("nominal_limit_seats", "Nominal number of execution seats configured for each priority level", "nominal"),
            ("current_executing_seats", "Concurrency (number of seats) occupied by the currently executing requests", "taken"),
            ("current_inqueue_requests", "Number of requests currently pending in queues", "waiting"),
        ):
            self.metrics.gauge(
                f"{name}_{suffix}",
                text,
                ("priority_level",),
                read=lambda value=value: [((level.name,), getattr(level, value)) for level in levels.values()],  # type: ignore[misc]
            )
        self.metrics.gauge(
            f"{name}_rejected_requests_total",
            "Number of requests rejected by API Priority and Fairness subsystem",
            ("flow_schema", "priority_level", "reason"),
            read=flow.refusals.items,
            kind="counter",
        )

    def _objects(self) -> Iterable[tuple[tuple[str, ...], float]]:
        return {(each.resource.group_resource,): float(len(each.cache)) for each in self._registries()}.items()

    def _objects_by_group(self) -> Iterable[tuple[tuple[str, ...], float]]:
        return {
            (each.resource.group, each.resource.plural): float(len(each.cache)) for each in self._registries()
        }.items()

    def _watch_events(self) -> Iterable[tuple[tuple[str, ...], float]]:
        for each in self._registries():
            if each.dispatcher.events_told:
                yield (each.resource.group, each.resource.version, each.resource.kind), each.dispatcher.events_told

    def _watchers(self) -> Iterable[tuple[tuple[str, ...], float]]:
        for each in self._registries():
            if len(each.dispatcher):
                yield (each.resource.group, each.resource.version, each.resource.kind), len(each.dispatcher)

    def begin(self, request: Request) -> str:
        """A request has come; returns what ``end`` is told."""
        kind = "readOnly" if request.method in _READING else "mutating"
        self.inflight[kind] += 1
        return kind

    def end(self, request: Request, kind: str, code: int, duration_s: float) -> None:
        """It is answered, or its stream has begun."""
        self.inflight[kind] -= 1
        info = request.info
        if info.is_resource:
            content = request.headers.get("content-type", "") if info.verb == "patch" else ""
            named = (bool(info.name), bool(info.namespace))
            key: tuple[Any, ...] = (info.verb, info.group, info.version, info.resource, info.subresource, named, "dryRun" in request.query, content, code)
        else:
            key = (request.method, "", "", "", "", None, False, "", code)
        held = self._answered.get(key)
        if held is None:
            if len(self._answered) >= MAX_SERIES:
                return
            held = self._answered[key] = [0.0] * (len(_BOUNDS) + 2)
        held[bisect_left(_BOUNDS, duration_s)] += 1
        held[-1] += duration_s

    def _by_labels(self) -> Iterable[tuple[tuple[str, ...], int, list[float]]]:
        """Labels, code and observations of everything answered."""
        for (verb, group, version, resource, subresource, named, dry, content, code), held in self._answered.items():
            labels = _labels(verb, group, version, resource, subresource, named, dry, content)
            yield labels, code, held

    def _request_counts(self) -> Iterable[tuple[tuple[str, ...], float]]:
        counts: dict[tuple[str, ...], float] = {}
        for labels, code, held in self._by_labels():
            key = (*labels, str(code))
            counts[key] = counts.get(key, 0) + sum(held[:-1])
        return counts.items()

    def _request_durations(self) -> dict[tuple[str, ...], list[float]]:
        durations: dict[tuple[str, ...], list[float]] = {}
        for labels, _, held in self._by_labels():
            if labels[0] in ("WATCH", "CONNECT"):
                continue
            known = durations.get(labels)
            durations[labels] = [a + b for a, b in zip(known, held, strict=True)] if known is not None else list(held)
        return durations

    def terminated(self, request: Request, code: int) -> None:
        labels = labels_of(request)
        self._terminations.add((labels[0], *labels[2:], str(code)))

    def stream_began(self, request: Request) -> tuple[str, ...]:
        labels = labels_of(request)
        key = (labels[0], *labels[2:])
        self.longrunning[key] = self.longrunning.get(key, 0) + 1
        return key

    def stream_ended(self, key: tuple[str, ...]) -> None:
        self.longrunning[key] -= 1


def labels_of(request: Request) -> tuple[str, ...]:
    """Verb, dry run, group, version, resource, sub-resource, scope and component, as upstream labels a request."""
    info = request.info
    if not info.is_resource:
        return _labels(request.method, "", "", "", "", None, False, "")
    named = (bool(info.name), bool(info.namespace))
    dry, content = "dryRun" in request.query, request.headers.get("content-type", "")
    return _labels(info.verb, info.group, info.version, info.resource, info.subresource, named, dry, content)


def _labels(
    asked: str, group: str, version: str, resource: str, subresource: str, named: tuple[bool, bool] | None, dry: bool, content: str
) -> tuple[str, ...]:
    if named is None:
        return (asked if asked in _KNOWN_VERBS else "other", "", "", "", "", "", "", "apiserver")
    verb = _VERBS.get(asked, asked.upper())
    if subresource in ("exec", "attach", "portforward", "proxy"):
        verb = "CONNECT"
    elif verb == "PATCH" and content.startswith("application/apply-patch"):
        verb = "APPLY"
    elif verb not in _KNOWN_VERBS:
        verb = "other"
    scope = "resource" if named[0] or asked == "create" else "namespace" if named[1] else "cluster"
    return (verb, "All" if dry else "", group, version, resource, subresource, scope, "apiserver")
