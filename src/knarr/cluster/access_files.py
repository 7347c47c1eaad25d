"""From the flags that protect an API server to the options of its rooms; the files they name are read here, once, at the start.

Neighbours: ``access_options`` holds the flags; ``components`` starts the server with the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from knarr.apiserver.audit.config import AuditOptions
from knarr.apiserver.audit.policy import read_policy
from knarr.apiserver.authentication.config import AuthenticationOptions, TokenWebhookOptions
from knarr.apiserver.authentication.oidc import OidcOptions
from knarr.apiserver.authentication.token_file import read_token_file
from knarr.apiserver.authorization.chain import AuthorizationOptions
from knarr.apiserver.authorization.webhook import AuthorizationWebhookOptions
from knarr.client import kubeconfig
from knarr.client.kubeconfig import Credentials
from knarr.cluster.access_options import AccessOptions
from knarr.kit.durations import parse_duration_s

__all__ = ["audit_options", "authentication_options", "authorization_options", "more_admission", "read_yaml"]


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


def audit_options(options: AccessOptions) -> AuditOptions | None:
    """Raises ``ValueError``, ``OSError``, ``KubeconfigError``."""
    if not options.audit_policy_file:
        return None
    webhook = options.audit_webhook_config_file
    return AuditOptions(
        read_policy(read_yaml(options.audit_policy_file)),
        log_path=options.audit_log_path,
        log_max_bytes=options.audit_log_maxsize * 1024 * 1024,
        log_max_backups=options.audit_log_maxbackup,
        log_max_age_s=options.audit_log_maxage * 86_400.0,
        webhook=webhook_credentials(webhook) if webhook else None,
    )


def more_admission(options: AccessOptions) -> frozenset[str]:
    """Raises ``ValueError`` for a plug-in nobody has."""
    wanted = frozenset(filter(None, options.enable_admission_plugins.split(",")))
    unknown = wanted - OPTIONAL_PLUGINS - DEFAULT_PLUGINS
    if unknown:
        raise ValueError(f"enable-admission-plugins plugin {sorted(unknown)[0]!r} is unknown")
    return wanted & OPTIONAL_PLUGINS


OPTIONAL_PLUGINS = frozenset(("EventRateLimit", "ExtendedResourceToleration"))
#: Those that are on anyway may be named.
DEFAULT_PLUGINS = frozenset(
    (
        "CertificateApproval",
        "CertificateSigning",
        "CertificateSubjectRestriction",
        "DefaultIngressClass",
        "DefaultStorageClass",
        "DefaultTolerationSeconds",
        "LimitRanger",
        "MutatingAdmissionWebhook",
        "NamespaceLifecycle",
        "NodeRestriction",
        "PersistentVolumeClaimResize",
        "PodSecurity",
        "Priority",
        "ResourceQuota",
        "RuntimeClass",
        "ServiceAccount",
        "StorageObjectInUseProtection",
        "TaintNodesByCondition",
        "ValidatingAdmissionWebhook",
    )
)


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
