"""Calling the server behind an APIService: where it is, how it proves itself, and who is said to ask.

The server's certificate must be for ``<service>.<namespace>.svc``. It is told the user's name, groups and the rest in
``X-Remote-*`` headers, and believes them because this server shows the front proxy's certificate.

Upstream's counterpart is ``kube-aggregator/pkg/apiserver/handler_proxy.go``.

Limits: ``MAX_CONTEXTS`` TLS contexts remembered, ``MAX_DOCUMENT_BYTES`` of a document this server reads itself.
"""

from __future__ import annotations

import base64
import ssl
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol
from urllib.parse import quote

from knarr.api.apiregistration import v1 as apiregistration
from knarr.apiserver.request import Pieces, Query, Request, Response, Tunnel, UserInfo
from knarr.apiserver.subresources.forwarding import Target
from knarr.apiserver.subresources.service_endpoints import ServiceEndpoints

__all__ = ["AGGREGATOR", "BackendFailure", "Backends", "Sender", "whole"]

MAX_CONTEXTS = 64
MAX_DOCUMENT_BYTES = 32 * 1024 * 1024
#: Who asks when the aggregator asks for itself.
AGGREGATOR = UserInfo("system:kube-aggregator", ("system:masters",))
_IDENTITY = ("authorization", "x-remote-user", "x-remote-uid", "x-remote-group")
_EXTRA = "x-remote-extra-"


class Sender(Protocol):
    """How a request travels; ``subresources.forwarding.Forwarder``, or a test's functions."""

    async def send(
        self, request: Request, target: Target, *, method: str = "", added: Iterable[tuple[str, str]] = ()
    ) -> Response: ...

    def tunnel(
        self, request: Request, target: Target, *, added: Iterable[tuple[str, str]] = ()
    ) -> Response: ...

    async def close(self) -> None: ...


class BackendFailure(Exception):
    """A document could not be had; the text says why."""


class Backends:
    """Sends requests to the services that APIServices name. ``certificate`` and ``key`` are the front proxy's files."""

    def __init__(
        self, sender: Sender, services: ServiceEndpoints, *, certificate: str = "", key: str = ""
    ) -> None:
        self._sender = sender
        self._services = services
        self._certificate = certificate
        self._key = key
        self._contexts: OrderedDict[tuple[str, bool], ssl.SSLContext] = OrderedDict()

    async def forward(self, api_service: apiregistration.APIService, request: Request) -> Response:
        """A client's request, as it came. Raises ``StatusError`` 404, 503 where there is nothing to send it to."""
        target = self._target(api_service, request.raw_path or request.path)
        added = _said_of(request.user)
        # Nobody but this server says who asks, and the client's credentials are not for others to see.
        request.headers = {
            name: value
            for name, value in request.headers.items()
            if not _says_who(name)
        }
        request.header_lines = [
            (name, value)
            for name, value in request.header_lines
            if not _says_who(name.decode("latin-1").lower())
        ]
        if request.can_tunnel:
            return self._sender.tunnel(request, target, added=added)
        return await self._sender.send(request, target, added=added)

    async def read(
        self, api_service: apiregistration.APIService, path: str, *, accept: str = "application/json"
    ) -> bytes:
        """A document, asked for by the aggregator itself. Raises ``StatusError``, ``BackendFailure``."""
        target = self._target(api_service, path)
        request = Request("GET", path, Query(), {"accept": accept}, user=AGGREGATOR)
        response = await self._sender.send(request, target, added=_said_of(AGGREGATOR))
        body = await whole(response)
        if response.status != 200:
            raise BackendFailure(f"bad status from {target.url}: {response.status}")
        return body

    def url(self, api_service: apiregistration.APIService, path: str) -> str:
        """Where the request would go, for texts. Raises ``StatusError`` 404, 503."""
        return self._target(api_service, path).url

    def _target(self, api_service: apiregistration.APIService, path: str) -> Target:
        service = api_service.spec.service
        assert service is not None, "only these are called"
        host, port = self._services.webhook(service.namespace, service.name, service.port or 443)
        return Target(
            host, port, path, self._context(api_service.spec), f"{service.name}.{service.namespace}.svc"
        )

    def _context(self, spec: apiregistration.APIServiceSpec) -> ssl.SSLContext:
        key = (spec.caBundle, spec.insecureSkipTLSVerify)
        context = self._contexts.get(key)
        if context is None:
            cadata = base64.b64decode(spec.caBundle).decode() if spec.caBundle else None
            context = ssl.create_default_context(cadata=cadata)
            if spec.insecureSkipTLSVerify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self._certificate:
                context.load_cert_chain(self._certificate, self._key)
            self._contexts[key] = context
            if len(self._contexts) > MAX_CONTEXTS:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(key)
        return context


def _says_who(name: str) -> bool:
    """Whether a header, in lower case, says who asks."""
    return name in _IDENTITY or name.startswith(_EXTRA)


def _said_of(user: UserInfo) -> list[tuple[str, str]]:
    said = [("X-Remote-User", user.name)]
    if user.uid:
        said.append(("X-Remote-Uid", user.uid))
    said += [("X-Remote-Group", group) for group in user.groups]
    # A key may have letters that no header name has.
    said += [
        (f"X-Remote-Extra-{quote(key, safe='')}", value)
        for key, values in user.extra.items()
        for value in values
    ]
    return said


async def whole(response: Response) -> bytes:
    """The body of another server's answer. Raises ``BackendFailure`` for one that is too large."""
    if isinstance(response.body, Pieces):
        return response.body.whole()
    if isinstance(response.body, bytes):
        return response.body
    assert not isinstance(response.body, Tunnel)
    parts, size = [], 0
    async for chunk in response.body:
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_DOCUMENT_BYTES:
            raise BackendFailure(f"the document is larger than {MAX_DOCUMENT_BYTES} bytes")
    return b"".join(parts)
