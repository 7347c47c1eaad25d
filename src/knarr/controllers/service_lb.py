"""Services of type LoadBalancer: each gets an address outside the cluster from the provider, and loses it
with its type or its life.

A finalizer keeps a deleted service until the provider has taken its load balancer away.

Upstream's counterpart is ``cloud-provider/controllers/service``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from knarr.api import codec, conditions
from knarr.api.core import v1 as core
from knarr.client.client import MERGE_PATCH
from knarr.client.events import NORMAL, WARNING
from knarr.cloud.contract import LoadBalancers, ProviderError
from knarr.controllers.framework import Controller, ControllerContext, Key, key_of

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
#: How long to wait after the provider has refused.
RETRY_S = 5.0


class ServiceLoadBalancerController(Controller):
    name = "service-lb-controller"

    def __init__(
        self,
        context: ControllerContext,
        provider: Callable[[Callable[[], list[core.Service]]], LoadBalancers],
    ) -> None:
        super().__init__(context)
        self._services = self.watch(core.Service)
        self._nodes = self.lister(core.Node)
        self._provider = provider(self._services.list)
        self.informer(core.Node).add_handler(self._node_changed)

    def _node_changed(self, event: str, old: Any, new: Any) -> None:
        if old is not None and new is not None and _eligible(old) == _eligible(new):
            return
        for service in self._services.list():
            if service.spec.type == "LoadBalancer":
                self.queue.add(key_of(service))

    async def reconcile(self, key: Key) -> None:
        service = self._services.get(*key)
        if service is None:
            return
        wanted = (
            service.spec.type == "LoadBalancer"
            and not service.spec.loadBalancerClass
            and service.metadata.deletionTimestamp is None
        )
        try:
            if wanted:
                await self._ensure(service)
            elif FINALIZER in service.metadata.finalizers or _has_ingress(service):
                await self._remove(service)
        except ProviderError as error:
            self.recorder.event(
                service, WARNING, "SyncLoadBalancerFailed", f"Error syncing load balancer: {error}"
            )
            self.queue.add_after(key, RETRY_S)

    async def _ensure(self, service: core.Service) -> None:
        if FINALIZER not in service.metadata.finalizers:
            await self._finalizers(service, [*service.metadata.finalizers, FINALIZER])
        if not _has_ingress(service):
            self.recorder.event(service, NORMAL, "EnsuringLoadBalancer", "Ensuring load balancer")
        ingress = await self._provider.ensure(
            service, [node for node in self._nodes.list() if _eligible(node)]
        )
        if service.status.loadBalancer is not None and service.status.loadBalancer.ingress == ingress:
            return
        await self._write(service, ingress)
        self.recorder.event(service, NORMAL, "EnsuredLoadBalancer", "Ensured load balancer")

    async def _remove(self, service: core.Service) -> None:
        self.recorder.event(service, NORMAL, "DeletingLoadBalancer", "Deleting load balancer")
        await self._provider.remove(service)
        if _has_ingress(service) and service.metadata.deletionTimestamp is None:
            await self._write(service, [])
        if FINALIZER in service.metadata.finalizers:
            await self._finalizers(
                service, [name for name in service.metadata.finalizers if name != FINALIZER]
            )
        self.recorder.event(service, NORMAL, "DeletedLoadBalancer", "Deleted load balancer")

    async def _write(self, service: core.Service, ingress: list[core.LoadBalancerIngress]) -> None:
        patch = {"status": {"loadBalancer": {"ingress": [codec.to_dict(each) for each in ingress] or None}}}
        await self.client.patch(
            core.Service,
            service.metadata.name,
            patch,
            namespace=service.metadata.namespace,
            patch_type=MERGE_PATCH,
            subresource="status",
        )

    async def _finalizers(self, service: core.Service, finalizers: list[str]) -> None:
        await self.client.patch(
            core.Service,
            service.metadata.name,
            {"metadata": {"finalizers": finalizers or None}},
            namespace=service.metadata.namespace,
            patch_type=MERGE_PATCH,
        )


def _has_ingress(service: core.Service) -> bool:
    return service.status.loadBalancer is not None and bool(service.status.loadBalancer.ingress)


def _eligible(node: core.Node) -> bool:
    """Whether a load balancer may send to a node."""
    return EXCLUDED not in node.metadata.labels and conditions.is_true(node.status.conditions, "Ready")
