"""The rules for jobs and cron jobs.

Counterpart upstream: ``pkg/apis/batch/validation``. Neighbours: ``cron`` reads schedules,
``core.pod_validation`` judges templates; ``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

import zoneinfo
from typing import Any

from knarr.api import codec, names
from knarr.api.batch import cron
from knarr.api.batch import v1 as batch
from knarr.api.core.pod_validation import check_pod_template
from knarr.api.errors import FieldError, duplicate, invalid_value, required
from knarr.api.rules import Rules, each, label_selector, not_negative, one_of, selects, unchanged

CRON_NAME_MAX = 52
MAX_PARALLEL_INDEXED = 100_000
ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
ZONE_TEXT = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
#: What of a template may change while a job is suspended and has not started.
SCHEDULING_FIELDS = ("nodeSelector", "affinity", "tolerations", "schedulingGates")


def check_job(job: batch.Job) -> list[FieldError]:
    faults = check_job_spec("spec", job.spec)
    if job.spec.selector is not None:
        faults += label_selector("spec.selector", job.spec.selector)
        if not selects(job.spec.selector, job.spec.template.metadata.labels):
            text = "`selector` does not match template `labels`"
            faults.append(
                invalid_value("spec.template.metadata.labels", job.spec.template.metadata.labels, text)
            )
    elif job.spec.manualSelector:
        faults.append(required("spec.selector"))
    if job.spec.completionMode == "Indexed" and job.spec.completions is not None and job.metadata.name:
        # The pods' host names end in the index and must still be labels.
        longest = f"{job.metadata.name}-{max(job.spec.completions - 1, 0)}"
        if names.dns1123_label(longest):
            text = f"will not able to create pod with invalid DNS label: {longest}"
            faults.append(invalid_value("metadata.name", job.metadata.name, text))
    return faults


def check_job_spec(field: str, spec: batch.JobSpec) -> list[FieldError]:
    faults: list[FieldError] = []
    for name in (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ):
        faults += not_negative(f"{field}.{name}", getattr(spec, name))
    mode = spec.completionMode
    if mode is not None:
        faults += one_of(f"{field}.completionMode", mode, ("Indexed", "NonIndexed"))
    if mode == "Indexed":
        faults += _check_indexed(field, spec)
    else:
        faults += [
            invalid_value(f"{field}.{name}", getattr(spec, name), "requires indexed completion mode")
            for name in ("backoffLimitPerIndex", "maxFailedIndexes")
            if getattr(spec, name) is not None
        ]
    if spec.podReplacementPolicy is not None:
        choices = ("Failed",) if spec.podFailurePolicy is not None else ("Failed", "TerminatingOrFailed")
        faults += one_of(f"{field}.podReplacementPolicy", spec.podReplacementPolicy, choices)
    faults += check_pod_template(f"{field}.template", spec.template)
    faults += _check_restart_policy(f"{field}.template.spec.restartPolicy", spec)
    if spec.podFailurePolicy is not None:
        faults += _check_failure_policy(f"{field}.podFailurePolicy", spec)
    return faults


def _check_indexed(field: str, spec: batch.JobSpec) -> list[FieldError]:
    faults: list[FieldError] = []
    if spec.completions is None:
        faults.append(required(f"{field}.completions", "when completion mode is Indexed"))
    if spec.parallelism is not None and spec.parallelism > MAX_PARALLEL_INDEXED:
        text = f"must be less than or equal to {MAX_PARALLEL_INDEXED} when completion mode is Indexed"
        faults.append(invalid_value(f"{field}.parallelism", spec.parallelism, text))
    return faults


def _check_restart_policy(field: str, spec: batch.JobSpec) -> list[FieldError]:
    policy = spec.template.spec.restartPolicy
    if not policy:
        return []
    if policy == "Always":
        return [required(field, 'valid values: "OnFailure", "Never"')]
    faults = one_of(field, policy, ("OnFailure", "Never"))
    if spec.podFailurePolicy is not None and policy != "Never":
        text = 'only "Never" is supported when podFailurePolicy is specified'
        faults.append(invalid_value(field, policy, text))
    return faults


def _check_failure_policy(field: str, spec: batch.JobSpec) -> list[FieldError]:
    assert spec.podFailurePolicy is not None
    faults: list[FieldError] = []
    containers = {c.name for c in [*spec.template.spec.containers, *spec.template.spec.initContainers]}
    for index, rule in enumerate(spec.podFailurePolicy.rules):
        here = f"{field}.rules[{index}]"
        faults += one_of(f"{here}.action", rule.action, ACTIONS)
        if rule.action == "FailIndex" and spec.backoffLimitPerIndex is None:
            text = "requires the backoffLimitPerIndex to be set"
            faults.append(invalid_value(f"{here}.action", rule.action, text))
        if rule.onExitCodes is None and not rule.onPodConditions:
            text = "specifying one of OnExitCodes and OnPodConditions is required"
            faults.append(invalid_value(here, rule, text))
        if rule.onExitCodes is not None and rule.onPodConditions:
            text = "specifying both OnExitCodes and OnPodConditions is not supported"
            faults.append(invalid_value(here, rule, text))
        if rule.onExitCodes is not None:
            faults += _check_exit_codes(f"{here}.onExitCodes", rule.onExitCodes, containers)
    return faults


def _check_exit_codes(
    field: str, requirement: batch.PodFailurePolicyOnExitCodesRequirement, containers: set[str]
) -> list[FieldError]:
    faults = one_of(f"{field}.operator", requirement.operator, ("In", "NotIn"))
    name = requirement.containerName
    if name is not None and name not in containers:
        text = "must be one of the container or initContainer names in the pod template"
        faults.append(invalid_value(f"{field}.containerName", name, text))
    if not requirement.values:
        text = "at least one value is required"
        faults.append(invalid_value(f"{field}.values", requirement.values, text))
    for index, value in enumerate(requirement.values):
        if value == 0 and requirement.operator == "In":
            text = "must not be 0 for the In operator"
            faults.append(invalid_value(f"{field}.values[{index}]", value, text))
        if value in requirement.values[:index]:
            faults.append(duplicate(f"{field}.values[{index}]", value))
    return faults


def check_job_update(new: batch.Job, old: batch.Job) -> list[FieldError]:
    faults = _check_completions_update(new.spec, old.spec)
    faults += unchanged("spec.selector", new.spec.selector, old.spec.selector)
    faults += _check_template_update(new, old)
    for name in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        faults += unchanged(f"spec.{name}", getattr(new.spec, name), getattr(old.spec, name))
    return faults


def _check_completions_update(new: batch.JobSpec, old: batch.JobSpec) -> list[FieldError]:
    """An indexed job may be scaled, but only as a whole."""
    if new.completions == old.completions:
        return []
    if new.completionMode != "Indexed":
        return unchanged("spec.completions", new.completions, old.completions)
    if new.completions is None or new.completions != new.parallelism:
        text = "can only be modified in tandem with spec.parallelism"
        return [invalid_value("spec.completions", new.completions, text)]
    return []


def _check_template_update(new: batch.Job, old: batch.Job) -> list[FieldError]:
    template = codec.copy(new.spec.template)
    before = old.spec.template
    suspended = any(c.type == "Suspended" and c.status == "True" for c in old.status.conditions)
    if old.spec.suspend and (old.status.startTime is None or suspended):
        for name in SCHEDULING_FIELDS:
            setattr(template.spec, name, getattr(before.spec, name))
        template.metadata.labels = before.metadata.labels
        template.metadata.annotations = before.metadata.annotations
    return unchanged("spec.template", template, before)


def check_cron_job(cron_job: batch.CronJob) -> list[FieldError]:
    spec = cron_job.spec
    faults: list[FieldError] = []
    if len(cron_job.metadata.name) > CRON_NAME_MAX:
        text = f"must be no more than {CRON_NAME_MAX} characters"
        faults.append(invalid_value("metadata.name", cron_job.metadata.name, text))
    if not spec.schedule:
        faults.append(required("spec.schedule"))
    else:
        faults += check_schedule("spec.schedule", spec.schedule)
    faults += not_negative("spec.startingDeadlineSeconds", spec.startingDeadlineSeconds)
    if spec.timeZone is not None:
        faults += check_time_zone("spec.timeZone", spec.timeZone)
    faults += one_of("spec.concurrencyPolicy", spec.concurrencyPolicy, ("Allow", "Forbid", "Replace"))
    faults += not_negative("spec.successfulJobsHistoryLimit", spec.successfulJobsHistoryLimit)
    faults += not_negative("spec.failedJobsHistoryLimit", spec.failedJobsHistoryLimit)
    faults += check_job_spec("spec.jobTemplate.spec", spec.jobTemplate.spec)
    if spec.jobTemplate.spec.manualSelector:
        here = "spec.jobTemplate.spec.manualSelector"
        faults += one_of(here, "true", ("nil", "false"))
    return faults


def check_schedule(field: str, text: str) -> list[FieldError]:
    if "TZ" in text:
        problem = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        return [invalid_value(field, text, problem)]
    try:
        cron.Schedule.parse(text)
    except cron.CronError as error:
        return [invalid_value(field, text, str(error))]
    return []


def check_time_zone(field: str, zone: str) -> list[FieldError]:
    if zone in ("", "Local") or zone.startswith("/"):
        return each(field, zone, [ZONE_TEXT])
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return [invalid_value(field, zone, f"unknown time zone {zone}")]
    return []


RULES: dict[Any, Rules] = {
    batch.CronJob: Rules(check_cron_job),
    batch.Job: Rules(check_job, check_job_update),
}
