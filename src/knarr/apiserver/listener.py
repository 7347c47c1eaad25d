"""The server on a TLS port.

A client certificate signed by the cluster's CA names its user (common name) and groups (organizations).

Neighbours: ``http1`` is one connection; ``server`` answers; ``request`` is the border between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from knarr.apiserver.aggregation.front_proxy import NAME as FRONT_PROXY_NAME
from knarr.apiserver.authentication import with_group
from knarr.apiserver.http1 import Connections
from knarr.apiserver.request import FrontProxyPeer, UserInfo
from knarr.apiserver.server import APIServer
from knarr.kit.clock import Clock

__all__ = ["Listener", "PeerReader"]

#: Between two looks at which connections have taken too long.
LOOK_S = 5.0
#: How long requests under way may take when the server ends. A supervisor that ends processes has less patience than a request may want.
PATIENCE_S = 5.0
#: Certificates whose identity is remembered; more than that come only from a client that makes them up.
MAX_KNOWN_PEERS = 4096


class Listener:
    """Serves ``server`` on one address; with port 0 on a free one, which ``port`` then says once ``listening``."""

    def __init__(
        self, server: APIServer, *, host: str, port: int, tls: ssl.SSLContext, clock: Clock, front_proxy_ca: str = ""
    ) -> None:
        """``front_proxy_ca`` (PEM): whose certificates are the front proxy's, and no client's; it must sign them itself."""
        self._server = server
        self._host = host
        self.port = port
        self.listening = asyncio.Event()
        self._tls = tls
        self._clock = clock
        self._connections = Connections(server.handle, clock=clock, identify=PeerReader(front_proxy_ca).read)

    async def run(self) -> None:
        """Listen until cancelled; then let requests under way finish for a moment."""
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(
            self._connections, self._host, self.port, ssl=self._tls, backlog=1024
        )
        self.port = listening.sockets[0].getsockname()[1]
        self.listening.set()
        try:
            while True:
                await self._clock.sleep(LOOK_S)
                self._connections.close_expired()
        finally:
            listening.close()
            self._server.stop_watches()
            with contextlib.suppress(asyncio.CancelledError):
                await self._connections.close(PATIENCE_S)


class PeerReader:
    """The identity in a client's certificate. The handshake has verified it; reading it is what costs, and a
    cluster has few certificates, so each is read once.
    """

    def __init__(self, front_proxy_ca: str = "") -> None:
        self._known: dict[bytes, UserInfo | FrontProxyPeer | None] = {}
        self._front_proxy_ca = (
            x509.load_pem_x509_certificate(front_proxy_ca.encode()) if front_proxy_ca else None
        )

    def read(self, der: bytes) -> UserInfo | FrontProxyPeer | None:
        if der not in self._known:
            if len(self._known) >= MAX_KNOWN_PEERS:
                self._known.clear()
            self._known[der] = self._identity(der)
        return self._known[der]

    def _identity(self, der: bytes) -> UserInfo | FrontProxyPeer | None:
        certificate = x509.load_der_x509_certificate(der)
        if self._front_proxy_ca is not None and _issued(certificate, self._front_proxy_ca):
            names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            # Any other certificate of that authority is nobody's.
            return FrontProxyPeer() if [part.value for part in names] == [FRONT_PROXY_NAME] else None
        return _user(certificate)


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _user(certificate: x509.Certificate) -> UserInfo | None:
    subject = certificate.subject
    names = [str(part.value) for part in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = tuple(str(part.value) for part in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    extra = {"authentication.kubernetes.io/credential-id": (f"X509SHA256={fingerprint}",)}
    return with_group(UserInfo(names[0], groups, extra=extra)) if names else None
