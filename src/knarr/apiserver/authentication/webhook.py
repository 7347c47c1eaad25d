"""Tokens that a service of the operator's own knows: each is sent to it as a TokenReview.

Answers are remembered, good ones and bad ones, so that a client that sends a thousand requests with one token costs one question.
Many requests with the same new token wait for the same question.

Upstream's counterpart is ``apiserver/plugin/pkg/authenticator/token/webhook``; its flags ``--authentication-token-webhook-*``.
Limits: ``CACHE_LIMIT`` answers, ``MAX_QUESTIONS`` at once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from knarr.api import codec
from knarr.api.authentication import v1 as authentication
from knarr.apiserver.expiring import ExpiringCache
from knarr.apiserver.remote import Endpoint, RemoteError, retried
from knarr.apiserver.request import UserInfo
from knarr.apiserver.tokens import InvalidToken, Verified
from knarr.kit.clock import Clock

__all__ = ["TokenWebhook"]

CACHE_LIMIT = 4096
MAX_QUESTIONS = 100
GROUP = "authentication.k8s.io"


class TokenWebhook:
    """Asks ``url``. ``version`` is the TokenReview's: v1 or v1beta1."""

    def __init__(
        self, endpoint: Endpoint, url: str, *, version: str, cache_ttl_s: float, clock: Clock
    ) -> None:
        self._endpoint = endpoint
        self._url = url
        self._version = version
        self._ttl_s = cache_ttl_s
        self._clock = clock
        self._known: ExpiringCache[bytes, Verified | InvalidToken] = ExpiringCache(clock, CACHE_LIMIT)
        self._asking: dict[bytes, asyncio.Future[Verified]] = {}
        self._places = asyncio.Semaphore(MAX_QUESTIONS)

    async def authenticate(self, token: str, audiences: tuple[str, ...]) -> Verified | None:
        """Raises ``InvalidToken``."""
        key = hashlib.sha256("\0".join((token, *audiences)).encode()).digest()
        known = self._known.get(key)
        if isinstance(known, InvalidToken):
            raise known
        if known is not None:
            return known
        asked = self._asking.get(key)
        if asked is None:
            asked = self._asking[key] = asyncio.ensure_future(self._ask(key, token, audiences))
            asked.add_done_callback(lambda done: self._finished(key, done))
        # Whoever goes away does not take the answer from the others who wait for it.
        return await asyncio.shield(asked)

    def _finished(self, key: bytes, asked: asyncio.Future[Verified]) -> None:
        del self._asking[key]
        if not asked.cancelled():
            asked.exception()

    async def _ask(self, key: bytes, token: str, audiences: tuple[str, ...]) -> Verified:
        body = {
            "apiVersion": f"{GROUP}/{self._version}",
            "kind": "TokenReview",
            "metadata": {"creationTimestamp": None},
            "spec": {"token": token, "audiences": list(audiences)},
            "status": {"user": {}},
        }
        async with self._places:
            try:
                answer = await retried(self._endpoint, "POST", self._url, msgspec.json.encode(body), self._clock)
            except RemoteError as error:
                # Nothing is known of the token: the next request asks again.
                raise InvalidToken(str(error)) from error
        if answer.status not in (200, 201):
            raise InvalidToken(f"webhook authenticator answered {answer.status}")
        try:
            status = codec.decode(authentication.TokenReview, answer.body).status
        except codec.DecodeError as error:
            raise InvalidToken(f"webhook authenticator: {error}") from error
        try:
            verified = _verdict(status, audiences)
        except InvalidToken as refused:
            self._known.put(key, refused, self._ttl_s)
            raise
        self._known.put(key, verified, self._ttl_s)
        return verified

    async def close(self) -> None:
        for asked in list(self._asking.values()):
            asked.cancel()
        await self._endpoint.close()


def _verdict(status: authentication.TokenReviewStatus, audiences: tuple[str, ...]) -> Verified:
    """Raises ``InvalidToken``."""
    if not status.authenticated:
        raise InvalidToken(status.error or "webhook authenticator does not know the token")
    # A service that says nothing of audiences does not know of them: it speaks for the API server.
    agreed = tuple(each for each in audiences if each in status.audiences) if status.audiences else audiences
    if not agreed:
        raise InvalidToken("webhook authenticator returned no audience that was asked for")
    user = status.user
    extra: Mapping[str, Any] = {key.lower(): tuple(values) for key, values in user.extra.items()}
    return Verified(UserInfo(user.username, tuple(user.groups), user.uid, extra), agreed)
