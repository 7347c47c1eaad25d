"""Where a cluster's files lie, and its record: what it was made with.

``/var/lib/knarr/NAME`` outlives a stop and a reboot; ``/run/knarr/NAME`` does not. Everything of a cluster is
below these two, so that deleting them
deletes it.

Neighbours: ``up``, ``down`` and the supervisor read and write through here.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import msgspec

from knarr.cluster.addresses import AddressPlan
from knarr.cluster.nodes import NodeNamespace
from knarr.cluster.pki import Pki

__all__ = ["ClusterRecord", "Layout", "clusters", "simulated_node_name"]

STATE_ROOT = Path("/var/lib/knarr")
RUN_ROOT = Path("/run/knarr")
#: Short, because interface names have fifteen characters; a DNS label, because it is part of names.
NAME = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")


class ClusterRecord(msgspec.Struct, kw_only=True):
    """What ``knarr up`` decided for a cluster, kept for the next start."""

    name: str
    index: int
    nodes: int = 1
    simulated_nodes: int = 0
    store: str = "sqlite"
    runtime: str = "containerd"
    version: str = ""
    stopped_nodes: list[str] = []
    extra_config: list[str] = []


class Layout:
    """The paths of the cluster ``name``. Raises ``ValueError`` for a name that is none."""

    def __init__(self, name: str) -> None:
        if not NAME.fullmatch(name):
            raise ValueError(
                f"expected a cluster name of at most 30 lower-case letters, digits and '-', got {name!r}"
            )
        self.name = name
        self.state = STATE_ROOT / name
        self.run = RUN_ROOT / name
        self.logs = self.state / "logs"
        self.record_path = self.state / "cluster.json"
        self.control_socket = self.run / "supervisor.sock"
        self.supervisor_pid = self.run / "supervisor.pid"
        self.pki = Pki(self.state / "pki")
        self.context = f"knarr-{name}"

    def kubeconfig(self, component: str) -> Path:
        return self.state / "kubeconfig" / f"{component}.yaml"

    def node_config(self, node: str) -> Path:
        return self.state / "nodes" / node / "node.json"

    def exists(self) -> bool:
        """Whether the cluster has left anything in its directories."""
        return self.state.exists() or self.run.exists()

    def read(self) -> ClusterRecord | None:
        """The record, None if there is no such cluster."""
        try:
            return msgspec.json.decode(self.record_path.read_bytes(), type=ClusterRecord)
        except FileNotFoundError:
            return None

    def write(self, record: ClusterRecord) -> None:
        self.state.mkdir(parents=True, exist_ok=True, mode=0o755)
        with tempfile.NamedTemporaryFile(dir=self.state, delete=False) as file:
            file.write(msgspec.json.format(msgspec.json.encode(record)))
        os.replace(file.name, self.record_path)

    def store_url(self, record: ClusterRecord) -> str:
        return f"sqlite://{self.state / 'store.db'}" if record.store == "sqlite" else record.store

    def node_names(self, record: ClusterRecord) -> list[str]:
        return [node_name(self.name, number) for number in range(record.nodes)]

    def node(self, record: ClusterRecord, number: int) -> NodeNamespace:
        name = node_name(self.name, number)
        return NodeNamespace(
            self.name,
            name,
            number=number,
            plan=AddressPlan(record.index),
            state_dir=self.state / "nodes" / name,
            run_dir=self.run / "nodes" / name,
        )


def node_name(cluster: str, number: int) -> str:
    """``dev-1``, ``dev-2``, …: the cluster's name and a number from 1."""
    return f"{cluster}-{number + 1}"


def simulated_node_name(cluster: str, number: int) -> str:
    """``dev-sim-1``, ``dev-sim-2``, …, apart from the names of nodes that run containers."""
    return f"{cluster}-sim-{number + 1}"


def clusters() -> list[str]:
    """The names of all clusters that have left something on this machine."""
    found = set()
    for root in (STATE_ROOT, RUN_ROOT):
        if root.is_dir():
            found |= {entry.name for entry in root.iterdir() if entry.is_dir() and NAME.fullmatch(entry.name)}
    return sorted(found)
