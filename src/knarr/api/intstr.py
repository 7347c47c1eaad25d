"""Numbers that may be percentages: ``maxUnavailable: 25%``.

Counterpart upstream: ``apimachinery/pkg/util/intstr``. Used by rollouts, disruption budgets and their
validation.
"""

from __future__ import annotations

import re

PERCENT = re.compile(r"[0-9]+%")


def is_percent(value: int | str) -> bool:
    return isinstance(value, str) and PERCENT.fullmatch(value) is not None


def scaled_value(value: int | str, total: int, *, round_up: bool) -> int:
    """``value`` itself, or its percentage of ``total``.

    Raises ``ValueError`` for text that is no percentage.
    """
    if isinstance(value, int):
        return value
    if not is_percent(value):
        raise ValueError("invalid value for IntOrString: invalid type: string is not a percentage")
    share = int(value[:-1]) * total
    return -(-share // 100) if round_up else share // 100


def to_int(value: int | str) -> int:
    """The number itself; a text counts as the number it spells, else zero."""
    if isinstance(value, int):
        return value
    return int(value) if value.lstrip("-").isdigit() else 0
