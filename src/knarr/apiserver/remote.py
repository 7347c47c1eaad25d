"""JSON over HTTPS to services the API server asks: issuers, token, authorization and audit webhooks.

One connection pool an endpoint, made when it is first used. Answers are read up to a limit, so that a service that never ends its
answer costs no more than that.

Neighbours: ``authentication.oidc``, ``authentication.webhook``, ``authorization.webhook`` and ``audit.backends`` send through this.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from knarr.client.kubeconfig import Credentials, tls_context
from knarr.kit.clock import Clock

__all__ = ["Closed", "Endpoint", "HttpsEndpoint", "RemoteError", "retried"]

TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 2 * 1024 * 1024
MAX_CONNECTIONS = 64
#: Upstream's webhook retry: five attempts, half a second before the second, each pause half as long again.
ATTEMPTS, FIRST_PAUSE_S, PAUSE_FACTOR = 5, 0.5, 1.5


class RemoteError(Exception):
    """There was no usable answer; the text says why and holds nothing secret."""


@dataclass(slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Closed(Protocol):
    """Holds connections until it is closed."""

    async def close(self) -> None: ...


class Endpoint(Protocol):
    """Sends one request; raises ``RemoteError`` when there is no answer."""

    async def send(self, method: str, url: str, body: bytes = b"") -> Answer: ...

    async def close(self) -> None: ...


class HttpsEndpoint:
    """Speaks to the servers that one set of credentials is for."""

    def __init__(self, credentials: Credentials | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            given = self._credentials
            tls = tls_context(given) if given is not None else ssl.create_default_context()
            headers = {"Authorization": f"Bearer {given.token}"} if given is not None and given.token else None
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=tls), headers=headers
            )
        return self._session

    async def send(self, method: str, url: str, body: bytes = b"") -> Answer:
        headers = {"Accept": "application/json", **({"Content-Type": "application/json"} if body else {})}
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        try:
            async with self._open().request(
                method, url, data=body or None, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                content = bytearray()
                async for chunk in answer.content.iter_any():
                    content += chunk
                    if len(content) > MAX_ANSWER_BYTES:
                        raise RemoteError(f"the answer of {url} is larger than {MAX_ANSWER_BYTES} bytes")
                return Answer(answer.status, answer.headers, bytes(content))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise RemoteError(f'{method.title()} "{url}": {error or type(error).__name__}') from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def retried(endpoint: Endpoint, method: str, url: str, body: bytes, clock: Clock) -> Answer:
    """An answer that is not the server's own failure, after some attempts. Raises ``RemoteError``."""
    pause_s = FIRST_PAUSE_S
    problem = RemoteError("not asked")
    for attempt in range(ATTEMPTS):
        if attempt:
            await clock.sleep(pause_s)
            pause_s *= PAUSE_FACTOR
        try:
            answer = await endpoint.send(method, url, body)
        except RemoteError as error:
            problem = error
            continue
        if answer.status < 500 and answer.status != 429:
            return answer
        problem = RemoteError(f"{url} answered {answer.status}")
    raise problem
