"""Rights that a service of the operator's own knows: each question is sent to it as a SubjectAccessReview.

Yes is remembered longer than no. A service that does not answer has no opinion: the authorizers behind it decide.

Upstream's counterpart is ``apiserver/plugin/pkg/authorizer/webhook``; its flags ``--authorization-webhook-*``.
Limits: ``CACHE_LIMIT`` answers, ``MAX_QUESTIONS`` at once; questions longer than ``MAX_CACHED_CHARS`` are not remembered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from knarr.api import codec
from knarr.api.authorization import v1 as authorization
from knarr.apiserver.authorization.decision import NO_OPINION, Decision
from knarr.apiserver.expiring import ExpiringCache
from knarr.apiserver.rbac import Question
from knarr.apiserver.remote import Endpoint, RemoteError, retried
from knarr.apiserver.request import UserInfo
from knarr.client.kubeconfig import Credentials
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger

__all__ = ["AuthorizationWebhook", "AuthorizationWebhookOptions"]

log = get_logger("authorization-webhook")

CACHE_LIMIT = 8192
MAX_CACHED_CHARS = 10_000
MAX_QUESTIONS = 100
GROUP = "authorization.k8s.io"


@dataclass(slots=True)
class AuthorizationWebhookOptions:
    """Where SubjectAccessReviews go."""

    credentials: Credentials
    version: str = "v1beta1"
    authorized_ttl_s: float = 300.0
    unauthorized_ttl_s: float = 30.0

    def __post_init__(self) -> None:
        if self.version not in ("v1", "v1beta1"):
            raise ValueError(f"authorization-webhook-version: expected v1 or v1beta1, got {self.version!r}")


class AuthorizationWebhook:
    """Asks one service."""

    def __init__(self, options: AuthorizationWebhookOptions, endpoint: Endpoint, clock: Clock) -> None:
        self._options = options
        self._endpoint = endpoint
        self._clock = clock
        self._known: ExpiringCache[bytes, Decision] = ExpiringCache(clock, CACHE_LIMIT)
        self._places = asyncio.Semaphore(MAX_QUESTIONS)

    async def authorize(self, user: UserInfo, question: Question) -> Decision:
        spec = msgspec.json.encode(_spec(user, question))
        known = self._known.get(spec)
        if known is not None:
            return known
        body = b'{"apiVersion":"%s/%s","kind":"SubjectAccessReview","metadata":{"creationTimestamp":null},"spec":%s}' % (
            GROUP.encode(),
            self._options.version.encode(),
            spec,
        )
        async with self._places:
            try:
                answer = await retried(self._endpoint, "POST", self._options.credentials.server, body, self._clock)
            except RemoteError as error:
                log.error("failed to make webhook authorizer request", error=error)
                return Decision(error=str(error))
        if answer.status not in (200, 201):
            return Decision(error=f"webhook authorizer answered {answer.status}")
        try:
            status = codec.decode(authorization.SubjectAccessReview, answer.body).status
        except codec.DecodeError as error:
            return Decision(error=f"webhook authorizer: {error}")
        decision = _verdict(status)
        if len(spec) < MAX_CACHED_CHARS:
            allowed = decision.allowed
            lifetime_s = self._options.authorized_ttl_s if allowed else self._options.unauthorized_ttl_s
            self._known.put(spec, decision, lifetime_s)
        return decision

    def unknown_rules(self, user: UserInfo) -> str:
        return "webhook authorizer does not support user rule resolution"

    async def close(self) -> None:
        await self._endpoint.close()


def _verdict(status: authorization.SubjectAccessReviewStatus) -> Decision:
    if status.denied and status.allowed:
        return Decision(denied=True, error="webhook subject access review returned both allow and deny response")
    if status.denied or status.allowed:
        return Decision(status.allowed, status.denied, status.reason)
    return Decision(reason=status.reason) if status.reason else NO_OPINION


def _spec(user: UserInfo, question: Question) -> Mapping[str, Any]:
    spec: dict[str, Any] = {
        "user": user.name,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(values) for key, values in user.extra.items()},
    }
    if question.path:
        spec["nonResourceAttributes"] = {"path": question.path, "verb": question.verb}
    else:
        attributes = {
            "namespace": question.namespace,
            "verb": question.verb,
            "group": question.group,
            "version": question.version or "*",
            "resource": question.resource,
            "subresource": question.subresource,
            "name": question.name,
        }
        spec["resourceAttributes"] = {key: value for key, value in attributes.items() if value}
        if question.fields:
            spec["resourceAttributes"]["fieldSelector"] = {"rawSelector": question.fields}
    return {key: value for key, value in spec.items() if value}
