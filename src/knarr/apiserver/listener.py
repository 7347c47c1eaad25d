"""The server on a TLS port.

A client certificate signed by the cluster's CA names its user (common name) and groups (organizations).

Neighbours: ``http1`` is one connection; ``server`` answers; ``request`` is the border between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from knarr.apiserver.http1 import Connections
from knarr.apiserver.request import UserInfo
from knarr.apiserver.server import APIServer
from knarr.kit.clock import Clock

__all__ = ["Listener", "PeerReader"]

#: Between two looks at which connections have taken too long.
LOOK_S = 5.0
#: How long requests under way may take when the server ends.
PATIENCE_S = 2.0
#: Certificates whose identity is remembered; more than that come only from a client that makes them up.
MAX_KNOWN_PEERS = 4096


class Listener:
    """Serves ``server`` on one address; with port 0 on a free one, which ``port`` then says once ``listening``."""

    def __init__(self, server: APIServer, *, host: str, port: int, tls: ssl.SSLContext, clock: Clock) -> None:
        self._server = server
        self._host = host
        self.port = port
        self.listening = asyncio.Event()
        self._tls = tls
        self._clock = clock
        self._connections = Connections(server.handle, clock=clock, identify=PeerReader().read)

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

    def __init__(self) -> None:
        self._known: dict[bytes, UserInfo | None] = {}

    def read(self, der: bytes) -> UserInfo | None:
        if der not in self._known:
            if len(self._known) >= MAX_KNOWN_PEERS:
                self._known.clear()
            self._known[der] = _identity(der)
        return self._known[der]


def _identity(der: bytes) -> UserInfo | None:
    certificate = x509.load_der_x509_certificate(der)
    subject = certificate.subject
    names = [str(part.value) for part in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = tuple(str(part.value) for part in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    extra = {"authentication.kubernetes.io/credential-id": (f"X509SHA256={fingerprint}",)}
    return UserInfo(names[0], groups, extra=extra) if names else None
