"""Fill in what a client left out.

``apply_defaults(obj)`` changes the object in place, once on every write and on every read of what an older
version stored; applying twice changes nothing. Each group's ``defaults`` module has a table from type to
function, imported when first needed; a kind without an entry has no defaults.

Counterpart upstream: the ``SetObjectDefaults`` functions. Neighbours: ``codec`` before it, admission and
``validation`` after.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

__all__ = ["apply_defaults"]

#: The folders that have a ``defaults`` module.
FOLDERS = frozenset(
    {
        "admissionregistration",
        "apiextensions",
        "apiregistration",
        "apps",
        "authentication",
        "autoscaling",
        "batch",
        "core",
        "discovery",
        "flowcontrol",
        "networking",
        "rbac",
        "resource",
        "scheduling",
        "storage",
    }
)


@cache
def _defaulter(cls: Any) -> Callable[[Any], None] | None:
    folder = cls.__module__.split(".")[-2]
    if folder not in FOLDERS:
        return None
    table = importlib.import_module(f"knarr.api.{folder}.defaults").DEFAULTERS
    found: Callable[[Any], None] | None = table.get(cls)
    return found


def apply_defaults(obj: Any) -> None:
    """Set upstream's defaults on an object of a built-in kind, the schema's on a custom one; in place."""
    cls: Any = type(obj)
    custom = getattr(cls, "CUSTOM", None)
    if custom is not None:
        custom.set_defaults(obj)
        return
    defaulter = _defaulter(cls)
    if defaulter is not None:
        defaulter(obj)
