"""Defaults of the batch group.

Counterpart upstream: ``pkg/apis/batch/v1/defaults.go``. ``knarr.api.defaulting`` calls through
``DEFAULTERS``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.batch import v1 as batch
from knarr.api.core.pod_defaults import set_pod_template

BACKOFF_LIMIT = 6
MAX_INT32 = 2**31 - 1


def set_job(job: batch.Job) -> None:
    spec = job.spec
    # Parallelism without completions is a work queue; neither means one pod, once.
    if spec.completions is None and spec.parallelism is None:
        spec.completions = 1
    if spec.parallelism is None:
        spec.parallelism = 1
    if spec.backoffLimit is None:
        spec.backoffLimit = BACKOFF_LIMIT if spec.backoffLimitPerIndex is None else MAX_INT32
    if spec.completionMode is None:
        spec.completionMode = "NonIndexed"
    if spec.suspend is None:
        spec.suspend = False
    if spec.manualSelector is None:
        spec.manualSelector = False
    if spec.podReplacementPolicy is None:
        spec.podReplacementPolicy = "TerminatingOrFailed" if spec.podFailurePolicy is None else "Failed"
    if spec.podFailurePolicy is not None:
        _set_failure_policy(spec.podFailurePolicy)
    labels = spec.template.metadata.labels
    if labels and not job.metadata.labels:
        job.metadata.labels = dict(labels)
    set_pod_template(spec.template)


def _set_failure_policy(policy: batch.PodFailurePolicy) -> None:
    for rule in policy.rules:
        for pattern in rule.onPodConditions:
            pattern.status = pattern.status or "True"


def set_cron_job(cron_job: batch.CronJob) -> None:
    spec = cron_job.spec
    spec.concurrencyPolicy = spec.concurrencyPolicy or "Allow"
    if spec.suspend is None:
        spec.suspend = False
    if spec.successfulJobsHistoryLimit is None:
        spec.successfulJobsHistoryLimit = 3
    if spec.failedJobsHistoryLimit is None:
        spec.failedJobsHistoryLimit = 1
    # The job inside gets its own defaults when it is made; its pods get theirs here.
    set_pod_template(spec.jobTemplate.spec.template)


DEFAULTERS: dict[Any, Any] = {batch.CronJob: set_cron_job, batch.Job: set_job}
