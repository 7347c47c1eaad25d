"""ID tokens of an OpenID Connect issuer: verified with the issuer's published keys, mapped to a user by their claims.

The issuer's document and its keys are fetched when the first of its tokens comes, and the keys again when a token is signed with one that
is not among them: an issuer may change its keys at any time. A token of another issuer is none of ours.

Upstream's counterpart is ``apiserver/plugin/pkg/authenticator/token/oidc``; its flags ``--oidc-*``.
Limits: keys are fetched at most once in ``MIN_REFRESH_S``, whoever sends what; ``CACHE_LIMIT`` verified tokens are remembered for ``CACHE_S``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
import msgspec

from knarr.apiserver.expiring import ExpiringCache
from knarr.apiserver.remote import Endpoint, RemoteError
from knarr.apiserver.request import UserInfo
from knarr.apiserver.tokens import ISSUER, InvalidToken, Verified
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger

__all__ = ["Oidc", "OidcOptions", "user_of"]

log = get_logger("oidc")

MIN_REFRESH_S = 1.0
CACHE_LIMIT, CACHE_S = 4096, 10.0
#: What an issuer may sign with; secrets shared with it (HMAC) are not for tokens that others issue.
ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")


@dataclass(slots=True)
class OidcOptions:
    """What upstream's flags of the same names say."""

    issuer_url: str
    client_id: str
    username_claim: str = "sub"
    username_prefix: str = ""
    groups_claim: str = ""
    groups_prefix: str = ""
    signing_algorithms: tuple[str, ...] = ("RS256",)
    required_claims: Mapping[str, str] = field(default_factory=dict)
    ca_pem: bytes = b""

    def __post_init__(self) -> None:
        if not self.issuer_url.startswith("https://"):
            raise ValueError(f"oidc-issuer-url: expected a URL with https, got {self.issuer_url!r}")
        if not self.client_id:
            raise ValueError("oidc-issuer-url and oidc-client-id must be specified together")
        unknown = [each for each in self.signing_algorithms if each not in ALGORITHMS]
        if unknown:
            raise ValueError(f"oidc-signing-algs: unsupported {', '.join(unknown)}; choose from {', '.join(ALGORITHMS)}")


