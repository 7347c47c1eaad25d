"""Mutating webhooks: one after the other, each sees what those before it made of the object.

A patch is applied to the object in the version the webhook saw; the outcome is decoded (which prunes what the kind has no field
for), defaulted and goes on in the request's own version. If anything changed, the chain has a second round: in it the webhooks with
``reinvocationPolicy: IfNeeded`` are asked again whose answer may have been another on the object as it is now. A webhook that
was not asked in the first round is not asked in the second.

Upstream's counterpart is ``apiserver/pkg/admission/plugin/webhook/mutating``.

Invariant: whatever a webhook answers, a refused request leaves no trace.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from knarr.api import codec
from knarr.api.defaulting import apply_defaults
from knarr.api.errors import internal_error
from knarr.api.patch import PatchError, json_patch
from knarr.apiserver.admission.chain import Attributes, Plugin, Reinvocation
from knarr.apiserver.webhooks.hooks import Calls, Hook, Hooks, Invocation, unsupported
from knarr.apiserver.webhooks.review import Verdict

__all__ = ["MutatingWebhooks"]


@dataclass(slots=True)
class _Rounds:
    """What is remembered between the rounds of one request."""

    asked: set[str] = field(default_factory=set)
    """Hooks that want to be asked again if the object changes from here on."""
    again: set[str] = field(default_factory=set)
    """Those of them for which it has."""
    last: Any = None
    """The object as this plug-in left it."""

    def changed(self) -> None:
        self.again |= self.asked
        self.asked = set()


class MutatingWebhooks(Plugin):
    name = "MutatingAdmissionWebhook"

    def __init__(self) -> None:
        self._hooks: Hooks | None = None
        self._calls: Calls | None = None

    def use(self, hooks: Hooks, calls: Calls) -> None:
        self._hooks, self._calls = hooks, calls

    async def mutate(self, attributes: Attributes) -> None:
        assert self._hooks is not None and self._calls is not None, "use comes first"
        hooks = self._hooks.current()
        if not hooks:
            return
        if attributes.reinvocation is None:
            attributes.reinvocation = Reinvocation()
        rounds: _Rounds = attributes.reinvocation.states.setdefault(self.name, _Rounds())
        running = attributes.reinvocation.running
        if running and rounds.last != attributes.obj:
            # The plug-ins of this server changed the object since.
            rounds.changed()
        for index, hook in enumerate(hooks):
            place = f"round_{int(running)}_index_{index}"
            await self._one(hook, place, attributes, attributes.reinvocation, rounds)
        if attributes.reinvocation.wanted and not running:
            rounds.last = None if attributes.obj is None else codec.copy(attributes.obj)

    async def _one(
        self, hook: Hook, place: str, attributes: Attributes, second: Reinvocation, rounds: _Rounds
    ) -> None:
        assert self._calls is not None
        if second.running and hook.uid not in rounds.again:
            return
        invocation = await self._calls.invocation(hook, attributes, place)
        if invocation is None:
            return
        changed = False
        try:
            verdict = await self._calls.call(invocation, attributes, mutating=True)
            if verdict is not None and verdict.patch:
                changed = await self._apply(invocation, attributes, verdict)
        finally:
            note = {"configuration": hook.configuration, "webhook": hook.webhook.name, "mutated": changed}
            attributes.annotate(f"mutation.webhook.admission.k8s.io/{place}", codec.encode(note).decode())
        if changed:
            rounds.changed()
            second.wanted = True
        if hook.webhook.reinvocationPolicy == "IfNeeded":
            rounds.asked.add(hook.uid)

    async def _apply(self, invocation: Invocation, attributes: Attributes, verdict: Verdict) -> bool:
        """Change the object as the webhook wants it; whether that makes a difference. Raises ``StatusError`` 500."""
        assert self._calls is not None
        webhook, seen = invocation.hook.webhook, invocation.seen
        try:
            operations = codec.parse_json(verdict.patch)
        except codec.DecodeError as error:
            raise internal_error(str(error)) from None
        if operations == []:
            return False
        if seen.obj is None:
            raise unsupported(webhook)
        try:
            after = json_patch(codec.to_dict(seen.obj), operations)
        except PatchError as error:
            raise internal_error(str(error)) from None
        obj = _decoded(seen.obj, after)
        changed = bool(obj != seen.obj)
        apply_defaults(obj)
        if changed:
            attributes.obj = await self._calls.versions.back(obj, seen, attributes)
        return changed


def _decoded(before: Any, after: Any) -> Any:
    """The patched data as an object of the same kind. Raises ``StatusError`` 500."""
    cls: Any = type(before)
    if not isinstance(after, dict):
        raise internal_error("couldn't get version/kind; the patch leaves something that is no object")
    try:
        obj = codec.decode(cls, after)
    except codec.DecodeError as error:
        raise internal_error(f"{cls.__name__} cannot be handled as a {cls.__name__}: {error}") from None
    if (obj.apiVersion, obj.kind) != (before.apiVersion, before.kind):
        raise internal_error(
            f"the patch turns a {before.apiVersion}, Kind={before.kind} into a {obj.apiVersion}, Kind={obj.kind}"
        )
    return obj
