"""EndpointSlices: for every service with a selector, the addresses of the pods behind it.

A service's ports may mean different numbers on different pods (named target ports), so pods are grouped by
the numbers they resolve to, and each group fills slices of at most
``MAX_ENDPOINTS``. Slices that need no change are not written.

Upstream's counterpart is ``staging/src/k8s.io/endpointslice``.
"""

from __future__ import annotations

from collections.abc import Sequence

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.owners import controller_reference
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
from knarr.controllers.service_slices import MANAGED_BY_LABEL, SERVICE_LABEL, ServiceSlices

MAX_ENDPOINTS = 100
MANAGER = "endpointslice-controller.k8s.io"
ZONE_LABEL = "topology.kubernetes.io/zone"
_NOT_COPIED = (SERVICE_LABEL, MANAGED_BY_LABEL, HEADLESS_LABEL)


class EndpointSliceController(ServicePodsController):
    name = "endpointslice-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._nodes = self.lister(core.Node)
        self._slices = ServiceSlices(self, MANAGER)

    async def reconcile(self, key: Key) -> None:
        service = self._services.get(*key)
        held = self._slices.of(key)
        pods = self.pods_of(service) if service is not None else None
        if service is None or pods is None:
            # The garbage collector removes a deleted service's slices; a changed one's are removed here.
            for each in held if service is not None else ():
                await self._delete(each)
            return
        groups = group_endpoints(service, pods, self._zones(pods))
        await self._write(service, groups, held)

    def _zones(self, pods: Sequence[core.Pod]) -> dict[str, str]:
        zones = {}
        for name in {pod.spec.nodeName for pod in pods if pod.spec.nodeName}:
            node = self._nodes.get("", name)
            if node is not None and (zone := node.metadata.labels.get(ZONE_LABEL)):
                zones[name] = zone
        return zones

    async def _write(
        self,
        service: core.Service,
        groups: dict[PortKey, list[discovery.Endpoint]],
        held: list[discovery.EndpointSlice],
    ) -> None:
        """Make the slices say what ``groups`` say, with as few writes as possible."""
        unused = [each for each in held if each.metadata.deletionTimestamp is None]
        for ports, endpoints in groups.items():
            mine = [each for each in unused if _port_key(each.ports) == ports]
            for each in mine:
                unused.remove(each)
            for part, target in _distribute(endpoints, mine):
                if target is not None and not part and len(groups) > 1:
                    await self._delete(target)
                elif target is None:
                    await self._create(service, ports, part)
                else:
                    await self._update(service, target, part)
        for each in unused:
            await self._delete(each)

    async def _create(
        self, service: core.Service, ports: PortKey, endpoints: list[discovery.Endpoint]
    ) -> None:
        built = discovery.EndpointSlice(
            metadata=meta.ObjectMeta(
                generateName=f"{service.metadata.name}-",
                namespace=service.metadata.namespace,
                labels=_labels(service),
                ownerReferences=[controller_reference(service)],
            ),
            addressType="IPv4",
            endpoints=endpoints,
            ports=_ports(ports),
        )
        try:
            await self.client.create(built)
        except StatusError as error:
            if error.code in (403, 404):
                # The namespace is being emptied; nothing is to be made in it.
                return
            message = f"Failed to create EndpointSlice for Service {'/'.join(key_of(service))}: {error}"
            self.recorder.event(service, WARNING, "FailedToCreateEndpointSlice", message)
            raise

    async def _update(
        self, service: core.Service, held: discovery.EndpointSlice, endpoints: list[discovery.Endpoint]
    ) -> None:
        labels = _labels(service)
        if _same(held.endpoints, endpoints) and all(
            held.metadata.labels.get(k) == v for k, v in labels.items()
        ):
            return
        changed = codec.copy(held)
        changed.endpoints = endpoints
        changed.metadata.labels = labels
        await self.client.update(changed)

    async def _delete(self, held: discovery.EndpointSlice) -> None:
        namespace, name = key_of(held)
        await self.client.delete(
            discovery.EndpointSlice, name, namespace=namespace, uid=held.metadata.uid, missing_ok=True
        )


