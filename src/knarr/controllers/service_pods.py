"""Which pods a service has, and at which ports: what EndpointSlices and Endpoints are both made of.

Neighbours: ``endpoint_slices`` and ``endpoints`` write it down, each in its own form.
"""

from __future__ import annotations

from knarr.api.core import v1 as core
from knarr.api.core.pod_resources import is_sidecar
from knarr.api.selectors import from_map
from knarr.controllers.framework import Controller, ControllerContext, key_of
from knarr.controllers.pods import is_ready

__all__ = [
    "HEADLESS_LABEL",
    "PortKey",
    "ServicePodsController",
    "has_address",
    "hostname",
    "reference",
    "resolve_ports",
]

HEADLESS_LABEL = "service.kubernetes.io/headless"

#: The port numbers a pod has, in the service's order: name, protocol, number, application protocol.
PortKey = tuple[tuple[str, str, int, str], ...]


class ServicePodsController(Controller):
    """Queues a service whenever it or one of its pods changes."""

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._services = self.watch(core.Service)
        self._pods = self.lister(core.Pod)
        self.informer(core.Pod).add_handler(self._pod_changed)

    def _pod_changed(self, event: str, old: core.Pod | None, new: core.Pod | None) -> None:
        if old is not None and new is not None and not _matters(old, new):
            return
        for pod in (old, new):
            if pod is None or not pod.metadata.labels:
                continue
            for service in self._services.list(pod.metadata.namespace):
                selector = service.spec.selector
                if selector and all(pod.metadata.labels.get(key) == value for key, value in selector.items()):
                    self.queue.add(key_of(service))

    def pods_of(self, service: core.Service) -> list[core.Pod] | None:
        """The pods a service selects; None for one that selects none by its nature."""
        if service.spec.type == "ExternalName" or not service.spec.selector:
            return None
        selector = from_map(service.spec.selector)
        return [
            pod
            for pod in self._pods.list(service.metadata.namespace)
            if selector.matches(pod.metadata.labels)
        ]


def _matters(old: core.Pod, new: core.Pod) -> bool:
    """Whether a pod's change can change an endpoint."""
    return (
        old.metadata.labels != new.metadata.labels
        or old.metadata.deletionTimestamp != new.metadata.deletionTimestamp
        or old.status.podIP != new.status.podIP
        or old.status.phase != new.status.phase
        or old.spec.nodeName != new.spec.nodeName
        or is_ready(old) != is_ready(new)
    )


def has_address(pod: core.Pod) -> bool:
    """Whether the pod can be reached at all, ready or not."""
    return bool(pod.status.podIP and pod.spec.nodeName) and pod.status.phase not in ("Succeeded", "Failed")


def reference(pod: core.Pod) -> core.ObjectReference:
    return core.ObjectReference(
        kind="Pod", namespace=pod.metadata.namespace, name=pod.metadata.name, uid=pod.metadata.uid
    )


def hostname(service: core.Service, pod: core.Pod) -> str:
    """The name the pod has below the service's in DNS; empty for none."""
    return pod.spec.hostname if pod.spec.subdomain == service.metadata.name else ""


def resolve_ports(service: core.Service, pod: core.Pod) -> PortKey:
    """The service's ports as numbers on this pod; a name the pod does not have is left out."""
    resolved = []
    for port in service.spec.ports:
        number = _number(port, pod)
        if number is not None:
            resolved.append((port.name, port.protocol or "TCP", number, port.appProtocol or ""))
    return tuple(resolved)


def _number(port: core.ServicePort, pod: core.Pod) -> int | None:
    target = port.targetPort
    if isinstance(target, int):
        return target or port.port
    if not target:
        return port.port
    sidecars = [each for each in pod.spec.initContainers if is_sidecar(each)]
    for container in (*pod.spec.containers, *sidecars):
        for each in container.ports:
            if each.name == target and (each.protocol or "TCP") == (port.protocol or "TCP"):
                return each.containerPort
    return None
