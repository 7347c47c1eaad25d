"""Asking the three metrics APIs: resources of pods, custom metrics of objects, external ones.

Who answers is not this module's business: the API server itself or whoever an APIService names.

Upstream's counterpart is ``pkg/controller/podautoscaler/metrics`` and ``k8s.io/metrics/pkg/client``. Neighbours: ``replicas``
calculates with the values, which are thousandths.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from knarr.api import codec, quantity
from knarr.api.autoscaling import v2
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.metrics import v1beta1
from knarr.client.client import Client, raise_refusal
from knarr.client.transport import Response, TransportError
from knarr.controllers.horizontal.replicas import CannotTell, PodMetric
from knarr.kit.clock import parse_rfc3339
from knarr.kit.durations import parse_duration_s

__all__ = ["MetricsClient"]

CUSTOM, EXTERNAL = "custom.metrics.k8s.io", "external.metrics.k8s.io"
#: Of those that are served the first is asked.
CUSTOM_VERSIONS = ("v1beta2", "v1beta1")
DEFAULT_WINDOW_S = 60.0


class _Described(msgspec.Struct):
    name: str = ""


class _Value(msgspec.Struct):
    """A value of custom.metrics.k8s.io, in either version, or of external.metrics.k8s.io."""

    value: str = "0"
    describedObject: _Described = msgspec.field(default_factory=_Described)
    timestamp: str | None = None
    windowSeconds: int | None = None
    window: int | None = None


class _Values(msgspec.Struct):
    items: list[_Value] = []


class _Group(msgspec.Struct):
    versions: list[dict[str, Any]] = []


class MetricsClient:
    """Each method raises ``CannotTell`` with upstream's text."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def of_resource(
        self, resource: str, namespace: str, selector: str, *, container: str = ""
    ) -> dict[str, PodMetric]:
        """What pods use of a resource, by their names: as a whole, or one container of theirs."""
        path = v1beta1.PODS.path(quote(namespace, safe=""))
        problem = "unable to fetch metrics from resource metrics API"
        body = await self._read(path, [("labelSelector", selector)], "pods.metrics.k8s.io", problem)
        items = _decoded(v1beta1.PodMetricsList, body, problem).items
        if not items:
            raise CannotTell("no metrics returned from resource metrics API")
        if container:
            return _of_container(items, resource, container)
        found = {}
        for item in items:
            usages = [each.usage.get(resource) for each in item.containers]
            if usages and None not in usages:
                found[item.metadata.name] = _pod_metric(item, sum(map(quantity.millis, usages)))
        return found

    async def of_pods(
        self, metric: str, namespace: str, selector: str, *, metric_selector: str
    ) -> dict[str, PodMetric]:
        """A custom metric of pods, by their names."""
        items = await self._custom(namespace, "pods/*", metric, label=selector, metric_selector=metric_selector)
        if not items:
            raise CannotTell("no metrics returned from custom metrics API")
        return {
            item.describedObject.name: PodMetric(
                quantity.millis(item.value),
                parse_rfc3339(item.timestamp) if item.timestamp else None,
                _window_s(item),
            )
            for item in items
        }

    async def of_object(
        self,
        metric: str,
        namespace: str,
        reference: v2.CrossVersionObjectReference,
        *,
        resource: str,
        metric_selector: str,
    ) -> int:
        """A custom metric of one object; ``resource`` is its group resource (``services``, ``ingresses.networking.k8s.io``)."""
        # Of a namespace only the own one may be asked about.
        what = "metrics" if resource == "namespaces" else f"{resource}/{quote(reference.name, safe='')}"
        items = await self._custom(namespace, what, metric, label="", metric_selector=metric_selector)
        if not items:
            raise CannotTell(
                "unable to fetch metrics from custom metrics API: the custom metrics API server returned 0 results when we asked for exactly one"
            )
        return quantity.millis(items[0].value)

    async def _custom(
        self, namespace: str, what: str, metric: str, *, label: str, metric_selector: str
    ) -> list[_Value]:
        problem = "unable to fetch metrics from custom metrics API"
        version = await self._custom_version(problem)
        path = f"/apis/{CUSTOM}/{version}/namespaces/{quote(namespace, safe='')}/{what}/{quote(metric, safe='')}"
        pairs = [("labelSelector", label), ("metricLabelSelector", metric_selector)]
        asked = f"{what.partition('/')[0]}.{CUSTOM}"
        body = await self._read(path, [pair for pair in pairs if pair[1]], asked, problem)
        values: _Values = _decoded(_Values, body, problem)
        return values.items

    async def _custom_version(self, problem: str) -> str:
        try:
            body = await self._read(f"/apis/{CUSTOM}", [], CUSTOM, problem)
        except CannotTell:
            raise CannotTell(f"{problem}: no custom metrics API ({CUSTOM}) registered") from None
        served = {each.get("version") for each in _decoded(_Group, body, problem).versions}
        for version in CUSTOM_VERSIONS:
            if version in served:
                return version
        raise CannotTell(f"{problem}: no known available metric versions found")

    async def of_external(self, metric: str, namespace: str, selector: str) -> int:
        """The sum of an external metric's values."""
        problem = "unable to fetch metrics from external metrics API"
        path = f"/apis/{EXTERNAL}/v1beta1/namespaces/{quote(namespace, safe='')}/{quote(metric, safe='')}"
        pairs = [("labelSelector", selector)] if selector else []
        items = _decoded(_Values, await self._read(path, pairs, f"{metric}.{EXTERNAL}", problem), problem).items
        if not items:
            raise CannotTell("no metrics returned from external metrics API")
        return sum(quantity.millis(item.value) for item in items)

    async def _read(self, path: str, query: list[tuple[str, str]], asked: str, problem: str) -> bytes:
        try:
            answer = await self._client.raw("GET", path, query=query, headers={"Accept": "application/json"})
            _raise_as_client_go(answer, asked)
        except (StatusError, TransportError) as error:
            raise CannotTell(f"{problem}: {error}") from None
        return answer.body


