"""Services, slices and informers for the network's tests."""

from __future__ import annotations

from typing import Any, TypeVar

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.api.meta import v1 as meta
from knarr.client.informer import Informer
from knarr.kit.chance import Chance
from knarr.kit.clock import VirtualClock

T = TypeVar("T")


def service(
    name: str = "web",
    ip: str = "10.96.0.10",
    *,
    ports: list[core.ServicePort] | None = None,
    namespace: str = "default",
    **spec: Any,
) -> core.Service:
    return core.Service(
        metadata=meta.ObjectMeta(name=name, namespace=namespace, resourceVersion="1"),
        spec=core.ServiceSpec(
            clusterIP=ip,
            clusterIPs=[ip] if ip else [],
            ports=ports if ports is not None else [core.ServicePort(name="http", port=80, protocol="TCP")],
            **spec,
        ),
    )


def endpoint(address: str, *, node: str = "n1", **more: Any) -> discovery.Endpoint:
    conditions = {key: more.pop(key) for key in ("ready", "serving", "terminating") if key in more}
    hints = None
    if "zone" in more or "for_node" in more:
        hints = discovery.EndpointHints(
            forZones=[discovery.ForZone(name=z)] if (z := more.pop("zone", "")) else [],
            forNodes=[discovery.ForNode(name=n)] if (n := more.pop("for_node", "")) else [],
        )
    return discovery.Endpoint(
        addresses=[address],
        nodeName=node,
        conditions=discovery.EndpointConditions(**conditions),
        hints=hints,
        **more,
    )


def piece(
    *endpoints: discovery.Endpoint | str,
    name: str = "web",
    ports: list[discovery.EndpointPort] | None = None,
    family: str = "IPv4",
    number: int = 1,
) -> discovery.EndpointSlice:
    labels = {"kubernetes.io/service-name": name}
    return discovery.EndpointSlice(
        metadata=meta.ObjectMeta(
            name=f"{name}-{number}", namespace="default", labels=labels, resourceVersion=str(id(endpoints))
        ),
        addressType=family,
        ports=ports
        if ports is not None
        else [discovery.EndpointPort(name="http", port=8080, protocol="TCP")],
        endpoints=[endpoint(item) if isinstance(item, str) else item for item in endpoints],
    )


class HandInformer(Informer[Any]):
    """A real informer whose news come from the test."""

    def __init__(self, kind: type[Any]) -> None:
        super().__init__(None, kind, clock=VirtualClock(), chance=Chance(1))  # type: ignore[arg-type]
        self._synced.set()
        self._version = 0

    def set(self, obj: Any) -> None:
        self._version += 1
        obj.metadata.resourceVersion = str(self._version)
        self._apply(obj)

    def drop(self, obj: Any) -> None:
        self._drop(obj)


class HandFactory:
    def __init__(self) -> None:
        self.informers: dict[type[Any], HandInformer] = {}

    def informer(self, kind: type[Any], **scope: str) -> HandInformer:
        return self.informers.setdefault(kind, HandInformer(kind))

    def set(self, *objects: Any) -> None:
        for obj in objects:
            self.informer(type(obj)).set(obj)

    def drop(self, *objects: Any) -> None:
        for obj in objects:
            self.informer(type(obj)).drop(obj)
