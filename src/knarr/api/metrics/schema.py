"""The OpenAPI schemas of metrics.k8s.io/v1beta1, for ``kubectl explain`` and for whoever makes clients from them.

The checked-in description of the API is of the built-in kinds only, and no models package has these; so the sentences are our own.
Counterpart upstream: ``k8s.io/metrics``' generated OpenAPI. Neighbour: ``apiserver.openapi`` publishes them.
"""

from __future__ import annotations

from typing import Any

from knarr.api.metrics import v1beta1

__all__ = ["PREFIX", "definitions"]

PREFIX = "io.k8s.metrics.pkg.apis.metrics.v1beta1."
Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."


def _reference(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _kind(description: str, **properties: Schema) -> Schema:
    common = {"kind": _TEXT, "apiVersion": _TEXT, "metadata": _reference(f"{_META}ObjectMeta")}
    measured = {
        "timestamp": {**_TEXT, "format": "date-time", "description": "When the usage was measured."},
        "window": {**_TEXT, "description": "The length of time before the timestamp over which it was measured."},
    }
    properties = {**common, **measured, **properties}
    return {"type": "object", "description": description, "properties": properties}


def _list(kind: str) -> Schema:
    items = {"type": "array", "items": _reference(PREFIX + kind)}
    common = {"kind": _TEXT, "apiVersion": _TEXT, "metadata": _reference(f"{_META}ListMeta")}
    return {"type": "object", "required": ["items"], "properties": {**common, "items": items}}


def definitions() -> dict[str, Schema]:
    """By their full names."""
    amount = _reference("io.k8s.apimachinery.pkg.api.resource.Quantity")
    usage = {
        "type": "object",
        "description": "What is used, by resource: cpu in cores, memory as the working set in bytes.",
        "additionalProperties": amount,
    }
    containers = {
        "type": "array",
        "description": "What each running container uses.",
        "items": _reference(f"{PREFIX}ContainerMetrics"),
    }
    found = {
        "ContainerMetrics": {"type": "object", "properties": {"name": _TEXT, "usage": usage}},
        "NodeMetrics": _kind("What a node uses.", usage=usage),
        "PodMetrics": _kind("What the containers of a pod use.", containers=containers),
    }
    found |= {each.kind + "List": _list(each.kind) for each in (v1beta1.NODES, v1beta1.PODS)}
    return {PREFIX + name: schema for name, schema in found.items()}
