"""What a CONNECT asks: its options read from the query, and judged by admission before anything is connected.

Upstream's counterpart is ``ConnectResource`` in ``apiserver/pkg/endpoints/handlers/rest.go``.

Neighbours: ``routes`` calls this for exec, attach, portforward and proxy; ``node_proxy`` does what the options say.
"""

from __future__ import annotations

from typing import Any

from knarr.api.core.connect import TYPES
from knarr.api.errors import bad_request
from knarr.apiserver.admission.chain import Attributes
from knarr.apiserver.endpoints import Endpoint
from knarr.apiserver.request import Request

__all__ = ["CONNECTING", "connect_options"]

CONNECTING = frozenset(("attach", "exec", "portforward", "proxy"))
_FLAGS = ("stdin", "stdout", "stderr", "tty")


async def connect_options(endpoint: Endpoint, request: Request) -> Any:
    """The options, as admission left them. Raises ``StatusError``: Forbidden and what else admission refuses with."""
    info, resource = request.info, endpoint.resource
    namespace = info.namespace if resource.namespaced else ""
    name = info.name
    options = _read(TYPES[resource.subresources[info.subresource].kind], request)
    attributes = Attributes(
        "CONNECT",
        resource,
        endpoint.context(request),
        namespace,
        name,
        obj=options,
        subresource=info.subresource,
    )
    return await endpoint.registry.admission.admit(attributes)


def _read(kind: Any, request: Request) -> Any:
    query = request.query
    options = kind()
    fields = kind.__struct_fields__
    for flag in _FLAGS:
        if flag in fields:
            setattr(options, flag, query.flag(flag))
    if "container" in fields:
        options.container = query.get("container")
    if "command" in fields:
        options.command = query.all("command")
    if "path" in fields:
        options.path = request.info.rest.removeprefix("/")
    if "ports" in fields:
        options.ports = [_port(text) for each in query.all("ports") for text in each.split(",")]
    return options


def _port(text: str) -> int:
    if not text.isdecimal():
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)
