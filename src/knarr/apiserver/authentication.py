"""Who sends a request: client certificate, bearer token, or nobody known.

A wrong credential is refused with 401; none at all makes the request anonymous, and authorization decides
what that may see.
Impersonation headers are honoured for those who may impersonate.

Neighbours: ``tokens`` verifies service-account tokens; ``listener`` has verified certificates already.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping

from knarr.api.errors import StatusError, bad_request, unauthorized
from knarr.apiserver.request import ANONYMOUS, Request, UserInfo
from knarr.apiserver.tokens import InvalidToken, ServiceAccountTokens

AUTHENTICATED = "system:authenticated"

#: ``may(user, group, resource, name)``: whether ``user`` may impersonate that; raises ``StatusError`` if not.
MayImpersonate = Callable[[UserInfo, str, str, str], Awaitable[None]]


class Authenticator:
    """Tries each way in turn. ``static`` maps secret tokens to the users they stand for."""

    def __init__(self, tokens: ServiceAccountTokens, *, static: Mapping[str, UserInfo] | None = None) -> None:
        self._tokens = tokens
        self._static = {token.encode(): user for token, user in (static or {}).items()}

    def authenticate(self, request: Request) -> UserInfo:
        """Raises ``StatusError`` 401."""
        if request.peer is not None:
            return with_group(request.peer)
        header = request.headers.get("authorization", "")
        if not header:
            return ANONYMOUS
        scheme, _, token = header.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise unauthorized()
        return with_group(self.by_token(token))

    def by_token(self, token: str) -> UserInfo:
        """Raises ``StatusError`` 401."""
        encoded = token.encode()
        for known, user in self._static.items():
            if hmac.compare_digest(known, encoded):
                return user
        try:
            return self._tokens.verify(token).user
        except InvalidToken:
            raise unauthorized() from None


def with_group(user: UserInfo) -> UserInfo:
    if AUTHENTICATED in user.groups or user.name == ANONYMOUS.name:
        return user
    return UserInfo(user.name, (*user.groups, AUTHENTICATED), user.uid, user.extra)


async def impersonate(request: Request, may: MayImpersonate) -> UserInfo:
    """The user a request acts as. Raises ``StatusError`` 403 when that is not allowed."""
    name = request.headers.get("impersonate-user", "")
    groups = [value for value in request.headers.get("impersonate-group", "").split(",") if value]
    if not name:
        if groups:
            raise bad_impersonation()
        return request.user
    if name.startswith("system:serviceaccount:") and name.count(":") == 3:
        _, _, namespace, account = name.split(":")
        await may(request.user, namespace, "serviceaccounts", account)
        groups = groups or ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    else:
        await may(request.user, "", "users", name)
    for group in groups:
        if not group.startswith("system:serviceaccounts"):
            await may(request.user, "", "groups", group)
    return with_group(UserInfo(name, tuple(groups)))


def bad_impersonation() -> StatusError:
    return bad_request("requested groups without impersonating a user")
