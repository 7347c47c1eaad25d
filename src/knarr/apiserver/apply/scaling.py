"""Whom a size belongs to: the same field is ``spec.replicas`` of a Scale and some field of the object that has the scale.

Before a scale is changed, the object's owners of its size become owners of the Scale's; afterwards the Scale's
owners take their places in the object. So a conflict is told in the client's terms, and who
changed a size by ``scale`` is known to whoever applies the whole object. Pure.

Upstream's counterpart is ``managedfields.ScaleHandler``. Two things are other on purpose: an owner is found again whatever
version it wrote in, where upstream loses the rest of an updater's fields to a second entry of the same name; and
the time at which a size found its owner is kept, where upstream writes none.

Neighbours: ``applying`` changes the Scale in between, ``subresources.scale`` calls all three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knarr.api.meta import v1 as meta
from knarr.apiserver.apply.fieldsets import Path
from knarr.apiserver.apply.managers import Identity, Manager, Managers

__all__ = ["SCALE_VERSION", "SizePaths", "to_parent", "to_scale"]

SCALE_VERSION = "autoscaling/v1"
IN_SCALE: Path = ("f:spec", "f:replicas")

#: Where the size stands in each version of the object; None where that version has no scale.
SizePaths = Mapping[str, Path | None]


def to_scale(entries: Sequence[meta.ManagedFieldsEntry], paths: SizePaths) -> list[meta.ManagedFieldsEntry]:
    """The owners of the object's size, as owners of a Scale's."""
    owners = Managers()
    for identity, manager in Managers.read(entries).entries.items():
        path = paths.get(identity[3])
        if path is not None and path in manager.paths:
            owners.entries[_in_version(identity, SCALE_VERSION)] = Manager({IN_SCALE}, manager.time)
    return owners.write()


def to_parent(
    entries: Sequence[meta.ManagedFieldsEntry],
    scale_entries: Sequence[meta.ManagedFieldsEntry],
    paths: SizePaths,
    *,
    api_version: str,
) -> list[meta.ManagedFieldsEntry]:
    """The object's owners once those of the Scale are as in ``scale_entries``.

    ``api_version``: the version in which the scale was asked for, and in which a new owner is recorded. An entry in a
    version that is not known is dropped.
    """
    scale = Managers.read(scale_entries).entries
    scale = {identity: manager for identity, manager in scale.items() if IN_SCALE in manager.paths}
    owners, kept = Managers(), set()
    for identity, manager in Managers.read(entries).entries.items():
        if identity[3] not in paths:
            continue
        path = paths[identity[3]]
        if path is not None and path in manager.paths:
            held = _in_version(identity, SCALE_VERSION)
            if held in scale:
                kept.add(held)
            else:
                manager.paths.discard(path)
        owners.entries[identity] = manager
    path = paths[api_version]
    assert path is not None, "only a version that has a scale is asked for it"
    for identity, manager in scale.items():
        if identity not in kept:
            owners.entries[_in_version(identity, api_version)] = Manager({path}, manager.time)
    return owners.write()


def _in_version(identity: Identity, api_version: str) -> Identity:
    return (*identity[:3], api_version)
