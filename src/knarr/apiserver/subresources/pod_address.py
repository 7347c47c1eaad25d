"""Where the proxy to a pod connects: its address, if that is one to connect to, and the port.

What a pod's status says is its kubelet's word, and a service's endpoints are whoever's may write them; neither may make this server call
itself, or the machine it runs on. So an address must be a global unicast one (private ranges are), as upstream
demands it. ``ServerConfig.may_proxy_to`` is where this is decided: tests that serve "pods" on loopback put
another rule there.

Upstream's counterpart is ``ResourceLocation`` in ``pkg/registry/core/pod``. On purpose unlike it, a port may also be given by the name
that one of the pod's containers has for it; any other name is looked up among the well-known services, as
upstream does with every name.

Neighbours: ``node_proxy`` connects there; ``service_endpoints`` does the same for services.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

from knarr.api.core import v1 as core
from knarr.api.errors import bad_request, service_unavailable

__all__ = ["MayProxyTo", "is_global_unicast", "pod_address", "port_number"]

#: Whether the proxies to pods and services may connect to an address.
MayProxyTo = Callable[[str], bool]

MAX_PORT = 65_535
MAX_PORT_DIGITS = 5
_BROADCAST = ipaddress.ip_address("255.255.255.255")


def is_global_unicast(address: str) -> bool:
    """As Go's ``IsGlobalUnicast`` has it; False for what is no address."""
    try:
        read = ipaddress.ip_address(address)
    except ValueError:
        return False
    # An IPv4 address in IPv6's clothes is the IPv4 address.
    ip = getattr(read, "ipv4_mapped", None) or read
    special = ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified
    return not special and ip != _BROADCAST


def pod_address(pod: core.Pod, port: str, *, secure: bool, may_proxy_to: MayProxyTo) -> tuple[str, int]:
    """Address and port; of a pod that declares no port, and of which none is asked for, that of the scheme.

    Raises ``StatusError`` 400 for an address that is not proxied to, 503 for a port that cannot be dialled.
    """
    declared = [each for container in pod.spec.containers for each in container.ports]
    if not may_proxy_to(pod.status.podIP):
        raise bad_request("address not allowed")
    if not port:
        return pod.status.podIP, declared[0].containerPort if declared else 443 if secure else 80
    named = next((each.containerPort for each in declared if each.name == port), None)
    return pod.status.podIP, port_number(port) if named is None else named


def port_number(text: str) -> int:
    """Raises ``StatusError`` 503 for what cannot be dialled."""
    if text.isascii() and text.isdecimal():
        if len(text) <= MAX_PORT_DIGITS and int(text) <= MAX_PORT:
            return int(text)
        problem = "invalid port"
    else:
        try:
            return socket.getservbyname(text, "tcp")
        except (OSError, UnicodeError, ValueError):
            problem = "unknown port"
    raise service_unavailable(f"error trying to reach service: dial tcp: lookup tcp/{text}: {problem}")
