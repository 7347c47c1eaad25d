"""The rules for priority classes.

Counterpart upstream: ``pkg/apis/scheduling/validation``. ``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.errors import FieldError, field_forbidden
from knarr.api.rules import Rules, one_of, unchanged_forbidden
from knarr.api.scheduling import v1 as scheduling

USER_MAX = 1_000_000_000
SYSTEM_PREFIX = "system-"
SYSTEM_CLASSES = {"system-cluster-critical": 2 * USER_MAX, "system-node-critical": 2 * USER_MAX + 1000}


def check_class(priority_class: scheduling.PriorityClass) -> list[FieldError]:
    name, value = priority_class.metadata.name, priority_class.value
    faults: list[FieldError] = []
    if name.startswith(SYSTEM_PREFIX):
        if SYSTEM_CLASSES.get(name) != value:
            text = f"priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only"
            faults.append(field_forbidden("metadata.name", text))
    elif value > USER_MAX:
        text = f"maximum allowed value of a user defined priority is {USER_MAX}"
        faults.append(field_forbidden("value", text))
    if priority_class.preemptionPolicy is not None:
        choices = ("Never", "PreemptLowerPriority")
        faults += one_of("preemptionPolicy", priority_class.preemptionPolicy, choices)
    return faults


def check_class_update(new: scheduling.PriorityClass, old: scheduling.PriorityClass) -> list[FieldError]:
    text = "may not be changed in an update."
    faults = unchanged_forbidden("value", new.value, old.value, text=text)
    return faults + unchanged_forbidden(
        "preemptionPolicy", new.preemptionPolicy, old.preemptionPolicy, text="field is immutable"
    )


RULES: dict[Any, Rules] = {scheduling.PriorityClass: Rules(check_class, check_class_update)}
