"""Service-account tokens: signed, bound, expiring.

A token names a service account by name and UID, its audience, and often the pod it was made for; it dies with
any of them. Verification is
remembered by the token's digest for a few seconds, because a signature check costs more than most requests.

Upstream's counterpart is ``pkg/serviceaccount``.

Neighbours: ``authentication`` verifies, the ``token`` sub-resource issues.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from knarr.api import codec
from knarr.apiserver.request import Response, UserInfo
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock

ISSUER = "https://kubernetes.default.svc.cluster.local"
#: Limits of a requested lifetime, as upstream.
MIN_LIFETIME_S, DEFAULT_LIFETIME_S, MAX_LIFETIME_S = 600, 3600, 1 << 32
#: Verified tokens remembered, and for how long.
CACHE_LIMIT, CACHE_S = 4096, 10.0


class InvalidToken(Exception):
    """The token is not good; the text says why and holds nothing secret."""


@dataclass(frozen=True, slots=True)
class Bound:
    """An object a token is bound to."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a good token says."""

    user: UserInfo
    audiences: tuple[str, ...]


#: ``lookup(kind, namespace, name)`` gives the UID of a live object, or None.
Lookup = Callable[[str, str, str], str | None]


class ServiceAccountTokens:
    """Issues and verifies tokens with one RSA key. ``key_pem`` is a private key in PEM."""

    def __init__(self, key_pem: bytes, *, clock: Clock, chance: Chance, lookup: Lookup) -> None:
        key = serialization.load_pem_private_key(key_pem, password=None)
        assert isinstance(key, rsa.RSAPrivateKey), "service-account keys are RSA"
        self._key = key
        self._public = key.public_key()
        self._clock = clock
        self._chance = chance
        self._lookup = lookup
        public_der = self._public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._key_id = jwt.utils.base64url_encode(hashlib.sha256(public_der).digest()).decode()
        self._good: OrderedDict[bytes, tuple[float, Verified]] = OrderedDict()

    def issue(
        self,
        namespace: str,
        name: str,
        *,
        uid: str,
        audiences: list[str],
        lifetime_s: int,
        bound: list[Bound],
    ) -> tuple[str, Any]:
        """A token and the moment it expires."""
        now = self._clock.now()
        expires = now + timedelta(seconds=lifetime_s)
        private: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
        for target in bound:
            private[target.kind.lower()] = {"name": target.name, "uid": target.uid}
        claims = {
            "aud": audiences,
            "exp": int(expires.timestamp()),
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "iss": ISSUER,
            "jti": self._chance.uid(),
            "kubernetes.io": private,
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._key_id}), expires

    def verify(self, token: str, *, audiences: tuple[str, ...] = (ISSUER,)) -> Verified:
        """Who a token stands for. Raises ``InvalidToken``."""
        digest = hashlib.sha256(token.encode() + b"\0".join(a.encode() for a in audiences)).digest()
        now_s = self._clock.monotonic_s()
        held = self._good.get(digest)
        if held is not None and now_s - held[0] < CACHE_S:
            return held[1]
        verified = self._verify(token, audiences)
        self._good[digest] = (now_s, verified)
        while len(self._good) > CACHE_LIMIT:
            self._good.popitem(last=False)
        return verified

    def _verify(self, token: str, audiences: tuple[str, ...]) -> Verified:
        # Times are checked against our clock, which in a simulated cluster is not the machine's.
        options: Any = {
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
            "require": ["exp", "sub", "iss"],
        }
        try:
            claims = jwt.decode(
                token,
                self._public,
                algorithms=["RS256"],
                audience=list(audiences),
                issuer=ISSUER,
                options=options,
            )
        except jwt.PyJWTError as error:
            raise InvalidToken(str(error)) from None
        if claims["exp"] <= self._clock.now().timestamp():
            raise InvalidToken("service account token has expired")
        private = claims.get("kubernetes.io") or {}
        account = private.get("serviceaccount") or {}
        namespace, name, uid = private.get("namespace", ""), account.get("name", ""), account.get("uid", "")
        if self._lookup("ServiceAccount", namespace, name) != uid:
            raise InvalidToken("service account has been deleted or recreated")
        extra: dict[str, tuple[str, ...]] = {
            "authentication.kubernetes.io/credential-id": (f"JTI={claims.get('jti', '')}",)
        }
        for kind in ("Pod", "Secret", "Node"):
            target = private.get(kind.lower())
            if target is None:
                continue
            scope = "" if kind == "Node" else namespace
            if self._lookup(kind, scope, target.get("name", "")) != target.get("uid"):
                raise InvalidToken(f"the {kind.lower()} the token is bound to is gone")
            if kind != "Secret":
                extra[f"authentication.kubernetes.io/{kind.lower()}-name"] = (target["name"],)
                extra[f"authentication.kubernetes.io/{kind.lower()}-uid"] = (target["uid"],)
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        found = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        user = UserInfo(f"system:serviceaccount:{namespace}:{name}", groups, uid, extra)
        return Verified(user, tuple(audience for audience in found if audience in audiences))

    def page(self, path: str, *, server: str) -> Response | None:
        """What verifiers elsewhere read: the keys and where they are, on the server at that address; None for any other path."""
        if path == "/openid/v1/jwks":
            return Response(body=codec.encode(self.public_jwks()), content_type="application/jwk-set+json")
        if path != "/.well-known/openid-configuration":
            return None
        document = {
            "issuer": ISSUER,
            "jwks_uri": f"https://{server}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        return Response(body=codec.encode(document))

    def public_jwks(self) -> dict[str, Any]:
        """The public key as a JSON web key set, for others who verify."""
        key: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(self._public, as_dict=True)
        return {"keys": [{**key, "use": "sig", "kid": self._key_id, "alg": "RS256"}]}
