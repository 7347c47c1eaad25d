"""A node on this machine: one network namespace and one private mount namespace, joined by veth to the
cluster's bridge.

Everything a node runs (containerd, kubelet, proxy, DNS) is started through ``NodeNamespace.spawn`` and
shares these two, so its address is reachable from the host, and it can be cut off or killed as a machine
can. Inside, the usual paths (``/var/lib/kubelet``, ``/var/log/pods``, ``/run/containerd``,
``/etc/resolv.conf`` …) are the node's own: what a DaemonSet mounts from the host is what it would find on
a machine of its own.

Neighbours: ``addresses`` (the plan), ``containerd`` (runs inside), ``kubelet.cgroups`` (the third thing a
node owns).

Invariants:

* every name carries the cluster's: the bridge, the veth (with its full name as alias), the namespaces,
  the cgroup;
* ``create`` and ``delete`` are idempotent and find what is there by name, after a crash or a reboot as well;
* service and pod ranges are routed to the bridge, so nothing for them leaves by the default route.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from knarr.cluster.addresses import AddressPlan
from knarr.cluster.commands import CommandError, run, succeeds
from knarr.kit.clock import RealClock
from knarr.kit.log import get_logger
from knarr.kubelet.cgroups import Cgroups
from knarr.network.nft import Nft, NftError, table_name

__all__ = ["ClusterBridge", "NodeNamespace", "cgroup_path", "routed_networks"]

#: What is killed may have forked meanwhile, so the search is repeated; each victim gets this long to die.
KILL_ROUNDS = 20
KILL_WAIT_MS = 1000
#: The part of the cluster's nft tables that belongs to the host's end.
HOST_TABLE = "host"
NETNS_DIR = Path("/run/netns")
#: Own to each node: path inside the node -> directory below its state or run directory.
STATE_BINDS = {
    "/var/lib/kubelet": "kubelet",
    "/var/log/pods": "log/pods",
    "/var/log/containers": "log/containers",
    "/etc/cni/net.d": "cni/net.d",
    "/var/lib/cni": "cni/lib",
}
RUN_BINDS = {"/run/containerd": "run-containerd", "/run/netns": "run-netns"}

log = get_logger("nodes")


def _interface_name(prefix: str, *names: str) -> str:
    """At most fifteen characters: readable when the name is short, else told apart by a hash."""
    plain = "-".join([prefix, *names])
    if len(plain) <= 15:
        return plain
    digest = hashlib.sha256("/".join(names).encode()).hexdigest()[:6]
    return f"{prefix}-{names[0][: 15 - len(prefix) - 8]}-{digest}"


def cgroup_path(cluster: str, node: str = "") -> str:
    """The cgroup that all of a node's (or a cluster's) containers lie in."""
    return f"/knarr/{cluster}/{node}" if node else f"/knarr/{cluster}"


def routed_networks() -> list[str]:
    """What this machine routes or owns by now, for ``addresses.free_index``."""
    routes = json.loads(run(["ip", "-4", "-json", "route", "show", "table", "all"]) or "[]")
    return [route["dst"] for route in routes if route.get("dst", "default") != "default" and route.get("dst")]


class ClusterBridge:
    """The host's end of a cluster: the bridge every node is plugged into, and the routes to its ranges."""

    def __init__(self, cluster: str, plan: AddressPlan) -> None:
        self.cluster = cluster
        self.plan = plan
        self.name = _interface_name("kn", cluster)

    def exists(self) -> bool:
        return succeeds(["ip", "link", "show", "dev", self.name])

    def create(self) -> None:
        if not self.exists():
            run(["ip", "link", "add", "name", self.name, "type", "bridge"])
        address = f"{self.plan.bridge_address}/16"
        lines = [
            f"link set dev {self.name} alias knarr:{self.cluster} up",
            f"addr replace {address} dev {self.name}",
            # Without a more specific route (to a node's pods, to the proxy's rules) these end at the bridge:
            # nobody answers for them there, and the caller hears "unreachable" instead of leaking packets.
            f"route replace {self.plan.pod_cidr} dev {self.name} src {self.plan.bridge_address}",
            f"route replace {self.plan.service_cidr} dev {self.name} src {self.plan.bridge_address}",
            f"route replace {self.plan.simulated_pod_cidr} dev {self.name} src {self.plan.bridge_address}",
        ]
        run(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        _apply_rules(host_rules(self.cluster, self.plan, self.name))
        self._pass_firewall()

    def _pass_firewall(self) -> None:
        """Where the machine forwards nothing by default (Docker sees to that), let the cluster's packets
        through.
        """
        for rule in _forward_rules(self.cluster, self.name):
            if _forwards_nothing() and not succeeds(["iptables", "--check", "FORWARD", *rule]):
                run(["iptables", "--insert", "FORWARD", *rule])

    def route_pods(self, pod_cidr: str, node_address: str) -> None:
        """Let the host reach a node's pods."""
        run(["ip", "route", "replace", pod_cidr, "via", node_address, "dev", self.name])

    def delete(self) -> None:
        """Remove the bridge, and with it its addresses, routes and rules."""
        with contextlib.suppress(CommandError):
            run(["ip", "link", "delete", "dev", self.name])
        for rule in _forward_rules(self.cluster, self.name):
            if succeeds(["iptables", "--check", "FORWARD", *rule]):
                run(["iptables", "--delete", "FORWARD", *rule])
        with contextlib.suppress(NftError):
            _apply_rules(
                f"add table ip {table_name(self.cluster, HOST_TABLE)}\n"
                f"delete table ip {table_name(self.cluster, HOST_TABLE)}\n"
            )


def host_rules(cluster: str, plan: AddressPlan, bridge: str) -> str:
    """One nft transaction: what nodes send beyond the machine (image pulls, questions to resolvers) gets
    its address.
    """
    table = f"ip {table_name(cluster, HOST_TABLE)}"
    return (
        f"add table {table}\ndelete table {table}\nadd table {table}\n"
        f"add chain {table} postrouting {{ type nat hook postrouting priority 100 ; policy accept ; }}\n"
        f'add rule {table} postrouting ip saddr {plan.node_cidr} oifname != "{bridge}" masquerade\n'
    )


def _apply_rules(text: str) -> None:
    # A thread of its own, because this is called both from within an event loop and without one.
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(lambda: asyncio.run(Nft(RealClock()).apply(text))).result()


def _forward_rules(cluster: str, bridge: str) -> list[list[str]]:
    mark = ["-m", "comment", "--comment", f"knarr-{cluster}", "-j", "ACCEPT"]
    return [["-i", bridge, *mark], ["-o", bridge, *mark]]


def _forwards_nothing() -> bool:
    try:
        return run(["iptables", "--list-rules", "FORWARD"]).startswith("-P FORWARD DROP")
    except CommandError:
        return False


class NodeNamespace:
    """One node's namespaces. ``state_dir`` outlives the node's stop, ``run_dir`` does not."""

    def __init__(
        self,
        cluster: str,
        name: str,
        *,
        number: int,
        plan: AddressPlan,
        state_dir: Path,
        run_dir: Path,
    ) -> None:
        self.cluster = cluster
        self.name = name
        self.plan = plan
        self.address = plan.node_address(number)
        self.state_dir = state_dir
        self.run_dir = run_dir
        self.netns = f"knarr-{cluster}-{name}"
        self.netns_path = NETNS_DIR / self.netns
        self.mount_path = run_dir / "mnt"
        self.veth = _interface_name("kv", cluster, name)
        self.cgroup = cgroup_path(cluster, name)

    def exists(self) -> bool:
        return _is_namespace(self.netns_path) and _is_namespace(self.mount_path)

    def create(self) -> None:
        """Make what is missing. The bridge must be there."""
        if self.exists():
            return
        self._clear()
        self.run_dir.mkdir(parents=True, exist_ok=True)
        bridge = ClusterBridge(self.cluster, self.plan)
        run(["ip", "netns", "add", self.netns])
        lines = [
            f"link add name {self.veth} type veth peer name eth0 netns {self.netns}",
            f"link set dev {self.veth} alias knarr:{self.cluster}:{self.name} master {bridge.name} up",
        ]
        run(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")
        inside = [
            "link set dev lo up",
            "link set dev eth0 up",
            f"addr replace {self.address}/16 dev eth0",
            f"route replace default via {self.plan.bridge_address} dev eth0 src {self.address}",
        ]
        run(["ip", "-netns", self.netns, "-batch", "-"], stdin="\n".join(inside) + "\n")
        self._create_mount_namespace()
        log.info("node namespaces created", cluster=self.cluster, node=self.name, address=self.address)

    def _create_mount_namespace(self) -> None:
        # A mount namespace can be pinned only on a mount that does not propagate into it.
        run(["mount", "--bind", str(self.run_dir), str(self.run_dir)])
        run(["mount", "--make-private", str(self.run_dir)])
        self.mount_path.touch()
        resolv_conf = self.run_dir / "resolv.conf"
        resolv_conf.write_text(_resolv_conf(Path("/etc/resolv.conf")))
        binds = {inside: self.state_dir / below for inside, below in STATE_BINDS.items()}
        binds |= {inside: self.run_dir / below for inside, below in RUN_BINDS.items()}
        # Copies of other nodes' namespace files would keep those nodes alive after their deletion; a lasting
        # slave of the host sees later mounts, and its own mounts are shared, as a pod's volumes need.
        script = [
            "set -e",
            "umount --recursive --lazy /run/netns 2>/dev/null || true",
            "mount --make-rshared /",
        ]
        for inside, outside in binds.items():
            outside.mkdir(parents=True, exist_ok=True)
            Path(inside).mkdir(parents=True, exist_ok=True)
            script.append(f"mount --bind '{outside}' '{inside}'")
        script.append(f"mount --bind '{resolv_conf}' /etc/resolv.conf")
        pin = f"--mount={self.mount_path}"
        run(["unshare", pin, "--propagation", "slave", "sh", "-c", "\n".join(script)])

    def command(self, argv: Sequence[str]) -> list[str]:
        """``argv`` as it is started inside the node from the host."""
        where = [f"--net={self.netns_path}", f"--mount={self.mount_path}"]
        return ["nsenter", *where, f"--wd={os.sep}", "--", *argv]

    def run(self, argv: Sequence[str], *, stdin: str | None = None, timeout_s: float = 60.0) -> str:
        return run(self.command(argv), stdin=stdin, timeout_s=timeout_s)

    def spawn(self, argv: Sequence[str], *, log_path: Path, env: Mapping[str, str] | None = None) -> int:
        """Start a program inside the node that outlives the caller; returns its process id.

        nsenter replaces itself by the program, so the id is the program's own. What it prints is appended
        to ``log_path``.
        """
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as output:
            process = subprocess.Popen(
                self.command(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=None if env is None else dict(env),
                start_new_session=True,
            )
        # Whoever outlives this process adopts the child; until then nobody waits for it, on purpose.
        process.returncode = 0
        return process.pid

    def processes(self) -> set[int]:
        """Everything that runs in one of the node's namespaces or in its cgroup."""
        owned = {_namespace_id(self.netns_path), _namespace_id(self.mount_path)} - {None}
        found = Cgroups().processes(self.cgroup)
        for entry in Path("/proc").iterdir() if owned else ():
            if not entry.name.isdigit():
                continue
            if {_namespace_id(entry / "ns/net"), _namespace_id(entry / "ns/mnt")} & owned:
                found.add(int(entry.name))
        found.discard(os.getpid())
        return found

    def kill(self) -> None:
        """SIGKILL to everything of the node, as a power cut would. Raises ``CommandError`` if something
        survives.
        """
        alive: set[int] = set()
        for _ in range(KILL_ROUNDS):
            alive = {pid for pid in self.processes() if not _is_dead(pid)}
            if not alive:
                return
            for pid in alive:
                _kill_and_wait(pid)
        raise CommandError(f"processes of node {self.name} survived SIGKILL: {sorted(alive)[:8]}")

    def delete(self) -> None:
        """Remove everything but ``state_dir``: processes, namespaces with all their mounts, cgroups,
        ``run_dir``.
        """
        self._clear()
        # The cluster's own directories go with its last node.
        for parent in (self.run_dir.parent, self.run_dir.parent.parent):
            with contextlib.suppress(OSError):
                parent.rmdir()
        Cgroups().remove_if_empty(cgroup_path(self.cluster))

    def _clear(self) -> None:
        """Remove what is the node's alone: other nodes of the cluster may be made at the same time."""
        self.kill()
        _unpin(self.mount_path)
        with contextlib.suppress(CommandError):
            run(["ip", "link", "delete", "dev", self.veth])
        if self.netns_path.exists():
            _unpin(self.netns_path)
            self.netns_path.unlink(missing_ok=True)
        Cgroups().remove(self.cgroup)
        while os.path.ismount(self.run_dir) or _is_mounted(self.run_dir):
            run(["umount", "--recursive", "--lazy", str(self.run_dir)])
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def cut_off(self, connected: bool) -> None:
        """Pull the node's network cable, or plug it in again."""
        run(["ip", "link", "set", "dev", self.veth, "up" if connected else "down"])


def _resolv_conf(source: Path) -> str:
    """The host's resolvers without those on its loopback, which a node's namespace cannot reach."""
    kept: list[str] = []
    with contextlib.suppress(OSError):
        for line in source.read_text().splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] == "nameserver" and words[1].startswith(("127.", "::1")):
                continue
            if words and words[0] in ("nameserver", "search", "domain", "options"):
                kept.append(line)
    return "\n".join(kept) + "\n"


def _is_namespace(path: Path) -> bool:
    return _namespace_id(path) is not None


def _namespace_id(path: Path) -> tuple[int, int] | None:
    """What identifies a namespace, whether by a pinned file or a process's entry; None for an ordinary
    file.
    """
    try:
        status, reference = path.stat(), Path("/proc/self/ns/net").stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status.st_dev == reference.st_dev else None


def _is_dead(pid: int) -> bool:
    """Gone, or a zombie whose parent has not looked yet: it holds no namespace any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _kill_and_wait(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGKILL)
            end = select.poll()
            end.register(handle, select.POLLIN)
            end.poll(KILL_WAIT_MS)
        finally:
            os.close(handle)


def _is_mounted(path: Path) -> bool:
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    return any(line.split()[4] == str(path) for line in lines)


def _unpin(path: Path) -> None:
    while _is_namespace(path):
        run(["umount", "--lazy", str(path)])
