"""Leader election: of several identical components, one works.

The leader renews a Lease; when it has not been renewed for ``duration_s`` by a candidate's own clock, another
takes it over. Clocks of
machines are never compared, as upstream's ``leaderelection`` does.

Neighbours: controllers and the scheduler run under ``LeaderElector.run`` when several are started.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from knarr.api.coordination import v1 as coordination
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.client.client import Client
from knarr.client.transport import TransportError
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock, rfc3339_micro
from knarr.kit.log import get_logger

log = get_logger("leases")

#: Upstream's defaults.
LEASE_DURATION_S = 15
RENEW_DEADLINE_S = 10
RETRY_PERIOD_S = 2


class LeaderElector:
    """Competes for one Lease under one identity."""

    def __init__(
        self,
        client: Client,
        name: str,
        *,
        identity: str,
        clock: Clock,
        chance: Chance,
        namespace: str = "kube-system",
    ) -> None:
        self._client = client
        self._name = name
        self._namespace = namespace
        self._identity = identity
        self._clock = clock
        self._chance = chance
        self._observed: tuple[str, str] = ("", "")
        self._observed_s = 0.0

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait to become the leader, run ``lead``, and cancel it when leadership is lost. Returns after that."""
        while not await self._try():
            await self._clock.sleep(self._chance.jitter(RETRY_PERIOD_S, 0.2))
        log.info("became leader", lease=self._name, identity=self._identity)
        work = asyncio.ensure_future(lead())
        renew = asyncio.ensure_future(self._keep())
        try:
            await asyncio.wait({work, renew}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
        finally:
            for task in (work, renew):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({work, renew})
            log.info("stopped leading", lease=self._name, identity=self._identity)

    async def _keep(self) -> None:
        """Renew until that has failed for the deadline."""
        renewed_s = self._clock.monotonic_s()
        while self._clock.monotonic_s() - renewed_s < RENEW_DEADLINE_S:
            await self._clock.sleep(RETRY_PERIOD_S)
            if await self._try():
                renewed_s = self._clock.monotonic_s()

    async def _try(self) -> bool:
        try:
            return await self._acquire_or_renew()
        except (StatusError, TransportError) as error:
            log.debug("lease not updated", lease=self._name, error=error)
            return False

    async def _acquire_or_renew(self) -> bool:
        now = rfc3339_micro(self._clock.now())
        try:
            lease = await self._client.get(coordination.Lease, self._name, namespace=self._namespace)
        except StatusError as error:
            if error.code != 404:
                raise
            spec = coordination.LeaseSpec(
                holderIdentity=self._identity,
                leaseDurationSeconds=LEASE_DURATION_S,
                acquireTime=now,
                renewTime=now,
                leaseTransitions=0,
            )
            await self._client.create(
                coordination.Lease(
                    metadata=meta.ObjectMeta(name=self._name, namespace=self._namespace), spec=spec
                )
            )
            return True
        holder = lease.spec.holderIdentity or ""
        if (holder, lease.spec.renewTime or "") != self._observed:
            self._observed = (holder, lease.spec.renewTime or "")
            self._observed_s = self._clock.monotonic_s()
        duration_s = lease.spec.leaseDurationSeconds or LEASE_DURATION_S
        if holder and holder != self._identity and self._clock.monotonic_s() < self._observed_s + duration_s:
            return False
        if holder != self._identity:
            lease.spec.holderIdentity = self._identity
            lease.spec.acquireTime = now
            lease.spec.leaseTransitions = (lease.spec.leaseTransitions or 0) + 1
        lease.spec.leaseDurationSeconds = LEASE_DURATION_S
        lease.spec.renewTime = now
        await self._client.update(lease)
        return True
