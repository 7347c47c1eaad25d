"""Telling users what happened: core/v1 Events, as ``kubectl describe`` shows them.

``recorder.event(pod, "Normal", "Scheduled", "…")`` returns at once; one task writes in the background.
Repeats of the same event
raise its ``count`` instead of making a new object, and a source that repeats itself too fast is dropped, as
upstream's
EventCorrelator does (burst 25 per object, then one every 300 s).

Limits: ``QUEUE_LIMIT`` events wait to be written, ``CACHE_LIMIT`` are remembered for counting; beyond that
events are lost, never blocked on. ``WRITES_PER_S`` are written after a burst of ``WRITE_BURST``, as by upstream's kubelet and
scheduler: in a storm what is told of the work waits for the work.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from knarr.api import scheme
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.client.client import MERGE_PATCH, Client
from knarr.client.transport import TransportError
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock, rfc3339
from knarr.kit.log import get_logger
from knarr.kit.token_bucket import TokenBucket, TokenBuckets

log = get_logger("events")

QUEUE_LIMIT = 1000
CACHE_LIMIT = 4096
#: Upstream's spam filter, per source and object.
BURST = 25
REFILL_S = 300.0
#: Upstream's ``eventRecordQPS`` and ``eventBurst``.
WRITES_PER_S = 50.0
WRITE_BURST = 100
#: Upstream truncates messages here.
MESSAGE_LIMIT = 1024

NORMAL, WARNING = "Normal", "Warning"


@dataclass(slots=True)
class _Seen:
    name: str
    count: int


class EventRate:
    """When the next event may be written. Recorders of one process that are many share one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bucket = TokenBucket(WRITES_PER_S, WRITE_BURST, now_s=clock.monotonic_s())

    async def turn(self) -> None:
        """Wait for it."""
        wait_s = self._bucket.reserve(self._clock.monotonic_s())
        if wait_s:
            await self._clock.sleep(wait_s)


class EventRecorder:
    """Records events of one component. ``run`` must be running for them to be written."""

    def __init__(
        self, client: Client, component: str, *, clock: Clock, chance: Chance, host: str = ""
    ) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._sequence = 0
        self._clock = clock
        self._chance = chance
        self._queue: asyncio.Queue[core.Event] = asyncio.Queue(QUEUE_LIMIT)
        self._seen: OrderedDict[tuple[str, ...], _Seen] = OrderedDict()
        self._told = TokenBuckets(1 / REFILL_S, BURST, limit=CACHE_LIMIT)
        #: How many were lost since all that waited was last written.
        self._lost = 0
        self.rate = EventRate(clock)

    def event(self, obj: Any, kind: str, reason: str, message: str, *, field_path: str = "") -> None:
        """Note that something happened to ``obj``. ``kind`` is Normal or Warning, ``reason`` one CamelCase
        word.
        """
        reference = reference_to(obj)
        reference.fieldPath = field_path
        self.event_about(reference, kind, reason, message)

    def event_about(self, reference: core.ObjectReference, kind: str, reason: str, message: str) -> None:
        """The same for an object known only by reference."""
        about = (reference.kind, reference.namespace, reference.name, reference.uid)
        if not self._told.take(about, self._clock.monotonic_s()):
            return
        if self._queue.full():
            if not self._lost:
                log.warning("events are lost, too many wait", reason=reason, object=reference.name)
            self._lost += 1
            return
        stamp = rfc3339(self._clock.now())
        # Two events of one moment must not get one name, neither from here nor from another recorder.
        self._sequence += 1
        nanoseconds = int(self._clock.now().timestamp() * 1e9) + self._sequence * 1000 + self._chance.index(1000)
        event = core.Event(
            metadata=meta.ObjectMeta(
                name=f"{reference.name}.{nanoseconds:x}", namespace=reference.namespace or "default"
            ),
            involvedObject=reference,
            reason=reason,
            message=message[:MESSAGE_LIMIT],
            type=kind,
            source=core.EventSource(component=self._component, host=self._host),
            firstTimestamp=stamp,
            lastTimestamp=stamp,
            count=1,
            reportingComponent=self._component,
            reportingInstance=self._host,
        )
        self._queue.put_nowait(event)

    async def run(self) -> None:
        """Write what was recorded, until cancelled."""
        while True:
            event = await self._queue.get()
            await self.rate.turn()
            await self._try_to_write(event)
            if self._lost and self._queue.empty():
                log.warning("events were lost", count=self._lost)
                self._lost = 0

    async def flush(self) -> None:
        """Write what waits now; for whoever is about to end, or has so little to say that ``run`` need not run."""
        while not self._queue.empty():
            await self._try_to_write(self._queue.get_nowait())

    async def _try_to_write(self, event: core.Event) -> None:
        try:
            await self._write(event)
        except (StatusError, TransportError) as error:
            log.debug("event not written", reason=event.reason, error=error)

    async def _write(self, event: core.Event) -> None:
        about = event.involvedObject
        key = (
            about.kind,
            about.namespace,
            about.name,
            about.uid,
            about.fieldPath,
            event.type,
            event.reason,
            event.message,
        )
        seen = self._seen.get(key)
        if seen is not None:
            self._seen.move_to_end(key)
            patch = {"count": seen.count + 1, "lastTimestamp": event.lastTimestamp}
            try:
                await self._client.patch(
                    core.Event, seen.name, patch, namespace=event.metadata.namespace, patch_type=MERGE_PATCH
                )
            except StatusError as error:
                if error.code != 404:
                    raise
            else:
                seen.count += 1
                return
        await self._client.create(event)
        self._seen[key] = _Seen(event.metadata.name, 1)
        while len(self._seen) > CACHE_LIMIT:
            self._seen.popitem(last=False)


def reference_to(obj: Any) -> core.ObjectReference:
    """A full reference to ``obj``."""
    resource = scheme.by_type(type(obj))
    metadata: meta.ObjectMeta = obj.metadata
    return core.ObjectReference(
        apiVersion=resource.api_version,
        kind=resource.kind,
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        resourceVersion=metadata.resourceVersion,
    )
