"""Which requests go to another API server, and what the others serve.

An APIService with a service hands its group and version over: requests below ``/apis/<group>/<version>`` that this server has
authenticated and authorized are forwarded. What the others serve is asked for when something about them changes and every
``CHECK_PERIOD_S``, and becomes part of discovery; a server that cannot be called keeps its last known place there, as stale.

Upstream's counterparts are ``kube-aggregator/pkg/apiserver`` and the ``apiservice-discovery`` controller; OpenAPI v2 of the others is
not merged, v3 is handed through.

Neighbours: ``server`` asks ``find`` for every path outside ``/api``; ``discovery`` and ``openapi`` ask for ``versions``.

Invariant: without such an APIService a request pays one look at an empty dict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from knarr.api.apiregistration import v1 as apiregistration
from knarr.api.conditions import is_true
from knarr.api.errors import StatusError
from knarr.apiserver.aggregation.availability import LOCAL, Availability
from knarr.apiserver.aggregation.backends import BackendFailure, Backends
from knarr.apiserver.aggregation.local import GroupVersion, add_local, remove_stale, write_verdict
from knarr.apiserver.cacher import Change
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.registry.strategy import Context
from knarr.apiserver.request import Request, Response
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger

__all__ = ["Aggregator", "RemoteVersion"]

log = get_logger("aggregator")

CHECK_PERIOD_S = 30.0
#: After a change, so that the changes of one rollout are one look.
SETTLE_S = 0.1


@dataclass(slots=True)
class RemoteVersion:
    """A group and version that another server serves. ``rows`` are those of its APIResourceList."""

    api_service: apiregistration.APIService
    available: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    openapi_url: str = ""
    """Where its OpenAPI v3 document is, on that server; empty if it has none."""

    @property
    def group(self) -> str:
        return self.api_service.spec.group

    @property
    def version(self) -> str:
        return self.api_service.spec.version


class Aggregator:
    """Follows the APIServices. ``changed`` is called when what is served has changed."""

    def __init__(
        self,
        registry: GenericRegistry,
        backends: Backends,
        *,
        services: GenericRegistry,
        slices: GenericRegistry,
        clock: Clock,
        context: Callable[[], Context],
        served: Callable[[], Iterable[GroupVersion]],
        is_custom: Callable[[str], bool],
        changed: Callable[[], None],
    ) -> None:
        self._registry = registry
        self._backends = backends
        self._availability = Availability(backends, services=services, slices=slices)
        self._clock = clock
        self._context = context
        self._served = served
        self._is_custom = is_custom
        self._changed = changed
        self._remote: dict[GroupVersion, RemoteVersion] = {}
        self._wake = asyncio.Event()
        registry.cache.subscribers.append(lambda _change: self._follow())
        services.cache.subscribers.append(self._look_again)
        slices.cache.subscribers.append(self._look_again)

    # Requests.

    def find(self, path: str) -> RemoteVersion | None:
        """Who answers requests to ``path``, if it is not this server."""
        if not self._remote:
            return None
        parts = path.split("/", 4)
        if len(parts) < 4 or parts[1] != "apis":
            return self._openapi_of(path)
        return self._remote.get((parts[2], parts[3]))

    def _openapi_of(self, path: str) -> RemoteVersion | None:
        parts = path.split("/")
        if parts[1:4] != ["openapi", "v3", "apis"] or len(parts) != 6:
            return None
        found = self._remote.get((parts[4], parts[5]))
        return found if found is not None and found.openapi_url else None

    async def forward(self, remote: RemoteVersion, request: Request) -> Response:
        """The other server's answer; a plain 503, as upstream's, while it is known not to answer."""
        if remote.available:
            try:
                return await self._backends.forward(remote.api_service, request)
            except StatusError as error:
                if error.code not in (404, 503):
                    raise
        return Response(503, b"service unavailable\n", "text/plain; charset=utf-8")

    @property
    def versions(self) -> list[RemoteVersion]:
        """What other servers serve."""
        return list(self._remote.values())

    # Following.

    def wake(self) -> None:
        """Something about what is served has changed."""
        self._wake.set()

    def _look_again(self, change: Change) -> None:
        # A slice's name begins with its service's.
        for remote in self._remote.values():
            reference = remote.api_service.spec.service
            assert reference is not None
            if change.entry.namespace == reference.namespace and change.entry.name.startswith(reference.name):
                self._wake.set()

    def _follow(self) -> None:
        """Take over which APIServices there are; what is known of the others stays known."""
        self._wake.set()
        found: dict[GroupVersion, RemoteVersion] = {}
        for api_service in self._registry.objects():
            spec = api_service.spec
            if spec.service is None:
                continue
            key = (spec.group, spec.version)
            held = self._remote.get(key)
            if held is None:
                held = RemoteVersion(api_service, available=is_true(api_service.status.conditions, "Available"))
            # A change, of its priority or even of its service, does not make it unavailable: the next look at it tells.
            held.api_service = api_service
            found[key] = held
        before, self._remote = self._remote, found
        if before.keys() != found.keys():
            self._changed()

    async def start(self) -> None:
        """Register what this server serves by itself; before ``run``. Raises ``StatusError``."""
        self._follow()
        await add_local(self._registry, self._context, self._served(), self._is_custom)
        await self._judge_local()

    async def run(self) -> None:
        """Keep conditions and documents in step, until cancelled."""
        while True:
            self._wake.clear()
            try:
                await add_local(self._registry, self._context, self._served(), self._is_custom)
                await remove_stale(self._registry, self._context, self._served())
                await self._judge_local()
                await asyncio.gather(*(self._judge(remote) for remote in self.versions))
            except StatusError as error:
                log.warning("API services not looked after", error=error)
            try:
                # Without others there is nothing to ask from time to time.
                async with asyncio.timeout(CHECK_PERIOD_S if self._remote else None):
                    await self._wake.wait()
            except TimeoutError:
                continue
            await self._clock.sleep(SETTLE_S)

    async def _judge_local(self) -> None:
        names = [
            each.metadata.name
            for each in self._registry.objects()
            if each.spec.service is None and not _is_local(each)
        ]
        writes = (write_verdict(self._registry, self._context(), name, LOCAL, self._clock) for name in names)
        await asyncio.gather(*writes)

    async def _judge(self, remote: RemoteVersion) -> None:
        verdict, rows = await self._availability.judge(remote.api_service)
        was = (remote.available, remote.rows, remote.openapi_url)
        remote.available = verdict[0]
        if rows is not None:
            remote.rows = rows
            remote.openapi_url = await self._openapi_url(remote)
        await write_verdict(
            self._registry, self._context(), remote.api_service.metadata.name, verdict, self._clock
        )
        if was != (remote.available, remote.rows, remote.openapi_url):
            self._changed()

    async def _openapi_url(self, remote: RemoteVersion) -> str:
        try:
            index = msgspec.json.decode(await self._backends.read(remote.api_service, "/openapi/v3"))
            return str(index["paths"][f"apis/{remote.group}/{remote.version}"]["serverRelativeURL"])
        except (StatusError, BackendFailure, msgspec.DecodeError, KeyError, TypeError):
            return ""


def _is_local(api_service: apiregistration.APIService) -> bool:
    return any(
        condition.type == "Available" and condition.reason == LOCAL[1] and condition.status == "True"
        for condition in api_service.status.conditions
    )
