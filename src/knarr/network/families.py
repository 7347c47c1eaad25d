"""The words of nft that differ between IPv4 and IPv6, and which addresses belong to which. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

__all__ = ["FAMILIES", "IPV4", "IPV6", "Family", "family_of"]


@dataclass(frozen=True, slots=True)
class Family:
    """How to spell an address family."""

    name: str  #: As the API spells it.
    ip: str  #: nft: the table's family and the header.
    address_type: str  #: nft: the type of an address in a set.
    icmp: str
    loopback: str


IPV4 = Family("IPv4", "ip", "ipv4_addr", "icmp", "127.0.0.0/8")
IPV6 = Family("IPv6", "ip6", "ipv6_addr", "icmpv6", "::1/128")
FAMILIES = (IPV4, IPV6)


def family_of(address: str) -> Family | None:
    """The family of an address or a CIDR; None for what is neither."""
    try:
        return IPV6 if ipaddress.ip_network(address, strict=False).version == 6 else IPV4
    except ValueError:
        return None
