"""The rules for events of events.k8s.io, stricter than those of the core group.

Counterpart upstream: ``pkg/apis/core/validation/events.go``. ``knarr.api.validation`` calls through
``RULES``.
"""

from __future__ import annotations

from typing import Any

from knarr.api import names
from knarr.api.errors import FieldError, invalid_value, required
from knarr.api.events import v1 as events
from knarr.api.rules import Rules, name_field, one_of, unchanged

TEXT_LIMITS = (("reportingInstance", 128), ("action", 128), ("reason", 128), ("note", 1024))


def check_event(event: events.Event) -> list[FieldError]:
    faults: list[FieldError] = []
    namespace = event.regarding.namespace
    if namespace and namespace != event.metadata.namespace:
        text = "does not match event.namespace"
        faults.append(invalid_value("involvedObject.namespace", namespace, text))
    if event.eventTime is None:
        faults.append(required("eventTime"))
    faults += name_field("reportingController", event.reportingController, names.qualified_name)
    for name, limit in TEXT_LIMITS:
        value = getattr(event, name)
        if not value and name != "note":
            faults.append(required(name))
        if len(value) > limit:
            faults.append(invalid_value(name, "", f"can have at most {limit} characters"))
    return faults + one_of("type", event.type, ("Normal", "Warning"))


def check_event_update(new: events.Event, old: events.Event) -> list[FieldError]:
    faults: list[FieldError] = []
    for name in ("regarding", "reason", "action", "note", "type", "eventTime", "reportingController"):
        faults += unchanged(name, getattr(new, name), getattr(old, name))
    return faults


RULES: dict[Any, Rules] = {events.Event: Rules(check_event, check_event_update)}
