"""The rules for horizontal pod autoscalers and scales.

Counterpart upstream: ``pkg/apis/autoscaling/validation``. ``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

from typing import Any

from knarr.api import names, quantity
from knarr.api.autoscaling import v1, v2
from knarr.api.errors import FieldError, invalid_value, required
from knarr.api.rules import Rules, name_field, not_negative, one_of, positive

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
    if spec.minReplicas is not None and spec.minReplicas < 1:
        text = "must be greater than or equal to 1"
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
    faults = check_target_and_range(autoscaler)
    return faults + positive(
        "spec.targetCPUUtilizationPercentage", autoscaler.spec.targetCPUUtilizationPercentage
    )


def check_v2(autoscaler: v2.HorizontalPodAutoscaler) -> list[FieldError]:
    faults = check_target_and_range(autoscaler)
    for index, metric in enumerate(autoscaler.spec.metrics):
        faults += _check_metric(f"spec.metrics[{index}]", metric)
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
    name = SOURCES[metric.type]
    source = getattr(metric, name)
    here = f"{field}.{name}"
    if source is None:
        return [required(here, f"must populate information for the given metric source {metric.type}")]
    faults: list[FieldError] = []
    if metric.type in ("Resource", "ContainerResource") and not source.name:
        faults.append(required(f"{here}.name", "must specify a resource name"))
    if metric.type == "ContainerResource" and not source.container:
        faults.append(required(f"{here}.container", "must specify a container"))
    if metric.type in ("External", "Object", "Pods"):
        faults += name_field(f"{here}.metric.name", source.metric.name, names.path_segment)
    if metric.type == "Object":
        faults += check_reference(f"{here}.describedObject", source.describedObject)
    return faults + _check_target(f"{here}.target", source.target)


def _check_target(field: str, target: v2.MetricTarget) -> list[FieldError]:
    faults = one_of(f"{field}.type", target.type, ("AverageValue", "Utilization", "Value"))
    for name in ("value", "averageValue"):
        amount = getattr(target, name)
        if amount is not None and quantity.nanos(amount) <= 0:
            faults.append(invalid_value(f"{field}.{name}", amount, "must be positive"))
    if target.averageUtilization is not None and target.averageUtilization < 1:
        text = "must be greater than 0"
        faults.append(invalid_value(f"{field}.averageUtilization", target.averageUtilization, text))
    if target.value is None and target.averageValue is None and target.averageUtilization is None:
        text = "must set either a target raw value or a target utilization"
        faults.append(required(f"{field}.averageUtilization", text))
    return faults


def _check_rules(field: str, rules: v2.HPAScalingRules) -> list[FieldError]:
    faults: list[FieldError] = []
    window_s = rules.stabilizationWindowSeconds
    faults += not_negative(f"{field}.stabilizationWindowSeconds", window_s)
    if window_s is not None and window_s > MAX_WINDOW_S:
        text = f"must be less than or equal to {MAX_WINDOW_S}"
        faults.append(invalid_value(f"{field}.stabilizationWindowSeconds", window_s, text))
    if rules.selectPolicy is not None:
        faults += one_of(f"{field}.selectPolicy", rules.selectPolicy, ("Disabled", "Max", "Min"))
    if not rules.policies:
        faults.append(required(f"{field}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(rules.policies):
        here = f"{field}.policies[{index}]"
        faults += one_of(f"{here}.type", policy.type, ("Percent", "Pods"))
        faults += positive(f"{here}.value", policy.value)
        faults += positive(f"{here}.periodSeconds", policy.periodSeconds)
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
