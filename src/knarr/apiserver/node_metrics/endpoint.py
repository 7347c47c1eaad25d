"""GET and LIST of NodeMetrics and PodMetrics.

Which nodes and pods there are says the watch cache; only the kubelets of those that are asked about are asked.

Counterpart: metrics-server's ``pkg/api``. Neighbours: ``scraper`` knows the usage; ``server`` comes here after authorization, unless an
APIService hands the group to a service.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from knarr.api import quantity
from knarr.api.errors import method_not_allowed, not_found, path_not_found
from knarr.api.meta import v1 as meta
from knarr.api.metrics import v1beta1 as metrics
from knarr.api.scheme import Resource
from knarr.apiserver import negotiation
from knarr.apiserver.cacher import Entry
from knarr.apiserver.computed import render_computed, render_computed_list
from knarr.apiserver.listing import matches, parse_list_query
from knarr.apiserver.node_metrics.kubelets import Kubelets
from knarr.apiserver.node_metrics.points import Usage
from knarr.apiserver.node_metrics.scraper import Scraper
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.request import Request, Response
from knarr.kit.clock import Clock, rfc3339
from knarr.kit.durations import go_duration

__all__ = ["NodeMetricsEndpoint"]

Found = metrics.NodeMetrics | metrics.PodMetrics


class NodeMetricsEndpoint:
    """Answers requests to the two resources. ``pods`` and ``nodes`` are the registries of what is measured."""

    def __init__(
        self, kubelets: Kubelets, *, pods: GenericRegistry, nodes: GenericRegistry, clock: Clock
    ) -> None:
        self._scraper = Scraper(kubelets, clock)
        self._registries = {metrics.NODES.plural: nodes, metrics.PODS.plural: pods}
        self._clock = clock

    async def close(self) -> None:
        """End what is under way."""
        await self._scraper.close()

    async def handle(self, request: Request, resource: Resource) -> Response:
        """Raises ``StatusError`` 404, 405, 406, 400 for selectors that cannot be read."""
        info = request.info
        if info.subresource or (info.namespace and not resource.namespaced):
            raise path_not_found()
        if info.verb == "get":
            return await self._get(request, resource)
        if info.verb == "list":
            return await self._list(request, resource)
        raise method_not_allowed(resource.group, resource.plural, info.verb)

    async def _get(self, request: Request, resource: Resource) -> Response:
        output = negotiation.choose_for_object(request.headers.get("accept", ""))
        info = request.info
        if resource.namespaced and not info.namespace:
            raise path_not_found()
        entry = await self._registries[resource.plural].entry(info.namespace, info.name)
        found = await self._measured(resource, [entry])
        if not found:
            shown = f"{info.namespace}/{info.name}" if resource.namespaced else info.name
            raise not_found(resource.group, resource.plural, shown)
        return render_computed(request, resource, found[0], output=output, now=self._clock.now())

    async def _list(self, request: Request, resource: Resource) -> Response:
        output = negotiation.choose(request.headers.get("accept", ""))
        registry = self._registries[resource.plural]
        wanted = parse_list_query(request.query, registry.cache.reader)
        entries = [
            entry
            for entry in registry.cache.scan(registry.cache.within(request.info.namespace))
            if matches(entry, wanted)
        ]
        found = await self._measured(resource, entries)
        return render_computed_list(request, resource, found, output=output, now=self._clock.now())

    async def _measured(self, resource: Resource, entries: list[Entry]) -> list[Found]:
        """What is known of these nodes or pods, in their order."""
        if resource is metrics.NODES:
            usage = await self._scraper.usage_of(entry.name for entry in entries)
            told = ((entry, usage[entry.name].node) for entry in entries if entry.name in usage)
            return [_node(entry, used, self._metadata(entry)) for entry, used in told if used is not None]
        running = [entry for entry in entries if entry.fields.get("status.phase") == "Running"]
        placed = [(entry, entry.fields.get("spec.nodeName", "")) for entry in running]
        usage = await self._scraper.usage_of(dict.fromkeys(node for _, node in placed if node))
        pods = ((e, usage[node].pods.get((e.namespace, e.name))) for e, node in placed if node in usage)
        return [_pod(used, self._metadata(entry)) for entry, used in pods if used]

    def _metadata(self, entry: Entry) -> meta.ObjectMeta:
        return meta.ObjectMeta(
            name=entry.name,
            namespace=entry.namespace,
            labels=dict(entry.labels),
            creationTimestamp=rfc3339(self._clock.now()),
        )


def _node(entry: Entry, used: Usage, metadata: meta.ObjectMeta) -> metrics.NodeMetrics:
    return metrics.NodeMetrics(
        metadata=metadata, timestamp=_moment(used.at_s), window=go_duration(used.window_s), usage=_amounts(used)
    )


def _pod(used: dict[str, Usage], metadata: meta.ObjectMeta) -> metrics.PodMetrics:
    earliest = min(used.values(), key=lambda usage: usage.at_s)
    return metrics.PodMetrics(
        metadata=metadata,
        timestamp=_moment(earliest.at_s),
        window=go_duration(earliest.window_s),
        containers=[metrics.ContainerMetrics(name=name, usage=_amounts(used[name])) for name in sorted(used)],
    )


def _moment(at_s: float) -> str:
    return rfc3339(datetime.fromtimestamp(at_s, UTC))


def _amounts(used: Usage) -> dict[str, Any]:
    return {
        "cpu": quantity.from_nanos(used.nanocores, like="0"),
        "memory": quantity.from_value(used.memory_bytes, binary=True),
    }
