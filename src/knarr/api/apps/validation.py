"""The rules for the apps group.

Counterpart upstream: ``pkg/apis/apps/validation``. Neighbours: ``core.pod_validation`` for the templates;
``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

from typing import Any

from knarr.api import codec
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.core.pod_validation import check_pod_template
from knarr.api.errors import FieldError, field_forbidden, invalid_value, required
from knarr.api.meta import v1 as meta
from knarr.api.rules import (
    Rules,
    at_most_all,
    count_or_percent,
    is_zero,
    label_selector,
    not_negative,
    one_of,
    selects,
    unchanged,
)

MISMATCH = "`selector` does not match template `labels`"


def check_selector_and_template(
    selector: meta.LabelSelector | None, template: core.PodTemplateSpec, *, kind: str
) -> list[FieldError]:
    """What all of them need: a selector that is not empty and takes the pods of the template."""
    faults: list[FieldError] = []
    if selector is None:
        faults.append(required("spec.selector"))
    else:
        faults += label_selector("spec.selector", selector)
        if not selector.matchLabels and not selector.matchExpressions:
            text = f"empty selector is invalid for {kind}"
            faults.append(invalid_value("spec.selector", selector, text))
        elif not selects(selector, template.metadata.labels):
            faults.append(invalid_value("spec.template.metadata.labels", template.metadata.labels, MISMATCH))
    faults += check_pod_template("spec.template", template)
    return faults + check_long_running(template, kind=kind)


def check_long_running(template: core.PodTemplateSpec, *, kind: str) -> list[FieldError]:
    """Pods that are to run for ever: always restarted, without a deadline."""
    faults: list[FieldError] = []
    if template.spec.restartPolicy in ("OnFailure", "Never"):
        faults += one_of("spec.template.spec.restartPolicy", template.spec.restartPolicy, ("Always",))
    if template.spec.activeDeadlineSeconds is not None:
        owner = {"deployment": "ReplicaSet", "replicaset": "ReplicaSet", "statefulset": "StatefulSet"}.get(
            kind, "DaemonSet"
        )
        text = f"activeDeadlineSeconds in {owner} is not Supported"
        faults.append(field_forbidden("spec.template.spec.activeDeadlineSeconds", text))
    return faults


def check_deployment(deployment: apps.Deployment) -> list[FieldError]:
    spec = deployment.spec
    faults = not_negative("spec.replicas", spec.replicas)
    faults += check_selector_and_template(spec.selector, spec.template, kind="deployment")
    faults += _check_strategy(spec.strategy)
    faults += not_negative("spec.minReadySeconds", spec.minReadySeconds)
    faults += not_negative("spec.revisionHistoryLimit", spec.revisionHistoryLimit)
    deadline_s = spec.progressDeadlineSeconds
    if deadline_s is not None:
        faults += not_negative("spec.progressDeadlineSeconds", deadline_s)
        if deadline_s <= spec.minReadySeconds:
            text = "must be greater than minReadySeconds"
            faults.append(invalid_value("spec.progressDeadlineSeconds", deadline_s, text))
    return faults


def _check_strategy(strategy: apps.DeploymentStrategy) -> list[FieldError]:
    faults = one_of("spec.strategy.type", strategy.type, ("Recreate", "RollingUpdate"))
    rolling, field = strategy.rollingUpdate, "spec.strategy.rollingUpdate"
    if strategy.type == "Recreate" and rolling is not None:
        text = "may not be specified when strategy `type` is 'Recreate'"
        return [*faults, field_forbidden(field, text)]
    if strategy.type != "RollingUpdate":
        return faults
    if rolling is None:
        text = "this should be defaulted and never be nil"
        return [*faults, required(field, text)]
    faults += count_or_percent(f"{field}.maxUnavailable", rolling.maxUnavailable)
    faults += count_or_percent(f"{field}.maxSurge", rolling.maxSurge)
    if is_zero(rolling.maxUnavailable) and is_zero(rolling.maxSurge):
        text = "may not be 0 when `maxSurge` is 0"
        faults.append(invalid_value(f"{field}.maxUnavailable", rolling.maxUnavailable, text))
    return faults + at_most_all(f"{field}.maxUnavailable", rolling.maxUnavailable)


def check_same_selector(new: Any, old: Any) -> list[FieldError]:
    return unchanged("spec.selector", new.spec.selector, old.spec.selector)


def check_replica_set(replica_set: apps.ReplicaSet) -> list[FieldError]:
    spec = replica_set.spec
    faults = not_negative("spec.replicas", spec.replicas)
    faults += not_negative("spec.minReadySeconds", spec.minReadySeconds)
    return faults + check_selector_and_template(spec.selector, spec.template, kind="replicaset")


def check_stateful_set(stateful_set: apps.StatefulSet) -> list[FieldError]:
    spec = stateful_set.spec
    faults = one_of("spec.podManagementPolicy", spec.podManagementPolicy, ("OrderedReady", "Parallel"))
    strategy = spec.updateStrategy
    faults += one_of("spec.updateStrategy.type", strategy.type, ("OnDelete", "RollingUpdate"))
    rolling, field = strategy.rollingUpdate, "spec.updateStrategy.rollingUpdate"
    if rolling is not None and strategy.type == "OnDelete":
        text = "only allowed for updateStrategy 'RollingUpdate'"
        faults.append(invalid_value(field, rolling, text))
    elif rolling is not None:
        faults += not_negative(f"{field}.partition", rolling.partition)
        if rolling.maxUnavailable is not None:
            faults += count_or_percent(f"{field}.maxUnavailable", rolling.maxUnavailable)
            faults += at_most_all(f"{field}.maxUnavailable", rolling.maxUnavailable)
            if is_zero(rolling.maxUnavailable):
                faults.append(invalid_value(f"{field}.maxUnavailable", rolling.maxUnavailable, "cannot be 0"))
    retention = spec.persistentVolumeClaimRetentionPolicy
    if retention is not None:
        for name in ("whenDeleted", "whenScaled"):
            here = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
            faults += one_of(here, getattr(retention, name), ("Delete", "Retain"))
    faults += not_negative("spec.replicas", spec.replicas)
    faults += not_negative("spec.minReadySeconds", spec.minReadySeconds)
    faults += not_negative("spec.revisionHistoryLimit", spec.revisionHistoryLimit)
    if spec.ordinals is not None:
        faults += not_negative("spec.ordinals.start", spec.ordinals.start)
    # The template may mount the claims it will be given, so their volumes are put in for the check.
    template = codec.copy(spec.template)
    for claim in spec.volumeClaimTemplates:
        source = core.PersistentVolumeClaimVolumeSource(claimName=claim.metadata.name)
        kept = [volume for volume in template.spec.volumes if volume.name != claim.metadata.name]
        template.spec.volumes = [*kept, core.Volume(name=claim.metadata.name, persistentVolumeClaim=source)]
    return faults + check_selector_and_template(spec.selector, template, kind="statefulset")


STATEFUL_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
STATEFUL_TEXT = (
    "updates to statefulset spec for fields other than "
    + ", ".join(f"'{name}'" for name in STATEFUL_MUTABLE[:-1])
    + f" and '{STATEFUL_MUTABLE[-1]}' are forbidden"
)


def check_stateful_set_update(new: apps.StatefulSet, old: apps.StatefulSet) -> list[FieldError]:
    fields = [f for f in new.spec.__struct_fields__ if f not in STATEFUL_MUTABLE]
    same = all(_claims_aside(new, f) == _claims_aside(old, f) for f in fields)
    return [] if same else [field_forbidden("spec", STATEFUL_TEXT)]


def _claims_aside(stateful_set: apps.StatefulSet, field: str) -> Any:
    """The field; of the claim templates only what was asked for, since their status means nothing."""
    value = getattr(stateful_set.spec, field)
    if field != "volumeClaimTemplates":
        return value
    return [(claim.metadata.name, claim.metadata.labels, claim.spec) for claim in value]


def check_daemon_set(daemon_set: apps.DaemonSet) -> list[FieldError]:
    spec = daemon_set.spec
    faults = check_selector_and_template(spec.selector, spec.template, kind="daemonset")
    faults += not_negative("spec.minReadySeconds", spec.minReadySeconds)
    faults += not_negative("spec.revisionHistoryLimit", spec.revisionHistoryLimit)
    strategy, field = spec.updateStrategy, "spec.updateStrategy.rollingUpdate"
    faults += one_of("spec.updateStrategy.type", strategy.type, ("OnDelete", "RollingUpdate"))
    if strategy.type != "RollingUpdate":
        return faults
    rolling = strategy.rollingUpdate
    if rolling is None:
        return [*faults, required(field)]
    faults += count_or_percent(f"{field}.maxUnavailable", rolling.maxUnavailable)
    faults += at_most_all(f"{field}.maxUnavailable", rolling.maxUnavailable)
    faults += count_or_percent(f"{field}.maxSurge", rolling.maxSurge)
    faults += at_most_all(f"{field}.maxSurge", rolling.maxSurge)
    if is_zero(rolling.maxUnavailable) and is_zero(rolling.maxSurge):
        text = "cannot be 0 when maxSurge is 0"
        faults.append(invalid_value(f"{field}.maxUnavailable", rolling.maxUnavailable, text))
    elif not is_zero(rolling.maxUnavailable) and not is_zero(rolling.maxSurge):
        text = "may not be set when maxUnavailable is non-zero"
        faults.append(invalid_value(f"{field}.maxSurge", rolling.maxSurge, text))
    return faults


def check_revision(revision: apps.ControllerRevision) -> list[FieldError]:
    if revision.data is None:
        return [required("data", "data is mandatory")]
    return not_negative("revision", revision.revision)


def check_revision_update(new: apps.ControllerRevision, old: apps.ControllerRevision) -> list[FieldError]:
    return unchanged("data", new.data, old.data)


RULES: dict[Any, Rules] = {
    apps.ControllerRevision: Rules(check_revision, check_revision_update),
    apps.DaemonSet: Rules(check_daemon_set, check_same_selector),
    apps.Deployment: Rules(check_deployment, check_same_selector),
    apps.ReplicaSet: Rules(check_replica_set, check_same_selector),
    apps.StatefulSet: Rules(check_stateful_set, check_stateful_set_update),
}
