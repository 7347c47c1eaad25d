"""The types of metrics.k8s.io/v1beta1, and its two resources.

They are answered and never kept, and another server may be the one who answers; so they are no part of the table of built-in
kinds. Upstream's counterpart is ``k8s.io/metrics``. Neighbours: ``apiserver.node_metrics`` answers, the autoscaler asks.
"""

from __future__ import annotations

from functools import partial

import msgspec

from knarr.api.fields import Quantity, Struct, Time, empty_dict, empty_list
from knarr.api.meta import v1 as meta
from knarr.api.scheme import Resource

__all__ = ["GROUP", "NODES", "PODS", "ContainerMetrics", "NodeMetrics", "NodeMetricsList", "PodMetrics", "PodMetricsList"]

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
NODES = Resource((GROUP, VERSION, "NodeMetrics", "nodes", "", False, "", "", "get list", "", ()))
PODS = Resource((GROUP, VERSION, "PodMetrics", "pods", "", True, "", "", "get list", "", ()))


class ContainerMetrics(Struct, kw_only=True):
    name: str = msgspec.field(default_factory=str)
    usage: dict[str, Quantity] = msgspec.field(default_factory=empty_dict)


class NodeMetrics(Struct, kw_only=True):
    kind: str = msgspec.field(default_factory=partial(str, "NodeMetrics"))
    apiVersion: str = msgspec.field(default_factory=partial(str, f"{GROUP}/{VERSION}"))
    metadata: meta.ObjectMeta = msgspec.field(default_factory=meta.ObjectMeta)
    timestamp: Time | None = None
    window: str = msgspec.field(default_factory=str)
    usage: dict[str, Quantity] = msgspec.field(default_factory=empty_dict)


class NodeMetricsList(Struct, kw_only=True):
    kind: str = msgspec.field(default_factory=partial(str, "NodeMetricsList"))
    apiVersion: str = msgspec.field(default_factory=partial(str, f"{GROUP}/{VERSION}"))
    metadata: meta.ListMeta = msgspec.field(default_factory=meta.ListMeta)
    items: list[NodeMetrics] = msgspec.field(default_factory=empty_list)


class PodMetrics(Struct, kw_only=True):
    kind: str = msgspec.field(default_factory=partial(str, "PodMetrics"))
    apiVersion: str = msgspec.field(default_factory=partial(str, f"{GROUP}/{VERSION}"))
    metadata: meta.ObjectMeta = msgspec.field(default_factory=meta.ObjectMeta)
    timestamp: Time | None = None
    window: str = msgspec.field(default_factory=str)
    containers: list[ContainerMetrics] = msgspec.field(default_factory=empty_list)


class PodMetricsList(Struct, kw_only=True):
    kind: str = msgspec.field(default_factory=partial(str, "PodMetricsList"))
    apiVersion: str = msgspec.field(default_factory=partial(str, f"{GROUP}/{VERSION}"))
    metadata: meta.ListMeta = msgspec.field(default_factory=meta.ListMeta)
    items: list[PodMetrics] = msgspec.field(default_factory=empty_list)
