"""What a failed pod means for its Job: the pod failure policy. Pure.

Upstream's counterpart is ``pkg/controller/job/pod_failure_policy.go``.
"""

from __future__ import annotations

from knarr.api.batch import v1 as batch
from knarr.api.core import v1 as core

FAIL_JOB, IGNORE, COUNT, FAIL_INDEX = "FailJob", "Ignore", "Count", "FailIndex"


def judge(policy: batch.PodFailurePolicy | None, pod: core.Pod) -> tuple[str, str]:
    """The action of the first rule that matches, and (for FailJob) what to tell the user. Without a rule it
    counts.
    """
    for number, rule in enumerate(policy.rules if policy is not None else ()):
        if rule.onExitCodes is not None:
            status = _exit_code_match(rule.onExitCodes, pod)
            if status is not None:
                code = status.state.terminated.exitCode if status.state.terminated else 0
                message = (
                    f"Container {status.name} for pod {pod.metadata.namespace}/{pod.metadata.name} failed with exit "
                    f"code {code} matching {rule.action} rule at index {number}"
                )
                return rule.action, message
        elif (condition := _condition_match(rule, pod)) is not None:
            message = (
                f"Pod {pod.metadata.namespace}/{pod.metadata.name} has condition {condition.type} matching "
                f"{rule.action} rule at index {number}"
            )
            return rule.action, message
    return COUNT, ""


def _exit_code_match(
    rule: batch.PodFailurePolicyOnExitCodesRequirement, pod: core.Pod
) -> core.ContainerStatus | None:
    for status in (*pod.status.initContainerStatuses, *pod.status.containerStatuses):
        ended = status.state.terminated
        if ended is None or ended.exitCode == 0:
            continue
        if rule.containerName is not None and rule.containerName != status.name:
            continue
        if (ended.exitCode in rule.values) == (rule.operator == "In"):
            return status
    return None


def _condition_match(rule: batch.PodFailurePolicyRule, pod: core.Pod) -> core.PodCondition | None:
    for pattern in rule.onPodConditions:
        for condition in pod.status.conditions:
            if condition.type == pattern.type and condition.status == (pattern.status or "True"):
                return condition
    return None
