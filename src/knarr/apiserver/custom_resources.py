"""Kinds that users define: each CustomResourceDefinition becomes resources of this server, while it runs.

A definition is established when its names clash with nobody's; from then on its versions are served through
the same generic path as built-in kinds; ``custom_versions`` converts at the border what is stored in another
version. Deleting a definition deletes its objects first. When a definition changes, its kinds change places
in one step: no request finds none.

Upstream's counterpart is ``apiextensions-apiserver``. Neighbours: ``api.apiextensions`` makes types of
schemas; ``server`` gives and takes the endpoints.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from knarr.api import codec, conditions
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apiextensions.custom import CustomResource, resources_of
from knarr.api.errors import FieldError, StatusError, invalid_value
from knarr.api.meta import v1 as meta
from knarr.api.scheme import Resource
from knarr.apiserver.cacher import Cache, Change, Hub
from knarr.apiserver.custom_versions import caches_of
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.registry.strategy import Context, Strategy
from knarr.apiserver.webhooks.client import WebhookClient
from knarr.apiserver.webhooks.conversion import ConversionWebhook
from knarr.kit.clock import Clock, rfc3339
from knarr.kit.log import get_logger

__all__ = ["CLEANUP_FINALIZER", "CustomResources", "CustomStrategy", "Definitions"]

log = get_logger("custom-resources")

CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
#: Between two looks at objects that do not go yet.
CLEANUP_PAUSE_S = 0.2
RETRY_PAUSE_S = 1.0

#: After faults of these kinds the rules of a definition are not asked: the object may be far from what they count on.
BLOCKING = frozenset(
    ("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")
)
BLOCKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
)

_Condition = apiextensions.CustomResourceDefinitionCondition


class Definitions(Strategy):
    """The strategy of definitions themselves."""

    def prepare_create(self, ctx: Context, obj: apiextensions.CustomResourceDefinition) -> None:
        Strategy.prepare_create(self, ctx, obj)
        if CLEANUP_FINALIZER not in obj.metadata.finalizers:
            obj.metadata.finalizers = [*obj.metadata.finalizers, CLEANUP_FINALIZER]
        obj.status.storedVersions = [version.name for version in obj.spec.versions if version.storage]


class CustomStrategy(Strategy):
    """The strategy of custom objects."""

    def prepare_create(self, ctx: Context, obj: Any) -> None:
        if self.has_status and hasattr(obj, "status"):
            obj.status = None
        obj.metadata.generation = 1

    def prepare_update(self, ctx: Context, obj: Any, old: Any) -> None:
        if self.has_status and hasattr(obj, "status"):
            obj.status = old.status
        obj.metadata.generation = old.metadata.generation
        if self._desired(obj) != self._desired(old):
            obj.metadata.generation = (old.metadata.generation or 0) + 1

    def prepare_status(self, ctx: Context, obj: Any, old: Any) -> Any:
        """Of a custom object the status alone is written this way, not even labels; and not that, if the schema has none."""
        changed = codec.copy(old)
        changed.metadata.resourceVersion = obj.metadata.resourceVersion
        changed.metadata.managedFields = obj.metadata.managedFields
        if hasattr(obj, "status"):
            changed.status = obj.status
        return changed

    async def judge(self, ctx: Context, obj: Any, old: Any | None, faults: list[FieldError]) -> list[FieldError]:
        """The rules of the definition's author, asked last: they count on an object that is sound otherwise."""
        assert isinstance(self.resource, CustomResource)
        rules = self.resource.expression_rules
        if rules is None:
            return faults
        if any(fault.reason in BLOCKING for fault in faults):
            return [*faults, invalid_value("<nil>", None, BLOCKED)]
        before = None if old is None else codec.to_dict(old)
        steps = rules.judge(codec.to_dict(obj), before, warn=ctx.warn)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return [*faults, *end.value]
            await ctx.clock.sleep(0)

    def _desired(self, obj: Any) -> Any:
        left_out = ("metadata", "apiVersion", "kind", *(("status",) if self.has_status else ()))
        return [getattr(obj, name) for name in obj.__struct_fields__ if name not in left_out]


class Host(Protocol):
    """What the server lets this room do."""

    def taken(self, resource: Resource) -> bool:
        """Whether a built-in kind or another definition has the resource's place."""
        ...

    def make_registry(self, resource: Resource, strategy: Strategy, cache: Cache) -> GenericRegistry: ...

    def install(self, registries: list[GenericRegistry]) -> None:
        """Serve these from now on."""
        ...

    def uninstall(self, resources: list[Resource]) -> None: ...


