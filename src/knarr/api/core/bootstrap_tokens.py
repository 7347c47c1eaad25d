"""Bootstrap tokens as they stand in Secrets: ``bootstrap-token-<id>`` of ``kube-system``.

Counterpart upstream: ``k8s.io/cluster-bootstrap/token/api`` and its ``util/secrets``. Neighbours: the API server lets tokens in, controllers
sign with them and delete what has expired.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime

from knarr.api.core import v1 as core
from knarr.kit.clock import parse_rfc3339

__all__ = ["NAMESPACE", "NAME_PREFIX", "TYPE", "left_s", "value"]

NAMESPACE, TYPE, NAME_PREFIX = "kube-system", "bootstrap.kubernetes.io/token", "bootstrap-token-"


def value(secret: core.Secret, key: str) -> str:
    """One entry of a Secret as text; empty if it is missing or no text."""
    try:
        return base64.b64decode(secret.data.get(key, "")).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def left_s(secret: core.Secret, now: datetime) -> float | None:
    """How long the token is still good, 0 if it no longer is; None for one that is good for ever."""
    text = value(secret, "expiration")
    if not text:
        return None
    try:
        return max((parse_rfc3339(text) - now).total_seconds(), 0)
    except ValueError:
        # A time nobody can read must not make a token live for ever.
        return 0
