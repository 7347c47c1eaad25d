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
        """Make the group and write ``settings``: controller -> file -> content.

        Only hierarchies that are given settings are touched: in the others the runtime makes what it needs.
        """
        for controller, files in settings.items():
            directory = self.directory(controller, path)
            if directory is None:
                continue
            if not os.path.isdir(directory):
                os.makedirs(directory, exist_ok=True)
                if self.unified:
                    self._hand_down(directory)
            for name, content in files.items():
                file = f"{directory}/{name}"
                if os.path.exists(file):
                    with open(file, "w") as setting:
                        setting.write(content)

    def _hand_down(self, group: Path) -> None:
        """In version 2 a group has only the controllers its parents let it have."""
        root = self._roots[""]
        for parent in [root, *reversed([each for each in group.parents if root in each.parents])]:
            with contextlib.suppress(OSError):
                available = (parent / "cgroup.controllers").read_text().split()
                (parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in available))

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

    def use(self, path: str) -> tuple[int, int]:
        """What the group and those below have used of the processor (nanoseconds) and hold of memory (the working set, bytes)."""
        if self.unified:
            microseconds = _field(self.directory("", path), "cpu.stat", "usage_usec")
            held = _number(self.directory("", path), "memory.current")
            return microseconds * 1000, max(held - _field(self.directory("", path), "memory.stat", "inactive_file"), 0)
        nanoseconds = _number(self.directory("cpuacct", path), "cpuacct.usage")
        memory = self.directory("memory", path)
        held = _number(memory, "memory.usage_in_bytes")
        return nanoseconds, max(held - _field(memory, "memory.stat", "total_inactive_file"), 0)

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


def _number(directory: Path | None, name: str) -> int:
    """A file's one number; 0 where there is no such group yet."""
    try:
        return int((directory / name).read_text()) if directory is not None else 0
    except (OSError, ValueError):
        return 0


def _field(directory: Path | None, name: str, key: str) -> int:
    """One of a file's lines ``key number``; 0 where there is no such group yet."""
    try:
        lines = (directory / name).read_text().splitlines() if directory is not None else []
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key} ")), 0)


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
