"""What an idle cluster costs: ``python -m bench.memory [--processes REGEX]``.

Proportional and resident memory of the control plane and the node's processes, containerd and its shims left
out, and their processor time over half a minute. Without options a fresh one-node cluster is measured;
``--processes`` measures whatever runs here and matches, for any other cluster.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

from bench.report import arguments, fresh_cluster, table

SETTLE_S, OBSERVE_S = 20.0, 30.0
LEFT_OUT = re.compile(r"containerd|runc|conmon|cri-o")
TICKS = os.sysconf("SC_CLK_TCK")


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def matching(pattern: re.Pattern[str], environment_mark: bytes = b"") -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        words = command(int(entry.name))
        program = words.split(" ")[0].rpartition("/")[2]
        try:
            marked = not environment_mark or environment_mark in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if words and marked and pattern.search(words) and not LEFT_OUT.match(program):
            found.append(int(entry.name))
    return sorted(found)


def memory_mib(pid: int) -> tuple[float, float]:
    """Proportional and resident."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
    return sizes["Pss"] / 1024, sizes["Rss"] / 1024


def cpu_s(pids: Iterable[int]) -> dict[int, float]:
    used = {}
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used[pid] = (int(fields[11]) + int(fields[12])) / TICKS
    return used


def label(pid: int) -> str:
    found = re.search(r"knarr\.cluster\.run ([\w-]+)|/(\w+)\.py\b", command(pid))
    return (found.group(1) or found.group(2)) if found else command(pid)[:40]


def measure(pids: list[int]) -> None:
    time.sleep(SETTLE_S)
    before, started_s = cpu_s(pids), time.monotonic()
    time.sleep(OBSERVE_S)
    span_s = time.monotonic() - started_s
    used = {pid: (spent - before[pid]) / span_s * 100 for pid, spent in cpu_s(pids).items()}
    sizes = {pid: memory_mib(pid) for pid in pids}
    rows: list[tuple[str, list[float], str]] = []
    for pid in pids:
        rows.append((f"{label(pid)}: PSS", [sizes[pid][0]], "MiB"))
        rows.append((f"{label(pid)}: CPU", [used[pid]], "% of a core"))
    rows.append(("all: PSS", [sum(pss for pss, _ in sizes.values())], "MiB"))
    rows.append(("all: RSS", [sum(rss for _, rss in sizes.values())], "MiB"))
    rows.append(("all: CPU", [sum(used.values())], "% of a core"))
    table(f"idle for {SETTLE_S:g} s, then watched for {OBSERVE_S:g} s", rows)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--processes", type=re.compile, help="measure the processes whose command line matches")
    options = parser.parse_args()
    if options.processes is not None:
        measure(matching(options.processes))
        return
    with fresh_cluster() as (name, _):
        measure(matching(re.compile("knarr"), f"KNARR_CLUSTER={name}".encode()))


if __name__ == "__main__":
    main()
