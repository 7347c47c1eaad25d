"""One containerd a node: its configuration, its start inside the node's namespaces, and its end.

Everything containerd owns lies in the node's own directories: ``state_dir/containerd`` (images,
snapshots, metadata; outlives a stop), ``run_dir/containerd`` (sockets, running tasks; does not). On a
kill, shims and containers go with ``NodeNamespace.delete``, which finds them by namespace and cgroup.

Neighbours: ``nodes`` (where it runs), ``images`` (what it is given), ``kubelet.runtime.cri`` (who talks
to it).

Invariant: nothing here assumes what the machine may do; the capability to lower OOM scores, the cgroup
layout and the file system are looked at.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from knarr.cluster.commands import CommandError, run
from knarr.cluster.images import PAUSE_IMAGE
from knarr.cluster.nodes import NodeNamespace
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.kubelet.runtime.contract import RuntimeServiceError

if TYPE_CHECKING:
    from knarr.kubelet.runtime.cri import CriRuntime

__all__ = ["Containerd", "ContainerdNotReady", "ContainerdSettings", "config_text", "has_capability"]

READY_TIMEOUT_S = 30.0
READY_POLL_S = 0.02
CNI_BIN_DIRS = ("/usr/lib/cni", "/opt/cni/bin")
CAP_SYS_RESOURCE = 24
#: Nothing Kubernetes uses needs these, and each costs time at the start or writes outside the node's
#: directories.
DISABLED_PLUGINS = (
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
    "io.containerd.tracing.processor.v1.otlp",
)

log = get_logger("containerd")


class ContainerdNotReady(RuntimeError):
    """containerd ended or stayed silent; the text names its log."""


@dataclass(frozen=True, slots=True)
class ContainerdSettings:
    """What differs from node to node and from machine to machine."""

    root: Path
    state: Path
    socket: Path
    registry_hosts_dir: Path
    cni_bin_dir: str
    cni_conf_dir: str = "/etc/cni/net.d"
    snapshotter: str = "overlayfs"
    restrict_oom_score_adj: bool = False
    sandbox_image: str = PAUSE_IMAGE


def config_text(settings: ContainerdSettings) -> str:
    """containerd's configuration file, version 2 (understood by 1.5 to 2.x)."""
    # JSON's strings, numbers, booleans and lists of strings are TOML's too.
    quoted = json.dumps
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = {quoted(str(settings.root))}
state = {quoted(str(settings.state))}
disabled_plugins = {quoted(list(DISABLED_PLUGINS))}

[grpc]
address = {quoted(str(settings.socket))}

[{cri}]
sandbox_image = {quoted(settings.sandbox_image)}
restrict_oom_score_adj = {quoted(settings.restrict_oom_score_adj)}
netns_mounts_under_state_dir = true
disable_tcp_service = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"
tolerate_missing_hugetlb_controller = true
enable_unprivileged_ports = true
enable_unprivileged_icmp = true

[{cri}.cni]
bin_dir = {quoted(settings.cni_bin_dir)}
conf_dir = {quoted(settings.cni_conf_dir)}

[{cri}.containerd]
snapshotter = {quoted(settings.snapshotter)}
default_runtime_name = "runc"

[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
SystemdCgroup = false

[{cri}.registry]
config_path = {quoted(str(settings.registry_hosts_dir))}
"""


class Containerd:
    """The containerd of one node."""

    def __init__(self, node: NodeNamespace, *, registry_hosts_dir: Path | None = None) -> None:
        self._node = node
        self.socket = node.run_dir / "containerd.sock"
        self.config_path = node.run_dir / "containerd.toml"
        self.log_path = node.state_dir / "log" / "containerd.log"
        self._pid_path = node.run_dir / "containerd.pid"
        self._settings = ContainerdSettings(
            root=node.state_dir / "containerd",
            state=node.run_dir / "containerd",
            socket=self.socket,
            registry_hosts_dir=registry_hosts_dir or node.state_dir / "registries",
            cni_bin_dir=_first_directory(CNI_BIN_DIRS),
            snapshotter=_snapshotter(node.state_dir),
            restrict_oom_score_adj=not has_capability(CAP_SYS_RESOURCE),
        )

    def start(self) -> int:
        """Start it unless it runs; returns its process id. ``wait_ready`` tells when it can be used."""
        running = self.pid()
        if running is not None:
            return running
        pid = self._node.spawn(self.prepare(), log_path=self.log_path)
        self._pid_path.write_text(str(pid))
        return pid

    def prepare(self) -> list[str]:
        """Write the configuration; returns what to run inside the node, for whoever supervises it."""
        self._settings.registry_hosts_dir.mkdir(parents=True, exist_ok=True)
        self.config_path.write_text(config_text(self._settings))
        return ["containerd", "--config", str(self.config_path)]

    def pid(self) -> int | None:
        """The process id while it runs; a recycled id is not taken for containerd."""
        try:
            pid = int(self._pid_path.read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        # In the instant between two programs (nsenter becomes containerd) the arguments read as nothing.
        ours = not arguments or str(self.config_path).encode() in arguments.split(b"\0")
        return pid if ours and state not in "ZX" else None

    async def wait_ready(self, clock: Clock) -> None:
        """Return once CRI answers that the runtime is ready. Raises ``ContainerdNotReady``."""
        # Whoever only starts containerd need not wait for gRPC's import.
        from knarr.kubelet.runtime.cri import CriRuntime

        deadline_s = clock.monotonic_s() + READY_TIMEOUT_S
        runtime: CriRuntime | None = None
        try:
            while clock.monotonic_s() < deadline_s:
                if self.pid() is None:
                    raise ContainerdNotReady(
                        f"containerd of node {self._node.name} ended; see {self.log_path}"
                    )
                if self.socket.exists():
                    runtime = runtime or CriRuntime(str(self.socket))
                    if await _runtime_ready(runtime):
                        return
                await clock.sleep(READY_POLL_S)
        finally:
            if runtime is not None:
                await runtime.close()
        raise ContainerdNotReady(
            f"containerd of node {self._node.name} was not ready within {READY_TIMEOUT_S:g} s; see "
            f"{self.log_path}"
        )

    def stop(self) -> None:
        """Ask it to end. Containers and their shims live on, as at an upgrade of containerd on a machine."""
        pid = self.pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)


async def _runtime_ready(runtime: CriRuntime) -> bool:
    try:
        return any(
            condition.type == "RuntimeReady" and condition.status for condition in await runtime.status()
        )
    except RuntimeServiceError:
        return False


def has_capability(number: int) -> bool:
    """Whether this process (and so what it starts) has the capability in effect."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _first_directory(candidates: tuple[str, ...]) -> str:
    return next((path for path in candidates if Path(path).is_dir()), candidates[0])


def _snapshotter(directory: Path) -> str:
    """overlayfs, except where the directory itself lies on one (in a container): those do not stack."""
    directory.mkdir(parents=True, exist_ok=True)
    try:
        kind = run(["stat", "--file-system", "--format=%T", str(directory)]).strip()
    except CommandError:
        return "overlayfs"
    return "native" if kind in ("overlayfs", "overlay") else "overlayfs"
