"""EndpointSlices for Endpoints that somebody wrote by hand: a service without a selector has no pods to look for, and proxies read only slices.

Each family of addresses of each subset becomes one slice, owned by the Endpoints object. What a label or annotation marks as not meant for
proxies is left alone, and so is whatever belongs to a service that has a selector.

Upstream's counterpart is ``pkg/controller/endpointslicemirroring``. Neighbour: ``endpoint_slices`` writes those of services that have a selector.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.owners import controller_reference
from knarr.controllers.framework import Controller, ControllerContext, Key, key_of
from knarr.controllers.service_slices import MANAGED_BY_LABEL, SERVICE_LABEL, ServiceSlices

__all__ = ["MANAGER", "MAX_ENDPOINTS_PER_SUBSET", "EndpointSliceMirroringController", "mirrored"]

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP_LABEL = "endpointslice.kubernetes.io/skip-mirror"
#: Objects that are only held to elect a leader.
LEADER_ANNOTATION = "control-plane.alpha.kubernetes.io/leader"
_NOT_COPIED = ("kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time")
#: As upstream's --mirroring-max-endpoints-per-subset; what is beyond it is left out.
MAX_ENDPOINTS_PER_SUBSET = 1000


class EndpointSliceMirroringController(Controller):
    name = "endpointslice-mirroring-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._endpoints = self.watch(core.Endpoints)
        self._services = self.watch(core.Service)
        self._slices = ServiceSlices(self, MANAGER)

    async def reconcile(self, key: Key) -> None:
        endpoints, service = self._endpoints.get(*key), self._services.get(*key)
        wanted: list[discovery.EndpointSlice] = []
        if endpoints is not None and service is not None and _is_mirrored(endpoints, service):
            wanted = mirrored(endpoints)
        await self._write(key, wanted)

    async def _write(self, key: Key, wanted: list[discovery.EndpointSlice]) -> None:
        """Make the slices that are there say what is wanted: one that has the same ports is changed, not replaced."""
        held = [each for each in self._slices.of(key) if not each.metadata.deletionTimestamp]
        for each in wanted:
            same = next((old for old in held if (old.addressType, old.ports) == (each.addressType, each.ports)), None)
            if same is None:
                await self._create(each)
                continue
            held.remove(same)
            if _content(same) != _content(each):
                changed = codec.copy(same)
                changed.endpoints = each.endpoints
                changed.metadata.labels, changed.metadata.annotations = each.metadata.labels, each.metadata.annotations
                changed.metadata.ownerReferences = each.metadata.ownerReferences
                await self.client.update(changed)
        for each in held:
            namespace, name = key_of(each)
            await self.client.delete(discovery.EndpointSlice, name, namespace=namespace, uid=each.metadata.uid, missing_ok=True)

    async def _create(self, built: discovery.EndpointSlice) -> None:
        try:
            await self.client.create(built)
        except StatusError as error:
            # In a namespace that is being emptied nothing is to be made.
            if error.code not in (403, 404):
                raise


def _is_mirrored(endpoints: core.Endpoints, service: core.Service) -> bool:
    metadata = endpoints.metadata
    held_for_itself = metadata.labels.get(SKIP_LABEL) == "true" or LEADER_ANNOTATION in metadata.annotations
    return not held_for_itself and not service.spec.selector and metadata.deletionTimestamp is None


def _content(each: discovery.EndpointSlice) -> tuple[Any, ...]:
    metadata = each.metadata
    return (each.endpoints, metadata.labels, metadata.annotations, metadata.ownerReferences)


def mirrored(endpoints: core.Endpoints) -> list[discovery.EndpointSlice]:
    """The slices that say what an Endpoints object says: one a subset's ports and family of addresses."""
    found: dict[tuple[str, bytes], discovery.EndpointSlice] = {}
    for subset in endpoints.subsets:
        ports = [
            discovery.EndpointPort(name=port.name, protocol=port.protocol or "TCP", port=port.port, appProtocol=port.appProtocol)
            for port in subset.ports
        ]
        told = [(address, True) for address in subset.addresses] + [(address, False) for address in subset.notReadyAddresses]
        for address, ready in told[:MAX_ENDPOINTS_PER_SUBSET]:
            family = "IPv6" if ip_address(address.ip).version == 6 else "IPv4"
            into = found.setdefault((family, codec.encode(ports)), _slice(endpoints, family, ports))
            into.endpoints.append(_endpoint(address, ready=ready))
    return list(found.values())


def _slice(endpoints: core.Endpoints, family: str, ports: list[discovery.EndpointPort]) -> discovery.EndpointSlice:
    metadata = endpoints.metadata
    return discovery.EndpointSlice(
        metadata=meta.ObjectMeta(
            generateName=f"{metadata.name}-",
            namespace=metadata.namespace,
            labels={**metadata.labels, SERVICE_LABEL: metadata.name, MANAGED_BY_LABEL: MANAGER},
            annotations={name: text for name, text in metadata.annotations.items() if name not in _NOT_COPIED},
            ownerReferences=[controller_reference(endpoints)],
        ),
        addressType=family,
        endpoints=[],
        ports=ports,
    )


def _endpoint(address: core.EndpointAddress, *, ready: bool) -> discovery.Endpoint:
    return discovery.Endpoint(
        addresses=[address.ip],
        conditions=discovery.EndpointConditions(ready=ready),
        hostname=address.hostname or None,
        nodeName=address.nodeName,
        targetRef=address.targetRef,
    )
