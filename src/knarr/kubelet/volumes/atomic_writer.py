"""Files that change all at once: readers see the old set or the new one, never a mixture.

The visible names are links to ``..data/<name>``; ``..data`` is a link to a directory named by time. An
update writes a new directory and renames one link over ``..data``: that is the moment of change.

Upstream counterpart: ``pkg/volume/util/atomic_writer.go``, whose layout this keeps (applications watch
for it). Neighbours: ``payload`` makes the content, ``manager`` calls ``write``.
"""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path

from knarr.kubelet.volumes.payload import Payload

__all__ = ["write_payload"]

DATA_LINK = "..data"


def write_payload(directory: Path, payload: Payload, *, now: datetime, fs_group: int | None = None) -> bool:
    """Make ``directory`` hold exactly ``payload``; False when it did already."""
    current = directory / DATA_LINK
    old = Path(os.path.realpath(current)) if current.is_symlink() else None
    if old is not None and _matches(old, payload):
        return False
    fresh = directory / now.strftime("..%Y_%m_%d_%H_%M_%S.%f")
    fresh.mkdir(mode=0o755)
    for path, content in payload.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.data)
        mode = content.mode
        if fs_group is not None:
            os.chown(target, -1, fs_group)
            # Members of the group may read what the owner may.
            mode |= 0o440
        if content.uid is not None:
            os.chown(target, content.uid, -1)
        target.chmod(mode)
    fresh.chmod(0o755)
    swap = directory / "..data_tmp"
    swap.unlink(missing_ok=True)
    swap.symlink_to(fresh.name)
    swap.rename(current)
    _link_names(directory, payload)
    if old is not None and old != fresh:
        shutil.rmtree(old, ignore_errors=True)
    return True


def _link_names(directory: Path, payload: Payload) -> None:
    wanted = {path.split("/")[0] for path in payload}
    present = {entry.name for entry in os.scandir(directory) if not entry.name.startswith("..")}
    for name in wanted - present:
        (directory / name).symlink_to(f"{DATA_LINK}/{name}")
    for name in present - wanted:
        (directory / name).unlink(missing_ok=True)


def _matches(directory: Path, payload: Payload) -> bool:
    found: set[str] = set()
    for parent, _, names in os.walk(directory):
        for name in names:
            path = Path(parent, name)
            relative = str(path.relative_to(directory))
            content = payload.get(relative)
            if content is None or path.read_bytes() != content.data:
                return False
            found.add(relative)
    return len(found) == len(payload)
