"""The authorizers of a server, asked in the order of ``--authorization-mode``; the first opinion counts.

Members of ``system:masters`` may everything, before anybody is asked. Everything but a webhook decides without waiting: ``decide`` gives
None where one must be asked, and only then ``decide_remotely`` is awaited.

Upstream's counterpart is ``apiserver/pkg/authorization/union``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from knarr.api.authorization import v1 as authorization
from knarr.apiserver.authorization.decision import ALLOWED, NO_OPINION, Decision
from knarr.apiserver.authorization.node import NodeAuthorizer
from knarr.apiserver.authorization.webhook import AuthorizationWebhook, AuthorizationWebhookOptions
from knarr.apiserver.rbac import SUPERUSERS, Question, RbacAuthorizer
from knarr.apiserver.request import UserInfo

__all__ = ["AuthorizationOptions", "AuthorizerChain", "Local"]

MODES = ("AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook")


@dataclass(slots=True)
class AuthorizationOptions:
    """Which authorizers, in their order. Upstream's default is AlwaysAllow, which nobody should run."""

    modes: tuple[str, ...] = ("Node", "RBAC")
    webhook: AuthorizationWebhookOptions | None = None

    def __post_init__(self) -> None:
        for mode in self.modes:
            if mode not in MODES:
                raise ValueError(f"authorization-mode {mode!r} is not a valid mode; choose from {', '.join(MODES)}")
        if len(set(self.modes)) != len(self.modes):
            raise ValueError(f"authorization-mode {','.join(self.modes)!r} has a mode specified more than once")
        if not self.modes:
            raise ValueError("at least one authorization-mode must be passed")
        if ("Webhook" in self.modes) != (self.webhook is not None):
            raise ValueError("authorization-mode Webhook and authorization-webhook-config-file go together")


class Local(Protocol):
    """Decides without waiting."""

    def decide(self, user: UserInfo, question: Question) -> Decision: ...

    def unknown_rules(self, user: UserInfo) -> str:
        """Why a user's rules cannot be listed; empty if they can, or if there are none."""
        ...


class _Always:
    """The same answer to every question."""

    def __init__(self, decision: Decision) -> None:
        self._decision = decision

    def decide(self, user: UserInfo, question: Question) -> Decision:
        return self._decision

    def unknown_rules(self, user: UserInfo) -> str:
        return ""


ALWAYS_ALLOW = _Always(ALLOWED)
ALWAYS_DENY = _Always(Decision(reason="Everything is forbidden."))


class AuthorizerChain:
    """``members`` in order."""

    def __init__(self, members: Sequence[Local | AuthorizationWebhook]) -> None:
        self._members = tuple(members)

    @classmethod
    def of(
        cls,
        options: AuthorizationOptions,
        *,
        rbac: RbacAuthorizer,
        node: NodeAuthorizer,
        webhook: AuthorizationWebhook | None,
    ) -> AuthorizerChain:
        """The chain that the options ask for."""
        known: dict[str, Local | AuthorizationWebhook] = {
            "AlwaysAllow": ALWAYS_ALLOW,
            "AlwaysDeny": ALWAYS_DENY,
            "Node": node,
            "RBAC": rbac,
        }
        if webhook is not None:
            known["Webhook"] = webhook
        return cls([known[mode] for mode in options.modes])

    def decide(self, user: UserInfo, question: Question) -> Decision | None:
        """The decision; None where a webhook must be asked."""
        if SUPERUSERS in user.groups:
            return ALLOWED
        reasons = ""
        for member in self._members:
            if isinstance(member, AuthorizationWebhook):
                return None
            decision = member.decide(user, question)
            if decision.allowed or decision.denied:
                return decision
            if decision.reason:
                reasons = f"{reasons}\n{decision.reason}" if reasons else decision.reason
        return Decision(reason=reasons) if reasons else NO_OPINION

    async def authorize(self, user: UserInfo, question: Question) -> Decision:
        """The decision, whoever must be asked for it."""
        if SUPERUSERS in user.groups:
            return ALLOWED
        reasons: list[str] = []
        errors: list[str] = []
        for member in self._members:
            if isinstance(member, AuthorizationWebhook):
                decision = await member.authorize(user, question)
            else:
                decision = member.decide(user, question)
            if decision.error:
                errors.append(decision.error)
            if decision.allowed or decision.denied:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(reason="\n".join(reasons), error=", ".join(errors))

    def allowed(self, user: UserInfo, question: Question) -> bool:
        """Whether it is allowed as far as this server knows by itself."""
        decision = self.decide(user, question)
        return decision is not None and decision.allowed

    def rules(self, user: UserInfo, namespace: str) -> authorization.SubjectRulesReviewStatus:
        """What the user may do in a namespace, as far as it can be listed."""
        status = authorization.SubjectRulesReviewStatus(incomplete=False)
        problems: list[str] = []
        for member in self._members:
            if isinstance(member, RbacAuthorizer):
                _list_rules(status, member, user, namespace)
            problems.extend(filter(None, _unknown(member, user)))
        if ALWAYS_ALLOW in self._members:
            status.resourceRules.append(authorization.ResourceRule(verbs=["*"], apiGroups=["*"], resources=["*"]))
            status.nonResourceRules.append(authorization.NonResourceRule(verbs=["*"], nonResourceURLs=["*"]))
        status.incomplete = bool(problems)
        status.evaluationError = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]" if problems else ""
        return status


def _unknown(member: Local | AuthorizationWebhook, user: UserInfo) -> Iterable[str]:
    yield member.unknown_rules(user)


def _list_rules(
    status: authorization.SubjectRulesReviewStatus, rbac: RbacAuthorizer, user: UserInfo, namespace: str
) -> None:
    for rule in rbac.rules_for(user, namespace):
        if rule.nonResourceURLs:
            status.nonResourceRules.append(
                authorization.NonResourceRule(verbs=rule.verbs, nonResourceURLs=rule.nonResourceURLs)
            )
        if rule.resources:
            status.resourceRules.append(
                authorization.ResourceRule(
                    verbs=rule.verbs,
                    apiGroups=rule.apiGroups,
                    resources=rule.resources,
                    resourceNames=rule.resourceNames,
                )
            )
