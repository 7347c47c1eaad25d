"""Calling a webhook: where it is, how long it may take, and what its failure is called.

A webhook is named by a URL, or by a service: then the endpoint is looked up for every call, and the server must show a
certificate for ``<service>.<namespace>.svc``.

Upstream's counterpart is ``apiserver/pkg/util/webhook``, and the texts of ``client-go/rest`` for answers that are no success.

Neighbours: ``transport`` carries the bytes; ``mutating``, ``validating`` and ``conversion`` call.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import urlsplit

from knarr.api import codec
from knarr.api.errors import StatusError, answer_text, quote
from knarr.api.meta import v1 as meta
from knarr.apiserver.webhooks.transport import Answer, Target, TransportFailure, WebhookTransport

__all__ = ["CallFailed", "ClientConfig", "ServiceLookup", "WebhookClient"]

#: Of an answer's body, in a text about its status; as client-go.
MAX_QUOTED_BYTES = 2048

#: The address and port of an endpoint of a service's port. Raises ``StatusError`` where there is none.
ServiceLookup = Callable[[str, str, int], tuple[str, int]]


class ClientConfig(Protocol):
    """``WebhookClientConfig`` of admissionregistration, or of apiextensions."""

    caBundle: Any
    service: Any
    url: str | None


class CallFailed(Exception):
    """The webhook gave no usable answer; the text is what upstream says of it."""


class WebhookClient:
    """Posts reviews for one API server."""

    def __init__(self, transport: WebhookTransport, services: ServiceLookup) -> None:
        self._transport = transport
        self._services = services

    async def close(self) -> None:
        await self._transport.close()

    async def post(self, config: ClientConfig, review: bytes, *, timeout_s: int, max_bytes: int) -> bytes:
        """The body of a successful answer. Raises ``CallFailed``."""
        target = _named(config, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                target = self._located(config, target)
                answer = await self._transport.post(target, review, max_bytes=max_bytes)
        except TimeoutError:
            raise CallFailed(f"Post {quote(target.url)}: context deadline exceeded") from None
        except TransportFailure as error:
            raise CallFailed(f"Post {quote(target.url)}: {error}") from None
        except StatusError as error:
            raise CallFailed(f"Post {quote(target.url)}: {error}") from None
        if not 200 <= answer.status <= 206:
            raise CallFailed(_refusal(answer))
        return answer.body

    def _located(self, config: ClientConfig, target: Target) -> Target:
        service = config.service
        if service is None:
            return target
        host, port = self._services(service.namespace, service.name, target.port)
        return replace(target, host=host, port=port)


def _named(config: ClientConfig, timeout_s: int) -> Target:
    """The target as the configuration names it."""
    try:
        ca_pem = base64.b64decode(config.caBundle or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise CallFailed(f"could not get REST client: unable to load root certificates: {error}") from None
    query = f"?timeout={timeout_s}s"
    if config.service is not None:
        service = config.service
        name, port = f"{service.name}.{service.namespace}.svc", service.port or 443
        return Target(name, port, name, (service.path or "/") + query, ca_pem, f"{name}:{port}")
    url = urlsplit(config.url or "")
    host = url.hostname or ""
    return Target(host, url.port or 443, host, (url.path or "/") + query, ca_pem, url.netloc)


def _refusal(answer: Answer) -> str:
    """What client-go says of an answer that is no success."""
    try:
        status = codec.decode(meta.Status, answer.body)
        if status.status == "Failure" and status.kind == "Status" and status.message:
            return status.message
    except codec.DecodeError:
        pass
    text = answer.content_type.startswith("text/")
    said = answer.body[:MAX_QUOTED_BYTES].decode(errors="replace").strip() if text else ""
    return answer_text(answer.status, said)
