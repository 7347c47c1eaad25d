"""What a provider can do for a cluster.

Upstream's counterpart is ``cloud-provider``'s ``cloud.go``; only what a controller here uses is in it.

Neighbours: ``controllers.service_lb`` calls it; ``local`` implements it for this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from knarr.api.core import v1 as core

__all__ = ["LoadBalancers", "ProviderError"]


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
