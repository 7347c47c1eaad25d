"""Endpoints: the older form of what EndpointSlices say, for clients that still read it; one object a service.

A service's pods are grouped by the port numbers they resolve to; each group is a subset, in which ready and
other pods stand apart. An object that needs no change is not written.

Upstream's counterpart is ``pkg/controller/endpoint``. Neighbours: ``service_pods`` says which pods a
service has and resolves their ports.
"""

from __future__ import annotations

from collections.abc import Sequence

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.client.events import WARNING
from knarr.controllers.framework import ControllerContext, Key, key_of
from knarr.controllers.pods import is_ready
from knarr.controllers.service_pods import (
    HEADLESS_LABEL,
    PortKey,
    ServicePodsController,
    has_address,
    hostname,
    reference,
    resolve_ports,
)

__all__ = ["MANAGED_BY_LABEL", "MANAGER", "MAX_ADDRESSES", "EndpointsController", "subsets_of"]

#: More addresses than this are left out, and the object is marked with ``OVER_CAPACITY``.
MAX_ADDRESSES = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MANAGED_BY_LABEL = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"


class EndpointsController(ServicePodsController):
    name = "endpoints-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._endpoints = self.lister(core.Endpoints)
        self.informer(core.Endpoints).add_handler(self._endpoints_changed)

    def _endpoints_changed(self, event: str, old: core.Endpoints | None, new: core.Endpoints | None) -> None:
        """An object deleted under a living service is made again; what users write is theirs."""
        if new is None and old is not None and self._services.get(*key_of(old)) is not None:
            self.queue.add(key_of(old))

    async def reconcile(self, key: Key) -> None:
        service, held = self._services.get(*key), self._endpoints.get(*key)
        if service is None:
            # As upstream: whoever wrote the object, it goes with its service. The lister may not have it yet.
            await self.client.delete(core.Endpoints, key[1], namespace=key[0], missing_ok=True)
            return
        pods = self.pods_of(service)
        if pods is None:
            return
        subsets, left_out = subsets_of(service, pods)
        await self._write(service, held, subsets, left_out=left_out)

    async def _write(
        self,
        service: core.Service,
        held: core.Endpoints | None,
        subsets: list[core.EndpointSubset],
        *,
        left_out: bool,
    ) -> None:
        labels = _labels(service)
        mark = {OVER_CAPACITY: "truncated"} if left_out else {}
        if held is None:
            metadata = meta.ObjectMeta(
                name=service.metadata.name,
                namespace=service.metadata.namespace,
                labels=labels,
                annotations=mark,
            )
            await self._create(service, core.Endpoints(metadata=metadata, subsets=subsets))
            return
        marked = held.metadata.annotations.get(OVER_CAPACITY) == "truncated"
        if held.metadata.labels == labels and held.subsets == subsets and marked == left_out:
            return
        changed = codec.copy(held)
        changed.subsets = subsets
        changed.metadata.labels = labels
        others = {name: text for name, text in held.metadata.annotations.items() if name != OVER_CAPACITY}
        changed.metadata.annotations = {**others, **mark}
        await self.client.update(changed)

    async def _create(self, service: core.Service, built: core.Endpoints) -> None:
        try:
            await self.client.create(built)
        except StatusError as error:
            if error.code in (403, 404):
                # The namespace is being emptied; nothing is to be made in it.
                return
            if error.code != 409:
                message = f"Failed to create endpoint for service {'/'.join(key_of(service))}: {error}"
                self.recorder.event(service, WARNING, "FailedToCreateEndpoint", message)
            raise


def subsets_of(service: core.Service, pods: Sequence[core.Pod]) -> tuple[list[core.EndpointSubset], bool]:
    """The subsets of a service's pods, and whether addresses beyond ``MAX_ADDRESSES`` were left out.

    Ready pods are taken before others.
    """
    publish = service.spec.publishNotReadyAddresses
    counted = [pod for pod in pods if _counts(pod, publish=publish)]
    counted.sort(key=lambda pod: (not _ready(pod, publish=publish), pod.metadata.name))
    groups: dict[PortKey, core.EndpointSubset] = {}
    taken, left_out = 0, False
    for pod in counted:
        ports = resolve_ports(service, pod)
        if not ports and service.spec.ports:
            continue
        if taken == MAX_ADDRESSES:
            left_out = True
            break
        subset = groups.setdefault(ports, core.EndpointSubset(ports=_ports(ports)))
        if _ready(pod, publish=publish):
            subset.addresses = [*subset.addresses, _address(service, pod)]
        else:
            subset.notReadyAddresses = [*subset.notReadyAddresses, _address(service, pod)]
        taken += 1
    return [groups[key] for key in sorted(groups)], left_out


def _counts(pod: core.Pod, *, publish: bool) -> bool:
    return has_address(pod) and (publish or pod.metadata.deletionTimestamp is None)


def _ready(pod: core.Pod, *, publish: bool) -> bool:
    return publish or is_ready(pod)


def _address(service: core.Service, pod: core.Pod) -> core.EndpointAddress:
    return core.EndpointAddress(
        ip=pod.status.podIP,
        hostname=hostname(service, pod),
        nodeName=pod.spec.nodeName,
        targetRef=reference(pod),
    )


def _ports(key: PortKey) -> list[core.EndpointPort]:
    return [
        core.EndpointPort(name=name, protocol=protocol, port=number, appProtocol=app or None)
        for name, protocol, number, app in key
    ]


def _labels(service: core.Service) -> dict[str, str]:
    labels = {name: text for name, text in service.metadata.labels.items() if name != HEADLESS_LABEL}
    if service.spec.clusterIP == "None":
        labels[HEADLESS_LABEL] = ""
    return {**labels, MANAGED_BY_LABEL: MANAGER}
