"""How a review reaches a webhook: one POST over TLS.

``HttpsTransport`` is the usual way: connections are kept and reused, the server's certificate is checked against the CA of the
configuration (the system's where it names none) under the webhook's name, whatever address it is found at. A test puts another
``WebhookTransport`` in its place and needs no socket.

Upstream's counterpart is ``apiserver/pkg/util/webhook.ClientManager``.

Limits: ``MAX_CONNECTIONS`` at once, ``MAX_CONTEXTS`` CA bundles remembered, and of an answer no more bytes than the caller takes.
"""

from __future__ import annotations

import os
import ssl
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

import aiohttp

__all__ = ["Answer", "HttpsTransport", "Target", "TransportFailure", "WebhookTransport"]

MAX_CONNECTIONS = 256
MAX_CONTEXTS = 64
#: An idle connection is kept as long as Go's.
KEEP_ALIVE_S = 90.0
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """Where to post: the address to connect to, and the name the server goes by there."""

    host: str
    port: int
    server_name: str
    path: str
    """With the query, if any."""
    ca_pem: bytes
    """Empty: the system's roots."""
    authority: str
    """Host and port as the webhook's URL has them; a service's endpoint may listen on another port."""

    @property
    def url(self) -> str:
        """As error texts name it."""
        return f"https://{self.authority}{self.path}"


@dataclass(slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str = "application/json"


class TransportFailure(Exception):
    """There was no answer; the text says why in the words of Go's HTTP client."""


class WebhookTransport(Protocol):
    """Posts JSON. The caller ends what takes too long."""

    async def post(self, target: Target, body: bytes, *, max_bytes: int) -> Answer:
        """The answer, whatever its status. Raises ``TransportFailure``."""
        ...

    async def close(self) -> None: ...


class HttpsTransport:
    """Over TLS, with aiohttp."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._contexts: OrderedDict[bytes, ssl.SSLContext] = OrderedDict()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, target: Target, body: bytes, *, max_bytes: int) -> Answer:
        try:
            return await self._post(target, body, max_bytes)
        except aiohttp.ServerDisconnectedError:
            # A connection that was kept is closed at the other end just as it is used again: a new one will do.
            pass
        try:
            return await self._post(target, body, max_bytes)
        except aiohttp.ServerDisconnectedError:
            raise TransportFailure("EOF") from None

    async def _post(self, target: Target, body: bytes, max_bytes: int) -> Answer:
        """Raises ``ServerDisconnectedError`` as well."""
        context = self._context(target.ca_pem)
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_ALIVE_S)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=None), cookie_jar=aiohttp.DummyCookieJar()
            )
        host = f"[{target.host}]" if ":" in target.host else target.host
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Host": target.authority}
        try:
            async with self._session.post(
                f"https://{host}:{target.port}{target.path}",
                data=body,
                headers=headers,
                ssl=context,
                server_hostname=target.server_name,
                allow_redirects=False,
            ) as answer:
                content = await _read(answer, max_bytes)
                return Answer(answer.status, content, answer.headers.get("Content-Type", ""))
        except aiohttp.ClientConnectorCertificateError as error:
            raise TransportFailure(_certificate_text(error.certificate_error)) from None
        except aiohttp.ClientConnectorError as error:
            number = error.os_error.errno
            reason = os.strerror(number).lower() if number else str(error.os_error)
            raise TransportFailure(f"dial tcp {target.host}:{target.port}: connect: {reason}") from None
        except aiohttp.ServerDisconnectedError:
            raise
        except (aiohttp.ClientError, OSError) as error:
            raise TransportFailure(str(error) or type(error).__name__) from None

    def _context(self, ca_pem: bytes) -> ssl.SSLContext:
        """One context a CA: connections are reused only under the context they were made with."""
        held = self._contexts.get(ca_pem)
        if held is None:
            try:
                held = ssl.create_default_context(cadata=ca_pem.decode() if ca_pem else None)
            except (ssl.SSLError, ValueError) as error:
                raise TransportFailure(f"unable to load root certificates: {error}") from None
            # As Go has it: what the bundle names is trusted as it is, an intermediate or the server's own
            # certificate included, and need not have every extension that the newest rules ask for.
            held.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            held.verify_flags &= ~ssl.VERIFY_X509_STRICT
            self._contexts[ca_pem] = held
            if len(self._contexts) > MAX_CONTEXTS:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(ca_pem)
        return held


async def _read(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    content = bytearray()
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        content += chunk
        if len(content) > max_bytes:
            raise TransportFailure(f"response body is larger than the limit of {max_bytes} bytes")
    return bytes(content)


#: OpenSSL's codes for a certificate that nothing trusted has signed.
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
_EXPIRED = (9, 10)


def _certificate_text(error: Exception) -> str:
    code = getattr(error, "verify_code", 0)
    if code in _UNKNOWN_AUTHORITY:
        text = "certificate signed by unknown authority"
    elif code in _EXPIRED:
        text = "certificate has expired or is not yet valid"
    else:
        text = getattr(error, "verify_message", "") or str(error)
    return f"tls: failed to verify certificate: x509: {text}"
