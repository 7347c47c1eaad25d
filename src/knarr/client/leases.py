"""Leader election: of several identical components, one works.

The leader renews a Lease; when it has not been renewed for its duration by a candidate's own clock, another takes it over. Clocks of
machines are never compared. Who can no longer renew stops working before anybody may take over; who ends cleanly gives the Lease back, so
that the next need not wait.

Upstream's counterpart is client-go's ``tools/leaderelection``. Two differences: a leader that sees another's name on its Lease stops at
once, instead of when its own time is over; and a candidate that cannot reach the server asks again sooner than one that waits for a leader,
since both come up together.

Neighbours: controllers and the scheduler run under ``LeaderElector.run``, see ``cluster.components``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from knarr.api.coordination import v1 as coordination
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.client.client import Client
from knarr.client.events import NORMAL, EventRecorder
from knarr.client.transport import TransportError
from knarr.kit.backoff import Backoff
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock, rfc3339_micro
from knarr.kit.log import get_logger

__all__ = ["LeaderElectionConfig", "LeaderElector", "LeadershipLost"]

log = get_logger("leases")

#: Candidates ask at different times, as upstream's.
JITTER = 1.2
#: The first pause after a failure to reach the server; later ones grow to the retry period.
FIRST_RETRY_S = 0.05
#: How long a leader that ends cleanly tries to say so.
RELEASE_S = 2.0
#: A Lease that is given back lasts this long.
RELEASED_DURATION_S = 1


class LeadershipLost(Exception):
    """Somebody else leads, or may: whatever a leader alone may do has been ended."""


@dataclass(frozen=True, slots=True)
class LeaderElectionConfig:
    """Which Lease, and upstream's times. Raises ``ValueError`` for times that would allow two leaders."""

    name: str
    namespace: str = "kube-system"
    lease_duration_s: float = 15
    renew_deadline_s: float = 10
    retry_period_s: float = 2

    def __post_init__(self) -> None:
        if self.lease_duration_s <= self.renew_deadline_s:
            raise ValueError("leaseDuration must be greater than renewDeadline")
        if self.renew_deadline_s <= self.retry_period_s * JITTER:
            raise ValueError("renewDeadline must be greater than retryPeriod*JitterFactor")
        if self.lease_duration_s < 1 or self.retry_period_s <= 0:
            raise ValueError("leaseDuration and retryPeriod must be greater than zero")


