"""An autoscaler's metrics, one by one: ask, calculate, and say what was found.

Upstream's counterpart is ``computeReplicasForMetrics`` and the functions below it, with their texts. Neighbours: ``metrics`` asks,
``replicas`` calculates, ``controller`` decides what to do about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from knarr.api import quantity
from knarr.api.autoscaling import v1 as autoscaling
from knarr.api.autoscaling import v2
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.api.selectors import LabelSelector, SelectorError, from_label_selector
from knarr.controllers.horizontal import replicas as calculate
from knarr.controllers.horizontal.metrics import MetricsClient
from knarr.controllers.horizontal.replicas import CannotTell, Tolerances
from knarr.controllers.horizontal.targets import NoMatch, Targets

__all__ = ["Evaluation", "Evaluator", "Failure", "Subject"]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is being scaled, as it stands."""

    namespace: str
    scale: autoscaling.Scale
    selector: LabelSelector
    pods: list[core.Pod]
    tolerances: Tolerances
    now: datetime


class Failure(NamedTuple):
    """A metric that gave no number: the reason of its event and condition, their text, and the text in the round's own error."""

    reason: str
    told: str
    summed_up: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What all metrics together ask for; ``replicas`` None where nothing may be done. ``statuses`` has one for each metric."""

    replicas: int | None
    metric: str
    statuses: list[v2.MetricStatus]
    failures: list[Failure]

    @property
    def error(self) -> str:
        """Empty if every metric gave a number."""
        if not self.failures:
            return ""
        counted = f"({len(self.failures)} invalid out of {len(self.statuses)})"
        return f"invalid metrics {counted}, first error is: {self.failures[0].summed_up}"


class _Proposal(NamedTuple):
    replicas: int
    metric: str
    status: v2.MetricStatus


class _Failed(Exception):
    def __init__(self, reason: str, told: str, summed_up: str) -> None:
        super().__init__(told)
        self.failure = Failure(reason, told, summed_up)


class Evaluator:
    def __init__(self, metrics: MetricsClient, targets: Targets) -> None:
        self._metrics = metrics
        self._targets = targets

    async def evaluate(self, specs: list[v2.MetricSpec], subject: Subject) -> Evaluation:
        """The greatest number any metric asks for. One that fails must not let the others scale down."""
        wanted, metric = 0, ""
        statuses: list[v2.MetricStatus] = []
        failures: list[Failure] = []
        for spec in specs:
            try:
                found = await self._evaluate(spec, subject)
            except _Failed as error:
                failures.append(error.failure)
                statuses.append(v2.MetricStatus())
                continue
            statuses.append(found.status)
            if wanted == 0 or found.replicas > wanted:
                wanted, metric = found.replicas, found.metric
        current = subject.scale.spec.replicas
        if len(failures) == len(specs) or (failures and wanted < current):
            return Evaluation(None, "", statuses, failures)
        return Evaluation(wanted, metric, statuses, failures)

    async def _evaluate(self, spec: v2.MetricSpec, subject: Subject) -> _Proposal:
        if spec.resource is not None:
            return await self._resource(spec.resource, subject)
        if spec.containerResource is not None:
            return await self._container_resource(spec.containerResource, subject)
        if spec.pods is not None:
            return await self._pods(spec.pods, subject)
        if spec.object is not None:
            return await self._object(spec.object, subject)
        assert spec.external is not None, "validation lets through no metric without a source"
        return await self._external(spec.external, subject)

    # What pods use.

    async def _resource(self, source: v2.ResourceMetricSource, subject: Subject) -> _Proposal:
        try:
            wanted, current = await self._usage(source.name, source.target, subject)
        except CannotTell as error:
            summed_up = f"failed to get {source.name} resource metric value: {error}"
            raise _Failed("FailedGetResourceMetric", str(error), summed_up) from None
        share = " utilization (percentage of request)" if source.target.averageValue is None else ""
        status = v2.ResourceMetricStatus(name=source.name, current=current)
        return _Proposal(
            wanted, f"{source.name} resource{share}", v2.MetricStatus(type="Resource", resource=status)
        )

    async def _container_resource(
        self, source: v2.ContainerResourceMetricSource, subject: Subject
    ) -> _Proposal:
        try:
            wanted, current = await self._usage(source.name, source.target, subject, container=source.container)
        except CannotTell as error:
            summed_up = f"failed to get {source.container} container metric value: {error}"
            raise _Failed("FailedGetContainerResourceMetric", str(error), summed_up) from None
        share = " container resource utilization (percentage of request)"
        metric = f"{source.name}{share if source.target.averageValue is None else ' resource'}"
        status = v2.ContainerResourceMetricStatus(
            name=source.name, container=source.container, current=current
        )
        return _Proposal(wanted, metric, v2.MetricStatus(type="ContainerResource", containerResource=status))

    async def _usage(
        self, resource: str, target: v2.MetricTarget, subject: Subject, *, container: str = ""
    ) -> tuple[int, v2.MetricValueStatus]:
        """Raises ``CannotTell``."""
        averaged = target.averageValue is not None
        try:
            try:
                found = await self._metrics.of_resource(
                    resource, subject.namespace, str(subject.selector), container=container
                )
            except CannotTell as error:
                raise CannotTell(f"unable to get metrics for resource {resource}: {error}") from None
            current = subject.scale.spec.replicas
            if target.averageValue is not None:
                wanted, average = calculate.by_average(
                    current,
                    found,
                    subject.pods,
                    resource=resource,
                    target=quantity.millis(target.averageValue),
                    tolerances=subject.tolerances,
                    now=subject.now,
                )
                return wanted, v2.MetricValueStatus(averageValue=quantity.from_millis(average))
            assert target.averageUtilization is not None, "validation wants the one or the other"
            wanted, percent, average = calculate.by_utilization(
                current,
                found,
                subject.pods,
                resource=resource,
                target_percent=target.averageUtilization,
                tolerances=subject.tolerances,
                now=subject.now,
                container=container,
            )
            amount = quantity.from_millis(average)
            return wanted, v2.MetricValueStatus(averageUtilization=percent, averageValue=amount)
        except CannotTell as error:
            what = "usage" if averaged else "utilization"
            raise CannotTell(f"failed to get {resource} {what}: {error}") from None

    async def _pods(self, source: v2.PodsMetricSource, subject: Subject) -> _Proposal:
        name = source.metric.name
        try:
            try:
                found = await self._metrics.of_pods(
                    name,
                    subject.namespace,
                    str(subject.selector),
                    metric_selector=_selector_text(source.metric.selector),
                )
            except CannotTell as error:
                raise CannotTell(f"unable to get metric {name}: {error}") from None
            assert source.target.averageValue is not None, "validation wants it"
            wanted, average = calculate.by_average(
                subject.scale.spec.replicas,
                found,
                subject.pods,
                resource="",
                target=quantity.millis(source.target.averageValue),
                tolerances=subject.tolerances,
                now=subject.now,
            )
        except CannotTell as error:
            summed_up = f"failed to get pods metric value: {error}"
            raise _Failed("FailedGetPodsMetric", str(error), summed_up) from None
        status = v2.PodsMetricStatus(
            metric=source.metric, current=v2.MetricValueStatus(averageValue=quantity.from_millis(average))
        )
        return _Proposal(wanted, f"pods metric {name}", v2.MetricStatus(type="Pods", pods=status))

    # What something else says.

    async def _object(self, source: v2.ObjectMetricSource, subject: Subject) -> _Proposal:
        name, about = source.metric.name, source.describedObject
        try:
            used = await self._object_value(source, subject)
            wanted, current = _shared_or_whole(source.target, used, subject)
        except CannotTell as error:
            extra = "" if source.target.type == "Value" else f"failed to get {name} object metric: "
            summed_up = f"failed to get object metric value: {extra}{error}"
            raise _Failed("FailedGetObjectMetric", str(error), summed_up) from None
        status = v2.ObjectMetricStatus(metric=source.metric, describedObject=about, current=current)
        if source.target.type == "Value":
            metric = f"{about.kind} metric {name}"
        else:
            metric = f"external metric {name}({_go_text(source.metric.selector)})"
        return _Proposal(wanted, metric, v2.MetricStatus(type="Object", object=status))

    async def _object_value(self, source: v2.ObjectMetricSource, subject: Subject) -> int:
        """Raises ``CannotTell``."""
        about = source.describedObject
        try:
            try:
                resource = self._targets.resource(about).group_resource
            except NoMatch as error:
                raise CannotTell(f"unable to fetch metrics from custom metrics API: {error}") from None
            return await self._metrics.of_object(
                source.metric.name,
                subject.namespace,
                about,
                resource=resource,
                metric_selector=_selector_text(source.metric.selector),
            )
        except CannotTell as error:
            # Upstream mixes the order of its words up; who searches for its text should find it.
            where = f"{about.kind} on {subject.namespace} {about.name}/{error}"
            raise CannotTell(f"unable to get metric {source.metric.name}: {where}") from None

    async def _external(self, source: v2.ExternalMetricSource, subject: Subject) -> _Proposal:
        name = source.metric.name
        shown = _go_text(source.metric.selector)
        try:
            try:
                used = await self._metrics.of_external(
                    name, subject.namespace, _selector_text(source.metric.selector)
                )
            except CannotTell as error:
                where = f"{subject.namespace}/{name}/{shown}"
                raise CannotTell(f"unable to get external metric {where}: {error}") from None
            wanted, current = _shared_or_whole(source.target, used, subject)
        except CannotTell as error:
            averaged = source.target.averageValue is not None
            inner = f"{name} external metric" if averaged else f"external metric {name}"
            summed_up = f"failed to get {name} external metric value: failed to get {inner}: {error}"
            raise _Failed("FailedGetExternalMetric", str(error), summed_up) from None
        status = v2.ExternalMetricStatus(metric=source.metric, current=current)
        return _Proposal(
            wanted, f"external metric {name}({shown})", v2.MetricStatus(type="External", external=status)
        )


def _shared_or_whole(
    target: v2.MetricTarget, used: int, subject: Subject
) -> tuple[int, v2.MetricValueStatus]:
    """A value that pods share, or that they bring down together. Raises ``CannotTell``."""
    if target.averageValue is not None and (target.value is None or target.type == "AverageValue"):
        wanted, average = calculate.by_value_per_pod(
            subject.scale.status.replicas,
            used,
            target=quantity.millis(target.averageValue),
            tolerances=subject.tolerances,
        )
        return wanted, v2.MetricValueStatus(averageValue=quantity.from_millis(average))
    assert target.value is not None, "validation wants the one or the other"
    wanted = calculate.by_ratio(
        subject.scale.spec.replicas,
        used,
        target=quantity.millis(target.value),
        ready=calculate.ready_count(subject.pods),
        tolerances=subject.tolerances,
    )
    return wanted, v2.MetricValueStatus(value=quantity.from_millis(used))


def _selector_text(selector: meta.LabelSelector | None) -> str:
    """Raises ``CannotTell``."""
    try:
        return str(from_label_selector(selector)) if selector is not None else ""
    except SelectorError as error:
        raise CannotTell(str(error)) from None


def _go_text(selector: meta.LabelSelector | None) -> str:
    """A selector as Go prints it: upstream shows it so in the names of metrics."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted(selector.matchLabels.items()))
    expressions = "".join(map(_go_expression, selector.matchExpressions))
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )


def _go_expression(expression: Any) -> str:
    values = " ".join(expression.values)
    return (
        f"LabelSelectorRequirement{{Key:{expression.key},Operator:{expression.operator},Values:[{values}],}},"
    )