def group_endpoints(
    service: core.Service, pods: Sequence[core.Pod], zones: dict[str, str]
) -> dict[PortKey, list[discovery.Endpoint]]:
    """The endpoints of a service, grouped by the port numbers their pods resolve to.

    A service without pods has one empty group, so that a slice exists that says so.
    """
    groups: dict[PortKey, list[discovery.Endpoint]] = {}
    for pod in sorted(pods, key=lambda each: each.metadata.name):
        if not has_address(pod):
            continue
        ports = resolve_ports(service, pod)
        if ports or not service.spec.ports:
            groups.setdefault(ports, []).append(endpoint(service, pod, zones))
    if not groups:
        groups[()] = []
    return groups


def endpoint(service: core.Service, pod: core.Pod, zones: dict[str, str]) -> discovery.Endpoint:
    """One pod as an endpoint."""
    ready = is_ready(pod)
    terminating = pod.metadata.deletionTimestamp is not None
    publish = service.spec.publishNotReadyAddresses
    built = discovery.Endpoint(
        addresses=[pod.status.podIP],
        conditions=discovery.EndpointConditions(
            ready=publish or (ready and not terminating), serving=ready, terminating=terminating
        ),
        nodeName=pod.spec.nodeName,
        targetRef=reference(pod),
    )
    if name := hostname(service, pod):
        built.hostname = name
    if zone := zones.get(pod.spec.nodeName):
        built.zone = zone
    return built


def _ports(key: PortKey) -> list[discovery.EndpointPort]:
    return [
        discovery.EndpointPort(name=name, protocol=protocol, port=number, appProtocol=app or None)
        for name, protocol, number, app in key
    ]


def _port_key(ports: Sequence[discovery.EndpointPort]) -> PortKey:
    return tuple(
        (port.name or "", port.protocol or "TCP", port.port or 0, port.appProtocol or "") for port in ports
    )


def _labels(service: core.Service) -> dict[str, str]:
    labels = {key: value for key, value in service.metadata.labels.items() if key not in _NOT_COPIED}
    if service.spec.clusterIP == "None":
        labels[HEADLESS_LABEL] = ""
    return {**labels, SERVICE_LABEL: service.metadata.name, MANAGED_BY_LABEL: MANAGER}


def _distribute(
    endpoints: list[discovery.Endpoint], held: list[discovery.EndpointSlice]
) -> list[tuple[list[discovery.Endpoint], discovery.EndpointSlice | None]]:
    """Which endpoints go into which slice: each stays where it is, new ones fill gaps, the rest get new
    slices.

    A slice left empty is given nothing; one is kept even when there is nothing to put into it.
    """
    wanted = {each.addresses[0]: each for each in endpoints}
    parts: list[tuple[list[discovery.Endpoint], discovery.EndpointSlice | None]] = []
    for each in held:
        kept = [
            wanted.pop(old.addresses[0])
            for old in each.endpoints
            if old.addresses and old.addresses[0] in wanted
        ]
        parts.append((kept, each))
    rest = list(wanted.values())
    for part, _ in parts:
        room = MAX_ENDPOINTS - len(part)
        part.extend(rest[:room])
        rest = rest[room:]
    while rest:
        parts.append((rest[:MAX_ENDPOINTS], None))
        rest = rest[MAX_ENDPOINTS:]
    if not parts:
        parts.append(([], None))
    return parts


def _same(one: Sequence[discovery.Endpoint], other: Sequence[discovery.Endpoint]) -> bool:
    """Whether two lists say the same, in whatever order."""
    return len(one) == len(other) and sorted(map(codec.encode, one)) == sorted(map(codec.encode, other))
