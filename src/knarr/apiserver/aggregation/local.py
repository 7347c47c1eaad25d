"""An APIService for every group and version that this server serves itself, as ``kubectl get apiservices`` shows them.

Those of built-in groups are made when the server starts, those of custom resources when a definition is established;
the latter go with their definitions. What stands there without being ours is left alone.

Upstream's counterparts are the ``autoregister`` and ``crdregistration`` controllers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from knarr.api import conditions
from knarr.api.apiregistration import v1 as apiregistration
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.apiserver.aggregation.availability import Verdict
from knarr.apiserver.aggregation.priorities import priority_of
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.registry.strategy import Context
from knarr.kit.clock import Clock, rfc3339
from knarr.kit.log import get_logger

__all__ = ["MANAGED", "add_local", "name_of", "remove_stale", "write_verdict"]

log = get_logger("aggregator")

MANAGED = "kube-aggregator.kubernetes.io/automanaged"
#: Made at the start, and not looked after further; kept in step with the definitions.
AT_START, ALWAYS = "onstart", "true"
#: It has no APIService itself.
OWN_GROUP = "apiregistration.k8s.io"

GroupVersion = tuple[str, str]


def name_of(group: str, version: str) -> str:
    return f"{version}.{group}"


def _wanted(group: str, version: str, *, custom: bool) -> apiregistration.APIService:
    minimum, priority = priority_of(group, version)
    return apiregistration.APIService(
        metadata=meta.ObjectMeta(
            name=name_of(group, version), labels={MANAGED: ALWAYS if custom else AT_START}
        ),
        spec=apiregistration.APIServiceSpec(
            group=group, version=version, groupPriorityMinimum=minimum, versionPriority=priority
        ),
    )


async def add_local(
    registry: GenericRegistry,
    context: Callable[[], Context],
    served: Iterable[GroupVersion],
    is_custom: Callable[[str], bool],
) -> None:
    """Make what is missing."""
    missing = [
        _wanted(group, version, custom=is_custom(group))
        for group, version in served
        if group != OWN_GROUP and registry.cache.get(registry.key("", name_of(group, version))) is None
    ]
    # Side by side, so that the store takes them to disk together.
    await asyncio.gather(*(_create(registry, context(), wanted) for wanted in missing))


async def remove_stale(
    registry: GenericRegistry, context: Callable[[], Context], served: Iterable[GroupVersion]
) -> None:
    """Remove what stood for a definition that has gone."""
    names = {name_of(group, version) for group, version in served}
    for entry in registry.cache.scan(registry.cache.prefix):
        if entry.labels.get(MANAGED) == ALWAYS and entry.name not in names:
            try:
                await registry.delete(context(), "", entry.name, meta.DeleteOptions())
            except StatusError as error:
                if error.code != 404:
                    raise


async def _create(registry: GenericRegistry, context: Context, wanted: apiregistration.APIService) -> None:
    try:
        await registry.create(context, wanted)
    except StatusError as error:
        # Another server may have been faster.
        if error.reason != "AlreadyExists":
            log.warning("API service not registered", name=wanted.metadata.name, error=error)


async def write_verdict(
    registry: GenericRegistry, context: Context, name: str, verdict: Verdict, clock: Clock
) -> None:
    """Write the condition ``Available``, if it changes anything."""
    good, reason, message = verdict

    async def mutate(current: apiregistration.APIService | None) -> apiregistration.APIService:
        assert current is not None
        condition = apiregistration.APIServiceCondition(
            type="Available",
            status="True" if good else "False",
            reason=reason,
            message=message,
            lastTransitionTime=rfc3339(clock.now()),
        )
        conditions.put(current.status.conditions, condition)
        return current

    try:
        await registry.update(context, "", name, mutate, subresource="status")
    except StatusError as error:
        if error.code not in (404, 409):
            raise
