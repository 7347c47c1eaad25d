"""The ``matchConditions`` of webhooks and policies: further conditions, in CEL, on the requests they are asked about.

One that is false lets the request pass by, whatever the others say. Otherwise one that fails is a failure of the webhook or policy: with
``failurePolicy: Fail`` the request is refused, with ``Ignore`` it passes by.

Upstream's counterpart is ``admission/plugin/webhook/matchconditions``. Neighbours: ``webhooks.hooks`` and ``policies`` ask; ``policies.activation``
evaluates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from knarr.api.admissionregistration import v1 as registration
from knarr.api.errors import StatusError, forbidden
from knarr.apiserver.admission.chain import Attributes
from knarr.apiserver.authorization.chain import AuthorizerChain

if TYPE_CHECKING:
    from knarr.api.admissionregistration.expressions import Compiled

__all__ = ["ConditionsFailed", "MatchConditions", "WebhookConditions", "refusal_of"]

#: Compiled conditions remembered, by their texts. A cluster has few; the limit is against configurations that change all the time.
COMPILED_KEPT = 1024


class ConditionsFailed(Exception):
    """It cannot be said whether the conditions hold, and the failure policy is Fail."""


class MatchConditions:
    """Conditions, compiled. With ``params`` they may mention those of a policy."""

    def __init__(self, conditions: Sequence[registration.MatchCondition], *, params: bool = False) -> None:
        from knarr.api.admissionregistration.expressions import CONDITION, Scope

        scope = Scope(params=params)
        self._compiled: list[Compiled] = [
            scope.compile(condition.expression, CONDITION, composed=False) for condition in conditions
        ]

    def hold(self, values: Mapping[str, Any], *, failure_policy: str | None) -> bool:
        """Whether the request is one they let through. Raises ``ConditionsFailed``."""
        from knarr.api.cel.limits import MATCH_CONDITIONS_COST_BUDGET
        from knarr.apiserver.policies.activation import Activation, OutOfBudget

        activation = Activation(values, {}, budget=MATCH_CONDITIONS_COST_BUDGET)
        errors = []
        try:
            for compiled in self._compiled:
                outcome = activation.evaluate(compiled)
                if outcome.error:
                    errors.append(outcome.error)
                elif outcome.value is False:
                    return False
        except OutOfBudget as error:
            errors = [str(error)]
        if not errors:
            return True
        if failure_policy == "Ignore":
            return False
        distinct = list(dict.fromkeys(errors))
        raise ConditionsFailed(distinct[0] if len(distinct) == 1 else f"[{', '.join(distinct)}]")


def refusal_of(attributes: Attributes, text: str) -> StatusError:
    """The answer when admission says no, naming the object as upstream names it."""
    name = attributes.name
    if not name:
        metadata = getattr(attributes.obj, "metadata", None)
        name = (metadata.name or metadata.generateName) if metadata is not None else ""
    return forbidden(attributes.resource.group, attributes.resource.plural, name or "Unknown", text)


class WebhookConditions:
    """The conditions of webhooks, for ``webhooks.hooks``."""

    def __init__(self, authorizer: AuthorizerChain) -> None:
        self._authorizer = authorizer
        self._compiled: dict[tuple[str, ...], MatchConditions] = {}

    async def __call__(self, webhook: Any, attributes: Attributes) -> bool:
        """Raises ``StatusError`` 403 where that cannot be said and the webhook's failure policy is Fail."""
        from knarr.apiserver.policies.activation import variables_of
        from knarr.apiserver.policies.decisions import Decisions

        key = tuple(condition.expression for condition in webhook.matchConditions)
        conditions = self._compiled.get(key)
        if conditions is None:
            if len(self._compiled) >= COMPILED_KEPT:
                self._compiled.clear()
            conditions = self._compiled[key] = MatchConditions(webhook.matchConditions)
        decisions = Decisions(self._authorizer, attributes.ctx.user)
        values = variables_of(attributes, attributes, decisions=decisions, namespace=None, params=None)
        compiled, policy = conditions, webhook.failurePolicy
        try:
            return await decisions.settled(lambda: compiled.hold(values, failure_policy=policy))
        except ConditionsFailed as error:
            resource = attributes.resource
            raise forbidden(resource.group, resource.plural, attributes.name, str(error)) from None
