"""Nodes, namespaces, events and the plain kinds of the core group.

Counterpart upstream: ``printNode`` and its siblings. Neighbours: ``columns``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from knarr.api import conditions
from knarr.api.printing.columns import NONE, UNKNOWN, Printer, age, columns
from knarr.api.printing.durations import since

ROLE_PREFIX = "node-role.kubernetes.io/"
ROLE_LABEL = "kubernetes.io/role"


def node_status(node: Any) -> str:
    """``Ready``, ``NotReady`` or ``Unknown``, and whether it takes new pods."""
    ready = conditions.get(node.status.conditions, "Ready")
    text = "Unknown" if ready is None else "Ready" if ready.status == "True" else "NotReady"
    return f"{text},SchedulingDisabled" if node.spec.unschedulable else text


def node_roles(node: Any) -> str:
    roles = {key.removeprefix(ROLE_PREFIX) for key in node.metadata.labels if key.startswith(ROLE_PREFIX)}
    roles.add(node.metadata.labels.get(ROLE_LABEL, ""))
    return ",".join(sorted(roles - {""})) or NONE


def _node_address(node: Any, kind: str) -> str:
    return next((entry.address for entry in node.status.addresses if entry.type == kind), NONE)


def node_row(node: Any, now: datetime) -> list[Any]:
    info = node.status.nodeInfo
    return [
        node.metadata.name,
        node_status(node),
        node_roles(node),
        age(node, now),
        info.kubeletVersion,
        _node_address(node, "InternalIP"),
        _node_address(node, "ExternalIP"),
        info.osImage or UNKNOWN,
        info.kernelVersion or UNKNOWN,
        info.containerRuntimeVersion or UNKNOWN,
    ]


def namespace_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, obj.status.phase, age(obj, now)]


def event_row(event: Any, now: datetime) -> list[Any]:
    """Both forms of events: core's, and events.k8s.io's with its renamed fields."""
    is_core = hasattr(event, "involvedObject")
    regarding = event.involvedObject if is_core else event.regarding
    source = event.source if is_core else event.deprecatedSource
    component = source.component or (event.reportingComponent if is_core else event.reportingController)
    first_time = event.firstTimestamp if is_core else event.deprecatedFirstTimestamp
    last_time = event.lastTimestamp if is_core else event.deprecatedLastTimestamp
    count = event.count if is_core else event.deprecatedCount
    first = since(first_time or event.eventTime, now)
    last = since(last_time, now) if last_time else first
    if event.series is not None:
        last, count = since(event.series.lastObservedTime, now), event.series.count
    kind = regarding.kind.lower()
    return [
        last,
        event.type,
        event.reason,
        f"{kind}/{regarding.name}" if regarding.name else kind,
        regarding.fieldPath,
        f"{component}, {source.host}" if source.host else component,
        (event.message if is_core else event.note).strip(),
        first,
        count or 1,
        event.metadata.name,
    ]


def config_map_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, len(obj.data) + len(obj.binaryData), age(obj, now)]


def secret_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, obj.type, len(obj.data), age(obj, now)]


def service_account_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, len(obj.secrets), age(obj, now)]


def component_status_row(obj: Any, now: datetime) -> list[Any]:
    healthy = conditions.get(obj.conditions, "Healthy") if obj.conditions else None
    if healthy is None:
        return [obj.metadata.name, "Unknown", "", ""]
    text = {"True": "Healthy", "False": "Unhealthy"}.get(healthy.status, "Unknown")
    return [obj.metadata.name, text, healthy.message, healthy.error]


def resource_quota_row(obj: Any, now: datetime) -> list[Any]:
    """What is asked for and what is the limit, each ``name: used/hard``."""
    requests: list[str] = []
    limits: list[str] = []
    for name in sorted(obj.status.hard):
        text = f"{name}: {obj.status.used.get(name, '0')}/{obj.status.hard[name]}"
        (limits if name.startswith("limits") else requests).append(text)
    return [obj.metadata.name, ", ".join(requests), ", ".join(limits), age(obj, now)]


def created_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, obj.metadata.creationTimestamp or ""]


def lease_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, obj.spec.holderIdentity or "", age(obj, now)]


def priority_class_row(obj: Any, now: datetime) -> list[Any]:
    return [
        obj.metadata.name,
        obj.value,
        obj.globalDefault,
        age(obj, now),
        obj.preemptionPolicy or "PreemptLowerPriority",
    ]


def runtime_class_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, obj.handler, age(obj, now)]


def api_service_row(obj: Any, now: datetime) -> list[Any]:
    service = obj.spec.service
    available = conditions.get(obj.status.conditions, "Available")
    text = "Unknown" if available is None else available.status
    if available is not None and available.status != "True" and available.reason:
        text = f"{available.status} ({available.reason})"
    place = "Local" if service is None else f"{service.namespace}/{service.name}"
    return [obj.metadata.name, place, text, age(obj, now)]


EVENTS = (
    "Last Seen | Type | Reason | Object | *Subobject | *Source | Message"
    " | *First Seen | *Count:integer | *Name"
)
PRINTERS = (
    Printer(
        "",
        "nodes",
        columns(
            "Name | Status | Roles | Age | Version | *Internal-IP | *External-IP | *OS-Image"
            " | *Kernel-Version | *Container-Runtime"
        ),
        node_row,
    ),
    Printer("", "namespaces", columns("Name | Status | Age"), namespace_row),
    Printer("", "events", columns(EVENTS), event_row),
    Printer("events.k8s.io", "events", columns(EVENTS), event_row),
    Printer("", "configmaps", columns("Name | Data:integer | Age"), config_map_row),
    Printer("", "secrets", columns("Name | Type | Data:integer | Age"), secret_row),
    Printer("", "serviceaccounts", columns("Name | Secrets:integer | Age"), service_account_row),
    Printer("", "componentstatuses", columns("Name | Status | Message | Error"), component_status_row),
    Printer("", "resourcequotas", columns("Name | Request | Limit | Age"), resource_quota_row),
    Printer("", "limitranges", columns("Name | Created At"), created_row),
    Printer(
        "apiextensions.k8s.io", "customresourcedefinitions", columns("Name | Created At:date"), created_row
    ),
    Printer("coordination.k8s.io", "leases", columns("Name | Holder | Age"), lease_row),
    Printer(
        "scheduling.k8s.io",
        "priorityclasses",
        columns("Name | Value:integer | Global-Default:boolean | Age | PreemptionPolicy"),
        priority_class_row,
    ),
    Printer("node.k8s.io", "runtimeclasses", columns("Name | Handler | Age"), runtime_class_row),
    Printer(
        "apiregistration.k8s.io", "apiservices", columns("Name | Service | Available | Age"), api_service_row
    ),
)
