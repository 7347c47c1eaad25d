"""``fsGroup``: a volume belongs to a group, and its members may do what the owner may.

Upstream counterpart: ``pkg/volume/volume_linux.go``. Neighbour: ``manager``.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["set_group"]

_READ_WRITE, _READ_ONLY, _ENTER = 0o660, 0o440, 0o110


def set_group(
    directory: Path, group: int, *, read_only: bool = False, only_on_mismatch: bool = False
) -> None:
    """Hand a volume to a group, links excepted. ``only_on_mismatch`` trusts the top directory for the
    rest.
    """
    if only_on_mismatch and _fits(directory, group, read_only=read_only):
        return
    for parent, directories, files in os.walk(directory, topdown=False):
        for name in files:
            _apply(Path(parent, name), group, read_only=read_only)
        for name in directories:
            _apply(Path(parent, name), group, read_only=read_only)
    _apply(directory, group, read_only=read_only)


def _apply(path: Path, group: int, *, read_only: bool) -> None:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return
    os.chown(path, -1, group, follow_symlinks=False)
    mode = stat.S_IMODE(status.st_mode) | (_READ_ONLY if read_only else _READ_WRITE)
    if stat.S_ISDIR(status.st_mode):
        # New files below shall belong to the group as well.
        mode |= stat.S_ISGID | _ENTER
    path.chmod(mode)


def _fits(directory: Path, group: int, *, read_only: bool) -> bool:
    status = directory.lstat()
    wanted = (_READ_ONLY if read_only else _READ_WRITE) | stat.S_ISGID | _ENTER
    return status.st_gid == group and stat.S_IMODE(status.st_mode) & wanted == wanted
