"""``subPath``: one directory or file of a volume as a mount, safe from links that lead out of it.

The path is walked one name at a time without following links, and what the walk ends at is bind mounted
through its file descriptor; nobody can exchange it in between.

Upstream counterpart: ``pkg/volume/util/subpath``. Neighbour: ``mounts`` asks for it, ``manager`` removes it.
"""

from __future__ import annotations

import os
import posixpath
import stat
from pathlib import Path

from knarr.kubelet.mounting import bind_mount, mounts_below
from knarr.kubelet.volumes.payload import PayloadError

__all__ = ["bind_subpath"]

_OPEN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATED_MODE = 0o750


def bind_subpath(volume: Path, sub_path: str, target: Path) -> Path:
    """Mount ``volume/sub_path`` at ``target``, made first where it does not exist. Raises
    ``PayloadError``.
    """
    if posixpath.isabs(sub_path) or ".." in sub_path.split("/"):
        raise PayloadError(f"must not contain '..' and must be relative: {sub_path}")
    if str(target) in mounts_below(target):
        return target
    handle = _open_below(volume, [name for name in sub_path.split("/") if name not in ("", ".")])
    try:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            target.mkdir(mode=_CREATED_MODE, parents=True, exist_ok=True)
        else:
            target.parent.mkdir(mode=_CREATED_MODE, parents=True, exist_ok=True)
            target.touch(exist_ok=True)
        bind_mount(f"/proc/self/fd/{handle}", target)
    finally:
        os.close(handle)
    return target


def _open_below(volume: Path, names: list[str]) -> int:
    # The volume's own files may be links (configMap's ``..data``), as long as they stay within the volume.
    resolved = os.path.realpath(volume.joinpath(*names))
    root = os.path.realpath(volume)
    if resolved != root and not resolved.startswith(root + "/"):
        raise PayloadError(f"subpath {'/'.join(names)} not within volume path {volume}")
    inner = os.path.relpath(resolved, root)
    handle = os.open(root, _OPEN | os.O_DIRECTORY)
    for name in [] if inner == "." else inner.split("/"):
        try:
            try:
                below = os.open(name, _OPEN, dir_fd=handle)
            except FileNotFoundError:
                os.mkdir(name, _CREATED_MODE, dir_fd=handle)
                below = os.open(name, _OPEN, dir_fd=handle)
        except OSError as error:
            os.close(handle)
            raise PayloadError(f"error creating subpath {'/'.join(names)}: {error.strerror}") from None
        os.close(handle)
        handle = below
        if stat.S_ISLNK(os.fstat(handle).st_mode):
            os.close(handle)
            raise PayloadError(f"subpath {'/'.join(names)} not within volume path {volume}")
    return handle
