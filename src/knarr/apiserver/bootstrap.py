"""What a new cluster holds: system namespaces, default roles and bindings, priority classes, the
``kubernetes`` service.

Everything is created if it is missing, at every start of a server. Default roles and bindings also get what a
newer version
adds, unless their ``autoupdate`` annotation says otherwise; all else is left as it is.

Upstream's counterpart is ``pkg/controlplane``. Neighbours: ``rbac_defaults`` lists roles and bindings.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.networking import v1 as networking
from knarr.api.scheduling import v1 as scheduling
from knarr.apiserver.rbac_defaults import default_bindings, default_roles
from knarr.apiserver.rbac_reconcile import complete, is_default_kind, must_be_remade
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.registry.strategy import Context
from knarr.kit.log import get_logger
from knarr.kit.tasks import all_done

log = get_logger("bootstrap")

TOKEN_TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")

#: Finds the registry of a type.
Registries = Callable[[type[Any]], GenericRegistry]


async def bootstrap(
    registries: Registries,
    ctx: Context,
    *,
    service_cidr: str,
    api_address: str,
    api_port: int,
    service_address: str,
) -> None:
    """Create what is missing."""
    for name in SYSTEM_NAMESPACES:
        await _ensure(registries, ctx, core.Namespace(metadata=meta.ObjectMeta(name=name)))
    # Side by side, so that the store takes them to disk together.
    await all_done(_ensure(registries, ctx, obj) for obj in _objects(service_cidr, ctx.clock.now()))
    await _ensure(registries, ctx, _kubernetes_service(service_address))
    if ipaddress.ip_address(api_address).is_loopback:
        # No pod could reach it there, and an endpoint may not be a loopback address.
        return
    for obj in _kubernetes_endpoints(api_address, api_port):
        await _replace(registries, ctx, obj)


async def _ensure(registries: Registries, ctx: Context, obj: Any) -> None:
    registry = registries(type(obj))
    entry = registry.cache.get(registry.key(obj.metadata.namespace, obj.metadata.name))
    if entry is not None:
        held = registry.cache.object(entry)
        if not is_default_kind(obj):
            return
        if not must_be_remade(held, obj):
            await _complete(registry, ctx, obj)
            return
        await registry.delete(ctx, obj.metadata.namespace, obj.metadata.name, meta.DeleteOptions())
    try:
        await registry.create(ctx, obj)
    except StatusError as error:
        # Another server that starts at the same time may have been faster.
        if error.reason != "AlreadyExists":
            log.error(
                "default object not created", kind=type(obj).__name__, name=obj.metadata.name, error=error
            )
            raise


async def _complete(registry: GenericRegistry, ctx: Context, wanted: Any) -> None:
    async def mutate(current: Any | None) -> Any:
        assert current is not None
        return complete(current, wanted)

    await registry.update(ctx, wanted.metadata.namespace, wanted.metadata.name, mutate)


async def _replace(registries: Registries, ctx: Context, obj: Any) -> None:
    """The server's own address may have changed since the last start."""
    registry = registries(type(obj))

    async def mutate(current: Any | None) -> Any:
        return obj

    await registry.update(ctx, obj.metadata.namespace, obj.metadata.name, mutate, may_create=True)


def _objects(service_cidr: str, now: datetime) -> Iterator[Any]:
    # Whoever cleans up old tokens asks since when their use has been noted down.
    tracking = meta.ObjectMeta(name=TOKEN_TRACKING, namespace="kube-system")
    yield core.ConfigMap(metadata=tracking, data={"since": f"{now:%Y-%m-%d}"})
    yield networking.ServiceCIDR(
        metadata=meta.ObjectMeta(name="kubernetes", finalizers=["networking.k8s.io/service-cidr-finalizer"]),
        spec=networking.ServiceCIDRSpec(cidrs=[service_cidr]),
    )
    for name, value, text in (
        (
            "system-node-critical",
            2000001000,
            "For pods the node itself depends on; they stay where they are.",
        ),
        (
            "system-cluster-critical",
            2000000000,
            "For pods the cluster depends on; they may move to another node.",
        ),
    ):
        yield scheduling.PriorityClass(metadata=meta.ObjectMeta(name=name), value=value, description=text)
    yield from default_roles()
    yield from default_bindings()


def _kubernetes_service(address: str) -> core.Service:
    return core.Service(
        metadata=meta.ObjectMeta(
            name="kubernetes",
            namespace="default",
            labels={"component": "apiserver", "provider": "kubernetes"},
        ),
        spec=core.ServiceSpec(
            type="ClusterIP",
            clusterIP=address,
            ports=[core.ServicePort(name="https", port=443, protocol="TCP", targetPort=6443)],
            sessionAffinity="None",
        ),
    )


def _kubernetes_endpoints(address: str, port: int) -> Iterator[Any]:
    labels = {"kubernetes.io/service-name": "kubernetes"}
    yield discovery.EndpointSlice(
        metadata=meta.ObjectMeta(name="kubernetes", namespace="default", labels=labels),
        addressType="IPv4",
        endpoints=[
            discovery.Endpoint(addresses=[address], conditions=discovery.EndpointConditions(ready=True))
        ],
        ports=[discovery.EndpointPort(name="https", port=port, protocol="TCP")],
    )
    yield core.Endpoints(
        metadata=meta.ObjectMeta(
            name="kubernetes", namespace="default", labels={"endpointslice.kubernetes.io/skip-mirror": "true"}
        ),
        subsets=[
            core.EndpointSubset(
                addresses=[core.EndpointAddress(ip=address)],
                ports=[core.EndpointPort(name="https", port=port, protocol="TCP")],
            )
        ],
    )
