"""The rounds: every fifteen seconds each autoscaler is looked at, its target's scale is set, and its status says why.

Upstream's counterpart is ``reconcileAutoscaler`` in ``horizontal.go``, with its reasons and texts. Scaling to zero, there behind
the gate HPAScaleToZero, is on here; the condition ScaledToZero, by which a target that was scaled to zero is told from one that
somebody switched off, is kept only for autoscalers that may do so.

Neighbours: ``evaluation`` says what the metrics ask for, ``scaling`` what of it is done now.

Invariant: a round that changes nothing writes nothing.
"""

from __future__ import annotations

from typing import Any

from knarr.api import codec, conditions, quantity
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.autoscaling import v1 as autoscaling
from knarr.api.autoscaling import v2
from knarr.api.core import v1 as core
from knarr.api.defaulting import apply_defaults
from knarr.api.errors import StatusError
from knarr.api.scheme import Resource
from knarr.api.selectors import LabelSelector, SelectorError, parse_labels
from knarr.client.events import NORMAL, WARNING
from knarr.client.transport import TransportError
from knarr.controllers.framework import Controller, ControllerContext, Key, key_of
from knarr.controllers.horizontal.evaluation import Evaluation, Evaluator, Subject
from knarr.controllers.horizontal.metrics import MetricsClient
from knarr.controllers.horizontal.replicas import DEFAULT_TOLERANCE, Tolerances
from knarr.controllers.horizontal.scaling import Bounds, History, normalize
from knarr.controllers.horizontal.targets import NoMatch, Targets
from knarr.kit.clock import rfc3339

__all__ = ["HorizontalController"]

SYNC_PERIOD_S = 15.0
#: How often a scale that somebody else has changed meanwhile is read again.
CONFLICT_TRIES = 5
ABLE, ACTIVE, LIMITED, AT_ZERO = "AbleToScale", "ScalingActive", "ScalingLimited", "ScaledToZero"
UNABLE_TO_GET = "the HPA controller was unable to get the target's current scale: "


class _Ended(Exception):
    """The round is over before its end: the status says why."""


