"""Printers of what nodes and pods use.

Counterpart: metrics-server's ``pkg/api/table.go``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from knarr.api import quantity
from knarr.api.printing.columns import Printer, columns


def node_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, obj.usage.get("cpu", "0"), obj.usage.get("memory", "0"), obj.window]


def pod_row(obj: Any, now: datetime) -> list[Any]:
    sums = [quantity.total([each.usage.get(name, "0") for each in obj.containers]) for name in ("cpu", "memory")]
    return [obj.metadata.name, *sums, obj.window]


COLUMNS = columns("Name | cpu | memory | Window")

PRINTERS = (
    Printer("metrics.k8s.io", "nodes", COLUMNS, node_row),
    Printer("metrics.k8s.io", "pods", COLUMNS, pod_row),
)
