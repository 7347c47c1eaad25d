"""Webhooks inside the test's process: functions in place of servers, for clusters on virtual time.

``InProcessWebhooks`` is what an ``InProcessCluster`` is given as ``webhooks``. Everything about a call is as it would be, up to the
connection: the review is the JSON that would be posted, and a service reference has been resolved to one of its endpoints. A handler is
a coroutine function from the review to the answer; it may sleep, on the cluster's clock, and raise ``TransportFailure``.

Upstream's counterpart is the ``agnhost webhook`` image of the e2e tests. Neighbours: ``apiserver.webhooks.transport`` has the seam.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knarr.apiserver.webhooks.transport import Answer, Target, TransportFailure

__all__ = ["InProcessWebhooks", "WebhookCall", "allowed", "denied"]

Review = dict[str, Any]
Handler = Callable[[Review], Awaitable[Review | Answer]]


@dataclass(slots=True)
class WebhookCall:
    """One review, and where it was sent."""

    target: Target
    review: Review

    @property
    def request(self) -> dict[str, Any]:
        request: dict[str, Any] = self.review["request"]
        return request


class InProcessWebhooks:
    """Handlers by server name (``web.default.svc``, ``hooks.example.com``) and path."""

    def __init__(self) -> None:
        self.calls: list[WebhookCall] = []
        self._handlers: dict[tuple[str, str], Handler] = {}

    def serve(self, server_name: str, path: str, handler: Handler) -> None:
        self._handlers[(server_name, path)] = handler

    def called(self, path: str) -> list[WebhookCall]:
        """The calls of one path, in order."""
        return [call for call in self.calls if call.target.path.partition("?")[0] == path]

    async def post(self, target: Target, body: bytes, *, max_bytes: int) -> Answer:
        review: Review = json.loads(body)
        path = target.path.partition("?")[0]
        handler = self._handlers.get((target.server_name, path))
        if handler is None:
            if not any(name == target.server_name for name, _ in self._handlers):
                raise TransportFailure(f"dial tcp {target.host}:{target.port}: connect: connection refused")
            return Answer(404, b"404 page not found\n", "text/plain")
        self.calls.append(WebhookCall(target, review))
        said = await handler(review)
        if isinstance(said, Answer):
            return said
        answer = json.dumps(said).encode()
        if len(answer) > max_bytes:
            raise TransportFailure(f"response body is larger than the limit of {max_bytes} bytes")
        return Answer(200, answer)

    async def close(self) -> None:
        return None


def allowed(
    review: Review,
    patch: Sequence[Mapping[str, Any]] = (),
    *,
    warnings: Sequence[str] = (),
    audit_annotations: Mapping[str, str] | None = None,
) -> Review:
    """The answer that lets a request through, changed by a JSON patch if there is one."""
    response: dict[str, Any] = {"uid": review["request"]["uid"], "allowed": True}
    if patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(list(patch)).encode()).decode()
    if warnings:
        response["warnings"] = list(warnings)
    if audit_annotations:
        response["auditAnnotations"] = dict(audit_annotations)
    return {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}


def denied(review: Review, message: str = "", **status: Any) -> Review:
    """The answer that refuses; ``status`` may have a ``code`` and a ``reason``."""
    said = {**({"message": message} if message else {}), **status}
    response: dict[str, Any] = {"uid": review["request"]["uid"], "allowed": False}
    if said:
        response["status"] = said
    return {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}
