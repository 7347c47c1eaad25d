"""Counting a Job's pods and deciding what comes next. Pure.

A pod carries a finalizer until it has been counted, so that none is missed or counted twice even if the
controller dies in between: its UID is first written into
``uncountedTerminatedPods``, then its finalizer goes, and only then it moves into the counters.

Upstream's counterpart is ``pkg/controller/job/job_controller.go``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from knarr.api import codec, conditions
from knarr.api.batch import v1 as batch
from knarr.api.core import v1 as core
from knarr.controllers import pods as podlib
from knarr.controllers.job import indexes, policy
from knarr.kit.clock import parse_rfc3339, rfc3339

FINALIZER = "batch.kubernetes.io/job-tracking"
COMPLETE, FAILED, SUSPENDED = "Complete", "Failed", "Suspended"
CRITERIA_MET, FAILURE_TARGET = "SuccessCriteriaMet", "FailureTarget"
#: Between creations after failures: ten seconds doubling up to ten minutes.
BACKOFF_BASE_S, BACKOFF_MAX_S = 10.0, 600.0


@dataclass(slots=True)
class Verdict:
    """What a look at a Job and its pods comes to."""

    status: batch.JobStatus
    #: Pods to be deleted, pods whose finalizer goes once the status is written, and how many to create.
    delete: list[core.Pod] = field(default_factory=list)
    release: list[core.Pod] = field(default_factory=list)
    create: list[int] = field(default_factory=list)
    """Completion indexes of the pods to make; -1 for Jobs without indexes."""
    wait_s: float | None = None
    event: tuple[str, str, str] | None = None


def is_finished(job: batch.Job) -> bool:
    return conditions.is_true(job.status.conditions, COMPLETE) or conditions.is_true(
        job.status.conditions, FAILED
    )


def is_indexed(job: batch.Job) -> bool:
    return job.spec.completionMode == "Indexed"


def tracked(pod: core.Pod) -> bool:
    return FINALIZER in pod.metadata.finalizers


def ended(pod: core.Pod) -> bool:
    """Finished, or deleted before it could: such a pod counts as failed."""
    return pod.status.phase in ("Succeeded", "Failed")


def assess(job: batch.Job, pods: Sequence[core.Pod], *, now: datetime) -> Verdict:
    """Everything one reconciliation decides."""
    status = codec.copy(job.status)
    verdict = Verdict(status)
    if job.spec.suspend is not True and status.startTime is None:
        status.startTime = rfc3339(now)
    failing = _count(job, pods, status, verdict)
    active = [pod for pod in pods if podlib.is_active(pod)]
    status.active = len(active)
    status.ready = sum(1 for pod in active if podlib.is_ready(pod))
    status.terminating = sum(1 for pod in pods if podlib.is_terminating(pod))
    _judge(job, pods, active, status, failing, now=now)
    target = conditions.get(status.conditions, FAILURE_TARGET)
    met = conditions.get(status.conditions, CRITERIA_MET)
    if target is not None or met is not None:
        verdict.delete = active
        _finish(status, verdict, now=now)
        return verdict
    if job.spec.suspend:
        verdict.delete = active
        _suspend(status, now, suspended=True, verdict=verdict)
        status.startTime = None
        return verdict
    if conditions.is_true(status.conditions, SUSPENDED):
        _suspend(status, now, suspended=False, verdict=verdict)
        status.startTime = rfc3339(now)
    _manage(job, pods, active, status, verdict, now=now)
    deadline_s = job.spec.activeDeadlineSeconds
    if deadline_s is not None and status.startTime is not None:
        left = (parse_rfc3339(status.startTime) + timedelta(seconds=deadline_s) - now).total_seconds()
        verdict.wait_s = left if verdict.wait_s is None else min(left, verdict.wait_s)
    return verdict


def _count(job: batch.Job, pods: Sequence[core.Pod], status: batch.JobStatus, verdict: Verdict) -> str:
    """Move pods through the counting; returns the message of a pod that fails the whole Job, if any."""
    uncounted = status.uncountedTerminatedPods or batch.UncountedTerminatedPods()
    by_uid = {pod.metadata.uid: pod for pod in pods}
    done = indexes.parse(status.completedIndexes, job.spec.completions or 0)
    failed = indexes.parse(status.failedIndexes or "", job.spec.completions or 0)
    message = ""
    for kind in ("succeeded", "failed"):
        waiting = []
        for uid in getattr(uncounted, kind):
            pod = by_uid.get(uid)
            if pod is not None and tracked(pod):
                waiting.append(uid)
                verdict.release.append(pod)
            else:
                setattr(status, kind, getattr(status, kind) + 1)
        setattr(uncounted, kind, waiting)
    for pod in pods:
        uid = pod.metadata.uid
        if not tracked(pod) or uid in uncounted.succeeded or uid in uncounted.failed:
            continue
        if pod.status.phase == "Succeeded":
            index = indexes.index_of(pod)
            if not is_indexed(job):
                uncounted.succeeded.append(uid)
            elif 0 <= index < (job.spec.completions or 0):
                done.add(index)
            verdict.release.append(pod)
        elif pod.status.phase == "Failed" or (
            pod.metadata.deletionTimestamp is not None and not pod.spec.nodeName
        ):
            action, text = policy.judge(job.spec.podFailurePolicy, pod)
            if action == policy.FAIL_JOB:
                message = message or text
            if action == policy.FAIL_INDEX or _index_is_used_up(job, pods, pod):
                failed.add(indexes.index_of(pod))
            if action != policy.IGNORE:
                uncounted.failed.append(uid)
            verdict.release.append(pod)
    status.uncountedTerminatedPods = uncounted
    if is_indexed(job):
        status.completedIndexes = indexes.render(done)
        status.succeeded = len(done)
        if job.spec.backoffLimitPerIndex is not None:
            status.failedIndexes = indexes.render(failed - {-1})
    return message


def _index_is_used_up(job: batch.Job, pods: Sequence[core.Pod], pod: core.Pod) -> bool:
    limit = job.spec.backoffLimitPerIndex
    if limit is None:
        return False
    text = pod.metadata.annotations.get("batch.kubernetes.io/job-index-failure-count", "0")
    return (int(text) if text.isdecimal() else 0) >= limit


def _judge(
    job: batch.Job,
    pods: Sequence[core.Pod],
    active: Sequence[core.Pod],
    status: batch.JobStatus,
    failing: str,
    *,
    now: datetime,
) -> None:
    """Set the condition that says how the Job is going to end, once that is known."""
    if conditions.get(status.conditions, FAILURE_TARGET) or conditions.get(status.conditions, CRITERIA_MET):
        return
    uncounted = status.uncountedTerminatedPods or batch.UncountedTerminatedPods()
    failures = status.failed + len(uncounted.failed)
    successes = status.succeeded + (0 if is_indexed(job) else len(uncounted.succeeded))
    limit = 6 if job.spec.backoffLimit is None else job.spec.backoffLimit
    deadline_s = job.spec.activeDeadlineSeconds
    since = parse_rfc3339(status.startTime) if status.startTime else now
    restarts = _restarts(job, active)
    reason = text = ""
    if failing:
        reason, text = "PodFailurePolicy", failing
    elif failures > limit or (restarts is not None and restarts > limit):
        reason, text = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    elif deadline_s is not None and not job.spec.suspend and now - since >= timedelta(seconds=deadline_s):
        reason, text = "DeadlineExceeded", "Job was active longer than specified deadline"
    elif is_indexed(job) and job.spec.backoffLimitPerIndex is not None:
        reason, text = _per_index(job, status)
    if reason:
        _set(status, FAILURE_TARGET, reason, text, now)
        return
    rule = _success_rule(job, status)
    if rule is not None:
        _set(status, CRITERIA_MET, "SuccessPolicy", f"Matched rules at index {rule}", now)
    elif job.spec.completions is None:
        if successes > 0 and not active:
            _set(status, CRITERIA_MET, "CompletionsReached", "Reached expected number of succeeded pods", now)
    elif successes >= job.spec.completions:
        _set(status, CRITERIA_MET, "CompletionsReached", "Reached expected number of succeeded pods", now)


def _restarts(job: batch.Job, active: Sequence[core.Pod]) -> int | None:
    """Restarts of containers count where pods are not replaced but restarted."""
    spec = job.spec.template.spec
    if spec is None or spec.restartPolicy != "OnFailure":
        return None
    return sum(
        each.restartCount
        for pod in active
        for each in (*pod.status.initContainerStatuses, *pod.status.containerStatuses)
    )


def _per_index(job: batch.Job, status: batch.JobStatus) -> tuple[str, str]:
    total = job.spec.completions or 0
    failed = indexes.parse(status.failedIndexes or "", total)
    if job.spec.maxFailedIndexes is not None and len(failed) > job.spec.maxFailedIndexes:
        return "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
    if failed and len(failed) + status.succeeded >= total:
        return "FailedIndexes", "Job has failed indexes"
    return "", ""


def _success_rule(job: batch.Job, status: batch.JobStatus) -> int | None:
    """The number of the first success rule that is met."""
    if job.spec.successPolicy is None or not is_indexed(job):
        return None
    total = job.spec.completions or 0
    done = indexes.parse(status.completedIndexes, total)
    for number, rule in enumerate(job.spec.successPolicy.rules):
        everything = set(range(total))
        wanted = (
            indexes.parse(rule.succeededIndexes, total) if rule.succeededIndexes is not None else everything
        )
        count = rule.succeededCount if rule.succeededCount is not None else len(wanted)
        if wanted and len(done & wanted) >= count:
            return number
    return None


def _set(status: batch.JobStatus, kind: str, reason: str, message: str, now: datetime) -> None:
    stamp = rfc3339(now)
    condition = batch.JobCondition(
        type=kind,
        status="True",
        reason=reason,
        message=message,
        lastProbeTime=stamp,
        lastTransitionTime=stamp,
    )
    conditions.put(status.conditions, condition)


def _finish(status: batch.JobStatus, verdict: Verdict, *, now: datetime) -> None:
    """The end is known; it is declared once every pod has ended and been counted."""
    uncounted = status.uncountedTerminatedPods or batch.UncountedTerminatedPods()
    if verdict.delete or verdict.release or status.terminating or uncounted.succeeded or uncounted.failed:
        return
    target = conditions.get(status.conditions, FAILURE_TARGET)
    if target is not None:
        _set(status, FAILED, target.reason, target.message, now)
        verdict.event = ("Warning", target.reason, target.message)
    else:
        met = conditions.get(status.conditions, CRITERIA_MET)
        assert met is not None, "one of the two was there"
        _set(status, COMPLETE, met.reason, met.message, now)
        status.completionTime = rfc3339(now)
        verdict.event = ("Normal", "Completed", "Job completed")


def _suspend(status: batch.JobStatus, now: datetime, *, suspended: bool, verdict: Verdict) -> None:
    held = conditions.get(status.conditions, SUSPENDED)
    wanted = "True" if suspended else "False"
    if held is not None and held.status == wanted:
        return
    stamp = rfc3339(now)
    reason, text = ("JobSuspended", "Job suspended") if suspended else ("JobResumed", "Job resumed")
    condition = batch.JobCondition(
        type=SUSPENDED,
        status=wanted,
        reason=reason,
        message=text,
        lastProbeTime=stamp,
        lastTransitionTime=stamp,
    )
    conditions.put(status.conditions, condition)
    verdict.event = ("Normal", "Suspended" if suspended else "Resumed", text)


def _manage(
    job: batch.Job,
    pods: Sequence[core.Pod],
    active: Sequence[core.Pod],
    status: batch.JobStatus,
    verdict: Verdict,
    *,
    now: datetime,
) -> None:
    """How many pods to make or take away now."""
    parallelism = 1 if job.spec.parallelism is None else job.spec.parallelism
    uncounted = status.uncountedTerminatedPods or batch.UncountedTerminatedPods()
    if job.spec.completions is None:
        successes = status.succeeded + len(uncounted.succeeded)
        wanted = len(active) if successes else parallelism
    else:
        counted = status.succeeded + (0 if is_indexed(job) else len(uncounted.succeeded))
        wanted = min(parallelism, max(job.spec.completions - counted, 0))
    if len(active) > parallelism:
        surplus = podlib.deletion_rank(active, active, now)[: len(active) - parallelism]
        verdict.delete = surplus
        return
    lacking = wanted - len(active)
    if job.spec.podReplacementPolicy == "Failed":
        # Pods that are ending still count until they have ended.
        lacking -= status.terminating or 0
    if lacking <= 0:
        return
    delay_s = _backoff_s(pods, now=now)
    if delay_s > 0:
        verdict.wait_s = delay_s
        return
    verdict.create = _free_indexes(job, active, status, lacking) if is_indexed(job) else [-1] * lacking


def _free_indexes(
    job: batch.Job, active: Sequence[core.Pod], status: batch.JobStatus, count: int
) -> list[int]:
    total = job.spec.completions or 0
    taken = {indexes.index_of(pod) for pod in active} | indexes.parse(status.completedIndexes, total)
    taken |= indexes.parse(status.failedIndexes or "", total)
    return [index for index in range(total) if index not in taken][:count]


def _backoff_s(pods: Sequence[core.Pod], *, now: datetime) -> float:
    """How long to wait since the last failure; a success in between starts the count anew."""
    finished = sorted(
        ((finish_time(pod), pod.status.phase) for pod in pods if ended(pod)),
        key=lambda item: item[0],
        reverse=True,
    )
    failures = 0
    for _, phase in finished:
        if phase == "Succeeded":
            break
        failures += 1
    if not failures:
        return 0.0
    delay_s = min(BACKOFF_BASE_S * 2.0 ** (failures - 1), BACKOFF_MAX_S)
    return max((finished[0][0] + timedelta(seconds=delay_s) - now).total_seconds(), 0.0)


def finish_time(pod: core.Pod) -> datetime:
    """When the last container ended; failing that, when the pod was made."""
    times = [
        status.state.terminated.finishedAt
        for status in pod.status.containerStatuses
        if status.state.terminated is not None and status.state.terminated.finishedAt
    ]
    return parse_rfc3339(max(times) if times else pod.metadata.creationTimestamp or "1970-01-01T00:00:00Z")
