"""Validating webhooks: all that a request concerns are asked at once; the first refusal, in their order, is the answer.

Upstream's counterpart is ``apiserver/pkg/admission/plugin/webhook/validating``.
"""

from __future__ import annotations

import asyncio

from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.apiserver.webhooks.hooks import Calls, Hooks, Invocation

__all__ = ["ValidatingWebhooks"]


class ValidatingWebhooks(Plugin):
    name = "ValidatingAdmissionWebhook"

    def __init__(self) -> None:
        self._hooks: Hooks | None = None
        self._calls: Calls | None = None

    def use(self, hooks: Hooks, calls: Calls) -> None:
        self._hooks, self._calls = hooks, calls

    async def validate(self, attributes: Attributes) -> None:
        assert self._hooks is not None and self._calls is not None, "use comes first"
        hooks = self._hooks.current()
        if not hooks:
            return
        found: list[Invocation] = []
        for hook in hooks:
            invocation = await self._calls.invocation(hook, attributes, f"round_0_index_{len(found)}")
            if invocation is not None:
                found.append(invocation)
        if not found:
            return
        if len(found) == 1:
            await self._calls.call(found[0], attributes, mutating=False)
            return
        calls = [self._calls.call(each, attributes, mutating=False) for each in found]
        # All are asked to the end: one webhook's refusal is no reason to break off another's call.
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
