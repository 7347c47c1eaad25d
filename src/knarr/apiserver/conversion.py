"""Kinds that are served in two versions and stored in one: events, and horizontal pod autoscalers.

Upstream's counterpart is each group's ``conversion.go``.

Neighbours: ``cacher`` converts what it reads, ``registry.generic`` what it writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from knarr.api import codec
from knarr.api.autoscaling import v2 as autoscaling
from knarr.api.autoscaling.conversion import from_v2, to_v2
from knarr.api.core import v1 as core
from knarr.api.events import v1 as events


@dataclass(frozen=True, slots=True)
class Conversion:
    """Between a served type and the stored one."""

    stored: type[Any]
    from_stored: Callable[[Any], Any]
    to_stored: Callable[[Any], Any]

    def decode(self, value: bytes) -> Any:
        return self.from_stored(codec.decode(self.stored, value))

    def encode(self, obj: Any) -> bytes:
        return codec.encode(self.to_stored(obj))


def _event_to_core(event: events.Event) -> core.Event:
    series = event.series
    return core.Event(
        metadata=event.metadata,
        involvedObject=event.regarding or core.ObjectReference(),
        related=event.related,
        reason=event.reason,
        message=event.note,
        type=event.type,
        action=event.action,
        eventTime=event.eventTime,
        series=core.EventSeries(count=series.count, lastObservedTime=series.lastObservedTime)
        if series
        else None,
        source=event.deprecatedSource or core.EventSource(),
        firstTimestamp=event.deprecatedFirstTimestamp,
        lastTimestamp=event.deprecatedLastTimestamp,
        count=event.deprecatedCount,
        reportingComponent=event.reportingController,
        reportingInstance=event.reportingInstance,
    )


def _event_from_core(event: core.Event) -> events.Event:
    series = event.series
    return events.Event(
        metadata=event.metadata,
        regarding=event.involvedObject,
        related=event.related,
        reason=event.reason,
        note=event.message,
        type=event.type,
        action=event.action,
        eventTime=event.eventTime,
        series=events.EventSeries(count=series.count or 0, lastObservedTime=series.lastObservedTime)
        if series
        else None,
        deprecatedSource=event.source,
        deprecatedFirstTimestamp=event.firstTimestamp,
        deprecatedLastTimestamp=event.lastTimestamp,
        deprecatedCount=event.count,
        reportingController=event.reportingComponent,
        reportingInstance=event.reportingInstance,
    )


#: (group, version, plural) of the served version that is not the stored one.
CONVERSIONS: dict[tuple[str, str, str], Conversion] = {
    ("events.k8s.io", "v1", "events"): Conversion(core.Event, _event_from_core, _event_to_core),
    ("autoscaling", "v1", "horizontalpodautoscalers"): Conversion(
        autoscaling.HorizontalPodAutoscaler, from_v2, to_v2
    ),
}
