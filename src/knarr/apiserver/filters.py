"""What every request goes through before it is answered: its time, its user, the audit log, its turn.

in time -> authenticate -> impersonate -> audit -> priority and fairness -> the server's answer. Whatever is raised on the way becomes the
answer it stands for; anything unforeseen is logged with the request's id and becomes a 500 that tells nothing.

Upstream's counterpart is ``DefaultBuildHandlerChain`` in ``apiserver/pkg/server/config.go``. Neighbours: ``server`` authorizes and answers;
``deadlines``, ``audit``, ``flowcontrol`` and ``metrics`` are what is gone through.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

from knarr.api import codec
from knarr.api.errors import StatusError, bad_request, internal_error, timeout
from knarr.apiserver.audit.auditor import Auditor
from knarr.apiserver.authentication import Authenticator, impersonate
from knarr.apiserver.deadlines import Deadlines, is_long_running, limit_s
from knarr.apiserver.flowcontrol.controller import FlowControl
from knarr.apiserver.flowcontrol.levels import Refused
from knarr.apiserver.metrics import ServerMetrics
from knarr.apiserver.negotiation import PLAIN, choose_for_refusal, to_wire
from knarr.apiserver.rbac import Question
from knarr.apiserver.request import Pieces, Request, Response, Tunnel, UserInfo, parse_request_info
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger

__all__ = ["Filters"]

log = get_logger("apiserver")

_TOO_LATE = timeout("request did not complete within the allotted timeout")


class Filters:
    """``answer`` is asked when it is a request's turn; ``demand`` raises for what a user may not impersonate."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        demand: Callable[[UserInfo, Question], Awaitable[None]],
        flow: FlowControl | None,
        auditor: Auditor | None,
        metrics: ServerMetrics,
        deadlines: Deadlines,
        request_timeout_s: float,
        clock: Clock,
        chance: Chance,
        answer: Callable[[Request], Awaitable[Response]],
    ) -> None:
        self.authenticator = authenticator
        self._demand = demand
        self.flow = flow
        self._auditor = auditor
        self.metrics = metrics
        self._deadlines = deadlines
        self._request_timeout_s = request_timeout_s
        self._clock = clock
        self._chance = chance
        self._answer = answer

    async def handle(self, request: Request) -> Response:
        """Answer one request; never raises but for cancellation."""
        began_s = self._clock.monotonic_s()
        request_id = request.headers.get("audit-id") or self._chance.uid()
        kind = self.metrics.begin(request)
        try:
            response = await self._in_time(request, request_id, began_s)
        except asyncio.CancelledError:
            self.metrics.inflight[kind] -= 1
            raise
        except Exception as error:
            response = self._failure(request, request_id, error)
        headers = response.headers
        headers["Audit-Id"] = request_id
        for warning in dict.fromkeys(request.warnings):
            quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
            held = headers.get("Warning")
            headers["Warning"] = f'{held}, 299 - "{quoted}"' if held else f'299 - "{quoted}"'
        self.metrics.end(request, kind, response.status, self._clock.monotonic_s() - began_s)
        if not isinstance(response.body, bytes | Pieces | Tunnel):
            response.body = self._streaming(request, response.body)
        return response

    def _failure(self, request: Request, request_id: str, error: Exception) -> Response:
        """The answer to a request that could not be done."""
        if isinstance(error, StatusError):
            response = _told(request, error)
            if error.code == 401:
                response.headers["WWW-Authenticate"] = 'Bearer realm="kubernetes"'
            if error.status.details is not None and error.status.details.retryAfterSeconds:
                response.headers["Retry-After"] = str(error.status.details.retryAfterSeconds)
            return response
        if isinstance(error, Refused):
            text = b"Too many requests, please try again later.\n"
            return Response(429, text, "text/plain; charset=utf-8", {"Retry-After": "1"})
        if isinstance(error, RecursionError):
            # Only a body nested without end comes here: every decoder recurses with it.
            return _told(request, bad_request("exceeded max depth"))
        log.exception(
            "request failed", method=request.method, path=request.path, audit_id=request_id, error=error
        )
        return _told(request, internal_error("see the server's log for " + request_id))

    async def _streaming(self, request: Request, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The body, counted for as long as it lasts."""
        key = self.metrics.stream_began(request)
        try:
            async for chunk in body:
                yield chunk
        finally:
            self.metrics.stream_ended(key)
            await cast("Any", body).aclose()

    async def _in_time(self, request: Request, request_id: str, began_s: float) -> Response:
        """The answer, if it comes in the time the request has. Raises ``StatusError`` 504."""
        request.info = parse_request_info(request.method, request.path, request.query)
        if is_long_running(request.info):
            return await self._audited(request, request_id)
        if "timeout" in request.query:
            return await self._hurried(request, request_id)
        self._deadlines.begin(request, began_s)
        try:
            return await self._audited(request, request_id)
        except asyncio.CancelledError:
            if self._deadlines.ended(request):
                raise self._too_late(request) from None
            raise
        finally:
            self._deadlines.finish(request)

    async def _hurried(self, request: Request, request_id: str) -> Response:
        """As long as the client itself wants to wait."""
        try:
            async with asyncio.timeout(limit_s(request, self._request_timeout_s)) as timer:
                return await self._audited(request, request_id)
        except TimeoutError:
            if not timer.expired():
                raise
            raise self._too_late(request) from None

    def _too_late(self, request: Request) -> StatusError:
        self.metrics.terminated(request, 504)
        return _TOO_LATE

    async def _audited(self, request: Request, request_id: str) -> Response:
        """Who is it, then the rest; told to the audit log where there is one."""
        auditor = self._auditor
        try:
            user = self.authenticator.authenticate(request)
            if user is None:
                user = await self.authenticator.authenticate_remotely(request)
            request.user = user
            if request.impersonation:
                await self._impersonate(request)
        except StatusError as error:
            if error.code == 401:
                self.metrics.refused_users += 1
            if auditor is None:
                raise
            audited = auditor.received(request, request_id)
            response = self._failure(request, request_id, error)
            if audited is not None:
                audited.answered(response)
            return response
        self.metrics.known_users += 1
        if auditor is None:
            return await self._seated(request)
        audited = auditor.received(request, request_id)
        try:
            response = await self._seated(request)
        except asyncio.CancelledError:
            if audited is not None:
                # Too late, or the client has gone: what became of it is not known here.
                audited.answered(Response(504, codec.encode(_TOO_LATE.status)))
            raise
        except Exception as error:
            response = self._failure(request, request_id, error)
        if audited is not None:
            audited.answered(response)
        return response

    async def _impersonate(self, request: Request) -> None:
        """Raises ``StatusError`` 403."""
        acting = await impersonate(request, self._demand)
        if acting is not request.user:
            request.requester, request.user = request.user, acting

    async def _seated(self, request: Request) -> Response:
        """The request's turn, as priority and fairness have it. Raises ``Refused``."""
        flow = self.flow
        if flow is None or (is_long_running(request.info) and request.info.verb != "watch"):
            return await self._answer(request)
        seat = flow.enter(request) or await flow.wait(request)
        if seat is None:
            return await self._answer(request)
        try:
            response = await self._answer(request)
        except StatusError as error:
            response = self._failure(request, "", error)
        finally:
            flow.leave(seat)
        seat.mark(response.headers)
        return response


def _told(request: Request, error: StatusError) -> Response:
    """A refusal in the form the client reads. That its time was up is told as JSON whatever it reads, as upstream."""
    output = PLAIN if error is _TOO_LATE else choose_for_refusal(request.headers.get("accept", ""))
    return Response(error.code or 500, to_wire(codec.encode(error.status), output), output.content_type)
