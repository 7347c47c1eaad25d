"""Which address stands behind a service's port, for what the API server itself connects to.

Upstream's counterpart is ``apiserver/pkg/util/proxy.ResolveEndpoint``. Neighbours: ``node_proxy`` and the webhooks' client.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.api.errors import StatusError, not_found, quote, service_unavailable
from knarr.apiserver.registry.generic import GenericRegistry

__all__ = ["ServiceEndpoints"]

#: What Go reads as a number: a longer one has no 64 bits.
_NUMBER = re.compile("[+-]?[0-9]{1,18}").fullmatch


class ServiceEndpoints:
    """Looks services up in the caches, so that a lookup costs no round trip."""

    def __init__(self, *, services: GenericRegistry, slices: GenericRegistry) -> None:
        self._services = services
        self._slices = slices

    def endpoint(self, namespace: str, name: str, port: str, allowed: Callable[[str], bool]) -> tuple[str, int]:
        """Address and port of a ready endpoint of a service's port, by the port's name or number; empty: the first port. Only
        addresses that are ``allowed`` count.

        Raises ``StatusError`` 503.
        """
        service = self._service(namespace, name, "services")
        chosen = [item for item in service.spec.ports if port in ("", item.name, str(item.port))]
        if chosen:
            return self._ready(namespace, name, chosen[0].name, allowed)
        if _NUMBER(port):
            raise service_unavailable(f"no service port {int(port)} found for service {quote(name)}")
        raise _nobody(f"{name}:{port}")

    def webhook(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        """The same for a webhook's reference; a service that only names another host is followed there.

        Raises ``StatusError`` 404, 503.
        """
        service = self._service(namespace, name, "service")
        if service.spec.type == "ExternalName":
            return service.spec.externalName, port
        for item in service.spec.ports:
            if item.port == port:
                return self._ready(namespace, name, item.name)
        raise service_unavailable(f"no service port {port} found for service {quote(name)}")

    def _service(self, namespace: str, name: str, called: str) -> core.Service:
        entry = self._services.cache.get(self._services.key(namespace, name))
        if entry is None:
            raise not_found("", called, name)
        service: core.Service = self._services.cache.object(entry)
        return service

    def _ready(
        self, namespace: str, name: str, port_name: str, allowed: Callable[[str], bool] = lambda address: True
    ) -> tuple[str, int]:
        cache = self._slices.cache
        for entry in cache.scan(cache.within(namespace)):
            if entry.labels.get("kubernetes.io/service-name") != name:
                continue
            part: discovery.EndpointSlice = cache.object(entry)
            number = next((item.port for item in part.ports if (item.name or "") == port_name), None)
            for endpoint in part.endpoints if number else ():
                ready = endpoint.conditions is None or endpoint.conditions.ready is not False
                if ready and allowed(endpoint.addresses[0]):
                    assert number is not None
                    return endpoint.addresses[0], number
        raise _nobody(name)


def _nobody(called: str) -> StatusError:
    return service_unavailable(f"no endpoints available for service {quote(called)}")
