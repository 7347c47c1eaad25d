"""The audit of requests: what the server calls when one has come, and when it is answered.

A stream is told of when it begins and when it ends. Without a policy there is no auditor, and nothing of this runs.

Neighbours: ``policy`` decides, ``events`` describes, ``backends`` write.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import msgspec

from knarr.apiserver.audit.backends import Backend
from knarr.apiserver.audit.events import describe, objects_of, response_status
from knarr.apiserver.audit.policy import NOTHING, Policy, Verdict, decide
from knarr.apiserver.request import Pieces, Request, Response, Tunnel
from knarr.kit.clock import Clock, rfc3339_micro

__all__ = ["Auditor"]


class Audited:
    """One request's events."""

    __slots__ = ("_auditor", "_event", "_request", "_verdict")

    def __init__(self, auditor: Auditor, request: Request, verdict: Verdict, event: dict[str, Any]) -> None:
        self._auditor = auditor
        self._request = request
        self._verdict = verdict
        self._event = event

    def answered(self, response: Response) -> None:
        """The answer is there; of a stream, its beginning."""
        event = self._event
        event["responseStatus"] = response_status(response)
        if self._request.audit_annotations:
            event["annotations"] = self._request.audit_annotations
        if isinstance(response.body, bytes | Pieces):
            objects_of(self._request, response, self._verdict, event)
            self._auditor.emit(event, "ResponseComplete", self._verdict)
            return
        self._auditor.emit(event, "ResponseStarted", self._verdict)
        if isinstance(response.body, Tunnel):
            # From here on its bytes are nobody's requests.
            self._auditor.emit(event, "ResponseComplete", self._verdict)
        else:
            response.body = self._until_its_end(response.body)

    async def _until_its_end(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in body:
                yield chunk
        finally:
            await cast("Any", body).aclose()
            self._auditor.emit(self._event, "ResponseComplete", self._verdict)


class Auditor:
    """Writes to every backend."""

    def __init__(self, policy: Policy, backends: Sequence[Backend], clock: Clock) -> None:
        self._policy = policy
        self._backends = tuple(backends)
        self._clock = clock
        self.count = 0

    def received(self, request: Request, audit_id: str) -> Audited | None:
        """A request has come and its user is known; None if nothing of it is to be written."""
        verdict = decide(self._policy, request.requester or request.user, request.info, request.path)
        if verdict is NOTHING or verdict.level == "None":
            return None
        event = describe(request, verdict, audit_id, received=rfc3339_micro(self._clock.now()))
        self.emit(event, "RequestReceived", verdict)
        return Audited(self, request, verdict, event)

    def emit(self, event: dict[str, Any], stage: str, verdict: Verdict) -> None:
        if stage in verdict.omit_stages:
            return
        event["stage"] = stage
        event["stageTimestamp"] = rfc3339_micro(self._clock.now())
        text = msgspec.json.encode(event)
        self.count += 1
        for backend in self._backends:
            backend.write(text)

    async def close(self) -> None:
        for backend in self._backends:
            await backend.close()
