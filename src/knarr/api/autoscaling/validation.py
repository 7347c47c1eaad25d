"""The rules for horizontal pod autoscalers and scales.

Counterpart upstream: ``pkg/apis/autoscaling/validation``. ``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

from typing import Any

from knarr.api import codec, names, quantity
from knarr.api.autoscaling import v1, v2
from knarr.api.autoscaling.conversion import to_v2
from knarr.api.errors import FieldError, field_forbidden, invalid_value, required
from knarr.api.rules import Rules, name_field, not_negative, one_of

METRIC_TYPES = ("ContainerResource", "External", "Object", "Pods", "Resource")
SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
MAX_PERIOD_S, MAX_WINDOW_S = 1800, 3600


def check_target_and_range(autoscaler: Any) -> list[FieldError]:
    spec = autoscaler.spec
    faults: list[FieldError] = []
    if spec.minReplicas is not None and spec.minReplicas < 0:
        text = "must be greater than or equal to 0"
        faults.append(invalid_value("spec.minReplicas", spec.minReplicas, text))
    if spec.maxReplicas < 1:
        faults.append(invalid_value("spec.maxReplicas", spec.maxReplicas, "must be greater than 0"))
    if spec.minReplicas is not None and spec.maxReplicas < spec.minReplicas:
        text = "must be greater than or equal to `minReplicas`"
        faults.append(invalid_value("spec.maxReplicas", spec.maxReplicas, text))
    return faults + check_reference("spec.scaleTargetRef", spec.scaleTargetRef)


def check_reference(field: str, reference: Any) -> list[FieldError]:
    faults = name_field(f"{field}.kind", reference.kind, names.path_segment)
    return faults + name_field(f"{field}.name", reference.name, names.path_segment)


def check_v1(autoscaler: v1.HorizontalPodAutoscaler) -> list[FieldError]:
    """As what it is stored as; the fields named are that version's, as upstream's are."""
    try:
        stored = to_v2(autoscaler)
    except codec.DecodeError as error:
        return [invalid_value("metadata.annotations", dict(autoscaler.metadata.annotations), str(error))]
    return check_v2(stored)


def check_v2(autoscaler: v2.HorizontalPodAutoscaler) -> list[FieldError]:
    faults = check_target_and_range(autoscaler)
    for index, metric in enumerate(autoscaler.spec.metrics):
        faults += _check_metric(f"spec.metrics[{index}]", metric)
    if autoscaler.spec.minReplicas == 0 and not any(
        metric.type in ("Object", "External") for metric in autoscaler.spec.metrics
    ):
        text = "must specify at least one Object or External metric to support scaling to zero replicas"
        faults.append(field_forbidden("spec.metrics", text))
    behavior = autoscaler.spec.behavior
    if behavior is not None:
        for name in ("scaleUp", "scaleDown"):
            if (rules := getattr(behavior, name)) is not None:
                faults += _check_rules(f"spec.behavior.{name}", rules)
    return faults


def _check_metric(field: str, metric: v2.MetricSpec) -> list[FieldError]:
    if not metric.type:
        return [required(f"{field}.type", "must specify a metric source type")]
    if metric.type not in SOURCES:
        return one_of(f"{field}.type", metric.type, METRIC_TYPES)
    wanted = SOURCES[metric.type]
    faults = [
        field_forbidden(f"{field}.{name}", "must populate the given metric source only")
        for name in SOURCES.values()
        if name != wanted and getattr(metric, name) is not None
    ]
    source, here = getattr(metric, wanted), f"{field}.{wanted}"
    if source is None:
        return [*faults, required(here, "must populate information for the given metric source")]
    return faults + _check_identity(here, metric.type, source) + _check_target(here, metric.type, source.target)


def _check_identity(here: str, kind: str, source: Any) -> list[FieldError]:
    """What is measured."""
    faults: list[FieldError] = []
    if kind == "Object":
        faults += check_reference(f"{here}.describedObject", source.describedObject)
    if kind in ("Resource", "ContainerResource"):
        if not source.name:
            faults.append(required(f"{here}.name", "must specify a resource name"))
    elif not source.metric.name:
        faults.append(required(f"{here}.metric.name", "must specify a metric name"))
    else:
        faults += name_field(f"{here}.metric.name", source.metric.name, names.path_segment)
    if kind == "ContainerResource" and not source.container:
        faults.append(required(f"{here}.container", "must specify a container"))
    elif kind == "ContainerResource":
        faults += name_field(f"{here}.container", source.container, names.dns1123_label)
    return faults


def _check_target(here: str, kind: str, target: v2.MetricTarget) -> list[FieldError]:
    """How much of it is wanted: each kind of metric has its own ways to say so."""
    field = f"{here}.target"
    faults = one_of(f"{field}.type", target.type, ("AverageValue", "Utilization", "Value"))
    for name in ("value", "averageValue"):
        amount = getattr(target, name)
        if amount is not None and quantity.nanos(amount) <= 0:
            faults.append(invalid_value(f"{field}.{name}", amount, "must be positive"))
    if target.averageUtilization is not None and target.averageUtilization < 1:
        text = "must be greater than 0"
        faults.append(invalid_value(f"{field}.averageUtilization", target.averageUtilization, text))
    has_value, has_average = target.value is not None, target.averageValue is not None
    has_percent = target.averageUtilization is not None
    if kind in ("Resource", "ContainerResource"):
        if not has_percent and not has_average:
            text = "must set either a target raw value or a target utilization"
            faults.append(required(f"{field}.averageUtilization", text))
        if has_percent and has_average:
            text = "may not set both a target raw value and a target utilization"
            faults.append(field_forbidden(f"{field}.averageValue", text))
    elif kind == "Pods" and not has_average:
        faults.append(required(f"{field}.averageValue", "must specify a positive target averageValue"))
    elif kind == "Object" and not has_value and not has_average:
        faults.append(required(f"{field}.averageValue", "must set either a target value or averageValue"))
    elif kind == "External" and not has_value and not has_average:
        text = "must set either a target value for metric or a per-pod target"
        faults.append(required(f"{field}.averageValue", text))
    elif kind == "External" and has_value and has_average:
        text = "may not set both a target value for metric and a per-pod target"
        faults.append(field_forbidden(f"{field}.value", text))
    return faults


def _check_rules(field: str, rules: v2.HPAScalingRules) -> list[FieldError]:
    faults: list[FieldError] = []
    window_s = rules.stabilizationWindowSeconds
    if window_s is not None and window_s < 0:
        text = "must be greater than or equal to zero"
        faults.append(invalid_value(f"{field}.stabilizationWindowSeconds", window_s, text))
    if window_s is not None and window_s > MAX_WINDOW_S:
        text = f"must be less than or equal to {MAX_WINDOW_S}"
        faults.append(invalid_value(f"{field}.stabilizationWindowSeconds", window_s, text))
    if rules.selectPolicy is not None:
        faults += one_of(f"{field}.selectPolicy", rules.selectPolicy, ("Disabled", "Max", "Min"))
    if rules.tolerance is not None and quantity.nanos(rules.tolerance) < 0:
        text = "must be greater than or equal to 0"
        faults.append(invalid_value(f"{field}.tolerance", rules.tolerance, text))
    if not rules.policies:
        faults.append(required(f"{field}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(rules.policies):
        here = f"{field}.policies[{index}]"
        faults += one_of(f"{here}.type", policy.type, ("Percent", "Pods"))
        for name in ("value", "periodSeconds"):
            if (number := getattr(policy, name)) <= 0:
                faults.append(invalid_value(f"{here}.{name}", number, "must be greater than zero"))
        if policy.periodSeconds > MAX_PERIOD_S:
            text = f"must be less than or equal to {MAX_PERIOD_S}"
            faults.append(invalid_value(f"{here}.periodSeconds", policy.periodSeconds, text))
    return faults


def check_scale(scale: v1.Scale) -> list[FieldError]:
    return not_negative("spec.replicas", scale.spec.replicas)


RULES: dict[Any, Rules] = {
    v1.HorizontalPodAutoscaler: Rules(check_v1),
    v1.Scale: Rules(check_scale),
    v2.HorizontalPodAutoscaler: Rules(check_v2),
}
