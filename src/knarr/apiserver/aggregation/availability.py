"""Whether the server behind an APIService can be called: the condition ``Available``, and what the server serves.

Upstream's counterpart is ``kube-aggregator/pkg/controllers/status``; reasons and texts are its.

Neighbours: ``aggregator`` asks when a service or its endpoints change, and from time to time.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from knarr.api.apiregistration import v1 as apiregistration
from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.api.errors import StatusError, quote
from knarr.apiserver.aggregation.backends import BackendFailure, Backends
from knarr.apiserver.registry.generic import GenericRegistry

__all__ = ["LOCAL", "Availability", "Verdict"]

#: How long a server may take to say what it serves, as upstream.
CHECK_TIMEOUT_S = 5.0
#: How often a server that does not answer is asked before it counts as gone; upstream asks five times at once.
ATTEMPTS = 2

#: True or False, the reason, the message.
Verdict = tuple[bool, str, str]

LOCAL: Verdict = (True, "Local", "Local APIServices are always available")
PASSED: Verdict = (True, "Passed", "all checks passed")


class Availability:
    """Judges APIServices by the caches and by asking."""

    def __init__(self, backends: Backends, *, services: GenericRegistry, slices: GenericRegistry) -> None:
        self._backends = backends
        self._services = services
        self._slices = slices

    async def judge(self, api_service: apiregistration.APIService) -> tuple[Verdict, list[Any] | None]:
        """Whether it can be called, and the resources it serves (rows of an APIResourceList) if it said so."""
        problem = self._unfit(api_service)
        if problem is not None:
            return problem, None
        spec = api_service.spec
        path = f"/apis/{spec.group}/{spec.version}"
        text = ""
        for _ in range(ATTEMPTS):
            try:
                async with asyncio.timeout(CHECK_TIMEOUT_S):
                    document = msgspec.json.decode(await self._backends.read(api_service, path))
                return PASSED, list(document["resources"])
            except BackendFailure as failure:
                text = str(failure)
            except TimeoutError:
                text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            except StatusError as error:
                text = error.status.message
            except (msgspec.DecodeError, KeyError, TypeError):
                text = "what it answers is no APIResourceList"
        try:
            url = self._backends.url(api_service, path)
        except StatusError:
            url = path
        return (False, "FailedDiscoveryCheck", f"failing or missing response from {url}: {text}"), None

    def _unfit(self, api_service: apiregistration.APIService) -> Verdict | None:
        reference = api_service.spec.service
        assert reference is not None
        name, namespace, port = reference.name, reference.namespace, reference.port or 443
        cache = self._services.cache
        entry = cache.get(self._services.key(namespace, name))
        if entry is None:
            return (False, "ServiceNotFound", f"service/{name} in {quote(namespace)} is not present")
        service: core.Service = cache.object(entry)
        if service.spec.type == "ExternalName":
            return None
        chosen = next((each for each in service.spec.ports if each.port == port), None)
        if chosen is None:
            return (
                False,
                "ServicePortError",
                f"service/{name} in {quote(namespace)} is not listening on port {port}",
            )
        parts = self._parts(namespace, name)
        if not parts:
            return (
                False,
                "EndpointsNotFound",
                f"cannot find endpointslices for service/{name} in {quote(namespace)}",
            )
        if not any(_has_address(part, chosen.name) for part in parts):
            text = (
                f"endpointslices for service/{name} in {quote(namespace)} have no addresses with port name "
            )
            return (False, "MissingEndpoints", text + quote(chosen.name))
        return None

    def _parts(self, namespace: str, name: str) -> list[discovery.EndpointSlice]:
        cache = self._slices.cache
        return [
            cache.object(entry)
            for entry in cache.scan(cache.within(namespace))
            if entry.labels.get("kubernetes.io/service-name") == name
        ]


def _has_address(part: discovery.EndpointSlice, port_name: str) -> bool:
    if not any((port.name or "") == port_name for port in part.ports):
        return False
    return any(
        endpoint.addresses and (endpoint.conditions is None or endpoint.conditions.ready is not False)
        for endpoint in part.endpoints
    )
