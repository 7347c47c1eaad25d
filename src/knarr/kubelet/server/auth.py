"""Who may ask this kubelet what: client certificate or token, then the API's own authorization.

A certificate signed by the cluster's CA names its user and groups. A bearer token is shown to the API
(TokenReview). What the user wants is put to the API as well (SubjectAccessReview on
``nodes/<subresource>``), so that roles hold here too.

Upstream counterpart: ``pkg/kubelet/server/auth.go``, ``cmd/kubelet/app/auth.go``. Neighbour: ``listener``.

Limits: answers are kept for upstream's times (token 2 min, allowed 5 min, denied 30 s), at most
``MAX_ANSWERS`` of each.
"""

from __future__ import annotations

import hashlib
import ssl
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography import x509
from cryptography.x509.oid import NameOID

from knarr.api.authentication import v1 as authentication
from knarr.api.authorization import v1 as authorization
from knarr.client.client import Client
from knarr.kit.clock import Clock

__all__ = ["ANONYMOUS", "Access", "ApiAccess", "User", "certificate_user", "wanted_access"]

TOKEN_TTL_S, ALLOWED_TTL_S, DENIED_TTL_S = 120.0, 300.0, 30.0
MAX_ANSWERS = 1024
_VERBS = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


@dataclass(frozen=True, slots=True)
class User:
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


class Access(Protocol):
    """The two questions; a test or a standalone kubelet may answer them differently."""

    async def user_of_token(self, token: str) -> User | None: ...

    async def allowed(self, user: User, verb: str, subresource: str) -> bool: ...


def certificate_user(tls: ssl.SSLObject | None) -> User | None:
    """The user in the connection's client certificate, which the TLS layer has verified."""
    der = tls.getpeercert(binary_form=True) if tls is not None else None
    if not der:
        return None
    subject = x509.load_der_x509_certificate(der).subject
    names = [str(each.value) for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = tuple(str(each.value) for each in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    return User(names[0], (*groups, "system:authenticated")) if names else None


def wanted_access(method: str, path: str) -> tuple[str, list[str]]:
    """(verb, sub-resources of which one suffices) for a request."""
    verb = _VERBS.get(method, method.lower())
    first = path.strip("/").split("/")[0]
    special = {"stats": "stats", "metrics": "metrics", "logs": "log", "checkpoint": "checkpoint"}
    if first in special:
        return verb, [special[first]]
    fine = {"healthz": "healthz", "pods": "pods", "runningpods": "pods", "configz": "configz"}
    return verb, [fine[first], "proxy"] if first in fine else ["proxy"]


class ApiAccess:
    """Asks the API server; the questions are about the node ``node_name``."""

    def __init__(self, client: Client, node_name: str, *, clock: Clock) -> None:
        self._client = client
        self._node_name = node_name
        self._clock = clock
        self._users: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self._verdicts: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    async def user_of_token(self, token: str) -> User | None:
        # A token must not lie about in memory longer than needed.
        key = hashlib.sha256(token.encode()).digest()
        known = self._known(self._users, key)
        if known is not None:
            found: User | None = known[0]
            return found
        review = authentication.TokenReview(spec=authentication.TokenReviewSpec(token=token))
        status = (await self._client.create(review)).status
        user: User | None = None
        if status.authenticated and status.user is not None:
            user = User(status.user.username, tuple(status.user.groups), status.user.uid)
        self._keep(self._users, key, user, TOKEN_TTL_S)
        return user

    async def allowed(self, user: User, verb: str, subresource: str) -> bool:
        key = (user, verb, subresource)
        known = self._known(self._verdicts, key)
        if known is not None:
            return bool(known[0])
        review = authorization.SubjectAccessReview(
            spec=authorization.SubjectAccessReviewSpec(
                user=user.name,
                groups=list(user.groups),
                uid=user.uid,
                resourceAttributes=authorization.ResourceAttributes(
                    verb=verb,
                    group="",
                    version="v1",
                    resource="nodes",
                    subresource=subresource,
                    name=self._node_name,
                ),
            )
        )
        verdict = bool((await self._client.create(review)).status.allowed)
        self._keep(self._verdicts, key, verdict, ALLOWED_TTL_S if verdict else DENIED_TTL_S)
        return verdict

    def _known(self, table: OrderedDict[Hashable, tuple[float, Any]], key: Hashable) -> tuple[Any] | None:
        entry = table.get(key)
        if entry is None or self._clock.monotonic_s() > entry[0]:
            return None
        return (entry[1],)

    def _keep(
        self, table: OrderedDict[Hashable, tuple[float, Any]], key: Hashable, value: Any, ttl_s: float
    ) -> None:
        table[key] = (self._clock.monotonic_s() + ttl_s, value)
        table.move_to_end(key)
        while len(table) > MAX_ANSWERS:
            table.popitem(last=False)
