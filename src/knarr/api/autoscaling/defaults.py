"""Defaults of the autoscaling group.

Counterpart upstream: ``pkg/apis/autoscaling/{v1,v2}/defaults.go``. ``knarr.api.defaulting`` calls through
``DEFAULTERS``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.autoscaling import v1, v2

CPU_PERCENT = 80


def _policy(kind: str, value: int, period_s: int = 15) -> v2.HPAScalingPolicy:
    return v2.HPAScalingPolicy(type=kind, value=value, periodSeconds=period_s)


def set_autoscaler_v1(autoscaler: v1.HorizontalPodAutoscaler) -> None:
    if autoscaler.spec.minReplicas is None:
        autoscaler.spec.minReplicas = 1


def set_autoscaler_v2(autoscaler: v2.HorizontalPodAutoscaler) -> None:
    spec = autoscaler.spec
    if spec.minReplicas is None:
        spec.minReplicas = 1
    if not spec.metrics:
        target = v2.MetricTarget(type="Utilization", averageUtilization=CPU_PERCENT)
        source = v2.ResourceMetricSource(name="cpu", target=target)
        spec.metrics = [v2.MetricSpec(type="Resource", resource=source)]
    behavior = spec.behavior
    if behavior is not None:
        up = [_policy("Pods", 4), _policy("Percent", 100)]
        behavior.scaleUp = _set_rules(behavior.scaleUp, up, window_s=0)
        behavior.scaleDown = _set_rules(behavior.scaleDown, [_policy("Percent", 100)], window_s=None)


def _set_rules(
    rules: v2.HPAScalingRules | None, policies: list[v2.HPAScalingPolicy], *, window_s: int | None
) -> v2.HPAScalingRules:
    rules = rules or v2.HPAScalingRules()
    if rules.selectPolicy is None:
        rules.selectPolicy = "Max"
    if rules.stabilizationWindowSeconds is None:
        rules.stabilizationWindowSeconds = window_s
    rules.policies = rules.policies or policies
    return rules


DEFAULTERS: dict[Any, Any] = {
    v1.HorizontalPodAutoscaler: set_autoscaler_v1,
    v2.HorizontalPodAutoscaler: set_autoscaler_v2,
}
