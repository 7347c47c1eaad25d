"""Asking a kubelet for its counters: GET ``/metrics/resource``, as this server's own client of kubelets.

Neighbours: ``scraper`` decides whom to ask and when; ``subresources.node_proxy`` knows where a kubelet is.
"""

from __future__ import annotations

from typing import Protocol

from knarr.api.errors import internal_error
from knarr.apiserver.aggregation.backends import BackendFailure, whole
from knarr.apiserver.request import Query, Request
from knarr.apiserver.subresources.forwarding import Forwarder
from knarr.apiserver.subresources.node_proxy import NodeProxy
from knarr.kit.lean_import import import_http_client

__all__ = ["HttpKubelets", "Kubelets"]

PATH = "/metrics/resource"


class Kubelets(Protocol):
    """How kubelets are reached; over TLS, or inside a test's process."""

    async def resource_metrics(self, node_name: str) -> str:
        """Prometheus' text format. Raises ``StatusError``."""
        ...


class HttpKubelets:
    def __init__(self, node_proxy: NodeProxy, forwarder: Forwarder) -> None:
        self._node_proxy = node_proxy
        self._forwarder = forwarder

    async def resource_metrics(self, node_name: str) -> str:
        # Imported by the first who needs it, as the forwarder does.
        import_http_client()
        import aiohttp

        target = await self._node_proxy.kubelet(node_name, PATH)
        answer = await self._forwarder.send(Request("GET", PATH, Query(), {}), target)
        try:
            body = await whole(answer)
        except (BackendFailure, aiohttp.ClientError, OSError) as error:
            raise internal_error(f"{target.url}: {error}") from None
        if answer.status != 200:
            raise internal_error(f"bad status from {target.url}: {answer.status}")
        return body.decode(errors="replace")
