"""What a provider can do for a cluster.

Upstream's counterpart is ``cloud-provider``'s ``cloud.go``; only what a controller here uses is in it.

Neighbours: ``controllers.service_lb`` and ``controllers.volumes`` call it; ``local`` implements it for this
machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from knarr.api.core import v1 as core
from knarr.api.quantity import Quantity
from knarr.api.storage import v1 as storage

__all__ = ["LoadBalancers", "ProviderError", "Volumes"]


class ProviderError(Exception):
    """The provider cannot do it now; the text goes into an event."""


class LoadBalancers(Protocol):
    """Addresses outside the cluster that lead to a service."""

    async def ensure(
        self, service: core.Service, nodes: Sequence[core.Node]
    ) -> list[core.LoadBalancerIngress]:
        """Make the service's load balancer as the service and the nodes now are; returns where it answers.

        Called again and again with the same arguments. Raises ``ProviderError``.
        """
        ...

    async def remove(self, service: core.Service) -> None:
        """Take the load balancer away, if there is one. Raises ``ProviderError``."""
        ...


class Volumes(Protocol):
    """Storage made on demand."""

    provisioner: str
    """The name storage classes know it by."""

    async def provision(
        self, claim: core.PersistentVolumeClaim, storage_class: storage.StorageClass, node: core.Node | None
    ) -> core.PersistentVolume:
        """A volume for ``claim``, near ``node`` if one is chosen; the caller creates the object. Raises
        ``ProviderError``.
        """
        ...

    async def expand(self, volume: core.PersistentVolume, size: Quantity) -> bool:
        """Let the volume hold at least ``size``, a quantity; may be asked again for the same. True: the node it is used on
        still has to enlarge its file system. Raises ``ProviderError``.
        """
        ...

    async def remove(self, volume: core.PersistentVolume) -> bool:
        """Erase what the volume holds. False: somebody else does that and deletes the object. Raises
        ``ProviderError``.
        """
        ...