class LeaderElector:
    """Competes for one Lease under one identity, which no other candidate may have."""

    def __init__(
        self,
        client: Client,
        config: LeaderElectionConfig,
        *,
        identity: str,
        clock: Clock,
        chance: Chance,
        recorder: EventRecorder,
    ) -> None:
        self._client = client
        self._config = config
        self._identity = identity
        self._clock = clock
        self._chance = chance
        self._recorder = recorder
        self._observed: tuple[str, str] = ("", "")
        self._observed_s = 0.0
        self._held: coordination.Lease | None = None
        """Our own Lease as the server last confirmed it."""
        self._renewed_s = 0.0
        """When the request was sent that the server confirmed last."""

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait to become the leader and run ``lead``, which is cancelled when leadership ends. Raises
        ``LeadershipLost``; returns when ``lead`` does.
        """
        await self._acquire()
        self._say("became leader")
        work = asyncio.ensure_future(lead())
        keep = asyncio.ensure_future(self._keep())
        lost = False
        try:
            await asyncio.wait({work, keep}, return_when=asyncio.FIRST_COMPLETED)
            lost = not work.done()
        finally:
            for task in (work, keep):
                task.cancel()
            await asyncio.wait({work, keep})
            await self._step_down(release=not lost)
        if lost:
            raise LeadershipLost(f"leader election lost: {self._config.name}")
        await work

    async def _acquire(self) -> None:
        backoff = Backoff(FIRST_RETRY_S, self._config.retry_period_s)
        while True:
            try:
                if await self._acquire_or_renew(self._config.renew_deadline_s):
                    return
                pause_s = self._chance.jitter(self._config.retry_period_s, JITTER)
            except (StatusError, TransportError, TimeoutError) as error:
                log.debug("lease not acquired", lease=self._config.name, error=error)
                pause_s = backoff.next_s()
            await self._clock.sleep(pause_s)

    async def _keep(self) -> None:
        """Renew, until that has failed for the deadline or the Lease is another's."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.retry_period_s):
                await self._recorder.flush()
        while True:
            await self._clock.sleep(self._config.retry_period_s)
            left_s = self._renewed_s + self._config.renew_deadline_s - self._clock.monotonic_s()
            if left_s <= 0:
                break
            try:
                if not await self._acquire_or_renew(left_s):
                    break
            except (StatusError, TransportError, TimeoutError) as error:
                log.debug("lease not renewed", lease=self._config.name, error=error)

    async def _step_down(self, *, release: bool) -> None:
        """Tell, and give the Lease back, so that the next leader need not wait."""
        self._say("stopped leading")
        try:
            async with asyncio.timeout(RELEASE_S):
                if release:
                    await self._release()
                await self._recorder.flush()
        except (StatusError, TransportError, TimeoutError) as error:
            log.debug("lease not given back", lease=self._config.name, error=error)

    async def _release(self) -> None:
        # A renewal may have been broken off half way, so what was confirmed last will not do.
        lease = await self._client.get(coordination.Lease, self._config.name, namespace=self._config.namespace)
        if lease.spec.holderIdentity == self._identity:
            lease.spec.holderIdentity = None
            lease.spec.leaseDurationSeconds = RELEASED_DURATION_S
            lease.spec.acquireTime = lease.spec.renewTime = rfc3339_micro(self._clock.now())
            await self._client.update(lease)

    async def _acquire_or_renew(self, patience_s: float) -> bool:
        """False if another holds the Lease. Raises what a request raises, and ``TimeoutError``."""
        sent_s = self._clock.monotonic_s()
        async with asyncio.timeout(patience_s):
            held, self._held = self._held, None
            if held is not None:
                try:
                    self._held = await self._write(held)
                except StatusError as error:
                    # Somebody else has written it: what it says now decides.
                    if error.code not in (404, 409):
                        raise
            if self._held is None:
                self._held = await self._take()
        if self._held is None:
            return False
        self._renewed_s = sent_s
        return True

    async def _take(self) -> coordination.Lease | None:
        """Our Lease, made, renewed or taken over; None while it is another's."""
        name, namespace = self._config.name, self._config.namespace
        try:
            lease = await self._client.get(coordination.Lease, name, namespace=namespace)
        except StatusError as error:
            if error.code != 404:
                raise
            lease = coordination.Lease(metadata=meta.ObjectMeta(name=name, namespace=namespace))
            return await self._write(lease)
        holder = lease.spec.holderIdentity or ""
        seen = (holder, lease.spec.renewTime or "")
        if seen != self._observed:
            self._observed, self._observed_s = seen, self._clock.monotonic_s()
        duration_s = lease.spec.leaseDurationSeconds or self._config.lease_duration_s
        if holder not in ("", self._identity) and self._clock.monotonic_s() < self._observed_s + duration_s:
            return None
        return await self._write(lease)

    async def _write(self, lease: coordination.Lease) -> coordination.Lease:
        now = rfc3339_micro(self._clock.now())
        if lease.spec.holderIdentity != self._identity:
            known = bool(lease.metadata.resourceVersion)
            lease.spec.holderIdentity = self._identity
            lease.spec.acquireTime = now
            lease.spec.leaseTransitions = (lease.spec.leaseTransitions or 0) + known
        lease.spec.leaseDurationSeconds = int(self._config.lease_duration_s)
        lease.spec.renewTime = now
        if lease.metadata.resourceVersion:
            return await self._client.update(lease)
        return await self._client.create(lease)

    def _say(self, what: str) -> None:
        log.info(what, lease=self._config.name, identity=self._identity)
        about = coordination.Lease(
            metadata=meta.ObjectMeta(name=self._config.name, namespace=self._config.namespace)
        )
        self._recorder.event(about, NORMAL, "LeaderElection", f"{self._identity} {what}")
