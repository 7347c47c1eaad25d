"""mount(2) and umount2(2), called directly: a pod's volumes are no reason to start a process each.

Neighbours: ``volumes.manager`` (tmpfs) and ``volumes.subpath`` (bind mounts).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from functools import cache
from pathlib import Path

__all__ = ["bind_mount", "mount_tmpfs", "mounts_below", "remount_readonly", "unmount"]

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC = 1, 32, 4096, 16384
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6", use_errno=True)


def _mount(source: str, target: str, kind: str, *, flags: int, options: str) -> None:
    done = _libc().mount(
        source.encode(),
        target.encode(),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}", target)


def mount_tmpfs(target: Path, *, size_bytes: int = 0, mode: int = 0o755) -> None:
    options = f"mode={mode:o}" + (f",size={size_bytes}" if size_bytes else "")
    _mount("tmpfs", str(target), "tmpfs", flags=0, options=options)


def bind_mount(source: str, target: Path, *, recursive: bool = True) -> None:
    """``source`` may be ``/proc/self/fd/N``, so that what was checked is what is mounted."""
    _mount(source, str(target), "", flags=MS_BIND | (MS_REC if recursive else 0), options="")


def remount_readonly(target: Path) -> None:
    _mount("none", str(target), "", flags=MS_BIND | MS_REMOUNT | MS_RDONLY, options="")


def unmount(target: str) -> None:
    """Detach; what is still open stays usable to whoever holds it."""
    if _libc().umount2(target.encode(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unmount {target}: {os.strerror(number)}", target)


def mounts_below(directory: Path) -> list[str]:
    """Mount points at or below ``directory``, the deepest first."""
    prefix = f"{directory}/"
    found: list[str] = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            point = (
                line.split(" ", 5)[4].encode().decode("unicode_escape")
                if "\\" in line
                else line.split(" ", 5)[4]
            )
            if point == str(directory) or point.startswith(prefix):
                found.append(point)
    return sorted(found, key=len, reverse=True)