def _raise_as_client_go(answer: Response, asked: str) -> None:
    """What client-go makes of an answer that says nothing itself; else the answer's own refusal."""
    generic = {
        404: "the server could not find the requested resource",
        503: "the server is currently unable to handle the request",
    }.get(answer.status)
    try:
        said = codec.decode(meta.Status, answer.body) if generic else None
    except codec.DecodeError:
        said = None
    if generic and (said is None or said.details is None or not said.details.kind):
        text = f"{generic} (get {asked})"
        raise StatusError(meta.Status(status="Failure", code=answer.status, message=text))
    raise_refusal(answer)


def _decoded(kind: type[Any], body: bytes, problem: str) -> Any:
    try:
        return codec.decode(kind, body)
    except codec.DecodeError as error:
        raise CannotTell(f"{problem}: {error}") from None


def _of_container(items: list[v1beta1.PodMetrics], resource: str, container: str) -> dict[str, PodMetric]:
    found = {}
    for item in items:
        own = next((each for each in item.containers if each.name == container), None)
        if own is None:
            where = f"{item.metadata.namespace}/{item.metadata.name}"
            raise CannotTell(
                f"failed to get container metrics: container {container} not present in metrics for pod {where}"
            )
        if resource in own.usage:
            found[item.metadata.name] = _pod_metric(item, quantity.millis(own.usage[resource]))
    return found


def _pod_metric(item: v1beta1.PodMetrics, value: int) -> PodMetric:
    at = parse_rfc3339(item.timestamp) if item.timestamp else None
    try:
        return PodMetric(value, at, parse_duration_s(item.window))
    except ValueError:
        return PodMetric(value, at, DEFAULT_WINDOW_S)


def _window_s(item: _Value) -> float:
    window_s = item.windowSeconds if item.windowSeconds is not None else item.window
    return DEFAULT_WINDOW_S if window_s is None else float(window_s)
