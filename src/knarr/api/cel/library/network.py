"""Addresses and ranges of addresses."""

from __future__ import annotations

import ipaddress
from typing import Any

from knarr.api.cel.errors import EvaluationError
from knarr.api.cel.signatures import function
from knarr.api.cel.values import Opaque

__all__ = ["FUNCTIONS"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class IP(Opaque):
    """An address."""

    __slots__ = ("address",)
    kind = "net.IP"

    def __init__(self, address: Address) -> None:
        self.address = address

    def same(self, other: Any) -> bool:
        return isinstance(other, IP) and other.address == self.address

    def __str__(self) -> str:
        return str(self.address)


class CIDR(Opaque):
    """An address and how many of its bits name the network; the others need not be zero."""

    __slots__ = ("interface",)
    kind = "net.CIDR"

    def __init__(self, interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> None:
        self.interface = interface

    def same(self, other: Any) -> bool:
        return isinstance(other, CIDR) and other.interface == self.interface

    def __str__(self) -> str:
        return str(self.interface)


def _why_not(text: str) -> str:
    """What Go says of a text that is no address."""
    fields = text.split(".")
    if ":" in text or len(fields) < 2:
        return "unable to parse IP"
    if any(len(field) > 1 and field[0] == "0" and field.isdigit() for field in fields):
        return "IPv4 field has octet with leading zero"
    if any(field.isdigit() and (len(field) > 3 or int(field) > 255) for field in fields):
        return "IPv4 field has value >255"
    if all(field.isdigit() for field in fields):
        return "IPv4 address too short" if len(fields) < 4 else "IPv4 address too long"
    return "unexpected character" if all(fields) else "IPv4 field must have at least one digit"


def _ip(text: str) -> IP:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        fault = f'IP Address "{text}" parse error during conversion from string: ParseAddr("{text}"): {_why_not(text)}'
        raise EvaluationError(fault) from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            raise EvaluationError(f'IP address "{text}" with zone value is not allowed')
        if address.ipv4_mapped is not None:
            raise EvaluationError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return IP(address)


def _cidr(text: str) -> CIDR:
    lead = "network address parse error during conversion from string: "
    address, slash, bits = text.partition("/")
    try:
        if not slash or not bits.isascii() or not bits.isdigit() or (bits[0] == "0" and len(bits) > 1) or "%" in address:
            raise ValueError
        interface = ipaddress.ip_interface(text)
    except ValueError:
        fault = f'{lead}{lead}netip.ParsePrefix("{text}"): '
        reach = 128 if ":" in address else 32
        far = bits.isascii() and bits.isdigit() and len(bits) < 4 and int(bits) > reach
        raise EvaluationError(fault + ("prefix length out of range" if far else "unable to parse IP" if slash else "no '/'")) from None
    if isinstance(interface, ipaddress.IPv6Interface) and interface.ip.ipv4_mapped is not None:
        raise EvaluationError(f'{lead}IPv4-mapped IPv6 address "{text}" is not allowed')
    return CIDR(interface)


def _valid(parse: Any) -> Any:
    def valid(text: str) -> bool:
        try:
            parse(text)
        except EvaluationError:
            return False
        return True

    return valid


def _contains_ip(cidr: CIDR, other: Any) -> bool:
    ip = other if isinstance(other, IP) else _ip(other)
    return ip.address in cidr.interface.network


def _contains_cidr(cidr: CIDR, other: Any) -> bool:
    inner = other if isinstance(other, CIDR) else _cidr(other)
    mine, its = cidr.interface.network, inner.interface
    return its.ip in mine and mine.prefixlen <= its.network.prefixlen


def _global_unicast(ip: IP) -> bool:
    address = ip.address
    if address == ipaddress.IPv4Address("255.255.255.255"):
        return False
    return not (address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local)


_LOCAL_MULTICAST = ipaddress.ip_network("224.0.0.0/24")


def _link_local_multicast(ip: IP) -> bool:
    # Go looks at the low four bits of the second byte only: any flags go.
    if ip.address.version == 6:
        packed = ip.address.packed
        return packed[0] == 0xFF and packed[1] & 0x0F == 0x02
    return ip.address in _LOCAL_MULTICAST


FUNCTIONS = [
    function(_ip, "ip(string): net.IP"),
    function(_valid(_ip), "isIP(string): bool"),
    function(lambda text: str(_ip(text)) == text, "ip.isCanonical(string): bool"),
    function(lambda ip: ip.address.version, "<net.IP>.family(): int"),
    function(lambda ip: ip.address.is_unspecified, "<net.IP>.isUnspecified(): bool"),
    function(lambda ip: ip.address.is_loopback, "<net.IP>.isLoopback(): bool"),
    function(_link_local_multicast, "<net.IP>.isLinkLocalMulticast(): bool"),
    function(lambda ip: ip.address.is_link_local, "<net.IP>.isLinkLocalUnicast(): bool"),
    function(_global_unicast, "<net.IP>.isGlobalUnicast(): bool"),
    function(str, "string(net.IP): string", "string(net.CIDR): string"),
    function(_cidr, "cidr(string): net.CIDR"),
    function(_valid(_cidr), "isCIDR(string): bool"),
    function(_contains_ip, "<net.CIDR>.containsIP(string): bool", "<net.CIDR>.containsIP(net.IP): bool"),
    function(_contains_cidr, "<net.CIDR>.containsCIDR(string): bool", "<net.CIDR>.containsCIDR(net.CIDR): bool"),
    function(lambda cidr: IP(cidr.interface.ip), "<net.CIDR>.ip(): net.IP"),
    function(lambda cidr: cidr.interface.network.prefixlen, "<net.CIDR>.prefixLength(): int"),
    function(lambda cidr: CIDR(ipaddress.ip_interface(str(cidr.interface.network))), "<net.CIDR>.masked(): net.CIDR"),
]
