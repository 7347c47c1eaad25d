"""What of authentication is switched on, and the authenticator that comes of it.

Nothing here but certificates, service accounts and anonymous requests works unless it is configured, as upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from knarr.apiserver.authentication.authenticator import Authenticator, LocalTokens, RemoteTokens
from knarr.apiserver.authentication.bootstrap_tokens import BootstrapTokens
from knarr.apiserver.authentication.oidc import Oidc, OidcOptions
from knarr.apiserver.authentication.webhook import TokenWebhook
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.remote import Endpoint, HttpsEndpoint
from knarr.apiserver.request import UserInfo
from knarr.apiserver.tokens import ServiceAccountTokens
from knarr.client.kubeconfig import Credentials
from knarr.kit.clock import Clock

__all__ = ["AuthenticationOptions", "TokenWebhookOptions", "build_authenticator"]

DEFAULT_TOKEN_CACHE_S = 120.0


@dataclass(slots=True)
class TokenWebhookOptions:
    """Where TokenReviews go."""

    credentials: Credentials
    version: str = "v1beta1"
    cache_ttl_s: float = DEFAULT_TOKEN_CACHE_S

    def __post_init__(self) -> None:
        if self.version not in ("v1", "v1beta1"):
            raise ValueError(f"authentication-token-webhook-version: expected v1 or v1beta1, got {self.version!r}")


@dataclass(slots=True)
class AuthenticationOptions:
    """One server's ways to authenticate."""

    anonymous: bool = True
    bootstrap_tokens: bool = False
    tokens: Mapping[str, UserInfo] = field(default_factory=dict)
    """Those of the token file."""
    oidc: OidcOptions | None = None
    webhook: TokenWebhookOptions | None = None


#: Makes the way to a service; tests put another one here.
OpenEndpoint = Callable[[Credentials], Endpoint]


def build_authenticator(
    options: AuthenticationOptions,
    tokens: ServiceAccountTokens,
    secrets: GenericRegistry,
    *,
    static: Mapping[str, UserInfo],
    clock: Clock,
    open_endpoint: OpenEndpoint = HttpsEndpoint,
) -> tuple[Authenticator, list[Oidc | TokenWebhook]]:
    """The authenticator, and what of it must be closed at the end."""
    local: list[LocalTokens] = [BootstrapTokens(secrets, clock)] if options.bootstrap_tokens else []
    remote: list[Oidc | TokenWebhook] = []
    if options.oidc is not None:
        endpoint = open_endpoint(Credentials(options.oidc.issuer_url, ca_pem=options.oidc.ca_pem))
        remote.append(Oidc(options.oidc, endpoint, clock))
    if options.webhook is not None:
        asked = options.webhook
        remote.append(
            TokenWebhook(
                open_endpoint(asked.credentials),
                asked.credentials.server,
                version=asked.version,
                cache_ttl_s=asked.cache_ttl_s,
                clock=clock,
            )
        )
    others: list[RemoteTokens] = list(remote)
    authenticator = Authenticator(
        tokens,
        static={**options.tokens, **static},
        local=local,
        remote=others,
        anonymous=options.anonymous,
    )
    return authenticator, remote
