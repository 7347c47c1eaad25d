"""Namespaces: one that is deleted stays until the namespace controller has emptied it.

Deletion marks it Terminating; the controller removes ``kubernetes`` from ``spec.finalizers`` through the
``finalize`` sub-resource, and with
the last finalizer the object goes.

Upstream's counterpart is ``pkg/registry/core/namespace``.
"""

from __future__ import annotations

from typing import Any

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.apiserver.registry import deletion
from knarr.apiserver.registry.generic import GenericRegistry, Result
from knarr.apiserver.registry.strategy import Context, Strategy
from knarr.kit.clock import rfc3339

FINALIZER = "kubernetes"
NAME_LABEL = "kubernetes.io/metadata.name"


class Namespaces(Strategy):
    def prepare_create(self, ctx: Context, obj: core.Namespace) -> None:
        obj.status = core.NamespaceStatus(phase="Active")
        if FINALIZER not in obj.spec.finalizers:
            obj.spec.finalizers = [*obj.spec.finalizers, FINALIZER]
        obj.metadata.labels = {**obj.metadata.labels, NAME_LABEL: obj.metadata.name}

    def prepare_update(self, ctx: Context, obj: core.Namespace, old: core.Namespace) -> None:
        obj.status = old.status
        obj.spec.finalizers = list(old.spec.finalizers)
        obj.metadata.labels = {**obj.metadata.labels, NAME_LABEL: obj.metadata.name}


class NamespaceRegistry(GenericRegistry):
    """Namespaces are deleted in their own way."""

    def decide_deletion(self, obj: Any, options: meta.DeleteOptions, ctx: Context) -> deletion.Decision:
        if obj.metadata.deletionTimestamp is not None:
            if not obj.spec.finalizers and not obj.metadata.finalizers:
                return deletion.Decision(remove=True)
            return deletion.Decision(remove=False)
        changed = codec.copy(obj)
        changed.metadata.deletionTimestamp = rfc3339(ctx.clock.now())
        changed.metadata.deletionGracePeriodSeconds = None
        changed.status.phase = "Terminating"
        return deletion.Decision(remove=False, updated=changed)

    def may_go(self, obj: Any) -> bool:
        # What is in the namespace is held by a finalizer of the specification, not of the metadata.
        return not obj.spec.finalizers and deletion.is_done(obj)

    async def finalize(self, ctx: Context, name: str, wanted: core.Namespace) -> Result:
        """Set ``spec.finalizers``; the last one going takes the namespace with it."""

        async def mutate(current: Any | None) -> core.Namespace:
            assert current is not None
            changed: core.Namespace = current
            changed.spec.finalizers = list(wanted.spec.finalizers)
            changed.metadata.resourceVersion = (
                wanted.metadata.resourceVersion or changed.metadata.resourceVersion
            )
            return changed

        result = await self.update(ctx, "", name, mutate, subresource="finalize")
        obj = result.obj
        if (
            obj.metadata.deletionTimestamp
            and not obj.spec.finalizers
            and not obj.metadata.finalizers
            and not result.deleted
        ):
            await self._remove(obj, int(obj.metadata.resourceVersion))
        return result
