"""Autoscalers in two versions, and what is refused of them. A v1 client must neither lose nor see mangled what v2 says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api import codec
from knarr.api.autoscaling import conversion, v1, v2
from knarr.api.autoscaling.defaults import set_autoscaler_v2
from knarr.api.validation import validate

REFERENCE = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
PREFIX = "autoscaling.alpha.kubernetes.io/"


def autoscaler(version: str = "v2", annotations: dict[str, str] | None = None, status: Any = None, **spec: Any) -> Any:
    kind: Any = {"v1": v1, "v2": v2}[version].HorizontalPodAutoscaler
    data = {
        "metadata": {"name": "web", "namespace": "default", "annotations": annotations or {}},
        "spec": {"scaleTargetRef": REFERENCE, "minReplicas": 1, "maxReplicas": 3, **spec},
        "status": status or {},
    }
    return codec.from_dict(kind, data)


amounts = st.sampled_from(["1", "500m", "10k", "1Gi"])
selectors = st.none() | st.just({"matchLabels": {"app": "web"}})
metric_names = st.fixed_dictionaries({"name": st.sampled_from(["hits", "queue"])}, optional={"selector": st.just({"matchLabels": {"a": "b"}})})


def typed(kind: str, **source: Any) -> dict[str, Any]:
    return {"type": kind, kind[0].lower() + kind[1:]: source}


def averaged(amount: str) -> dict[str, Any]:
    return {"type": "AverageValue", "averageValue": amount}


resources = st.sampled_from(["cpu", "memory"])
metrics = st.one_of(
    st.builds(lambda n, p: typed("Resource", name=n, target={"type": "Utilization", "averageUtilization": p}), st.just("memory"), st.integers(1, 200)),
    st.builds(lambda n, a: typed("Resource", name=n, target=averaged(a)), resources, amounts),
    st.builds(lambda n, a: typed("ContainerResource", name=n, container="main", target=averaged(a)), resources, amounts),
    st.builds(lambda m, a: typed("Pods", metric=m, target=averaged(a)), metric_names, amounts),
    st.builds(lambda m, a: typed("Object", describedObject=REFERENCE, metric=m, target={"type": "Value", "value": a}), metric_names, amounts),
    st.builds(lambda m, a: typed("Object", describedObject=REFERENCE, metric=m, target=averaged(a)), metric_names, amounts),
    st.builds(lambda m, a: typed("External", metric=m, target={"type": "Value", "value": a}), metric_names, amounts),
    st.builds(lambda m, a: typed("External", metric=m, target=averaged(a)), metric_names, amounts),
)
CPU = typed("Resource", name="cpu", target={"type": "Utilization", "averageUtilization": 70})
behaviors = st.none() | st.sampled_from(
    [
        {},
        {"scaleUp": {"stabilizationWindowSeconds": 0, "tolerance": "50m"}},
        {"scaleDown": {"selectPolicy": "Min", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}},
    ]
)


@given(st.booleans(), st.lists(metrics, max_size=4), behaviors)
def test_nothing_is_lost_on_the_way_through_v1(has_cpu: bool, others: list[dict[str, Any]], behavior: Any) -> None:
    first = [CPU] if has_cpu or not others else []
    # A condition without a time, as Go writes it, is none of ours.
    status = {"currentReplicas": 2, "desiredReplicas": 3, "conditions": [{"type": "AbleToScale", "status": "True", "reason": "a", "message": "b"}]}
    stored = autoscaler(metrics=[*first, *others], behavior=behavior, status=status)
    set_autoscaler_v2(stored)
    assert conversion.to_v2(conversion.from_v2(stored)) == stored


def test_v1_shows_the_rest_in_upstreams_annotations() -> None:
    current = [
        typed("Resource", name="cpu", current={"averageUtilization": 30, "averageValue": "60m"}),
        typed("External", metric={"name": "queue"}, current={"value": "7"}),
    ]
    queue = typed("External", metric={"name": "queue", "selector": {"matchLabels": {"a": "b"}}}, target=averaged("10"))
    hits = typed("Object", describedObject=REFERENCE, metric={"name": "hits"}, target=averaged("5"))
    behavior = {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}
    shown = conversion.from_v2(autoscaler(metrics=[CPU, queue, hits], behavior=behavior, status={"currentMetrics": current}))
    assert (shown.spec.targetCPUUtilizationPercentage, shown.status.currentCPUUtilizationPercentage) == (70, 30)
    annotations = {key.removeprefix(PREFIX): json.loads(value) for key, value in shown.metadata.annotations.items()}
    assert annotations == {
        "metrics": [
            {"type": "External", "external": {"metricName": "queue", "metricSelector": {"matchLabels": {"a": "b"}}, "targetAverageValue": "10"}},
            {"type": "Object", "object": {"target": REFERENCE, "metricName": "hits", "targetValue": "0", "averageValue": "5"}},
        ],
        "current-metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "currentAverageUtilization": 30, "currentAverageValue": "60m"}},
            {"type": "External", "external": {"metricName": "queue", "currentValue": "7"}},
        ],
        "behavior": {"ScaleDown": {"Policies": [{"Type": "Pods", "Value": 1, "PeriodSeconds": 60}]}},
    }


def test_v1_without_any_target_gets_the_default_one() -> None:
    stored = conversion.to_v2(autoscaler("v1"))
    (metric,) = stored.spec.metrics
    assert metric.resource is not None and metric.resource.target.averageUtilization == 80


def external(**target: Any) -> dict[str, Any]:
    return typed("External", metric={"name": "queue"}, target={"type": "Value", **target})


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({"minReplicas": -1}, "spec.minReplicas: Invalid value: -1: must be greater than or equal to 0"),
        ({"minReplicas": 0, "metrics": [CPU]}, "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas"),
        ({"metrics": [{"type": "Pods"}]}, "spec.metrics[0].pods: Required value: must populate information for the given metric source"),
        ({"metrics": [{**CPU, "external": external(value="1")["external"]}]}, "spec.metrics[0].external: Forbidden: must populate the given metric source only"),
        ({"metrics": [external()]}, "spec.metrics[0].external.target.averageValue: Required value: must set either a target value for metric or a per-pod target"),
        ({"metrics": [external(value="1", averageValue="1")]}, "spec.metrics[0].external.target.value: Forbidden: may not set both a target value for metric and a per-pod target"),
        ({"metrics": [external(value="0")]}, 'spec.metrics[0].external.target.value: Invalid value: "0": must be positive'),
        (
            {"metrics": [typed("Resource", name="cpu", target={"type": "Utilization", "averageUtilization": 1, "averageValue": "1"})]},
            "spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization",
        ),
        ({"metrics": [typed("Resource", name="", target=averaged("1"))]}, "spec.metrics[0].resource.name: Required value: must specify a resource name"),
        (
            {"metrics": [typed("Resource", name="cpu", target={"type": "Utilization"})]},
            "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
        ),
        (
            {"metrics": [typed("Pods", metric={"name": "a"}, target={"type": "Value", "value": "1"})]},
            "spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue",
        ),
        (
            {"metrics": [typed("Object", describedObject=REFERENCE, metric={"name": "a"}, target={"type": "Value"})]},
            "spec.metrics[0].object.target.averageValue: Required value: must set either a target value or averageValue",
        ),
        ({"metrics": [typed("Pods", metric={}, target=averaged("1"))]}, "spec.metrics[0].pods.metric.name: Required value: must specify a metric name"),
        ({"metrics": [typed("ContainerResource", name="cpu", target=averaged("1"))]}, "spec.metrics[0].containerResource.container: Required value: must specify a container"),
        ({"behavior": {"scaleUp": {"tolerance": "-1"}}}, 'spec.behavior.scaleUp.tolerance: Invalid value: "-1": must be greater than or equal to 0'),
        ({"behavior": {"scaleUp": {"stabilizationWindowSeconds": -1}}}, "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: -1: must be greater than or equal to zero"),
        (
            {"behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 1}]}}},
            "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
        ),
    ],
)
def test_what_is_refused_says_upstreams_words(spec: dict[str, Any], fault: str) -> None:
    wrong = autoscaler(**{"metrics": [CPU], **spec})
    set_autoscaler_v2(wrong)
    assert [str(each) for each in validate(wrong)] == [fault]


def test_an_annotation_of_v1_that_says_nothing_is_refused() -> None:
    for text in ("{", "{}", '[{"type": "Pods"}]', '["a"]', '[{"type": 5}]', '[{"type": "Pods", "pods": {"metricName": {}}}]'):
        assert validate(autoscaler("v1", annotations={conversion.METRICS: text})), text


def test_scaling_to_zero_is_allowed_where_something_else_wakes_it() -> None:
    assert not validate(autoscaler(minReplicas=0, metrics=[external(value="1")]))
