"""From the flags that protect an API server to the options of its rooms; the files they name are read here, once, at the start.

Neighbours: ``access_options`` holds the flags; ``components`` starts the server with the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from knarr.apiserver.authentication.config import AuthenticationOptions, TokenWebhookOptions
from knarr.apiserver.authentication.oidc import OidcOptions
from knarr.apiserver.authentication.token_file import read_token_file
from knarr.apiserver.authorization.chain import AuthorizationOptions
from knarr.apiserver.authorization.webhook import AuthorizationWebhookOptions
from knarr.client import kubeconfig
from knarr.client.kubeconfig import Credentials
from knarr.cluster.access_options import AccessOptions, parse_duration_s

__all__ = ["authentication_options", "authorization_options"]


def webhook_credentials(path: str) -> Credentials:
    """Where a webhook is, from a file in kubeconfig format. Raises ``KubeconfigError``."""
    return kubeconfig.load([Path(path)])


def authentication_options(options: AccessOptions) -> AuthenticationOptions:
    """Raises ``ValueError``, ``OSError``, ``KubeconfigError`` for what cannot be used."""
    made = AuthenticationOptions(
        anonymous=options.anonymous_auth, bootstrap_tokens=options.enable_bootstrap_token_auth
    )
    if options.token_auth_file:
        made.tokens = read_token_file(options.token_auth_file, Path(options.token_auth_file).read_text())
    if options.oidc_issuer_url or options.oidc_client_id:
        made.oidc = OidcOptions(
            options.oidc_issuer_url,
            options.oidc_client_id,
            username_claim=options.oidc_username_claim,
            username_prefix=options.oidc_username_prefix,
            groups_claim=options.oidc_groups_claim,
            groups_prefix=options.oidc_groups_prefix,
            signing_algorithms=tuple(options.oidc_signing_algs.split(",")),
            required_claims=_required_claims(options.oidc_required_claim),
            ca_pem=Path(options.oidc_ca_file).read_bytes() if options.oidc_ca_file else b"",
        )
    if options.authentication_token_webhook_config_file:
        made.webhook = TokenWebhookOptions(
            webhook_credentials(options.authentication_token_webhook_config_file),
            version=options.authentication_token_webhook_version,
            cache_ttl_s=parse_duration_s(options.authentication_token_webhook_cache_ttl),
        )
    return made


def authorization_options(options: AccessOptions) -> AuthorizationOptions:
    """Raises ``ValueError``, ``OSError``, ``KubeconfigError``."""
    webhook = None
    if options.authorization_webhook_config_file:
        webhook = AuthorizationWebhookOptions(
            webhook_credentials(options.authorization_webhook_config_file),
            options.authorization_webhook_version,
            parse_duration_s(options.authorization_webhook_cache_authorized_ttl),
            parse_duration_s(options.authorization_webhook_cache_unauthorized_ttl),
        )
    modes = tuple(filter(None, options.authorization_mode.split(",")))
    return AuthorizationOptions(modes, webhook)


def _required_claims(entries: Sequence[str]) -> Mapping[str, str]:
    claims: dict[str, str] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals:
            raise ValueError(f"oidc-required-claim: expected KEY=VALUE, got {entry!r}")
        claims[name] = value
    return claims


def read_yaml(path: str) -> Any:
    """A configuration file. Raises ``ValueError`` for what is no YAML."""
    try:
        return yaml.safe_load(Path(path).read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from None
