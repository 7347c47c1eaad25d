"""Deployments and the other kinds that make pods.

Counterpart upstream: ``printDeployment`` and its siblings. Neighbours: ``columns``, ``pods``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from knarr.api import conditions, owners
from knarr.api.printing.columns import (
    NONE,
    UNKNOWN,
    UNSET,
    Printer,
    age,
    columns,
    container_images,
    container_names,
    flag,
    labels_text,
    selector_text,
)
from knarr.api.printing.durations import between, since


def _template(obj: Any) -> list[str]:
    spec = obj.spec.template.spec
    return [container_names(spec), container_images(spec)]


def deployment_row(obj: Any, now: datetime) -> list[Any]:
    status = obj.status
    return [
        obj.metadata.name,
        f"{status.readyReplicas}/{obj.spec.replicas or 0}",
        status.updatedReplicas,
        status.availableReplicas,
        age(obj, now),
        *_template(obj),
        selector_text(obj.spec.selector),
    ]


def replica_set_row(obj: Any, now: datetime) -> list[Any]:
    return [*_replicas(obj), age(obj, now), *_template(obj), selector_text(obj.spec.selector)]


def replication_controller_row(obj: Any, now: datetime) -> list[Any]:
    template = _template(obj) if obj.spec.template else ["", ""]
    return [*_replicas(obj), age(obj, now), *template, labels_text(obj.spec.selector)]


def _replicas(obj: Any) -> list[Any]:
    return [obj.metadata.name, obj.spec.replicas or 0, obj.status.replicas, obj.status.readyReplicas]


def stateful_set_row(obj: Any, now: datetime) -> list[Any]:
    ready = f"{obj.status.readyReplicas}/{obj.spec.replicas or 0}"
    return [obj.metadata.name, ready, age(obj, now), *_template(obj)]


def daemon_set_row(obj: Any, now: datetime) -> list[Any]:
    status = obj.status
    return [
        obj.metadata.name,
        status.desiredNumberScheduled,
        status.currentNumberScheduled,
        status.numberReady,
        status.updatedNumberScheduled,
        status.numberAvailable,
        labels_text(obj.spec.template.spec.nodeSelector),
        age(obj, now),
        *_template(obj),
        selector_text(obj.spec.selector),
    ]


def job_status(obj: Any) -> str:
    """The STATUS column: the condition that says most."""

    def has(kind: str) -> bool:
        return conditions.is_true(obj.status.conditions, kind)

    if has("Complete"):
        return "Complete"
    if has("Failed"):
        return "Failed"
    if obj.metadata.deletionTimestamp:
        return "Terminating"
    return next(
        (kind for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet") if has(kind)), "Running"
    )


def _completions(obj: Any) -> str:
    done = obj.status.succeeded
    if obj.spec.completions is not None:
        return f"{done}/{obj.spec.completions}"
    parallelism = obj.spec.parallelism or 0
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def job_row(obj: Any, now: datetime) -> list[Any]:
    status = obj.status
    if not status.startTime:
        duration = ""
    elif status.completionTime:
        duration = between(status.startTime, status.completionTime)
    else:
        duration = since(status.startTime, now)
    return [
        obj.metadata.name,
        job_status(obj),
        _completions(obj),
        duration,
        age(obj, now),
        *_template(obj),
        selector_text(obj.spec.selector),
    ]


def cron_job_row(obj: Any, now: datetime) -> list[Any]:
    pod_spec = obj.spec.jobTemplate.spec.template.spec
    last = obj.status.lastScheduleTime
    return [
        obj.metadata.name,
        obj.spec.schedule,
        obj.spec.timeZone if obj.spec.timeZone is not None else NONE,
        flag(obj.spec.suspend),
        len(obj.status.active),
        since(last, now) if last else NONE,
        age(obj, now),
        container_names(pod_spec),
        container_images(pod_spec),
        selector_text(obj.spec.jobTemplate.spec.selector),
    ]


def pod_template_row(obj: Any, now: datetime) -> list[Any]:
    spec = obj.template.spec
    return [
        obj.metadata.name,
        container_names(spec),
        container_images(spec),
        labels_text(obj.template.metadata.labels),
    ]


def controller_revision_row(obj: Any, now: datetime) -> list[Any]:
    reference = owners.controller_of(obj)
    owner = NONE
    if reference is not None:
        group = reference.apiVersion.rpartition("/")[0]
        owner = f"{reference.kind.lower()}{'.' + group if group else ''}/{reference.name}"
    return [obj.metadata.name, owner, obj.revision, age(obj, now)]


def hpa_row(obj: Any, now: datetime) -> list[Any]:
    spec, status = obj.spec, obj.status
    target = spec.scaleTargetRef
    return [
        obj.metadata.name,
        f"{target.kind}/{target.name}",
        _hpa_v1_target(obj) if hasattr(spec, "targetCPUUtilizationPercentage") else _hpa_targets(obj),
        UNSET if spec.minReplicas is None else str(spec.minReplicas),
        spec.maxReplicas,
        status.currentReplicas,
        age(obj, now),
    ]


def _hpa_v1_target(obj: Any) -> str:
    wanted, current = obj.spec.targetCPUUtilizationPercentage, obj.status.currentCPUUtilizationPercentage
    if wanted is None:
        return NONE
    return f"cpu: {UNKNOWN if current is None else f'{current}%'}/{wanted}%"


def _hpa_targets(obj: Any) -> str:
    """``cpu: 12%/80%``, the first two metrics and how many more there are."""
    if not obj.spec.metrics:
        return NONE
    current = obj.status.currentMetrics
    texts = [
        _metric_text(metric, current[index] if index < len(current) else None)
        for index, metric in enumerate(obj.spec.metrics)
    ]
    shown = ", ".join(texts[:2])
    return f"{shown} + {len(texts) - 2} more..." if len(texts) > 2 else shown


METRIC_FIELDS = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}


def _metric_text(metric: Any, status: Any) -> str:
    field = METRIC_FIELDS.get(metric.type)
    source = getattr(metric, field, None) if field else None
    if field is None or source is None:
        return "<unknown type>"
    found = getattr(status, field, None) if status is not None and status.type == metric.type else None
    current = found.current if found is not None else None
    target = source.target
    prefix = f"{source.name}: " if hasattr(source, "name") else ""
    if target.averageUtilization is not None:
        percent = current.averageUtilization if current is not None else None
        return f"{prefix}{UNKNOWN if percent is None else f'{percent}%'}/{target.averageUtilization}%"
    if target.averageValue is not None:
        shown = current.averageValue if current is not None and current.averageValue else UNKNOWN
        suffix = " (avg)" if metric.type in ("Object", "External") else ""
        return f"{prefix}{shown}/{target.averageValue}{suffix}"
    shown = current.value if current is not None and current.value else UNKNOWN
    return f"{prefix}{shown}/{target.value}"


TEMPLATE = "*Containers | *Images"
REPLICAS = f"Name | Desired:integer | Current:integer | Ready:integer | Age | {TEMPLATE} | *Selector"
PRINTERS = (
    Printer(
        "apps",
        "deployments",
        columns(f"Name | Ready | Up-to-date:integer | Available:integer | Age | {TEMPLATE} | *Selector"),
        deployment_row,
    ),
    Printer("apps", "replicasets", columns(REPLICAS), replica_set_row),
    Printer("", "replicationcontrollers", columns(REPLICAS), replication_controller_row),
    Printer("apps", "statefulsets", columns(f"Name | Ready | Age | {TEMPLATE}"), stateful_set_row),
    Printer(
        "apps",
        "daemonsets",
        columns(
            "Name | Desired:integer | Current:integer | Ready:integer | Up-to-date:integer"
            f" | Available:integer | Node Selector | Age | {TEMPLATE} | *Selector"
        ),
        daemon_set_row,
    ),
    Printer(
        "batch",
        "jobs",
        columns(f"Name | Status | Completions | Duration | Age | {TEMPLATE} | *Selector"),
        job_row,
    ),
    Printer(
        "batch",
        "cronjobs",
        columns(
            "Name | Schedule | Timezone | Suspend | Active:integer | Last Schedule | Age"
            f" | {TEMPLATE} | *Selector"
        ),
        cron_job_row,
    ),
    Printer("", "podtemplates", columns("Name | Containers | Images | Pod Labels"), pod_template_row),
    Printer(
        "apps",
        "controllerrevisions",
        columns("Name | Controller | Revision:integer | Age"),
        controller_revision_row,
    ),
    Printer(
        "autoscaling",
        "horizontalpodautoscalers",
        columns("Name | Reference | Targets | MinPods | MaxPods:integer | Replicas:integer | Age"),
        hpa_row,
    ),
)
