"""ResourceQuota: nothing is admitted that would take a namespace over what it may use.

What an object takes is written into the quota's status before the object is: two creations at once cannot
both take the last of it. If the object is then not
created, the quota controller finds the difference and gives it back.

Upstream's counterpart is the ``ResourceQuota`` plug-in. Neighbours: ``api.core.usage`` counts, the quota
controller recounts.
"""

from __future__ import annotations

from typing import Any

from knarr.api import quantity
from knarr.api.core import v1 as core
from knarr.api.core.usage import Usage, covers, exceeded, missing_requests, usage_of
from knarr.api.errors import StatusError, forbidden
from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.apiserver.registry.generic import GenericRegistry


class ResourceQuota(Plugin):
    name = "ResourceQuota"

    def __init__(self) -> None:
        self._quotas: GenericRegistry | None = None

    def use(self, quotas: GenericRegistry) -> None:
        self._quotas = quotas

    async def validate(self, attributes: Attributes) -> None:
        if attributes.operation not in ("CREATE", "UPDATE") or not attributes.namespace:
            return
        if attributes.subresource or attributes.ctx.dry_run or attributes.is_("", "events"):
            return
        assert self._quotas is not None
        cache = self._quotas.cache
        if not cache.scan(cache.within(attributes.namespace)):
            return
        delta = self._delta(attributes)
        if not delta:
            return
        for quota in self._quotas.objects(attributes.namespace):
            if covers(quota, attributes.resource.plural, attributes.obj):
                await self._take(attributes, quota, delta)

    def _delta(self, attributes: Attributes) -> Usage:
        """What the write adds to what is used."""
        resource = attributes.resource
        usage = usage_of(resource.group, resource.plural, attributes.obj)
        if attributes.operation == "CREATE":
            return {name: amount for name, amount in usage.items() if amount}
        before = usage_of(resource.group, resource.plural, attributes.old)
        changed = {name: amount - before.get(name, 0) for name, amount in usage.items()}
        return {name: amount for name, amount in changed.items() if amount > 0}

    async def _take(self, attributes: Attributes, quota: core.ResourceQuota, delta: Usage) -> None:
        assert self._quotas is not None
        relevant = {name: amount for name, amount in delta.items() if name in quota.spec.hard}
        if attributes.is_("", "pods") and attributes.operation == "CREATE":
            self._demand(attributes, quota)
        if not relevant:
            return

        async def mutate(current: Any | None) -> core.ResourceQuota:
            assert current is not None
            held: core.ResourceQuota = current
            unknown = sorted(name for name in relevant if name not in held.status.used)
            if unknown:
                text = f"status unknown for quota: {held.metadata.name}, resources: {','.join(unknown)}"
                raise self._refused(attributes, text)
            over = exceeded(held.spec.hard, held.status.used, relevant)
            if over:
                raise self._refused(attributes, _exceeded_text(held, relevant, over))
            for name, amount in relevant.items():
                total = quantity.nanos(held.status.used[name]) + amount
                held.status.used[name] = _written(total, held.spec.hard[name])
            return held

        await self._quotas.update(
            attributes.ctx, attributes.namespace, quota.metadata.name, mutate, subresource="status"
        )

    def _demand(self, attributes: Attributes, quota: core.ResourceQuota) -> None:
        """A pod must say what it takes of everything that is limited."""
        missing = missing_requests(quota.spec.hard, attributes.obj)
        if missing:
            parts = [f"{name} for: {','.join(names)}" for name, names in sorted(missing.items())]
            text = f"failed quota: {quota.metadata.name}: must specify {'; '.join(parts)}"
            raise self._refused(attributes, text)

    def _refused(self, attributes: Attributes, text: str) -> StatusError:
        resource = attributes.resource
        name = attributes.name or attributes.obj.metadata.generateName
        return forbidden(resource.group, resource.plural, name, text)


def _exceeded_text(quota: core.ResourceQuota, delta: Usage, over: list[str]) -> str:
    requested = ",".join(f"{name}={_written(delta[name], quota.spec.hard[name])}" for name in over)
    used = ",".join(f"{name}={quota.status.used[name]}" for name in over)
    limited = ",".join(f"{name}={quota.spec.hard[name]}" for name in over)
    return f"exceeded quota: {quota.metadata.name}, requested: {requested}, used: {used}, limited: {limited}"


def _written(nanos: int, like: str) -> quantity.Quantity:
    """An amount as a quantity, in the style (binary or decimal) of another."""
    return quantity.from_nanos(nanos, like=like)
