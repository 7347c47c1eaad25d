"""``hostPath`` volumes: the path must be of the wanted kind, and is made where the type says so.

Upstream counterpart: ``pkg/volume/hostpath``, ``pkg/util/hostutil``. Neighbour: ``manager``.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from knarr.kubelet.volumes.payload import PayloadError

__all__ = ["check_host_path"]

_CHECKS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def check_host_path(path: Path, kind: str) -> None:
    """Make what the type asks for, then check it. Raises ``PayloadError``."""
    if not kind:
        return
    if not path.exists():
        if kind == "DirectoryOrCreate":
            path.mkdir(mode=0o755, parents=True)
        elif kind == "FileOrCreate":
            if not path.parent.is_dir():
                raise PayloadError(f"hostPath type check failed: {path.parent} is not a directory")
            path.touch(mode=0o644)
    check, noun = _CHECKS[kind]
    try:
        mode = path.stat().st_mode
    except OSError:
        mode = 0
    if not check(mode):
        raise PayloadError(f"hostPath type check failed: {path} is not {noun}")
