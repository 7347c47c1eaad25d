"""What this machine is: processors, memory, disk, names. Read-only, and the only place that reads them.

Upstream counterpart: cadvisor's machine info. Neighbours: ``node_status`` turns it into the Node object,
``stats`` reports its use. ``SimulatedMachine`` stands in where nothing real is behind a node.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Machine", "MachineUse", "NodeUse", "read_machine", "read_own_use", "read_use", "simulated_machine"]


@dataclass(frozen=True, slots=True)
class Machine:
    """What does not change while the kubelet runs."""

    cpus: int
    memory_bytes: int
    storage_bytes: int
    architecture: str
    kernel: str
    os_image: str
    machine_id: str
    system_uuid: str
    boot_id: str
    swap_bytes: int


@dataclass(frozen=True, slots=True)
class MachineUse:
    """What changes all the time."""

    memory_available_bytes: int
    memory_total_bytes: int
    fs_available_bytes: int
    fs_capacity_bytes: int
    inodes_free: int
    inodes: int
    processes: int
    pid_max: int
    cpu_nanoseconds: int


@dataclass(frozen=True, slots=True)
class NodeUse:
    """What a node uses, which need not be the whole machine."""

    cpu_nanoseconds: int
    working_set_bytes: int


_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
}


def read_machine(root_dir: Path) -> Machine:
    memory = _memory()
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=memory.get("MemTotal", 0),
        storage_bytes=_storage(root_dir),
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
        kernel=platform.release(),
        os_image=_os_image(),
        machine_id=_text("/etc/machine-id") or _text("/var/lib/dbus/machine-id"),
        system_uuid=_text("/sys/class/dmi/id/product_uuid"),
        boot_id=_text("/proc/sys/kernel/random/boot_id"),
        swap_bytes=memory.get("SwapTotal", 0),
    )


def simulated_machine(
    *, cpus: int = 8, memory_bytes: int = 32 << 30, storage_bytes: int = 100 << 30
) -> Machine:
    return Machine(
        cpus, memory_bytes, storage_bytes, "amd64", "simulated", "Knarr simulated node", "", "", "", 0
    )


def read_use(root_dir: Path) -> MachineUse:
    memory = _memory()
    place = root_dir if root_dir.exists() else Path("/")
    disk = os.statvfs(place)
    return MachineUse(
        memory_available_bytes=memory.get("MemAvailable", 0),
        memory_total_bytes=memory.get("MemTotal", 0),
        fs_available_bytes=disk.f_bavail * disk.f_frsize,
        fs_capacity_bytes=disk.f_blocks * disk.f_frsize,
        inodes_free=disk.f_favail,
        inodes=disk.f_files,
        processes=_processes(),
        pid_max=int(_text("/proc/sys/kernel/pid_max") or 0),
        cpu_nanoseconds=_cpu_nanoseconds(),
    )


def read_own_use() -> NodeUse:
    """What this process uses itself."""
    times, pages = os.times(), _text("/proc/self/statm").split()
    resident = int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else 0
    return NodeUse(int((times.user + times.system) * 1e9), resident)


def _processes() -> int:
    # The fourth field of loadavg is "running/all" of the kernel's tasks: one read instead of a walk.
    fields = _text("/proc/loadavg").split()
    return int(fields[3].partition("/")[2]) if len(fields) > 3 else 0


def _cpu_nanoseconds() -> int:
    words = _text("/proc/stat").splitlines()[0].split()[1:]
    ticks = os.sysconf("SC_CLK_TCK")
    # user nice system idle iowait irq softirq steal: everything but idle and iowait is work.
    busy = sum(int(word) for index, word in enumerate(words[:8]) if index not in (3, 4))
    return busy * 1_000_000_000 // ticks


def _memory() -> dict[str, int]:
    result: dict[str, int] = {}
    for line in _text("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            result[name] = int(words[0]) * (1024 if len(words) > 1 else 1)
    return result


def _storage(root_dir: Path) -> int:
    place = root_dir if root_dir.exists() else Path("/")
    disk = os.statvfs(place)
    return disk.f_blocks * disk.f_frsize


def _os_image() -> str:
    for line in _text("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "Linux"


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
