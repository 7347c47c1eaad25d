"""``metadata.managedFields``: read, changed, written.

Upstream's counterpart is ``apimachinery/pkg/util/managedfields``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from knarr.api.meta import v1 as meta
from knarr.apiserver.apply.fieldsets import Path, from_json, to_json

__all__ = ["APPLY", "BEFORE_FIRST_APPLY", "UPDATE", "Identity", "Manager", "Managers", "manager_name"]

APPLY, UPDATE = "Apply", "Update"
BEFORE_FIRST_APPLY = "before-first-apply"

#: (name, operation, subresource, apiVersion)
Identity = tuple[str, str, str, str]


@dataclass(slots=True)
class Manager:
    """One owner's fields and when it last changed them."""

    paths: set[Path]
    time: str = ""


@dataclass(slots=True)
class Managers:
    """All owners of one object."""

    entries: dict[Identity, Manager] = field(default_factory=dict)

    @classmethod
    def read(cls, entries: Iterable[meta.ManagedFieldsEntry]) -> Managers:
        found = {}
        for entry in entries:
            identity = (entry.manager, entry.operation, entry.subresource, entry.apiVersion)
            found[identity] = Manager(from_json(entry.fieldsV1), entry.time or "")
        return cls(found)

    def write(self) -> list[meta.ManagedFieldsEntry]:
        """The entries as they are stored: appliers first, each group by time and name; owners of nothing are
        left out.
        """
        ordered = sorted(
            self.entries.items(), key=lambda item: (item[0][1] != APPLY, item[1].time, item[0][0], item[0][2])
        )
        return [
            meta.ManagedFieldsEntry(
                manager=name,
                operation=operation,
                subresource=subresource,
                apiVersion=version,
                time=manager.time or None,
                fieldsType="FieldsV1",
                fieldsV1=to_json(manager.paths),
            )
            for (name, operation, subresource, version), manager in ordered
            if manager.paths
        ]

    def disown(self, paths: set[Path], *, but: Identity | None = None) -> None:
        """Take fields away from everybody, or everybody else."""
        for identity, manager in self.entries.items():
            if identity != but:
                manager.paths -= paths

    def others(self, identity: Identity) -> set[Path]:
        """Everything anybody else owns."""
        owned: set[Path] = set()
        for held, manager in self.entries.items():
            if held != identity:
                owned |= manager.paths
        return owned


def manager_name(requested: str, user_agent: str) -> str:
    """The manager's name: as the client says, or the first part of its user agent."""
    return requested or (user_agent.split("/", 1)[0] if user_agent else "unknown")
