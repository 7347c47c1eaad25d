"""Control groups of either version: where they are, what is in them, and making and removing them.

Pods live in ``<parent>/kubepods[/burstable|/besteffort]/pod<uid>``; ``parent`` carries the cluster's and
the node's name, so that all of a node's containers are found by name even when everything that started
them is dead.

Upstream counterpart: ``pkg/kubelet/cm/cgroup_manager_linux.go`` with the ``cgroupfs`` driver. Neighbours:
``resources`` decides the numbers, ``pod_sync`` applies them, ``cluster.nodes`` removes a node's whole tree.

Invariant: a path is relative to each hierarchy's root and the same in all of them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from pathlib import Path

__all__ = ["Cgroups"]

#: Removing a group whose processes are still dying is tried this often before it is left for the next sweep.
REMOVE_TRIES = 5


class Cgroups:
    """The machine's hierarchies below ``root``."""

    def __init__(self, root: Path = Path("/sys/fs/cgroup")) -> None:
        self.unified = (root / "cgroup.controllers").exists()
        self._roots = {"": root} if self.unified else _hierarchies(root)

    def directory(self, controller: str, path: str) -> Path | None:
        """The group's directory for one controller; None where the machine lacks that controller."""
        root = self._roots.get("" if self.unified else controller)
        return None if root is None else root / path.lstrip("/")

    def create(self, path: str, settings: dict[str, dict[str, str]]) -> None:
        """Make the group in every hierarchy, then write ``settings``: controller -> file -> content."""
        for root in self._roots.values():
            group = root / path.lstrip("/")
            if not group.exists():
                group.mkdir(parents=True, exist_ok=True)
                self._prepare(root, group)
        for controller, files in settings.items():
            directory = self.directory(controller, path)
            for name, content in files.items():
                if directory is not None and (directory / name).exists():
                    (directory / name).write_text(content)

    def _prepare(self, root: Path, group: Path) -> None:
        """Hand controllers down (v2), or fill what a v1 cpuset needs before a process may enter."""
        chain = [root, *reversed([parent for parent in group.parents if root in parent.parents]), group]
        for parent, child in itertools.pairwise(chain):
            if self.unified:
                with contextlib.suppress(OSError):
                    available = (parent / "cgroup.controllers").read_text().split()
                    (parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in available))
                continue
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (child / name).exists() and not (child / name).read_text().strip():
                    (child / name).write_text((parent / name).read_text())

    def exists(self, path: str) -> bool:
        return any((root / path.lstrip("/")).is_dir() for root in self._roots.values())

    def children(self, path: str) -> set[str]:
        """The names of the groups directly below."""
        found: set[str] = set()
        for root in self._roots.values():
            with contextlib.suppress(OSError):
                found.update(entry.name for entry in os.scandir(root / path.lstrip("/")) if entry.is_dir())
        return found

    def processes(self, path: str) -> set[int]:
        """Every process in the group or below it."""
        found: set[int] = set()
        for root in self._roots.values():
            for directory, _, _ in os.walk(root / path.lstrip("/")):
                with contextlib.suppress(OSError, ValueError):
                    found.update(int(pid) for pid in Path(directory, "cgroup.procs").read_text().split())
        found.discard(0)  # a process of another pid namespace reads as 0
        return found

    def kill(self, path: str) -> set[int]:
        """SIGKILL to every process of the group and below; returns whom it met."""
        killed = self.processes(path)
        for pid in killed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return killed

    def remove_if_empty(self, path: str) -> None:
        """Remove the group, then its parents, as long as nothing lies in them."""
        for root in self._roots.values():
            group = root / path.lstrip("/")
            while group != root:
                try:
                    group.rmdir()
                except FileNotFoundError:
                    pass
                except OSError:
                    break
                group = group.parent

    def remove(self, path: str) -> bool:
        """Remove the group and those below; False when something still holds one (its processes are
        dying).
        """
        clean = True
        for root in self._roots.values():
            for directory, _, _ in os.walk(root / path.lstrip("/"), topdown=False):
                for attempt in range(REMOVE_TRIES):
                    try:
                        os.rmdir(directory)
                    except FileNotFoundError:
                        break
                    except OSError:
                        if attempt == REMOVE_TRIES - 1:
                            clean = False
                        continue
                    break
        return clean


def _hierarchies(root: Path) -> dict[str, Path]:
    """Version 1 (or hybrid): controller -> directory. Joint ones (``cpu,cpuacct``) appear once a
    controller.
    """
    found: dict[str, Path] = {}
    seen: set[Path] = set()
    if not root.is_dir():
        return found
    for entry in sorted(root.iterdir()):
        real = entry.resolve()
        if (real / "cgroup.procs").exists():
            found[entry.name] = real
            seen.add(real)
    return found
