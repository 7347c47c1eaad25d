"""What expressions ask the authorizer. Evaluation is one step; an authorization webhook is not.

An expression's question that this server can answer is answered at once. One that a webhook must answer breaks the evaluation off
(``Unanswered``); ``settled`` asks the webhook and evaluates again, which then finds the answer. Answers are remembered for the request, as
upstream's caching authorizer does.

Neighbours: ``activation`` gives expressions their ``authorizer``; ``authorization.chain`` answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from knarr.api.cel.library.authorization import AccessQuestion, Authorizer, Decision
from knarr.apiserver.authorization.chain import AuthorizerChain
from knarr.apiserver.rbac import Question
from knarr.apiserver.request import UserInfo

__all__ = ["Decisions"]

T = TypeVar("T")


class Unanswered(Exception):
    """Somebody else must be asked."""

    def __init__(self, asked: AccessQuestion) -> None:
        super().__init__(asked)
        self.asked = asked


class Decisions:
    """The answers of one request."""

    def __init__(self, authorizer: AuthorizerChain, user: UserInfo) -> None:
        self._authorizer = authorizer
        self._user = user
        self._held: dict[AccessQuestion, Decision] = {}

    def variable(self) -> Authorizer:
        return Authorizer(self._answer)

    async def settled(self, evaluate: Callable[[], T]) -> T:
        """What ``evaluate`` gives; it is called again when a question it asked has an answer, and must do nothing twice."""
        while True:
            try:
                return evaluate()
            except Unanswered as error:
                asked = error.asked
            user, question = self._question(asked)
            decision = await self._authorizer.authorize(user, question)
            self._held[asked] = Decision(decision.allowed, decision.reason, decision.error)

    def _answer(self, asked: AccessQuestion) -> Decision:
        held = self._held.get(asked)
        if held is None:
            decision = self._authorizer.decide(*self._question(asked))
            if decision is None:
                raise Unanswered(asked)
            held = self._held[asked] = Decision(decision.allowed, decision.reason, decision.error)
        return held

    def _question(self, asked: AccessQuestion) -> tuple[UserInfo, Question]:
        user = self._user
        if asked.service_account is not None:
            namespace, name = asked.service_account
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
            user = UserInfo(f"system:serviceaccount:{namespace}:{name}", groups)
        question = Question(
            verb=asked.verb,
            group=asked.group,
            resource=asked.resource,
            subresource=asked.subresource,
            namespace=asked.namespace,
            name=asked.name,
            path=asked.path,
            fields=asked.fields,
        )
        return user, question
