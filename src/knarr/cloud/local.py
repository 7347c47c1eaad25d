"""This machine as a provider: a load balancer is an address of a range that is routed to the cluster's
bridge.

Nothing has to run for it: the service proxies of the nodes and of the host already translate every ingress
address they find in a service's status. Which
addresses are taken is read from the services themselves, so that nothing is lost with this process.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from knarr.api.core import v1 as core
from knarr.cloud.contract import ProviderError

__all__ = ["LocalLoadBalancers"]


class LocalLoadBalancers:
    """Gives out addresses of ``cidr``. ``services`` lists every service there is."""

    def __init__(self, cidr: str, services: Callable[[], list[core.Service]]) -> None:
        self._network = ipaddress.ip_network(cidr)
        self._services = services
        #: Given a moment ago, perhaps not yet to be seen in any service.
        self._given: dict[str, str] = {}

    async def ensure(
        self, service: core.Service, nodes: Sequence[core.Node]
    ) -> list[core.LoadBalancerIngress]:
        held = addresses_of(service)
        wanted = service.spec.loadBalancerIP
        if held and (not wanted or wanted in held):
            return [core.LoadBalancerIngress(ip=held[0], ipMode="VIP")]
        taken = self._taken(service.metadata.uid)
        if wanted:
            if ipaddress.ip_address(wanted) not in self._network:
                raise ProviderError(f"the address {wanted} is not in {self._network}")
            if wanted in taken:
                raise ProviderError(f"the address {wanted} belongs to another service")
            chosen = wanted
        else:
            chosen = next((str(each) for each in self._network.hosts() if str(each) not in taken), "")
        if not chosen:
            raise ProviderError(f"no address is left in {self._network}")
        self._given[service.metadata.uid] = chosen
        return [core.LoadBalancerIngress(ip=chosen, ipMode="VIP")]

    async def remove(self, service: core.Service) -> None:
        self._given.pop(service.metadata.uid, None)

    def _taken(self, uid: str) -> set[str]:
        taken = {address for other, address in self._given.items() if other != uid}
        for service in self._services():
            if service.metadata.uid != uid:
                taken.update(addresses_of(service))
        return taken


def addresses_of(service: core.Service) -> list[str]:
    """The ingress addresses in a service's status."""
    balancer = service.status.loadBalancer
    return [each.ip for each in balancer.ingress if each.ip] if balancer is not None else []
