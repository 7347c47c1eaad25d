"""HTTP, TCP and gRPC requests from the kubelet to a pod, for probes and hooks, in upstream's words when
they fail.

Upstream counterpart: ``pkg/probe/{http,tcp,grpc}``. Neighbours: ``probes`` and ``hooks``.

Limits: ``BODY_LIMIT`` bytes of an answer are read; each request has the time-out its probe gives it.
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Any

import aiohttp

from knarr.api.core import v1 as core

__all__ = ["Answer", "PodRequests", "resolve_port"]

BODY_LIMIT = 10 * 1024
MAX_REDIRECTS = 10
USER_AGENT = "kube-probe/1.36"

#: (success, what to tell)
Answer = tuple[bool, str]


class PodRequests:
    """One HTTP session for all, opened with the first request and closed with the kubelet."""

    def __init__(self) -> None:
        self._opened: aiohttp.ClientSession | None = None

    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            # A probe asks whether the pod takes connections, so none is kept; certificates are the pod's
            # affair.
            connector = aiohttp.TCPConnector(force_close=True, ssl=False, limit=0)
            self._opened = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self._opened

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    async def http(
        self, action: core.HTTPGetAction, *, host: str, port: int, timeout_s: float, agent: str = USER_AGENT
    ) -> Answer:
        scheme = (action.scheme or "HTTP").lower()
        path = action.path if action.path.startswith("/") else f"/{action.path}"
        address = f"{_bracketed(action.host or host)}:{port}"
        url = f"{scheme}://{address}{path}"
        headers = {"User-Agent": agent, "Accept": "*/*"}
        for header in action.httpHeaders:
            headers[header.name] = header.value
        try:
            async with self._session().get(
                url,
                headers={name: value for name, value in headers.items() if value},
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                max_redirects=MAX_REDIRECTS,
            ) as answer:
                body = (await answer.content.read(BODY_LIMIT)).decode("utf-8", "replace")
                if 200 <= answer.status < 400:
                    return True, body
                return False, f"HTTP probe failed with statuscode: {answer.status}"
        except TimeoutError:
            reason = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        except aiohttp.ClientConnectorError as error:
            reason = _dial(address, error.os_error)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = str(error) or "EOF"
        return False, f'Get "{url}": {reason}'

    async def tcp(self, *, host: str, port: int, timeout_s: float) -> Answer:
        address = f"{_bracketed(host)}:{port}"
        try:
            async with asyncio.timeout(timeout_s):
                _, writer = await asyncio.open_connection(host, port)
        except TimeoutError:
            return False, f"dial tcp {address}: i/o timeout"
        except OSError as error:
            return False, _dial(address, error)
        writer.close()
        return True, ""

    async def grpc(self, *, host: str, port: int, service: str, timeout_s: float) -> Answer:
        """The standard health check. Its two messages have one field each, so they are written out here."""
        import grpc
        import grpc.aio

        address = f"{_bracketed(host)}:{port}"
        name = service.encode()
        request = b"\x0a" + bytes([len(name)]) + name if name else b""
        options: list[tuple[str, Any]] = [
            ("grpc.enable_http_proxy", 0),
            ("grpc.primary_user_agent", USER_AGENT),
        ]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            try:
                answer = await check(request, timeout=timeout_s, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return (
                        False,
                        f"error: this server does not implement the grpc health protocol: {error.details()}",
                    )
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    return False, f"timeout: failed to connect service {address!r} within {timeout_s:g}s"
                return False, f"error: health rpc probe failed: {error.details()}"
        if answer[:2] == b"\x08\x01":
            return True, "service healthy"
        status = {2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}.get(answer[1] if len(answer) > 1 else 0, "UNKNOWN")
        return False, f"service unhealthy (responded with {status!r})"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _dial(address: str, error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if number is None:
        return f"dial tcp {address}: {error}"
    text = "connection refused" if number == errno.ECONNREFUSED else os.strerror(number).lower()
    return f"dial tcp {address}: connect: {text}"


def resolve_port(container: Any, port: int | str) -> int:
    """A number, or the container's port of that name. Raises ``ValueError``."""
    if isinstance(port, int):
        return port
    for named in container.ports:
        if named.name == port:
            return int(named.containerPort)
    try:
        return int(port)
    except ValueError:
        raise ValueError(f"couldn't find port: {port!r} in {container.name}") from None
