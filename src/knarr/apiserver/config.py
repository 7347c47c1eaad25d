"""What differs between one API server and another: addresses, keys, and what of authentication, authorization, admission and
protection is switched on.

Neighbours: ``cluster.components`` fills it from flags, ``knarr.testing`` for a test.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from knarr.apiserver.admission.optional import EventLimit
from knarr.apiserver.admission.pod_security import PodSecurityOptions
from knarr.apiserver.aggregation.backends import Sender
from knarr.apiserver.aggregation.front_proxy import FrontProxy
from knarr.apiserver.audit.config import AuditOptions
from knarr.apiserver.authentication.config import AuthenticationOptions
from knarr.apiserver.authorization.chain import AuthorizationOptions
from knarr.apiserver.node_metrics.kubelets import Kubelets
from knarr.apiserver.request import UserInfo
from knarr.apiserver.subresources.pod_address import MayProxyTo, is_global_unicast
from knarr.apiserver.webhooks.transport import WebhookTransport

__all__ = ["ServerConfig"]


@dataclass(slots=True)
class ServerConfig:
    """What differs between one cluster's server and another's."""

    service_account_key_pem: bytes
    address: str = "10.96.255.1"
    port: int = 6443
    service_cidr: str = "10.96.0.0/16"
    service_address: str = "10.96.0.1"
    static_tokens: Mapping[str, UserInfo] = field(default_factory=dict)
    authentication: AuthenticationOptions = field(default_factory=AuthenticationOptions)
    authorization: AuthorizationOptions = field(default_factory=AuthorizationOptions)
    pod_security: PodSecurityOptions = field(default_factory=PodSecurityOptions)
    more_admission: frozenset[str] = frozenset()
    """Plug-ins that are not on by themselves."""
    event_limits: tuple[EventLimit, ...] = ()
    audit: AuditOptions | None = None
    max_requests_inflight: int = 400
    max_mutating_requests_inflight: int = 200
    """Together the seats that priority and fairness shares out; with 0 and 0 it is off."""
    request_timeout_s: float = 60.0
    kubelet_tls: ssl.SSLContext | None = None
    """TLS towards kubelets, with the server's client certificate."""
    webhook_transport: WebhookTransport | None = None
    """How webhooks are reached; None: over TLS."""
    backend_sender: Sender | None = None
    """How the servers behind APIServices are reached; None: over TLS."""
    may_proxy_to: MayProxyTo = is_global_unicast
    """Which addresses of pods and services are connected to; what serves "pods" on loopback allows more."""
    kubelets: Kubelets | None = None
    """How kubelets are asked what they use; None: over TLS."""
    front_proxy: FrontProxy = field(default_factory=FrontProxy)
