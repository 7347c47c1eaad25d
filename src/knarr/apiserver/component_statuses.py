"""GET and LIST of ``componentstatuses``: are the scheduler, the controllers and the store well? Deprecated, and still asked for.

Nothing of it is kept. The store is asked here and now. Upstream asks the others' health ports on its own machine; ours serve
none, and may run anywhere, so that their Leases are looked at: a component that renews its Lease in time reaches
the API and its loop turns. What runs without leader election has no Lease and
is told as not healthy, with that as the message.

Upstream's counterpart is ``pkg/registry/core/componentstatus``.

Neighbours: ``server`` comes here after authorization, ``computed`` gives the answer its form.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from knarr.api.coordination import v1 as coordination
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError, method_not_allowed, path_not_found, unforeseen
from knarr.api.meta import v1 as meta
from knarr.api.scheme import Resource
from knarr.apiserver import negotiation
from knarr.apiserver.computed import render_computed, render_computed_list
from knarr.apiserver.fields import FieldReader
from knarr.apiserver.listing import parse_list_query
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.request import Request, Response
from knarr.kit.clock import Clock, parse_rfc3339
from knarr.store.contract import Store, StoreError

__all__ = ["ComponentStatuses"]

#: Each component's name here, and that of its Lease.
LEASES = {"scheduler": "kube-scheduler", "controller-manager": "kube-controller-manager"}
STORE = "etcd-0"
#: How long the store may take, as upstream.
PATIENCE_S = 20.0
DEPRECATED = "v1 ComponentStatus is deprecated in v1.19+"


class ComponentStatuses:
    """Answers requests to the resource. ``leases`` is the registry of Leases."""

    def __init__(self, store: Store, leases: GenericRegistry, clock: Clock) -> None:
        self._store = store
        self._leases = leases
        self._clock = clock

    async def handle(self, request: Request, resource: Resource) -> Response:
        """Raises ``StatusError`` 404, 405, 406, 500 for an unknown component, 400 for selectors that cannot be read."""
        info = request.info
        if info.subresource or info.namespace:
            raise path_not_found()
        if info.verb not in resource.verbs:
            raise method_not_allowed(resource.group, resource.plural, info.verb)
        request.warnings.append(DEPRECATED)
        accept, now = request.headers.get("accept", ""), self._clock.now()
        if info.verb == "get":
            output = negotiation.choose_for_object(accept)
            if info.name not in (*LEASES, STORE):
                raise unforeseen(f"Component not found: {info.name}")
            return render_computed(request, resource, await self._status(info.name), output=output, now=now)
        output = negotiation.choose(accept)
        wanted = parse_list_query(request.query, FieldReader(resource))
        names = [
            name
            for name in (*LEASES, STORE)
            if (wanted.labels is None or wanted.labels.matches({}))
            and (wanted.fields is None or wanted.fields.matches({"metadata.name": name}))
        ]
        found = [await self._status(name) for name in names]
        return render_computed_list(request, resource, found, output=output, now=now)

    async def _status(self, name: str) -> core.ComponentStatus:
        problem = await self._store_problem() if name == STORE else await self._lease_problem(LEASES[name])
        healthy = core.ComponentCondition(
            type="Healthy", status="False" if problem else "True", message=problem or "ok"
        )
        return core.ComponentStatus(metadata=meta.ObjectMeta(name=name), conditions=[healthy])

    async def _store_problem(self) -> str:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._store.revision()
        except TimeoutError:
            return f"the store has not answered within {PATIENCE_S:g} s"
        except StoreError as error:
            return str(error)
        return ""

    async def _lease_problem(self, name: str) -> str:
        try:
            lease: coordination.Lease = await self._leases.get("kube-system", name)
        except StatusError as error:
            return str(error)
        spec = lease.spec
        if not spec.holderIdentity or spec.renewTime is None:
            return f'nobody holds the lease "kube-system/{name}"'
        ends = parse_rfc3339(spec.renewTime) + timedelta(seconds=spec.leaseDurationSeconds or 0)
        if ends < self._clock.now():
            return f'{spec.holderIdentity} has not renewed the lease "kube-system/{name}" since {spec.renewTime}'
        return ""
