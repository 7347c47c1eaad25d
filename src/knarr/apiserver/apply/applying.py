"""One apply, and what an ordinary update means for ownership.

Apply: what the manager applies is set; what it applied before and does not apply now is removed, unless
somebody else owns it too; a field that another manager owns with
another value is a conflict, or is taken over with ``force``.

Update: fields that change belong to whoever changed them.

Upstream's counterpart is ``structured-merge-diff/merge`` and ``managedfields/internal``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from knarr.api import codec
from knarr.api.errors import StatusError, apply_conflict, bad_request
from knarr.api.meta import v1 as meta
from knarr.api.scheme import Resource
from knarr.api.shapes import Shape
from knarr.apiserver.apply.fieldsets import Path, readable, set_of
from knarr.apiserver.apply.managers import APPLY, BEFORE_FIRST_APPLY, UPDATE, Manager, Managers
from knarr.apiserver.apply.merging import merge, remove, value_at
from knarr.kit.clock import rfc3339

__all__ = ["apply", "begin_tracking", "track_update"]

#: What nobody owns: identity, and what only the server writes.
_UNOWNED: tuple[Path, ...] = (
    ("f:apiVersion",),
    ("f:kind",),
    ("f:metadata",),
    ("f:metadata", "f:name"),
    ("f:metadata", "f:namespace"),
    ("f:metadata", "f:creationTimestamp"),
    ("f:metadata", "f:selfLink"),
    ("f:metadata", "f:uid"),
    ("f:metadata", "f:clusterName"),
    ("f:metadata", "f:generation"),
    ("f:metadata", "f:managedFields"),
    ("f:metadata", "f:resourceVersion"),
)

_EMPTY: tuple[Any, ...] = (None, {}, [], "", 0, False)


def _owned(data: dict[str, Any], shape: Shape, subresource: str) -> set[Path]:
    """The paths in ``data`` that can be owned through this (sub-)resource."""
    paths = set_of(data, shape) - set(_UNOWNED)
    if subresource in ("status", "approval"):
        return {path for path in paths if path[0] == "f:status"}
    return {path for path in paths if path[0] != "f:status"}


def apply(
    resource: Resource,
    current: Any | None,
    applied: dict[str, Any],
    *,
    manager: str,
    force: bool,
    subresource: str,
    now: datetime,
) -> Any:
    """The object that comes of applying. ``current`` is None where there is none yet.

    Raises ``StatusError``: 409 with one cause a conflict, 400 for what cannot be applied.
    """
    if (applied.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    shape = Shape("struct", resource.type)
    identity = (manager, APPLY, subresource, resource.api_version)
    wanted = _owned(applied, shape, subresource)
    live = codec.to_dict(current) if current is not None else {}
    held = live.get("metadata", {}).pop("managedFields", None)
    managers = Managers.read(current.metadata.managedFields) if current is not None else Managers()
    if current is not None and not held:
        _hold_all(managers, resource, live, subresource="scale" if subresource == "scale" else "", now=now)
    merged = merge(live, applied, shape) if current is not None else applied
    contested = {path for path in wanted if _differs(live, merged, path, shape)}
    _settle(managers, identity, contested, force=force)
    before = managers.entries.get(identity)
    if before is not None:
        gone = before.paths - wanted - managers.others(identity)
        if gone:
            merged = remove(merged, gone, shape)
    if before is None or before.paths != wanted or contested:
        managers.entries[identity] = Manager(wanted, rfc3339(now))
    try:
        obj = codec.decode(resource.type, merged)
        codec.settle_moments(obj)
    except codec.DecodeError as error:
        raise bad_request(f"failed to apply: {error}") from None
    obj.metadata.managedFields = managers.write()
    return obj


def _hold_all(
    managers: Managers, resource: Resource, live: dict[str, Any], *, subresource: str, now: datetime
) -> None:
    """What stands there before the first apply is somebody's."""
    identity = (BEFORE_FIRST_APPLY, UPDATE, subresource, resource.api_version)
    managers.entries[identity] = Manager(_owned(live, Shape("struct", resource.type), subresource), rfc3339(now))


def begin_tracking(resource: Resource, obj: Any, *, now: datetime) -> None:
    """Record in ``obj`` that its fields had no known owner yet; nothing if it is tracked."""
    if obj.metadata.managedFields:
        return
    managers = Managers()
    _hold_all(managers, resource, codec.to_dict(obj), subresource="", now=now)
    obj.metadata.managedFields = managers.write()


def _differs(before: Any, after: Any, path: Path, shape: Shape) -> bool:
    """Whether what stands at ``path`` changed. Of a keyed element only its being there counts: its fields have paths of
    their own. An empty value is not stored, and so no different from none.
    """
    one, other = value_at(before, path, shape), value_at(after, path, shape)
    if path[-1].startswith("k:"):
        return (one is None) != (other is None)
    return one != other and not (one in _EMPTY and other in _EMPTY)


def _settle(
    managers: Managers, identity: tuple[str, str, str, str], contested: set[Path], *, force: bool
) -> None:
    """Fields that others own with other values: refuse, or take them over."""
    conflicts: list[tuple[str, str, list[Path]]] = []
    for held, other in managers.entries.items():
        if held == identity:
            continue
        clashing = other.paths & contested
        if clashing:
            conflicts.append((_described(held), held[3], sorted(clashing)))
    if conflicts and not force:
        raise _conflict(conflicts)
    managers.disown(contested, but=identity)


def _described(identity: tuple[str, str, str, str]) -> str:
    """An updater is named with the version it wrote in; an applier is the same whatever version it applies in."""
    name, operation, subresource, version = identity
    text = f'conflict with "{name}"'
    if subresource:
        text += f' with subresource "{subresource}"'
    return f"{text} using {version}" if operation == UPDATE else text


def _conflict(conflicts: Sequence[tuple[str, str, list[Path]]]) -> StatusError:
    causes = [
        meta.StatusCause(reason="FieldManagerConflict", message=text, field=readable(path))
        for text, _, paths in conflicts
        for path in paths
    ]
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        parts = []
        for text, _, paths in conflicts:
            plural = text.replace("conflict with", "conflicts with", 1)
            parts.append(plural + ":\n" + "\n".join(f"- {readable(path)}" for path in paths))
        message = f"Apply failed with {len(causes)} conflicts: " + "\n".join(parts)
    return apply_conflict(causes, message)


def track_update(
    resource: Resource, old: Any, new: Any, *, manager: str, subresource: str, now: datetime
) -> None:
    """Write into ``new`` who owns its fields after an ordinary update of ``old``.

    An object that nobody ever applied is not tracked; a client that leaves ``managedFields`` out changes
    nothing in it.
    """
    if not old.metadata.managedFields:
        new.metadata.managedFields = []
        return
    if new.metadata.managedFields == [meta.ManagedFieldsEntry()]:
        # The documented way to end the tracking: a list of one empty entry.
        new.metadata.managedFields = []
        return
    shape = Shape("struct", resource.type)
    before, after = codec.to_dict(old), codec.to_dict(new)
    old_paths, new_paths = _owned(before, shape, subresource), _owned(after, shape, subresource)
    changed = {path for path in new_paths if path not in old_paths or _differs(before, after, path, shape)}
    managers = Managers.read(new.metadata.managedFields or old.metadata.managedFields)
    identity = (manager, UPDATE, subresource, resource.api_version)
    managers.disown(old_paths - new_paths)
    managers.disown(changed, but=identity)
    if changed:
        held = managers.entries.get(identity)
        managers.entries[identity] = Manager((held.paths if held else set()) | changed, rfc3339(now))
    new.metadata.managedFields = managers.write()
