"""Each way to say who one is, tried in turn: certificate, static token, service account, bootstrap token, then who must be asked.

A wrong credential is refused with 401; none at all makes the request anonymous, and authorization decides what that may see.
What can be decided here is decided without waiting, because it is on the way of every request; only issuers and webhooks are
awaited, and only for tokens nobody here knows.

Upstream's counterpart is ``pkg/kubeapiserver/authenticator/config.go``. Neighbours: ``tokens`` verifies service-account tokens;
``listener`` has verified certificates already; ``config`` says what is switched on.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from knarr.api.errors import unauthorized
from knarr.apiserver.authentication.request_header import remote_user
from knarr.apiserver.request import ANONYMOUS, Request, UserInfo
from knarr.apiserver.tokens import ISSUER, InvalidToken, ServiceAccountTokens, Verified

__all__ = ["AUTHENTICATED", "Authenticator", "LocalTokens", "RemoteTokens", "with_group"]

AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
#: A browser cannot set headers on a web socket; it offers its token as a protocol with this prefix.
PROTOCOL_PREFIX = "base64url.bearer.authorization.k8s.io."


class LocalTokens(Protocol):
    """Tokens that are known here."""

    def authenticate(self, token: str) -> UserInfo | None:
        """None: not one of these. Raises ``InvalidToken``."""


class RemoteTokens(Protocol):
    """Tokens that others know."""

    async def authenticate(self, token: str, audiences: tuple[str, ...]) -> Verified | None:
        """None: not one of these. Raises ``InvalidToken``."""


class Authenticator:
    """``static`` maps secret tokens to the users they stand for; ``local`` and ``remote`` are asked in their order."""

    def __init__(
        self,
        tokens: ServiceAccountTokens,
        *,
        static: Mapping[str, UserInfo] | None = None,
        local: Sequence[LocalTokens] = (),
        remote: Sequence[RemoteTokens] = (),
        anonymous: bool = True,
    ) -> None:
        self._tokens = tokens
        # By digest: finding one takes equally long however much of a wrong token is right.
        self._static = {_digest(token): with_group(user) for token, user in (static or {}).items()}
        self._local = tuple(local)
        self._remote = tuple(remote)
        self._anonymous = anonymous

    def authenticate(self, request: Request) -> UserInfo | None:
        """The user, or None where only ``authenticate_remotely`` can tell. Raises ``StatusError`` 401."""
        if request.peer is not None:
            return with_group(request.peer)
        if request.front_proxy is not None:
            named = remote_user(request.front_proxy)
            if named is not None:
                return with_group(named)
        token = bearer_token(request)
        if token is None:
            if not self._anonymous:
                raise unauthorized()
            return ANONYMOUS
        try:
            verified = self._locally(token, (ISSUER,))
        except InvalidToken:
            if self._remote:
                return None
            raise unauthorized() from None
        if verified is not None:
            return with_group(verified.user)
        if self._remote:
            return None
        raise unauthorized()

    async def authenticate_remotely(self, request: Request) -> UserInfo:
        """What ``authenticate`` left open. Raises ``StatusError`` 401."""
        token = bearer_token(request)
        assert token is not None, "only tokens are left open"
        try:
            verified = await self.review(token, (ISSUER,))
        except InvalidToken:
            raise unauthorized() from None
        return verified.user

    async def review(self, token: str, audiences: tuple[str, ...]) -> Verified:
        """Whom a token stands for, for these audiences. Raises ``InvalidToken`` with every reason it was refused for."""
        reasons: list[str] = []
        try:
            verified = self._locally(token, audiences)
        except InvalidToken as error:
            verified = None
            reasons.append(str(error))
        for each in self._remote:
            if verified is not None:
                break
            try:
                verified = await each.authenticate(token, audiences)
            except InvalidToken as error:
                reasons.append(str(error))
        if verified is None:
            raise InvalidToken(f"[{', '.join(['invalid bearer token', *reasons])}]" if reasons else "invalid bearer token")
        return Verified(with_group(verified.user), verified.audiences)

    def _locally(self, token: str, audiences: tuple[str, ...]) -> Verified | None:
        # These know of no audiences: they are good for the API server and for nobody else.
        if ISSUER in audiences:
            user = self._static.get(_digest(token)) if self._static else None
            for each in self._local:
                user = user or each.authenticate(token)
            if user is not None:
                return Verified(user, (ISSUER,))
        return self._tokens.verify(token, audiences=audiences) if token.count(".") == 2 else None


def bearer_token(request: Request) -> str | None:
    """The token a request brings; None without one. Any other kind of authorization counts as none, as upstream."""
    header = request.headers.get("authorization", "")
    if header:
        scheme, _, rest = header.strip().partition(" ")
        token = rest.partition(" ")[0]
        if scheme.lower() == "bearer" and token:
            return token
    offered = request.headers.get("sec-websocket-protocol", "")
    return _protocol_token(offered) if PROTOCOL_PREFIX in offered else None


def _protocol_token(offered: str) -> str | None:
    """The token among a web socket's protocols. Raises ``StatusError`` 401."""
    names = [name.strip() for name in offered.split(",")]
    encoded = [name.removeprefix(PROTOCOL_PREFIX) for name in names if name.startswith(PROTOCOL_PREFIX)]
    if len(encoded) != 1 or len(names) < 2:
        # A server must choose one of the protocols, and must not choose the token.
        raise unauthorized()
    try:
        text = base64.urlsafe_b64decode(encoded[0] + "=" * (-len(encoded[0]) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise unauthorized() from None
    return text or None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def with_group(user: UserInfo) -> UserInfo:
    """The user as one of all who are known, if they are."""
    if AUTHENTICATED in user.groups or user.name == ANONYMOUS.name:
        return user
    return UserInfo(user.name, (*user.groups, AUTHENTICATED), user.uid, user.extra)
