"""Defaults of the scheduling group.

Counterpart upstream: ``pkg/apis/scheduling/v1/defaults.go``. ``knarr.api.defaulting`` calls through
``DEFAULTERS``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.scheduling import v1 as scheduling


def set_priority_class(priority_class: scheduling.PriorityClass) -> None:
    if priority_class.preemptionPolicy is None:
        priority_class.preemptionPolicy = "PreemptLowerPriority"


DEFAULTERS: dict[Any, Any] = {scheduling.PriorityClass: set_priority_class}
