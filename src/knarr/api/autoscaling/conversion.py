"""Autoscalers between autoscaling/v1, which has one field for the CPU target, and v2, which is stored.

What v1 has no field for travels in annotations, in the forms upstream gives them: metrics as flat v1 sources, the behavior with Go's
own field names. An annotation that cannot be read is the writer's fault, and validation says so.

Counterpart upstream: ``pkg/apis/autoscaling/v1/conversion.go``. Neighbours: ``validation`` checks v1 as what it becomes; the API
server converts at its border.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from knarr.api import codec
from knarr.api.autoscaling import v1, v2
from knarr.api.autoscaling.defaults import set_autoscaler_v2

__all__ = ["BEHAVIOR", "CONDITIONS", "CURRENT_METRICS", "METRICS", "from_v2", "to_v2"]

_PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS, CURRENT_METRICS = _PREFIX + "metrics", _PREFIX + "current-metrics"
CONDITIONS, BEHAVIOR = _PREFIX + "conditions", _PREFIX + "behavior"

Data = dict[str, Any]


def to_v2(old: v1.HorizontalPodAutoscaler) -> v2.HorizontalPodAutoscaler:
    """Raises ``codec.DecodeError`` for an annotation that cannot be read."""
    metadata = codec.copy(old.metadata)
    said = {name: metadata.annotations.pop(name, "") for name in (METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR)}
    spec: Data = {
        "scaleTargetRef": codec.to_dict(old.spec.scaleTargetRef),
        "minReplicas": old.spec.minReplicas,
        "maxReplicas": old.spec.maxReplicas,
        "metrics": [_metric_to_v2(each, _source_to_v2) for each in _list(said[METRICS])],
    }
    target = old.spec.targetCPUUtilizationPercentage
    if target is not None:
        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}}
        spec["metrics"].insert(0, {"type": "Resource", "resource": cpu})
    if said[BEHAVIOR]:
        spec["behavior"] = _lower_first(codec.parse_json(said[BEHAVIOR]))
    status = codec.to_dict(old.status)
    percent = status.pop("currentCPUUtilizationPercentage", None)
    status["conditions"] = _list(said[CONDITIONS])
    status["currentMetrics"] = [_metric_to_v2(each, _status_to_v2) for each in _list(said[CURRENT_METRICS])]
    if percent is not None and not status["currentMetrics"]:
        cpu = {"name": "cpu", "current": {"averageUtilization": percent}}
        status["currentMetrics"] = [{"type": "Resource", "resource": cpu}]
    new = codec.from_dict(v2.HorizontalPodAutoscaler, _without_none({"spec": spec, "status": status}))
    new.metadata = metadata
    set_autoscaler_v2(new)
    return new


def from_v2(new: v2.HorizontalPodAutoscaler) -> v1.HorizontalPodAutoscaler:
    """What v1 can say in fields, and the rest in annotations."""
    metadata, annotations = codec.copy(new.metadata), {}
    cpu = [each.resource for each in new.spec.metrics if _is_cpu(each)]
    rest = [codec.to_dict(each) for each in new.spec.metrics if not _is_cpu(each)]
    if rest:
        annotations[METRICS] = _text([_metric_from_v2(each, "target") for each in rest])
    if new.status.currentMetrics:
        current = [codec.to_dict(each) for each in new.status.currentMetrics]
        annotations[CURRENT_METRICS] = _text([_metric_from_v2(each, "current") for each in current])
    if new.status.conditions:
        annotations[CONDITIONS] = _text(new.status.conditions)
    if new.spec.behavior is not None:
        annotations[BEHAVIOR] = _text(_upper_first(codec.to_dict(new.spec.behavior)))
    metadata.annotations |= annotations
    percents = [
        each.resource.current.averageUtilization
        for each in new.status.currentMetrics
        if each.resource is not None and each.resource.name == "cpu"
    ]
    reference = new.spec.scaleTargetRef
    return v1.HorizontalPodAutoscaler(
        metadata=metadata,
        spec=v1.HorizontalPodAutoscalerSpec(
            scaleTargetRef=v1.CrossVersionObjectReference(
                apiVersion=reference.apiVersion, kind=reference.kind, name=reference.name
            ),
            minReplicas=new.spec.minReplicas,
            maxReplicas=new.spec.maxReplicas,
            targetCPUUtilizationPercentage=cpu[-1].target.averageUtilization if cpu and cpu[-1] else None,
        ),
        status=v1.HorizontalPodAutoscalerStatus(
            currentReplicas=new.status.currentReplicas,
            desiredReplicas=new.status.desiredReplicas,
            lastScaleTime=new.status.lastScaleTime,
            observedGeneration=new.status.observedGeneration,
            currentCPUUtilizationPercentage=percents[-1] if percents else None,
        ),
    )


def _is_cpu(metric: v2.MetricSpec) -> bool:
    source = metric.resource
    return source is not None and source.name == "cpu" and source.target.averageUtilization is not None


# From v1's flat sources.


def _metric_to_v2(metric: Data, source: Callable[[Data], Data]) -> Data:
    kind = metric.get("type", "")
    field = kind[:1].lower() + kind[1:]
    found = metric.get(field)
    return {"type": kind, field: source(found)} if isinstance(found, dict) else {"type": kind}


def _source_to_v2(source: Data) -> Data:
    made = _common_to_v2(source)
    whole = source.get("targetValue")
    average = source.get("averageValue", source.get("targetAverageValue"))
    percent = source.get("targetAverageUtilization")
    if percent is not None:
        kind = "Utilization"
    else:
        kind = "Value" if average is None else "AverageValue"
    # An object's target value is always written; where an average is wanted it says nothing.
    unsaid = average is not None and whole in ("0", None)
    target = {"type": kind, "value": None if unsaid else whole, "averageValue": average, "averageUtilization": percent}
    return {**made, "target": target}


def _status_to_v2(source: Data) -> Data:
    average = source.get("averageValue", source.get("currentAverageValue"))
    whole = source.get("currentValue")
    current = {
        "value": None if average is not None and whole in ("0", None) else whole,
        "averageValue": average,
        "averageUtilization": source.get("currentAverageUtilization"),
    }
    return {**_common_to_v2(source), "current": current}


def _common_to_v2(source: Data) -> Data:
    made: Data = {key: source[key] for key in ("name", "container") if key in source}
    if "metricName" in source:
        selector = source.get("selector", source.get("metricSelector"))
        made["metric"] = {"name": source["metricName"], "selector": selector}
    if isinstance(source.get("target"), dict):
        made["describedObject"] = source["target"]
    return made


# To v1's flat sources.


def _metric_from_v2(metric: Data, prefix: str) -> Data:
    """``prefix`` is ``target`` of a metric that is wanted, ``current`` of one that was measured."""
    kind = metric.get("type", "")
    field = kind[:1].lower() + kind[1:]
    source = metric.get(field)
    if source is None:
        return {"type": kind}
    amounts, identity = source.get(prefix, {}), source.get("metric", {})
    made: Data = {key: source[key] for key in ("name", "container") if key in source}
    if identity:
        made["metricName"] = identity.get("name", "")
        made["metricSelector" if kind == "External" else "selector"] = identity.get("selector")
    if kind == "Object":
        made["target"] = source.get("describedObject", {})
        made[f"{prefix}Value"] = amounts.get("value", "0")
        made["averageValue"] = amounts.get("averageValue")
    else:
        made[f"{prefix}Value"] = amounts.get("value")
        made[f"{prefix}AverageValue"] = amounts.get("averageValue")
        made[f"{prefix}AverageUtilization"] = amounts.get("averageUtilization")
    return {"type": kind, field: _without_none(made)}


def _text(value: Any) -> str:
    return codec.encode(value).decode()


def _list(text: str) -> list[Data]:
    """The objects of a JSON list. Raises ``codec.DecodeError``."""
    found = codec.parse_json(text) if text else []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise codec.DecodeError("", "expected a list of objects")
    if not all(isinstance(each.get("type", ""), str) for each in found):
        raise codec.DecodeError("", "expected a text as each object's type")
    return found


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return [_without_none(each) for each in value] if isinstance(value, list) else value


def _upper_first(value: Any) -> Any:
    """As Go writes a struct without names for JSON."""
    return _renamed(value, lambda name: name[:1].upper() + name[1:])


def _lower_first(value: Any) -> Any:
    return _renamed(value, lambda name: name[:1].lower() + name[1:])


def _renamed(value: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {rename(key): _renamed(each, rename) for key, each in value.items()}
    return [_renamed(each, rename) for each in value] if isinstance(value, list) else value
