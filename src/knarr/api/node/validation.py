"""The rules for runtime classes.

Counterpart upstream: ``pkg/apis/node/validation``. ``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

from typing import Any

from knarr.api import names
from knarr.api.core.placement_validation import check_tolerations
from knarr.api.errors import FieldError
from knarr.api.node import v1 as node
from knarr.api.rules import Rules, each, labels, unchanged


def check_class(runtime_class: node.RuntimeClass) -> list[FieldError]:
    faults = each("handler", runtime_class.handler, names.dns1123_label(runtime_class.handler))
    if runtime_class.scheduling is not None:
        faults += labels("scheduling.nodeSelector", runtime_class.scheduling.nodeSelector)
        faults += check_tolerations("scheduling.tolerations", runtime_class.scheduling.tolerations)
    return faults


def check_class_update(new: node.RuntimeClass, old: node.RuntimeClass) -> list[FieldError]:
    return unchanged("handler", new.handler, old.handler)


RULES: dict[Any, Rules] = {node.RuntimeClass: Rules(check_class, check_class_update)}
