"""Bootstrap tokens: how a machine that has nothing yet asks for its first certificate.

A token ``<id>.<secret>`` stands in a Secret ``bootstrap-token-<id>`` of ``kube-system``. Whoever shows it is ``system:bootstrap:<id>`` in
the group ``system:bootstrappers``, until the token expires or the Secret goes.

Upstream's counterpart is ``plugin/pkg/auth/authenticator/token/bootstrap``. Switched on by ``--enable-bootstrap-token-auth``.
"""

from __future__ import annotations

import hmac
import re

from knarr.api.core import v1 as core
from knarr.api.core.bootstrap_tokens import NAME_PREFIX, NAMESPACE, TYPE, left_s, value
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.request import UserInfo
from knarr.apiserver.tokens import InvalidToken
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger

__all__ = ["BootstrapTokens"]

log = get_logger("bootstrap-tokens")

GROUP = "system:bootstrappers"
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})", re.ASCII)
_EXTRA_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]", re.ASCII)


class BootstrapTokens:
    """Looks tokens up among the Secrets."""

    def __init__(self, secrets: GenericRegistry, clock: Clock) -> None:
        self._secrets = secrets
        self._clock = clock

    def authenticate(self, token: str) -> UserInfo | None:
        """None for what does not look like one, or is not known. Raises ``InvalidToken`` for one that is not good."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        name = NAME_PREFIX + match[1]
        entry = self._secrets.cache.get(self._secrets.key(NAMESPACE, name))
        if entry is None:
            return None
        secret: core.Secret = self._secrets.cache.object(entry)
        problem = self._problem(secret, match[1], match[2])
        if problem:
            # What is wrong with it is for the operator's eyes; whoever shows the token learns only that it is not good.
            log.warning("bootstrap token refused", secret=name, problem=problem)
            return None
        return UserInfo(f"system:bootstrap:{match[1]}", tuple(_groups(secret)))

    def _problem(self, secret: core.Secret, token_id: str, token_secret: str) -> str:
        if secret.metadata.deletionTimestamp:
            return "is deleted and awaiting removal"
        if secret.type != TYPE:
            return "has invalid type, expected bootstrap.kubernetes.io/token"
        if not hmac.compare_digest(value(secret, "token-secret").encode(), token_secret.encode()):
            return "has invalid value for key token-secret"
        if value(secret, "token-id") != token_id:
            return "has invalid value for key token-id"
        if left_s(secret, self._clock.now()) == 0:
            return "has expired"
        if value(secret, "usage-bootstrap-authentication") != "true":
            return "not marked usage-bootstrap-authentication=true"
        return ""


def _groups(secret: core.Secret) -> list[str]:
    """Raises ``InvalidToken`` for a group a token must not give."""
    groups = {GROUP}
    for group in filter(None, value(secret, "auth-extra-groups").split(",")):
        if _EXTRA_GROUP.fullmatch(group) is None:
            raise InvalidToken(
                f'invalid value for key auth-extra-groups: bootstrap group "{group}" is invalid (must match '
                r"\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z)"
            )
        groups.add(group)
    return sorted(groups)
