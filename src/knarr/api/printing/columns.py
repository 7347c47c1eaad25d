"""The parts of a printer: its columns and the small texts that many kinds share.

``<none>``, ``<unset>`` and ``<unknown>`` are three different answers, and each kind uses the one upstream
uses. Counterpart upstream: ``pkg/printers``. Neighbours: the modules beside this one, and
``knarr.api.tables``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from knarr.api import selectors
from knarr.api.meta import v1 as meta
from knarr.api.meta.tables import TableColumnDefinition
from knarr.api.printing.durations import since

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"
#: How many addresses, ports or hosts a cell lists before it says "+ n more...".
LISTED_MAX = 3

Row = Callable[[Any, datetime], list[Any]]


@dataclass(frozen=True, slots=True)
class Printer:
    """How one resource is shown."""

    group: str
    plural: str
    columns: tuple[TableColumnDefinition, ...]
    row: Row


def columns(text: str) -> tuple[TableColumnDefinition, ...]:
    """Columns from a compact text:

    ``Name | Desired:integer | *IP``; a star puts a column in the wide view only.
    """
    result = []
    for part in text.split("|"):
        name, _, kind = part.strip().partition(":")
        wide = name.startswith("*")
        name = name.removeprefix("*")
        result.append(
            TableColumnDefinition(
                name=name,
                type=kind or "string",
                format="name" if name == "Name" and not wide else "",
                priority=1 if wide else 0,
            )
        )
    return tuple(result)


def age(obj: Any, now: datetime) -> str:
    return since(obj.metadata.creationTimestamp, now)


def or_none(text: str | None) -> str:
    return text or NONE


def labels_text(labels: Mapping[str, str]) -> str:
    """``a=b,c=d`` by key."""
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels)) or NONE


def selector_text(selector: meta.LabelSelector | None) -> str:
    """A structured selector as text."""
    try:
        return str(selectors.from_label_selector(selector)) or NONE
    except selectors.SelectorError:
        return "<error>"


def container_names(spec: Any) -> str:
    return ",".join(container.name for container in spec.containers)


def container_images(spec: Any) -> str:
    return ",".join(container.image for container in spec.containers)


def listed(items: Sequence[str], *, empty: str) -> str:
    """The first few, and how many more there are."""
    if not items:
        return empty
    shown = ",".join(items[:LISTED_MAX])
    return f"{shown} + {len(items) - LISTED_MAX} more..." if len(items) > LISTED_MAX else shown


def joined(items: Iterable[str], *, empty: str = NONE) -> str:
    return ",".join(items) or empty


def flag(value: bool | None) -> str:
    """A pointer to a boolean."""
    return UNSET if value is None else str(value)


def lower_flag(value: bool | None) -> str:
    return UNSET if value is None else str(value).lower()


ACCESS_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def access_modes(modes: Sequence[str]) -> str:
    """``RWO,ROX``, in upstream's order, each once."""
    return ",".join(short for mode, short in ACCESS_MODES.items() if mode in modes)
