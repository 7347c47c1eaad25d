"""What of the audit log is switched on, and the auditor that comes of it."""

from __future__ import annotations

from dataclasses import dataclass

from knarr.apiserver.audit.auditor import Auditor
from knarr.apiserver.audit.backends import Backend, LogFile, WebhookBackend
from knarr.apiserver.audit.policy import Policy
from knarr.apiserver.remote import HttpsEndpoint
from knarr.client.kubeconfig import Credentials
from knarr.kit.clock import Clock

__all__ = ["AuditOptions", "build_auditor"]


@dataclass(slots=True)
class AuditOptions:
    """``log_path`` empty: no file; ``webhook`` None: nobody is sent anything."""

    policy: Policy
    log_path: str = ""
    log_max_bytes: int = 0
    log_max_backups: int = 0
    log_max_age_s: float = 0.0
    webhook: Credentials | None = None


def build_auditor(options: AuditOptions | None, clock: Clock) -> Auditor | None:
    if options is None:
        return None
    backends: list[Backend] = []
    if options.log_path:
        backends.append(
            LogFile(
                options.log_path,
                clock,
                max_bytes=options.log_max_bytes,
                max_backups=options.log_max_backups,
                max_age_s=options.log_max_age_s,
            )
        )
    if options.webhook is not None:
        backends.append(WebhookBackend(HttpsEndpoint(options.webhook), options.webhook.server, clock))
    return Auditor(options.policy, backends, clock) if backends else None
