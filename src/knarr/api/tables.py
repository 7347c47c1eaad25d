"""Server-side printing: any list of objects as the ``Table`` that ``kubectl get`` shows.

``table(resource, objs, now=…)`` makes the columns and the cells; the API server puts the objects (or their
metadata) into the rows as the client asked. Kinds without a printer of their own show name and age.

Counterpart upstream: ``pkg/printers/tableconvertor``. Neighbours: ``printing`` holds the printers,
``meta.tables`` the types.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from knarr.api.meta.tables import Table, TableColumnDefinition, TableRow
from knarr.api.printing import access, cluster, custom, network, pods, storage, usage, workloads
from knarr.api.printing.columns import Printer, age, columns
from knarr.api.scheme import Resource

__all__ = ["cells", "columns_of", "row", "table"]

DEFAULT_COLUMNS = columns("Name | Age")


@cache
def _printers() -> dict[tuple[str, str], Printer]:
    families = (pods, workloads, network, cluster, storage, access, usage)
    return {(p.group, p.plural): p for family in families for p in family.PRINTERS}


def columns_of(resource: Resource) -> Sequence[TableColumnDefinition]:
    """The columns of a kind."""
    printer = _printers().get((resource.group, resource.plural))
    return DEFAULT_COLUMNS if printer is None else printer.columns


def cells(resource: Resource, obj: Any, *, now: datetime) -> list[Any]:
    """One object's cells, in the order of ``columns_of``."""
    printer = _printers().get((resource.group, resource.plural))
    if printer is None:
        return [obj.metadata.name, age(obj, now)]
    return printer.row(obj, now)


def row(resource: Resource, obj: Any, *, now: datetime) -> TableRow:
    """One object's row, without the object itself."""
    found = TableRow(cells=cells(resource, obj, now=now))
    if (resource.group, resource.plural) == ("", "pods"):
        found.conditions = pods.pod_row_conditions(obj)
    return found


def table(resource: Resource, objs: Iterable[Any], *, now: datetime) -> Table:
    """Columns and rows of many objects."""
    custom_columns = getattr(resource, "columns", None)
    if custom_columns is not None:
        return Table(
            columnDefinitions=custom.columns(custom_columns),
            rows=[TableRow(cells=custom.cells(obj, custom_columns, now)) for obj in objs],
        )
    return Table(
        columnDefinitions=list(columns_of(resource)),
        rows=[row(resource, obj, now=now) for obj in objs],
    )
