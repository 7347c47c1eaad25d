"""Answers with objects that nobody keeps: they are made when they are asked for.

They take the same forms as kept ones do (JSON, YAML, Table, metadata alone); a list of them has no revision, no
pages, and is never watched.

Neighbours: ``node_metrics`` and ``component_statuses`` make the objects; ``listing`` answers with kept ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from knarr.api import codec
from knarr.api.scheme import Resource
from knarr.apiserver import negotiation
from knarr.apiserver.negotiation import Output
from knarr.apiserver.request import Request, Response

__all__ = ["render_computed", "render_computed_list"]


def render_computed(request: Request, resource: Resource, obj: Any, *, output: Output, now: datetime) -> Response:
    """One object."""
    include = request.query.get("includeObject")
    body = negotiation.render_object(resource, codec.encode(obj), obj, output, now=now, include=include)
    return Response(body=body, content_type=output.content_type)


def render_computed_list(
    request: Request, resource: Resource, found: Sequence[Any], *, output: Output, now: datetime
) -> Response:
    """A list of them, in their order."""
    bodies = [codec.encode(each) for each in found]
    if output.form == negotiation.TABLE:
        include = request.query.get("includeObject")
        body = negotiation.render_table(resource, list(found), bodies, now=now, include=include)
        return Response(body=body, content_type=output.content_type)
    kind, api_version = f"{resource.kind}List", resource.api_version
    if output.form != negotiation.JSON:
        kind, api_version = negotiation.PARTIAL_LIST, "meta.k8s.io/v1"
        bodies = [negotiation.partial_object(each) for each in bodies]
    content = {
        "kind": kind,
        "apiVersion": api_version,
        "metadata": {},
        "items": [msgspec.Raw(each) for each in bodies],
    }
    body = negotiation.to_wire(codec.encode(content), output)
    return Response(body=body, content_type=output.content_type)
