"""The generic path: what get, list, create, update, patch and delete do for any kind.

The way of a write: decode, default, mutating admission, the strategy's preparation, validation, validating
admission, one
conditional write to the store, wait until the watch cache has it, answer. A write that changes nothing is not
made.
A write refused because somebody was faster is tried again on the new state, unless the client named the
revision it meant.

Upstream's counterpart is ``registry/generic/registry.Store``.

Neighbours: ``storage`` reads and writes, ``cacher`` serves reads, ``strategy`` holds each kind's rules, ``admission`` may change or refuse,
``endpoints`` turns requests into calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from knarr.api import codec
from knarr.api.defaulting import apply_defaults
from knarr.api.errors import (
    StatusError,
    already_exists,
    bad_request,
    conflict,
    field_forbidden,
    invalid,
    not_found,
    quote,
)
from knarr.api.meta import v1 as meta
from knarr.api.scheme import Resource
from knarr.api.validation import OF_STATUS, validate, validate_update
from knarr.apiserver.admission.chain import Admission, Attributes
from knarr.apiserver.apply.applying import track_update
from knarr.apiserver.cacher import Cache, Entry, Hub
from knarr.apiserver.converted_watching import ConvertingDispatcher
from knarr.apiserver.registry import deletion
from knarr.apiserver.registry.storage import KindStorage
from knarr.apiserver.registry.strategy import Context, Strategy
from knarr.apiserver.watching import Dispatcher
from knarr.kit.clock import rfc3339
from knarr.store.contract import RevisionMismatch

__all__ = ["GenericRegistry", "Result"]

#: How often a write is tried again on a state that changed under it.
MAX_CONFLICT_RETRIES = 50
#: Fresh names tried for one generateName, as upstream.
MAX_NAME_ATTEMPTS = 8
#: Objects a deletecollection works on at once.
DELETE_WORKERS = 16

#: Turns the current object into the wanted one; may raise ``StatusError``.
Mutate = Callable[[Any], Awaitable[Any]]
#: Refuses, by ``StatusError``, that the new object (first) takes the place of the old.
Admit = Callable[[Any, Any], Awaitable[None]]

#: The resource itself, and sub-resources through which what is wanted of it is written.
_OF_SPEC = ("", "scale", "resize", "ephemeralcontainers")
NAMESPACE_MISMATCH = "the namespace of the provided object does not match the namespace sent on the request"


@dataclass(slots=True)
class Result:
    """An object as it now stands, whether this request created it, and whether the store has it so."""

    obj: Any
    created: bool = False
    deleted: bool = False
    written: bool = False


class GenericRegistry(KindStorage):
    """One kind, with its rules."""

    def __init__(
        self,
        resource: Resource,
        strategy: Strategy,
        *,
        cache: Cache,
        hub: Hub,
        admission: Admission,
        event_ttl_s: int = 0,
    ) -> None:
        super().__init__(resource, cache=cache, hub=hub, ttl_s=event_ttl_s)
        self.strategy = strategy
        self.dispatcher = Dispatcher(cache) if cache.converter is None else ConvertingDispatcher(cache)
        self.admission = admission

    async def create(self, ctx: Context, obj: Any) -> Result:
        """Create ``obj``, or what admission makes of it. Raises ``StatusError``: AlreadyExists, Invalid, Forbidden."""
        metadata = obj.metadata
        if metadata.resourceVersion not in ("", "0"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        _forget_system_fields(metadata)
        apply_defaults(obj)
        attributes = Attributes("CREATE", self.resource, ctx, metadata.namespace, metadata.name, obj=obj)
        await self.admission.mutate(attributes)
        if attributes.obj is not obj:
            namespace, obj = metadata.namespace, attributes.obj
            metadata = obj.metadata
            _forget_system_fields(metadata)
            if metadata.namespace != namespace:
                raise bad_request(NAMESPACE_MISMATCH)
        generated = bool(metadata.generateName) and not metadata.name
        for attempt in range(MAX_NAME_ATTEMPTS):
            candidate = codec.copy(obj) if generated else obj
            if generated:
                # Upstream cuts the base so that base and suffix fit a DNS label.
                candidate.metadata.name = obj.metadata.generateName[:58] + ctx.chance.suffix()
            try:
                return await self._create_named(ctx, candidate, attributes)
            except StatusError as error:
                last = attempt == MAX_NAME_ATTEMPTS - 1
                if not generated or error.reason != "AlreadyExists" or last:
                    raise
        raise AssertionError("the loop returns or raises")

    async def _create_named(self, ctx: Context, obj: Any, attributes: Attributes) -> Result:
        metadata = obj.metadata
        metadata.uid = ctx.chance.uid()
        metadata.creationTimestamp = rfc3339(ctx.clock.now())
        if not ctx.owners_settled:
            metadata.managedFields = []
        attributes.obj, attributes.name = obj, metadata.name
        self.strategy.prepare_create(ctx, obj)
        release = await self.strategy.reserve(ctx, obj, None)
        try:
            self._check(obj, await self.strategy.judge(ctx, obj, None, validate(obj)))
            await self.admission.validate(attributes)
            if not ctx.dry_run:
                await self._write(obj, expected=0)
            elif self.cache.get(self.key(metadata.namespace, metadata.name)) is not None:
                raise already_exists(self.resource.group, self.resource.plural, metadata.name)
        except BaseException:
            await release()
            await self.admission.abandoned(attributes)
            raise
        if ctx.dry_run:
            await release()
            await self.admission.abandoned(attributes)
        return Result(obj, created=True, written=not ctx.dry_run)

    def _check(self, obj: Any, errors: list[Any]) -> None:
        if errors:
            raise invalid(self.resource.group, self.resource.kind, obj.metadata.name, errors)

    async def update(
        self,
        ctx: Context,
        namespace: str,
        name: str,
        mutate: Mutate,
        *,
        subresource: str = "",
        may_create: bool = False,
        preconditions: meta.Preconditions | None = None,
        admit: Admit | None = None,
    ) -> Result:
        """Change one object by ``mutate``, again on a newer state if somebody else was faster.

        Where what is written is not what was sent (a scale, a binding), ``mutate`` has had it changed by admission, and ``admit``
        is asked in place of validating admission. Raises ``StatusError``: NotFound, Conflict, Invalid, Forbidden.
        """
        key = self.key(namespace, name)
        current = self.cache.get(key)
        for _ in range(MAX_CONFLICT_RETRIES):
            if current is None:
                await self._hub.fresh()
                current = self.cache.get(key)
            if current is None:
                if not may_create:
                    raise not_found(self.resource.group, self.resource.plural, name)
                return await self._create_by_update(ctx, namespace, name, mutate)
            if self.cache.converter is not None:
                await self.cache.converter.settle([current])
            old = self.cache.object(current)
            problem = deletion.check_preconditions(self.resource, name, old, preconditions)
            if problem is not None:
                raise problem
            obj = await mutate(codec.copy(old))
            meant = obj.metadata.resourceVersion
            if meant and meant != old.metadata.resourceVersion:
                raise conflict(self.resource.group, self.resource.plural, name)
            try:
                return await self._update_once(ctx, old, obj, subresource, admit)
            except RevisionMismatch as error:
                current = self._seen(error.current)
        raise conflict(self.resource.group, self.resource.plural, name)

    async def _create_by_update(self, ctx: Context, namespace: str, name: str, mutate: Mutate) -> Result:
        obj = await mutate(None)
        obj.metadata.namespace, obj.metadata.name = namespace, name
        if obj.metadata.uid or obj.metadata.resourceVersion not in ("", "0"):
            # The client meant an object that is gone, not a new one.
            raise not_found(self.resource.group, self.resource.plural, name)
        return await self.create(ctx, obj)

    async def _update_once(
        self, ctx: Context, old: Any, obj: Any, subresource: str, admit: Admit | None
    ) -> Result:
        """One attempt on top of ``old``. Raises ``RevisionMismatch`` if ``old`` is no longer current."""
        self._keep_identity(obj, old)
        apply_defaults(obj)
        attributes = Attributes(
            "UPDATE",
            self.resource,
            ctx,
            old.metadata.namespace,
            old.metadata.name,
            obj=obj,
            old=old,
            subresource=subresource,
        )
        if admit is None:
            await self.admission.mutate(attributes)
            if attributes.obj is not obj:
                obj = attributes.obj
                self._keep_identity(obj, old)
        if subresource in OF_STATUS:
            approving = subresource == "approval"
            prepare = self.strategy.prepare_approval if approving else self.strategy.prepare_status
            obj = attributes.obj = prepare(ctx, obj, old)
            self._keep_identity(obj, old)
        elif subresource in _OF_SPEC:
            self.strategy.prepare_update(ctx, obj, old)
        if not ctx.owners_settled:
            track_update(
                self.resource,
                old,
                obj,
                manager=ctx.field_manager,
                subresource=subresource,
                now=ctx.clock.now(),
            )
        release = await self.strategy.reserve(ctx, obj, old)
        try:
            if subresource in _OF_SPEC:
                faults = [*validate(obj, old), *validate_update(obj, old, subresource=subresource)]
                self._check(obj, await self.strategy.judge(ctx, obj, old, faults))
            elif subresource in OF_STATUS:
                faults = validate_update(obj, old, subresource=subresource)
                self._check(obj, await self.strategy.judge(ctx, obj, old, faults))
            if admit is None:
                await self.admission.validate(attributes)
            else:
                await admit(obj, old)
            revision = int(old.metadata.resourceVersion)
            obj.metadata.resourceVersion = old.metadata.resourceVersion
            if ctx.dry_run or obj == old:
                await release()
                return Result(obj)
            if self.may_go(obj):
                await self._remove(obj, revision)
                return Result(obj, deleted=True)
            await self._write(obj, expected=revision)
        except BaseException:
            await release()
            raise
        return Result(obj, written=True)

    def _keep_identity(self, obj: Any, old: Any) -> None:
        """What no client may change: who the object is, since when, and that it is being deleted."""
        new, was = obj.metadata, old.metadata
        if new.uid and new.uid != was.uid:
            raise conflict(
                self.resource.group,
                self.resource.plural,
                was.name,
                f"Precondition failed: UID in precondition: {new.uid}, UID in object meta: {was.uid}",
            )
        new.name, new.namespace, new.uid = was.name, was.namespace, was.uid
        new.creationTimestamp = was.creationTimestamp
        new.deletionTimestamp = was.deletionTimestamp
        new.deletionGracePeriodSeconds = was.deletionGracePeriodSeconds
        new.generation = was.generation
        new.selfLink = ""
        if not new.generateName:
            new.generateName = was.generateName
        if was.deletionTimestamp is not None:
            added = [name for name in new.finalizers if name not in was.finalizers]
            if added:
                raise new_finalizers(self.resource, was.name, added)

    async def delete(
        self,
        ctx: Context,
        namespace: str,
        name: str,
        options: meta.DeleteOptions,
        *,
        admitted: bool = False,
        among_others: bool = False,
    ) -> Result:
        """Delete or mark one object. Raises ``StatusError``: NotFound, Conflict.

        ``admitted``: admission has been asked in another way (of an eviction). ``among_others``: nobody named the object; upstream
        then tells admission no name.
        """
        deletion.check_options(options)
        key = self.key(namespace, name)
        current = self.cache.get(key)
        for _ in range(MAX_CONFLICT_RETRIES):
            if current is None:
                await self._hub.fresh()
                current = self.cache.get(key)
            if current is None:
                raise not_found(self.resource.group, self.resource.plural, name)
            if self.cache.converter is not None:
                await self.cache.converter.settle([current])
            obj = self.cache.object(current)
            problem = deletion.check_preconditions(self.resource, name, obj, options.preconditions)
            if problem is not None:
                raise problem
            if not admitted:
                said = "" if among_others else name
                attributes = Attributes("DELETE", self.resource, ctx, namespace, said, old=obj)
                attributes.given_options = options
                await self.admission.admit(attributes)
            decision = self.decide_deletion(obj, options, ctx)
            try:
                return await self._carry_out(ctx, obj, decision)
            except RevisionMismatch as error:
                current = self._seen(error.current)
        raise conflict(self.resource.group, self.resource.plural, name)

    def decide_deletion(self, obj: Any, options: meta.DeleteOptions, ctx: Context) -> deletion.Decision:
        """What a deletion does; namespaces have their own answer."""
        return deletion.decide(self.strategy, obj, options, now=ctx.clock.now())

    def may_go(self, obj: Any) -> bool:
        """Whether ``obj`` was marked for deletion and has nothing left to wait for: an update that makes it
        so removes it.
        """
        return deletion.is_done(obj)

    async def _carry_out(self, ctx: Context, obj: Any, decision: deletion.Decision) -> Result:
        revision = int(obj.metadata.resourceVersion)
        if decision.remove:
            if not ctx.dry_run:
                await self._remove(obj, revision)
            return Result(obj, deleted=True)
        if decision.updated is None:
            return Result(obj)
        if not ctx.dry_run:
            await self._write(decision.updated, expected=revision)
        return Result(decision.updated)

    async def _released(self, obj: Any) -> None:
        await self.strategy.released(obj)

    async def delete_collection(
        self, ctx: Context, entries: list[Entry], options: meta.DeleteOptions
    ) -> list[Any]:
        """Delete each of ``entries``; one that is gone already does not matter."""
        gate = asyncio.Semaphore(DELETE_WORKERS)

        async def one(entry: Entry) -> Any | None:
            async with gate:
                try:
                    result = await self.delete(ctx, entry.namespace, entry.name, options, among_others=True)
                    return result.obj
                except StatusError as error:
                    if error.code != 404:
                        raise
                    return None

        results = await asyncio.gather(*(one(entry) for entry in entries))
        return [obj for obj in results if obj is not None]


def _forget_system_fields(metadata: meta.ObjectMeta) -> None:
    """What no creator may set."""
    metadata.uid = ""
    metadata.creationTimestamp = None
    metadata.deletionTimestamp = None
    metadata.deletionGracePeriodSeconds = None
    metadata.selfLink = ""
    metadata.resourceVersion = ""


def new_finalizers(resource: Resource, name: str, added: list[str]) -> StatusError:
    listed = ", ".join(quote(each) for each in sorted(added))
    detail = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
    return invalid(resource.group, resource.kind, name, [field_forbidden("metadata.finalizers", detail)])