class Oidc:
    """One issuer's tokens."""

    def __init__(self, options: OidcOptions, endpoint: Endpoint, clock: Clock) -> None:
        self._options = options
        self._endpoint = endpoint
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._keys_url = ""
        self._fetched_s = -MIN_REFRESH_S
        self._fetching = asyncio.Lock()
        self._known: ExpiringCache[bytes, UserInfo] = ExpiringCache(clock, CACHE_LIMIT)

    async def authenticate(self, token: str, audiences: tuple[str, ...]) -> Verified | None:
        """Raises ``InvalidToken``."""
        if ISSUER not in audiences or unverified_issuer(token) != self._options.issuer_url:
            return None
        digest = hashlib.sha256(token.encode()).digest()
        user = self._known.get(digest)
        if user is None:
            claims = await self._claims(token)
            user = user_of(claims, self._options)
            self._known.put(digest, user, min(CACHE_S, claims["exp"] - self._clock.now().timestamp()))
        return Verified(user, (ISSUER,))

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            key_id = str(jwt.get_unverified_header(token).get("kid", ""))
        except jwt.PyJWTError as error:
            raise InvalidToken(f"oidc: verify token: {error}") from None
        key = await self._key(key_id)
        # Times are checked against our clock, which in a simulated cluster is not the machine's.
        options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["exp", "iss", "aud"]}
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(self._options.signing_algorithms),
                audience=self._options.client_id,
                issuer=self._options.issuer_url,
                options=options,
            )
        except jwt.PyJWTError as error:
            raise InvalidToken(f"oidc: verify token: {error}") from None
        now_s = self._clock.now().timestamp()
        if not isinstance(claims["exp"], int | float) or claims["exp"] <= now_s:
            raise InvalidToken("oidc: verify token: oidc: token is expired")
        if float(claims.get("nbf", 0)) > now_s + 300:
            raise InvalidToken("oidc: verify token: oidc: current time is before the nbf (not before) time")
        return claims

    async def _key(self, key_id: str) -> jwt.PyJWK:
        """The key a token is signed with; the only one where neither token nor key has an id. Raises ``InvalidToken``."""
        found = self._find(key_id)
        if found is None:
            async with self._fetching:
                found = self._find(key_id)
                if found is None and self._clock.monotonic_s() - self._fetched_s >= MIN_REFRESH_S:
                    self._fetched_s = self._clock.monotonic_s()
                    await self._fetch()
                    found = self._find(key_id)
        if found is None:
            raise InvalidToken("oidc: verify token: failed to verify signature: no key of the issuer has the token's id")
        return found

    def _find(self, key_id: str) -> jwt.PyJWK | None:
        if not key_id and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    async def _fetch(self) -> None:
        """Raises ``InvalidToken`` while the issuer does not say what it should."""
        try:
            if not self._keys_url:
                self._keys_url = await self._discover()
            document = await self._get(self._keys_url)
            self._keys = _usable_keys(document)
        except RemoteError as error:
            log.warning("issuer not usable", issuer=self._options.issuer_url, error=error)
            raise InvalidToken("oidc: authenticator not initialized") from error

    async def _discover(self) -> str:
        document = await self._get(self._options.issuer_url.rstrip("/") + "/.well-known/openid-configuration")
        if document.get("issuer") != self._options.issuer_url:
            raise RemoteError(
                f"oidc: issuer did not match the issuer returned by provider, expected {self._options.issuer_url!r} "
                f"got {document.get('issuer')!r}"
            )
        url = document.get("jwks_uri")
        if not isinstance(url, str) or not url.startswith("https://"):
            raise RemoteError(f"oidc: expected jwks_uri with https, got {url!r}")
        return url

    async def _get(self, url: str) -> dict[str, Any]:
        answer = await self._endpoint.send("GET", url)
        if answer.status != 200:
            raise RemoteError(f"{url} answered {answer.status}")
        try:
            return msgspec.json.decode(answer.body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise RemoteError(f"{url}: {error}") from error

    async def close(self) -> None:
        await self._endpoint.close()


def unverified_issuer(token: str) -> str:
    """Whose token it says it is; empty for what is no token of this kind."""
    try:
        payload = token.split(".")[1]
        claims = msgspec.json.decode(jwt.utils.base64url_decode(payload.encode()))
        return str(claims.get("iss", ""))
    except (IndexError, ValueError, AttributeError, msgspec.DecodeError):
        return ""


def _usable_keys(document: dict[str, Any]) -> dict[str, jwt.PyJWK]:
    """The keys that sign, by their ids; what nobody here knows is left out."""
    keys: dict[str, jwt.PyJWK] = {}
    for entry in document.get("keys") or ():
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") == "oct":
            continue
        try:
            keys[str(entry.get("kid", ""))] = jwt.PyJWK(entry)
        except jwt.PyJWTError as error:
            log.info("key of the issuer skipped", error=error)
    return keys


def user_of(claims: Mapping[str, Any], options: OidcOptions) -> UserInfo:
    """The user that verified claims stand for. Raises ``InvalidToken``."""
    for claim, wanted in options.required_claims.items():
        if claim not in claims:
            raise InvalidToken(f"oidc: required claim {claim} not present in ID token")
        if claims[claim] != wanted:
            raise InvalidToken(f"oidc: required claim {claim} value does not match. Got = {claims[claim]}, want = {wanted}")
    name: Any = claims.get(options.username_claim)
    if not isinstance(name, str) or not name:
        raise InvalidToken(f'oidc: parse username claims "{options.username_claim}": claim not present')
    if options.username_claim == "email" and claims.get("email_verified", True) is not True:
        raise InvalidToken("oidc: email not verified")
    extra = {}
    if isinstance(claims.get("jti"), str):
        extra["authentication.kubernetes.io/credential-id"] = (f"JTI={claims['jti']}",)
    return UserInfo(_username_prefix(options) + name, tuple(_groups(claims, options)), "", extra)


def _username_prefix(options: OidcOptions) -> str:
    """A dash is no prefix; where nothing is said, names that are no e-mail addresses are told apart by their issuer."""
    if options.username_prefix == "-":
        return ""
    if not options.username_prefix and options.username_claim != "email":
        return options.issuer_url + "#"
    return options.username_prefix


def _groups(claims: Mapping[str, Any], options: OidcOptions) -> list[str]:
    if not options.groups_claim or claims.get(options.groups_claim) is None:
        return []
    found = claims[options.groups_claim]
    groups = [found] if isinstance(found, str) else found
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise InvalidToken(f'oidc: parse groups claim "{options.groups_claim}": expected a string or a list of strings')
    return [options.groups_prefix + group for group in groups if group]
