"""The configured webhooks, in the order in which they are called, and one call of one of them.

The list is made anew when a configuration changes, by configuration name and then as written; a request finds it ready. Whether
a hook is called is decided by ``admission.matching``, then by ``conditions`` (the hook's ``matchConditions``), which sees the request
in the version the hook wants.

Upstream's counterpart is ``apiserver/pkg/admission/plugin/webhook/generic`` and ``admission/configuration``.

Neighbours: ``mutating`` and ``validating`` go through the list, ``review`` words the question, ``client`` asks it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from knarr.api.admissionregistration import v1 as registration
from knarr.api.errors import StatusError, bad_request, internal_error, quote
from knarr.apiserver.admission.chain import Attributes
from knarr.apiserver.admission.matching import Criteria, Matcher
from knarr.apiserver.admission.versions import Convert, Versions
from knarr.apiserver.cacher import Change
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.webhooks.client import CallFailed, WebhookClient
from knarr.apiserver.webhooks.review import Unfit, Verdict, denial, make_review, read_verdict, version_for
from knarr.kit.log import get_logger

__all__ = ["Calls", "Conditions", "Hook", "Hooks", "Invocation", "no_conditions"]

log = get_logger("webhooks")

#: A verdict with a patch of the largest object, as base64.
MAX_VERDICT_BYTES = 4 * 1024 * 1024
DEFAULT_TIMEOUT_S = 10

Webhook = registration.MutatingWebhook | registration.ValidatingWebhook


@dataclass(frozen=True, slots=True, eq=False)
class Hook:
    """One webhook of one configuration."""

    configuration: str
    index: int
    webhook: Any
    criteria: Criteria

    @property
    def uid(self) -> str:
        """Names of webhooks are not unique among configurations."""
        return f"{self.configuration}/{self.webhook.name}/{self.index}"


@dataclass(slots=True)
class Invocation:
    """A hook that is to be called, and the request as it wants to see it."""

    hook: Hook
    seen: Attributes
    place: str
    """In which round and as the how many-th it is called, as the audit log has it."""


#: Whether a webhook's ``matchConditions`` let the request through. Raises ``StatusError`` where that cannot be said and the
#: webhook's failure policy is Fail.
Conditions = Callable[[Webhook, Attributes], Awaitable[bool]]


async def no_conditions(webhook: Webhook, attributes: Attributes) -> bool:
    """Every condition holds."""
    return True


class Hooks:
    """The webhooks of one kind of configuration.

    ``live`` says whether the server answers clients yet. What it writes before, at its start, no webhook is asked about: one
    that runs in the cluster is down as long as the cluster is, and would keep it so.
    """

    def __init__(self, configurations: GenericRegistry, *, live: Callable[[], bool]) -> None:
        self._configurations = configurations
        self._live = live
        self._held: list[Hook] = []
        self._stale = True
        configurations.cache.subscribers.append(self._changed)

    def _changed(self, change: Change) -> None:
        self._stale = True

    def current(self) -> list[Hook]:
        if self._stale:
            if not self._live():
                return []
            self._held = [
                Hook(configuration.metadata.name, index, webhook, Criteria.of_webhook(webhook))
                for configuration in self._configurations.objects()
                for index, webhook in enumerate(configuration.webhooks)
            ]
            self._stale = False
        return self._held


class Calls:
    """Decides whether hooks are called, and calls them."""

    def __init__(
        self, client: WebhookClient, matcher: Matcher, *, convert: Convert, conditions: Conditions = no_conditions
    ) -> None:
        self._client = client
        self._matcher = matcher
        self.versions = Versions(convert)
        self._conditions = conditions

    async def invocation(self, hook: Hook, attributes: Attributes, place: str) -> Invocation | None:
        """How the hook is to be called, if the request concerns it. Raises ``StatusError``."""
        match = self._matcher.match(hook.criteria, attributes)
        if match is None:
            return None
        seen = await self.versions.seen(attributes, match.resource)
        if hook.webhook.matchConditions and not await self._conditions(hook.webhook, seen):
            return None
        return Invocation(hook, seen, place)

    async def call(self, invocation: Invocation, attributes: Attributes, *, mutating: bool) -> Verdict | None:
        """The verdict of a hook that allows; None where a hook failed that may. Raises ``StatusError`` for everything else."""
        webhook = invocation.hook.webhook
        if attributes.dry_run and webhook.sideEffects not in ("None", "NoneOnDryRun"):
            raise bad_request(f"admission webhook {quote(webhook.name)} does not support dry run")
        try:
            verdict = await self._ask(invocation, attributes, mutating=mutating)
        except CallFailed as error:
            if webhook.failurePolicy == "Ignore":
                log.warning("webhook failed open", webhook=invocation.hook.uid, error=error)
                attributes.annotate(_failed_open_key(invocation, mutating=mutating), webhook.name)
                return None
            log.warning("webhook failed closed", webhook=invocation.hook.uid, error=error)
            raise internal_error(f"failed calling webhook {quote(webhook.name)}: {error}") from None
        for key, value in verdict.audit_annotations.items():
            attributes.annotate(f"{webhook.name}/{key}", value)
        for warning in verdict.warnings:
            attributes.ctx.warn(warning)
        if not verdict.allowed:
            raise denial(webhook.name, verdict.status)
        return verdict

    async def _ask(self, invocation: Invocation, attributes: Attributes, *, mutating: bool) -> Verdict:
        webhook = invocation.hook.webhook
        uid = attributes.ctx.chance.uid()
        try:
            version = version_for(webhook.admissionReviewVersions)
        except Unfit as error:
            raise CallFailed(f"could not create admission objects: {error}") from None
        review = make_review(invocation.seen, attributes, uid=uid, version=version)
        try:
            body = await self._client.post(
                webhook.clientConfig,
                review,
                timeout_s=webhook.timeoutSeconds or DEFAULT_TIMEOUT_S,
                max_bytes=MAX_VERDICT_BYTES,
            )
        except CallFailed as error:
            raise CallFailed(f"failed to call webhook: {error}") from None
        try:
            verdict = read_verdict(body, uid=uid, version=version, mutating=mutating)
        except Unfit as error:
            raise CallFailed(f"received invalid webhook response: {error}") from None
        if verdict.allowed and verdict.patch and verdict.patch_type != "JSONPatch":
            raise CallFailed(f"unsupported patch type {quote(verdict.patch_type)}")
        return verdict


def _failed_open_key(invocation: Invocation, *, mutating: bool) -> str:
    phase = "mutation" if mutating else "validating"
    return f"failed-open.{phase}.webhook.admission.k8s.io/{invocation.place}"


def unsupported(webhook: Webhook) -> StatusError:
    """A patch where there is nothing to patch."""
    return internal_error(
        f"admission webhook {quote(webhook.name)} attempted to modify the object, which is not supported for this operation"
    )