class HorizontalController(Controller):
    name = "horizontal-pod-autoscaler"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        informer = self.informer(v2.HorizontalPodAutoscaler)
        informer.add_handler(self._changed)
        self._autoscalers = informer.lister
        self._pods = self.lister(core.Pod)
        self._targets = Targets(self.client, self.lister(apiextensions.CustomResourceDefinition))
        self._evaluator = Evaluator(MetricsClient(self.client), self._targets)
        self._histories: dict[Key, History] = {}
        #: What each autoscaler's target selects, for seeing that no two scale the same pods.
        self._selectors: dict[Key, LabelSelector] = {}

    def _changed(self, event: str, old: Any | None, new: Any | None) -> None:
        key = key_of(new if new is not None else old)
        if new is None:
            self._selectors.pop(key, None)
        # Whatever happens to it, an autoscaler waits for its turn: metrics do not move faster.
        self.queue.add_after(key, SYNC_PERIOD_S)

    async def reconcile(self, key: Key) -> None:
        autoscaler = self._autoscalers.get(*key)
        if autoscaler is None:
            self._histories.pop(key, None)
            self._selectors.pop(key, None)
            return
        hpa = codec.copy(autoscaler)
        # What was put into the store by other means has no defaults.
        apply_defaults(hpa)
        try:
            await self._round(key, hpa, autoscaler.status)
        except (StatusError, TransportError) as error:
            self.log.warning("autoscaler not served", key="/".join(key), error=error)
        finally:
            self.queue.add_after(key, SYNC_PERIOD_S)

    async def _round(
        self, key: Key, hpa: v2.HorizontalPodAutoscaler, before: v2.HorizontalPodAutoscalerStatus
    ) -> None:
        try:
            await self._scale(key, hpa)
        except _Ended as error:
            self.log.debug("autoscaler did not scale", key="/".join(key), error=error)
        if hpa.status == before:
            return
        try:
            await self.client.update_status(hpa)
        except StatusError as error:
            self.recorder.event(hpa, WARNING, "FailedUpdateStatus", str(error))
            raise

    async def _scale(self, key: Key, hpa: v2.HorizontalPodAutoscaler) -> None:
        """One round; what it finds is in ``hpa.status``. Raises ``_Ended``."""
        resource, scale = await self._target(hpa)
        self._set(hpa, ABLE, True, "SucceededGetScale", "the HPA controller was able to get the target's current scale")
        current = scale.spec.replicas
        history = self._histories.setdefault(key, History())
        history.begin(current, self.clock.monotonic_s())
        lowest = 1 if hpa.spec.minReplicas is None else hpa.spec.minReplicas
        bounds = Bounds(lowest, hpa.spec.maxReplicas)
        found = Evaluation(None, "", [], [])
        desired, reason = current, ""
        if current == 0 and not _may_leave_zero(hpa):
            text = "scaling is disabled since the replica count of the target is zero"
            self._set(hpa, ACTIVE, False, "ScalingDisabled", text)
        elif current > bounds.highest:
            desired, reason = bounds.highest, "Current number of replicas above Spec.MaxReplicas"
        elif 0 < current < bounds.lowest:
            desired, reason = bounds.lowest, "Current number of replicas below Spec.MinReplicas"
        else:
            found = await self._evaluate(key, hpa, scale)
            desired, reason = self._wanted(hpa, current, found, bounds, history)
        if desired != current:
            await self._write(hpa, resource, scale, desired=desired, reason=reason, found=found)
            history.scaled(current, desired, hpa.spec.behavior, self.clock.monotonic_s())
        self._report(hpa, current, desired, found.statuses, scaled=desired != current)

    async def _target(self, hpa: v2.HorizontalPodAutoscaler) -> tuple[Resource, autoscaling.Scale]:
        reference = hpa.spec.scaleTargetRef
        try:
            resource = self._targets.resource(reference)
            scale = await self._targets.scale(resource, hpa.metadata.namespace, reference.name)
        except (NoMatch, StatusError) as error:
            self.recorder.event(hpa, WARNING, "FailedGetScale", str(error))
            self._set(hpa, ABLE, False, "FailedGetScale", f"{UNABLE_TO_GET}{error}")
            raise _Ended(str(error)) from None
        return resource, scale

    async def _evaluate(
        self, key: Key, hpa: v2.HorizontalPodAutoscaler, scale: autoscaling.Scale
    ) -> Evaluation:
        """What the metrics ask for. Raises ``_Ended`` where nothing can be made of them."""
        selector, pods = self._selected(key, hpa, scale)
        subject = Subject(
            hpa.metadata.namespace, scale, selector, pods, _tolerances(hpa.spec.behavior), self.clock.now()
        )
        found = await self._evaluator.evaluate(hpa.spec.metrics, subject)
        for failure in found.failures:
            self.recorder.event(hpa, WARNING, failure.reason, failure.told)
        if found.replicas is None:
            first = found.failures[0]
            text = f"the HPA was unable to compute the replica count: {first.told}"
            self._set(hpa, ACTIVE, False, first.reason, text)
            self._report(hpa, scale.spec.replicas, hpa.status.desiredReplicas, found.statuses, scaled=False)
            self.recorder.event(hpa, WARNING, "FailedComputeMetricsReplicas", found.error)
            raise _Ended(found.error)
        text = f"the HPA was able to successfully calculate a replica count from {found.metric}"
        self._set(hpa, ACTIVE, True, "ValidMetricFound", text)
        return found

    def _selected(
        self, key: Key, hpa: v2.HorizontalPodAutoscaler, scale: autoscaling.Scale
    ) -> tuple[LabelSelector, list[core.Pod]]:
        """The target's pods. Raises ``_Ended`` where they cannot be told, or are another autoscaler's as well."""
        text = scale.status.selector
        if not text:
            missing = "the HPA target's scale is missing a selector"
            event = ("SelectorRequired", "selector is required")
            raise self._no_pods(hpa, scale, "InvalidSelector", missing, event=event)
        try:
            selector = parse_labels(text)
        except SelectorError as error:
            problem = f"couldn't convert selector into a corresponding internal selector object: {error}"
            raise self._no_pods(hpa, scale, "InvalidSelector", problem) from None
        self._selectors[key] = selector
        pods = [pod for pod in self._pods.list(key[0]) if selector.matches(pod.metadata.labels)]
        shared = [
            other
            for other, theirs in self._selectors.items()
            if other[0] == key[0] and any(theirs.matches(pod.metadata.labels) for pod in pods)
        ]
        if len(shared) > 1:
            names = " ".join("/".join(each) for each in shared)
            problem = f"pods by selector {text} are controlled by multiple HPAs: [{names}]"
            raise self._no_pods(hpa, scale, "AmbiguousSelector", problem)
        return selector, pods

    def _no_pods(
        self,
        hpa: v2.HorizontalPodAutoscaler,
        scale: autoscaling.Scale,
        reason: str,
        problem: str,
        *,
        event: tuple[str, str] | None = None,
    ) -> _Ended:
        """Why the round ends, told in every place."""
        told = event or (reason, problem)
        self.recorder.event(hpa, WARNING, *told)
        self._set(hpa, ACTIVE, False, reason, problem)
        self._report(hpa, scale.spec.replicas, hpa.status.desiredReplicas, [], scaled=False)
        self.recorder.event(hpa, WARNING, "FailedComputeMetricsReplicas", told[1])
        return _Ended(told[1])

    def _wanted(
        self,
        hpa: v2.HorizontalPodAutoscaler,
        current: int,
        found: Evaluation,
        bounds: Bounds,
        history: History,
    ) -> tuple[int, str]:
        """The next size and why; the conditions say what held it back."""
        assert found.replicas is not None, "else the round has ended"
        reason = f"{found.metric} above target" if found.replicas > current else ""
        if found.replicas < current:
            reason = "All metrics below target"
        step = normalize(
            current, found.replicas, bounds, hpa.spec.behavior, history=history, now_s=self.clock.monotonic_s()
        )
        self._set(hpa, ABLE, True, *step.able)
        self._set(hpa, LIMITED, step.limited, *step.limit)
        if current == 0 and bounds.lowest > step.replicas:
            # The lower bound was raised while there were none.
            return bounds.lowest, "Current number of replicas below Spec.MinReplicas"
        return step.replicas, reason

    async def _write(
        self,
        hpa: v2.HorizontalPodAutoscaler,
        resource: Resource,
        scale: autoscaling.Scale,
        *,
        desired: int,
        reason: str,
        found: Evaluation,
    ) -> None:
        """Raises ``_Ended`` where the target cannot be scaled."""
        current = scale.spec.replicas
        try:
            await self._set_size(resource, scale, desired)
        except StatusError as error:
            text = f"New size: {desired}; reason: {reason}; error: {error}"
            self.recorder.event(hpa, WARNING, "FailedRescale", text)
            told = f"the HPA controller was unable to update the target scale: {error}"
            self._set(hpa, ABLE, False, "FailedUpdateScale", told)
            self._report(hpa, current, hpa.status.desiredReplicas, found.statuses, scaled=False)
            raise _Ended(text) from None
        told = f"the HPA controller was able to update the target scale to {desired}"
        self._set(hpa, ABLE, True, "SucceededRescale", told)
        if _may_go_to_zero(hpa) or conditions.get(hpa.status.conditions, AT_ZERO) is not None:
            gone = current > 0 and desired == 0 and _may_go_to_zero(hpa)
            told = f"the HPA controller {'scaled' if gone else 'did not scale'} the workload to zero"
            self._set(hpa, AT_ZERO, gone, "ScaledToZero" if gone else "NotScaledToZero", told)
        self.recorder.event(hpa, NORMAL, "SuccessfulRescale", f"New size: {desired}; reason: {reason}")
        self.log.info("rescaled", key="/".join(key_of(hpa)), current=current, desired=desired, reason=reason)

    async def _set_size(self, resource: Resource, scale: autoscaling.Scale, desired: int) -> None:
        """Also if somebody else writes the target meanwhile. Raises ``StatusError``."""
        for left in reversed(range(CONFLICT_TRIES)):
            scale.spec.replicas = desired
            try:
                await self._targets.write(resource, scale)
                return
            except StatusError as error:
                if error.code != 409 or not left:
                    raise
            scale = await self._targets.scale(resource, scale.metadata.namespace, scale.metadata.name)

    # The status.

    def _set(self, hpa: v2.HorizontalPodAutoscaler, kind: str, true: bool, reason: str, message: str) -> None:
        condition = v2.HorizontalPodAutoscalerCondition(
            type=kind,
            status="True" if true else "False",
            reason=reason,
            message=message,
            lastTransitionTime=rfc3339(self.clock.now()),
        )
        conditions.put(hpa.status.conditions, condition)

    def _report(
        self,
        hpa: v2.HorizontalPodAutoscaler,
        current: int,
        desired: int,
        statuses: list[v2.MetricStatus],
        *,
        scaled: bool,
    ) -> None:
        status = hpa.status
        status.currentReplicas, status.desiredReplicas, status.currentMetrics = current, desired, statuses
        if scaled:
            status.lastScaleTime = rfc3339(self.clock.now())


def _tolerances(behavior: v2.HorizontalPodAutoscalerBehavior | None) -> Tolerances:
    def of(rules: v2.HPAScalingRules | None) -> float:
        if rules is None or rules.tolerance is None:
            return DEFAULT_TOLERANCE
        return quantity.nanos(rules.tolerance) / quantity.NANO

    if behavior is None:
        return Tolerances()
    return Tolerances(of(behavior.scaleDown), of(behavior.scaleUp))


def _is_asked_from_outside(hpa: v2.HorizontalPodAutoscaler) -> bool:
    """Whether a metric is there that says something also without pods."""
    return any(metric.type in ("Object", "External") for metric in hpa.spec.metrics)


def _may_go_to_zero(hpa: v2.HorizontalPodAutoscaler) -> bool:
    return hpa.spec.minReplicas == 0 and _is_asked_from_outside(hpa)


def _may_leave_zero(hpa: v2.HorizontalPodAutoscaler) -> bool:
    """Only what an autoscaler has scaled to zero; what somebody has switched off stays off."""
    if not conditions.is_true(hpa.status.conditions, AT_ZERO):
        return False
    return _is_asked_from_outside(hpa) or hpa.spec.minReplicas != 0