class CustomResources:
    """Follows the definitions and keeps the server's kinds in step."""

    def __init__(
        self,
        definitions: GenericRegistry,
        hub: Hub,
        host: Host,
        *,
        clock: Clock,
        context: Callable[[], Context],
        webhooks: WebhookClient,
    ) -> None:
        self._definitions = definitions
        self._hub = hub
        self._host = host
        self._clock = clock
        self._context = context
        self._webhooks = webhooks
        self._installed: dict[str, tuple[Any, list[GenericRegistry]]] = {}
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._wake: Callable[[], None] = lambda: None
        definitions.cache.subscribers.append(self._changed)

    def _changed(self, change: Change) -> None:
        self._waiting[change.entry.name] = None
        self._wake()

    async def run(self, *, started: Callable[[], None]) -> None:
        """Install what is there, say so, and follow until cancelled."""
        event = asyncio.Event()
        self._wake = event.set
        for definition in self._definitions.objects():
            await self._guarded(definition.metadata.name)
        started()
        while True:
            while self._waiting:
                name, _ = self._waiting.popitem(last=False)
                await self._guarded(name)
            event.clear()
            if not self._waiting:
                await event.wait()

    async def _guarded(self, name: str) -> None:
        try:
            await self._reconcile(name)
        except StatusError as error:
            log.warning("definition not settled", name=name, error=error)
            if error.code == 409 or error.code >= 500:
                if error.code >= 500:
                    # A conversion webhook that is down, or the store: soon again, but not at once.
                    await self._clock.sleep(RETRY_PAUSE_S)
                self._waiting[name] = None
        except Exception as error:
            log.exception("definition not settled", name=name, error=error)

    async def _reconcile(self, name: str) -> None:
        entry = self._definitions.cache.get(self._definitions.key("", name))
        definition = self._definitions.cache.object(entry) if entry is not None else None
        if definition is None:
            self._remove(name)
            return
        if definition.metadata.deletionTimestamp is not None:
            await self._finalize(definition)
            return
        held = self._installed.get(name)
        if held is None or held[0] != definition.spec:
            problem = await self._install(definition)
            if problem:
                await self._write(definition, problem)
                return
        await self._write(definition, "")

    async def _install(self, definition: apiextensions.CustomResourceDefinition) -> str:
        """Serve the definition's versions; returns why not, if it cannot be."""
        conversion = definition.spec.conversion
        resources = resources_of(definition)
        mine = self._installed.get(definition.metadata.name)
        if mine is None and any(self._host.taken(resource) for resource in resources):
            return f"{definition.spec.names.plural!r} is already in use"
        webhook = None
        if conversion is not None and conversion.strategy == "Webhook" and conversion.webhook is not None:
            webhook = ConversionWebhook(
                conversion.webhook,
                definition.spec.names.kind,
                client=self._webhooks,
                chance=self._context().chance,
            )
        registries = []
        for resource, cache in zip(resources, caches_of(resources, webhook), strict=True):
            strategy = CustomStrategy(
                resource, has_status="status" in resource.subresources, has_generation=True
            )
            registries.append(self._host.make_registry(resource, strategy, cache))
        await self._hub.attach([registry.cache for registry in registries])
        if mine is not None:
            self._host.uninstall([registry.resource for registry in mine[1]])
        self._installed[definition.metadata.name] = (definition.spec, registries)
        served = {version.name for version in definition.spec.versions if version.served}
        self._host.install([each for each in registries if each.resource.version in served])
        return ""

    def _remove(self, name: str) -> None:
        held = self._installed.pop(name, None)
        if held is not None:
            self._hub.detach([registry.cache for registry in held[1]])
            self._host.uninstall([registry.resource for registry in held[1]])

    async def _finalize(self, definition: apiextensions.CustomResourceDefinition) -> None:
        """Delete every object of the kind, then let the definition go."""
        name = definition.metadata.name
        held = self._installed.get(name)
        context = self._context()
        if held is not None:
            registry = held[1][0]
            entries = list(registry.cache.scan(registry.cache.prefix))
            if entries:
                await self._terminating(definition)
                await registry.delete_collection(context, entries, meta.DeleteOptions())
                await self._clock.sleep(CLEANUP_PAUSE_S)
                self._waiting[name] = None
                return

        async def mutate(current: Any | None) -> Any:
            assert current is not None
            current.metadata.finalizers = [f for f in current.metadata.finalizers if f != CLEANUP_FINALIZER]
            return current

        if CLEANUP_FINALIZER in definition.metadata.finalizers:
            await self._definitions.update(context, "", name, mutate)

    async def _terminating(self, definition: apiextensions.CustomResourceDefinition) -> None:
        condition = _Condition(
            type="Terminating",
            status="True",
            reason="InstanceDeletionInProgress",
            message="CustomResource deletion is in progress",
        )
        await self._set(definition, [condition])

    async def _write(self, definition: apiextensions.CustomResourceDefinition, problem: str) -> None:
        if problem:
            accepted = _Condition(type="NamesAccepted", status="False", reason="NotAccepted", message=problem)
            established = _Condition(
                type="Established", status="False", reason="NotAccepted", message="not all names are accepted"
            )
        else:
            accepted = _Condition(
                type="NamesAccepted", status="True", reason="NoConflicts", message="no conflicts found"
            )
            established = _Condition(
                type="Established",
                status="True",
                reason="InitialNamesAccepted",
                message="the initial names have been accepted",
            )
        await self._set(definition, [accepted, established])

    async def _set(
        self, definition: apiextensions.CustomResourceDefinition, wanted: list[_Condition]
    ) -> None:
        async def mutate(current: Any | None) -> Any:
            assert current is not None
            for condition in wanted:
                own = codec.copy(condition)
                own.lastTransitionTime = rfc3339(self._clock.now())
                conditions.put(current.status.conditions, own)
            current.status.acceptedNames = current.spec.names
            storage = [version.name for version in current.spec.versions if version.storage]
            known = current.status.storedVersions
            current.status.storedVersions = [*known, *(name for name in storage if name not in known)]
            return current

        await self._definitions.update(
            self._context(), "", definition.metadata.name, mutate, subresource="status"
        )
