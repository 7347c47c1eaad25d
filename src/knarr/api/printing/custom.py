"""Columns of custom resources: what the definition's ``additionalPrinterColumns`` ask for; without any, just
the age.

Upstream's counterpart is ``apiextensions-apiserver/pkg/registry/customresource/tableconvertor``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from knarr.api import codec
from knarr.api.jsonpath import PathError, find
from knarr.api.meta.tables import TableColumnDefinition
from knarr.api.printing.columns import age
from knarr.api.printing.durations import since

__all__ = ["cells", "columns"]

NAME = TableColumnDefinition(name="Name", type="string", format="name")
AGE = TableColumnDefinition(name="Age", type="date")


def columns(wanted: Sequence[Any]) -> list[TableColumnDefinition]:
    """The columns of ``CustomResourceColumnDefinition``s."""
    if not wanted:
        return [NAME, AGE]
    return [
        NAME,
        *(
            TableColumnDefinition(
                name=each.name,
                type=each.type,
                format=each.format,
                description=each.description,
                priority=each.priority,
            )
            for each in wanted
        ),
    ]


def cells(obj: Any, wanted: Sequence[Any], now: datetime) -> list[Any]:
    """One object's cells."""
    if not wanted:
        return [obj.metadata.name, age(obj, now)]
    data = codec.to_dict(obj)
    return [obj.metadata.name, *(_cell(data, each, now) for each in wanted)]


def _cell(data: dict[str, Any], column: Any, now: datetime) -> Any:
    try:
        found = find(data, column.jsonPath)
    except PathError:
        return None
    if not found:
        return None
    value = found[0]
    if column.type == "date":
        return since(value, now) if isinstance(value, str) else "<invalid>"
    if column.type in ("integer", "number", "boolean"):
        return value if isinstance(value, int | float | bool) else None
    return value if isinstance(value, str) else codec.encode(value).decode()
