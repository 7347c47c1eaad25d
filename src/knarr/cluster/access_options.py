"""How an API server is protected, as flags say it: upstream's names, values and defaults.

One struct holds them all, so that ``knarr apiserver`` and ``knarr up --extra-config apiserver.NAME=VALUE`` cannot differ.

Neighbours: ``cli`` makes flags of ``FLAGS``; ``access_files`` turns what they say into the options of the API server's rooms. This module
imports none of those: every process of a cluster reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

__all__ = ["FLAGS", "AccessOptions", "parse_extra_config"]


class AccessOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Upstream's flags, dashes as underscores. Where upstream would let everybody do everything, we do not."""

    anonymous_auth: bool = True
    enable_bootstrap_token_auth: bool = False
    token_auth_file: str = ""
    oidc_issuer_url: str = ""
    oidc_client_id: str = ""
    oidc_ca_file: str = ""
    oidc_username_claim: str = "sub"
    oidc_username_prefix: str = ""
    oidc_groups_claim: str = ""
    oidc_groups_prefix: str = ""
    oidc_signing_algs: str = "RS256"
    oidc_required_claim: list[str] = []
    authentication_token_webhook_config_file: str = ""
    authentication_token_webhook_cache_ttl: str = "2m0s"
    authentication_token_webhook_version: str = "v1beta1"
    authorization_mode: str = "Node,RBAC"
    authorization_webhook_config_file: str = ""
    authorization_webhook_version: str = "v1beta1"
    authorization_webhook_cache_authorized_ttl: str = "5m0s"
    authorization_webhook_cache_unauthorized_ttl: str = "30s"
    admission_control_config_file: str = ""
    enable_admission_plugins: str = ""
    audit_policy_file: str = ""
    audit_log_path: str = ""
    audit_log_maxage: int = 0
    audit_log_maxbackup: int = 0
    audit_log_maxsize: int = 0
    audit_webhook_config_file: str = ""
    max_requests_inflight: int = 400
    max_mutating_requests_inflight: int = 200
    request_timeout: str = "1m0s"
    shutdown_delay_duration: str = "0s"


#: What each flag's help says.
FLAGS = {
    "anonymous_auth": "Let in requests without credentials, as system:anonymous.",
    "enable_bootstrap_token_auth": "Let in the bootstrap tokens of kube-system.",
    "token_auth_file": "Lines of token,user,uid,groups.",
    "oidc_issuer_url": "An OpenID Connect issuer, https only.",
    "oidc_client_id": "The audience the issuer's tokens are for.",
    "oidc_ca_file": "The CA of the issuer's certificate; the system's if not given.",
    "oidc_username_claim": "The claim that names the user.",
    "oidc_username_prefix": "What goes before the name; - for nothing.",
    "oidc_groups_claim": "The claim that lists groups.",
    "oidc_groups_prefix": "What goes before each group.",
    "oidc_signing_algs": "Algorithms the issuer may sign with, separated by commas.",
    "oidc_required_claim": "A claim KEY=VALUE that a token must have.",
    "authentication_token_webhook_config_file": "A kubeconfig that says where tokens are sent for review.",
    "authentication_token_webhook_cache_ttl": "How long its answers are remembered.",
    "authentication_token_webhook_version": "The TokenReview's version: v1beta1 or v1.",
    "authorization_mode": "Who decides, in order, separated by commas: AlwaysAllow, AlwaysDeny, Node, RBAC, Webhook.",
    "authorization_webhook_config_file": "A kubeconfig that says where rights are asked for.",
    "authorization_webhook_version": "The SubjectAccessReview's version: v1beta1 or v1.",
    "authorization_webhook_cache_authorized_ttl": "How long a yes is remembered.",
    "authorization_webhook_cache_unauthorized_ttl": "How long a no is remembered.",
    "admission_control_config_file": "An AdmissionConfiguration for PodSecurity and EventRateLimit.",
    "audit_policy_file": "What is written to the audit log.",
    "audit_log_path": "The audit log's file; - for standard output.",
    "audit_log_maxage": "Days that old files are kept.",
    "audit_log_maxbackup": "How many old files are kept.",
    "audit_log_maxsize": "Megabytes at which a file is begun anew.",
    "audit_webhook_config_file": "A kubeconfig that says where audit events are sent.",
    "max_requests_inflight": "Seats for requests that read; with those that write shared out by priority and fairness.",
    "max_mutating_requests_inflight": "Seats for requests that write; both 0: no priority and fairness.",
    "request_timeout": "How long a request may take that does not last by its nature.",
    "shutdown_delay_duration": "How long to serve on, not ready, before the end.",
    "enable_admission_plugins": "Besides those that are on: EventRateLimit, ExtendedResourceToleration.",
}

def parse_extra_config(entries: Sequence[str]) -> AccessOptions:
    """``apiserver.NAME=VALUE`` as minikube's ``--extra-config``. Raises ``ValueError``."""
    values: dict[str, Any] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        component, dot, flag = name.partition(".")
        if component != "apiserver" or not dot or not equals:
            raise ValueError(f"extra-config: expected apiserver.FLAG=VALUE, got {entry!r}")
        field = flag.replace("-", "_")
        if field not in FLAGS:
            raise ValueError(f"extra-config: the API server has no flag --{flag}")
        if isinstance(getattr(AccessOptions(), field), list):
            values.setdefault(field, []).append(value)
        else:
            values[field] = value
    try:
        return msgspec.convert(values, AccessOptions, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"extra-config: {error}") from None
