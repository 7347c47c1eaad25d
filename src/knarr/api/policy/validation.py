"""The rules for disruption budgets.

Counterpart upstream: ``pkg/apis/policy/validation``. ``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.errors import FieldError, invalid_value
from knarr.api.policy import v1 as policy
from knarr.api.rules import Rules, at_most_all, count_or_percent, label_selector, one_of


def check_budget(budget: policy.PodDisruptionBudget) -> list[FieldError]:
    spec = budget.spec
    faults: list[FieldError] = []
    if spec.minAvailable is not None and spec.maxUnavailable is not None:
        text = "minAvailable and maxUnavailable cannot be both set"
        faults.append(invalid_value("spec", spec, text))
    for name in ("minAvailable", "maxUnavailable"):
        faults += count_or_percent(f"spec.{name}", getattr(spec, name))
        faults += at_most_all(f"spec.{name}", getattr(spec, name))
    if spec.unhealthyPodEvictionPolicy is not None:
        choices = ("AlwaysAllow", "IfHealthyBudget")
        faults += one_of("spec.unhealthyPodEvictionPolicy", spec.unhealthyPodEvictionPolicy, choices)
    return faults + label_selector("spec.selector", spec.selector)


RULES: dict[Any, Rules] = {policy.PodDisruptionBudget: Rules(check_budget)}
