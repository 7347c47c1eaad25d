"""Kinds of meta.k8s.io/v1 that the OpenAPI file leaves out: tables and metadata-only objects.

The API server answers with a ``Table`` when a client asks for ``as=Table`` (every ``kubectl get`` does), and
with ``PartialObjectMetadata`` for ``as=PartialObjectMetadata`` (the garbage collector and metadata informers
do). Counterpart upstream: ``apimachinery/pkg/apis/meta/v1/types.go``. Neighbours: ``api.printing`` fills
tables.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from knarr.api.fields import Int32, Struct, empty_list
from knarr.api.meta.v1 import ListMeta, ObjectMeta

GROUP_VERSION = "meta.k8s.io/v1"
always = partial(partial, str)


class TableColumnDefinition(Struct, kw_only=True):
    """A column. ``priority`` 0 is always shown, anything above only in the wide view."""

    name: str = msgspec.field(default_factory=str)
    type: str = msgspec.field(default_factory=str)
    format: str = msgspec.field(default_factory=str)
    description: str = msgspec.field(default_factory=str)
    priority: Int32 = msgspec.field(default_factory=int)


class TableRowCondition(Struct, kw_only=True):
    type: str = msgspec.field(default_factory=str)
    status: str = msgspec.field(default_factory=str)
    reason: str = ""
    message: str = ""


class TableRow(Struct, kw_only=True):
    """A row: its cells in the order of the columns, and the object (whole, its metadata, or nothing)."""

    cells: list[Any] = msgspec.field(default_factory=empty_list)
    conditions: list[TableRowCondition] = []
    object: Any = None


class Table(Struct, kw_only=True):
    apiVersion: str = msgspec.field(default_factory=always(GROUP_VERSION))
    kind: str = msgspec.field(default_factory=always("Table"))
    metadata: ListMeta = msgspec.field(default_factory=ListMeta)
    columnDefinitions: list[TableColumnDefinition] = msgspec.field(default_factory=empty_list)
    rows: list[TableRow] = msgspec.field(default_factory=empty_list)


class PartialObjectMetadata(Struct, kw_only=True):
    apiVersion: str = msgspec.field(default_factory=always(GROUP_VERSION))
    kind: str = msgspec.field(default_factory=always("PartialObjectMetadata"))
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)


class PartialObjectMetadataList(Struct, kw_only=True):
    apiVersion: str = msgspec.field(default_factory=always(GROUP_VERSION))
    kind: str = msgspec.field(default_factory=always("PartialObjectMetadataList"))
    metadata: ListMeta = msgspec.field(default_factory=ListMeta)
    items: list[PartialObjectMetadata] = msgspec.field(default_factory=empty_list)
