"""What a load balancer asks a node: has this service an endpoint here? (``healthCheckNodePort``)

A service of type LoadBalancer with ``externalTrafficPolicy: Local`` has a port on every node that answers 200
when the node has ready endpoints of its own and 503 when it has none. Upstream counterpart:
``pkg/proxy/healthcheck``. Neighbours: ``proxy`` says after each change which ports there should be.
Invariant: a port that cannot be had costs that port only, and is tried again with the service's next change.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.kit.log import get_logger
from knarr.network.endpoints import is_local_external

__all__ = ["HealthCheck", "HealthChecks", "health_check"]

#: A question is one short request; whoever has not asked by then is cut off.
REQUEST_TIMEOUT_S = 5.0

log = get_logger("proxy")


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One service's port and what it answers."""

    port: int
    namespace: str
    name: str
    local_endpoints: int

    def answer(self) -> bytes:
        """The whole HTTP response."""
        body = json.dumps(
            {
                "service": {"namespace": self.namespace, "name": self.name},
                "localEndpoints": self.local_endpoints,
                "serviceProxyHealthy": True,
            }
        )
        status = "200 OK" if self.local_endpoints else "503 Service Unavailable"
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
            f"X-Load-Balancing-Endpoint-Weight: {self.local_endpoints}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return (head + body).encode()


def health_check(
    service: core.Service | None, slices: Sequence[discovery.EndpointSlice], *, node: str
) -> HealthCheck | None:
    """The check a service wants on this node, if it wants one."""
    if service is None or not node or service.spec.type != "LoadBalancer" or not is_local_external(service):
        return None
    if not service.spec.healthCheckNodePort:
        return None
    here = {
        address
        for piece in slices
        for endpoint in piece.endpoints
        if endpoint.nodeName == node and endpoint.conditions.ready is not False
        for address in endpoint.addresses[:1]
    }
    meta = service.metadata
    return HealthCheck(service.spec.healthCheckNodePort, meta.namespace, meta.name, len(here))


class HealthChecks:
    """The open ports of this node."""

    def __init__(self) -> None:
        self._checks: dict[tuple[str, str], HealthCheck] = {}
        self._servers: dict[int, asyncio.Server] = {}

    async def set(self, changes: Mapping[tuple[str, str], HealthCheck | None]) -> None:
        """Open, change and close the ports of some services."""
        for service, check in changes.items():
            if check is None:
                self._checks.pop(service, None)
            else:
                self._checks[service] = check
        wanted = {check.port for check in self._checks.values()}
        for port in self._servers.keys() - wanted:
            self._servers.pop(port).close()
        for port in wanted - self._servers.keys():
            try:
                self._servers[port] = await asyncio.start_server(self._serve, port=port)
            except OSError as error:
                log.warning("health check port cannot be opened", port=port, error=error)

    def close(self) -> None:
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        check = next((check for check in self._checks.values() if check.port == port), None)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await reader.readuntil(b"\r\n\r\n")
                if check is not None:
                    writer.write(check.answer())
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()
