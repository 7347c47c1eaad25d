"""Which addresses a cluster uses: fixed by one small number, so that sixteen clusters live side by side.

Cluster ``i`` has four consecutive second octets from ``128 + 4i`` on: nodes, pods, services, and pods of
simulated nodes. All lie in 10.128.0.0/10, which neither Docker nor libvirt nor the usual home router hands out
by default.

Neighbours: ``nodes`` makes the bridge and the namespaces that carry these addresses; the API server is given
``service_cidr``, the controller that hands out pod ranges ``pod_cidr``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

__all__ = ["MAX_CLUSTERS", "MAX_NODES", "AddressPlan", "NoAddressesLeft", "free_index"]

MAX_CLUSTERS = 16
#: A /16 of pods holds 256 nodes' /24.
MAX_NODES = 256
_FIRST_NODE_HOST = 10
#: Well above the last real node.
_FIRST_SIMULATED_HOST = 4096


class NoAddressesLeft(RuntimeError):
    """All sixteen plans are in use on this machine."""


@dataclass(frozen=True, slots=True)
class AddressPlan:
    """The ranges of cluster ``index`` (0 to 15)."""

    index: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_CLUSTERS:
            raise ValueError(f"expected a cluster index from 0 to {MAX_CLUSTERS - 1}, got {self.index}")

    def _range(self, offset: int) -> IPv4Network:
        return IPv4Network(f"10.{128 + 4 * self.index + offset}.0.0/16")

    @property
    def node_cidr(self) -> str:
        return str(self._range(0))

    @property
    def pod_cidr(self) -> str:
        return str(self._range(1))

    @property
    def service_cidr(self) -> str:
        return str(self._range(2))

    @property
    def simulated_pod_cidr(self) -> str:
        return str(self._range(3))

    @property
    def load_balancer_cidr(self) -> str:
        """Addresses for services of type LoadBalancer: the end of the nodes' range, as a load balancer in a
        machine room would take them from its network.
        """
        return str(list(self._range(0).subnets(new_prefix=20))[-1])

    @property
    def bridge_address(self) -> str:
        """The host's own address on the cluster's bridge, and every node's default gateway."""
        return str(self._range(0)[1])

    @property
    def kubernetes_service_address(self) -> str:
        """The service ``default/kubernetes``: upstream gives it the first address of the range."""
        return str(self._range(2)[1])

    @property
    def dns_address(self) -> str:
        return str(self._range(2)[10])

    def node_address(self, number: int) -> str:
        """The address of node ``number``, counted from 0."""
        return str(self._range(0)[_FIRST_NODE_HOST + self._checked(number)])

    def simulated_node_address(self, number: int) -> str:
        """An address on the bridge that nobody has: what is sent there comes to nothing and leaves nowhere."""
        return str(self._range(0)[_FIRST_SIMULATED_HOST + number])

    def simulated_node_pod_cidr(self, number: int) -> str:
        """A /24 for a simulated node that no controller gave one; beyond 256 nodes they repeat, and as nothing
        is ever sent to these addresses that harms nobody.
        """
        base = int(self._range(3).network_address) + number % 256 * 256
        return f"{IPv4Address(base)}/24"

    def node_pod_cidr(self, number: int) -> str:
        """The /24 a node takes when no controller hands ranges out."""
        base = int(self._range(1).network_address) + self._checked(number) * 256
        return f"{IPv4Address(base)}/24"

    @staticmethod
    def _checked(number: int) -> int:
        if not 0 <= number < MAX_NODES:
            raise ValueError(f"expected a node number from 0 to {MAX_NODES - 1}, got {number}")
        return number


def free_index(recorded: Collection[int], routed: Collection[str]) -> int:
    """The smallest index that no cluster's record names and no range on this machine overlaps.

    ``routed`` holds the networks the machine already routes or owns, as ``a.b.c.d/len``; the default route
    does not count. Raises ``NoAddressesLeft``.
    """
    networks = [IPv4Network(text, strict=False) for text in routed]
    for index in range(MAX_CLUSTERS):
        if index in recorded:
            continue
        block = IPv4Network((int(IPv4Address(f"10.{128 + 4 * index}.0.0")), 14))
        if not any(network.prefixlen > 0 and network.overlaps(block) for network in networks):
            return index
    raise NoAddressesLeft(
        f"expected a free address range for one more cluster, all {MAX_CLUSTERS} are in use; delete one first"
    )
