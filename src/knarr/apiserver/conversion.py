"""Kinds that are served in two versions and stored in one: events, and horizontal pod autoscalers.

Upstream's counterpart is each group's ``conversion.go``.

Neighbours: ``cacher`` converts what it reads, ``registry.generic`` what it writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from knarr.api import codec
from knarr.api.autoscaling import v1 as autoscaling1
from knarr.api.autoscaling import v2 as autoscaling2
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


#: v1 has one field for the CPU target; what else v2 says travels in annotations, as upstream's does.
_METRICS, _CONDITIONS, _BEHAVIOR = (
    "autoscaling.alpha.kubernetes.io/metrics",
    "autoscaling.alpha.kubernetes.io/conditions",
    "autoscaling.alpha.kubernetes.io/behavior",
)


def _is_cpu(metric: autoscaling2.MetricSpec) -> bool:
    return (
        metric.resource is not None
        and metric.resource.name == "cpu"
        and metric.resource.target.averageUtilization is not None
    )


def _hpa_to_v2(old: autoscaling1.HorizontalPodAutoscaler) -> autoscaling2.HorizontalPodAutoscaler:
    annotations = dict(old.metadata.annotations)
    metrics = codec.decode(
        autoscaling2.HorizontalPodAutoscalerSpec, b'{"metrics":%s}' % annotations.pop(_METRICS, "[]").encode()
    ).metrics
    behavior = annotations.pop(_BEHAVIOR, "")
    annotations.pop(_CONDITIONS, "")
    metadata = codec.copy(old.metadata)
    metadata.annotations = annotations
    target = old.spec.targetCPUUtilizationPercentage
    if target is not None:
        cpu = autoscaling2.ResourceMetricSource(
            name="cpu", target=autoscaling2.MetricTarget(type="Utilization", averageUtilization=target)
        )
        metrics = [autoscaling2.MetricSpec(type="Resource", resource=cpu), *metrics]
    reference = old.spec.scaleTargetRef
    return autoscaling2.HorizontalPodAutoscaler(
        metadata=metadata,
        spec=autoscaling2.HorizontalPodAutoscalerSpec(
            scaleTargetRef=autoscaling2.CrossVersionObjectReference(
                apiVersion=reference.apiVersion, kind=reference.kind, name=reference.name
            ),
            minReplicas=old.spec.minReplicas,
            maxReplicas=old.spec.maxReplicas,
            metrics=metrics,
            behavior=codec.decode(autoscaling2.HorizontalPodAutoscalerBehavior, behavior)
            if behavior
            else None,
        ),
        status=autoscaling2.HorizontalPodAutoscalerStatus(
            currentReplicas=old.status.currentReplicas,
            desiredReplicas=old.status.desiredReplicas,
            lastScaleTime=old.status.lastScaleTime,
            observedGeneration=old.status.observedGeneration,
        ),
    )


def _hpa_from_v2(new: autoscaling2.HorizontalPodAutoscaler) -> autoscaling1.HorizontalPodAutoscaler:
    cpu = next((metric for metric in new.spec.metrics if _is_cpu(metric)), None)
    rest = [metric for metric in new.spec.metrics if metric is not cpu]
    metadata = codec.copy(new.metadata)
    if rest:
        metadata.annotations[_METRICS] = codec.encode(rest).decode()
    if new.spec.behavior is not None:
        metadata.annotations[_BEHAVIOR] = codec.encode(new.spec.behavior).decode()
    if new.status.conditions:
        metadata.annotations[_CONDITIONS] = codec.encode(new.status.conditions).decode()
    current = next(
        (
            m.resource.current.averageUtilization
            for m in new.status.currentMetrics
            if m.resource and m.resource.name == "cpu"
        ),
        None,
    )
    reference = new.spec.scaleTargetRef
    return autoscaling1.HorizontalPodAutoscaler(
        metadata=metadata,
        spec=autoscaling1.HorizontalPodAutoscalerSpec(
            scaleTargetRef=autoscaling1.CrossVersionObjectReference(
                apiVersion=reference.apiVersion, kind=reference.kind, name=reference.name
            ),
            minReplicas=new.spec.minReplicas,
            maxReplicas=new.spec.maxReplicas,
            targetCPUUtilizationPercentage=cpu.resource.target.averageUtilization
            if cpu and cpu.resource
            else None,
        ),
        status=autoscaling1.HorizontalPodAutoscalerStatus(
            currentReplicas=new.status.currentReplicas or 0,
            desiredReplicas=new.status.desiredReplicas,
            lastScaleTime=new.status.lastScaleTime,
            observedGeneration=new.status.observedGeneration,
            currentCPUUtilizationPercentage=current,
        ),
    )


#: (group, version, plural) of the served version that is not the stored one.
CONVERSIONS: dict[tuple[str, str, str], Conversion] = {
    ("events.k8s.io", "v1", "events"): Conversion(core.Event, _event_from_core, _event_to_core),
    ("autoscaling", "v1", "horizontalpodautoscalers"): Conversion(
        autoscaling2.HorizontalPodAutoscaler, _hpa_from_v2, _hpa_to_v2
    ),
}
