"""Finding and ending a cluster's own processes, also those whose supervisor is gone.

Every process a cluster starts carries ``KNARR_CLUSTER=NAME`` in its environment, and so do its children.
Containers' shims inherit it too; they are
spared here, because containers outlive a restart of what manages them.

Neighbours: ``supervisor`` (the usual parent), ``nodes`` (ends everything of a node, containers included).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from pathlib import Path
from typing import Any

from knarr.cluster.layout import Layout

MARK = "KNARR_CLUSTER"
_SPARED = ("containerd-shim", "runc")
END_S = 10.0
CONTROL_TIMEOUT_S = 30.0


def environment(cluster: str) -> dict[str, str]:
    """The environment a cluster's processes are started with."""
    # Without its fork handlers gRPC has nothing to say about the programs a kubelet starts.
    return {**os.environ, MARK: cluster, "GRPC_ENABLE_FORK_SUPPORT": "0"}


def members(cluster: str) -> list[int]:
    """Process ids of the cluster's components, the supervisor included."""
    wanted = f"{MARK}={cluster}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                program = os.path.basename(os.readlink(entry / "exe"))
                if not program.startswith(_SPARED):
                    found.append(int(entry.name))
    return found


def end_all(cluster: str) -> None:
    """SIGTERM, then SIGKILL, to every component that is left."""
    for number, patience_s in ((signal.SIGTERM, END_S / 2), (signal.SIGKILL, END_S / 2)):
        handles = []
        for pid in members(cluster):
            with contextlib.suppress(ProcessLookupError):
                handles.append(os.pidfd_open(pid))
                os.kill(pid, number)
        deadline_s = time.monotonic() + patience_s
        for handle in handles:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            poll.poll(max(deadline_s - time.monotonic(), 0) * 1000)
            os.close(handle)


def tell(layout: Layout, **request: str) -> dict[str, Any] | None:
    """Ask the supervisor; None if there is none."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(CONTROL_TIMEOUT_S)
        try:
            connection.connect(str(layout.control_socket))
            connection.sendall(json.dumps(request).encode())
            connection.shutdown(socket.SHUT_WR)
            data = b""
            while part := connection.recv(65536):
                data += part
        except OSError:
            return None
    answer: dict[str, Any] = json.loads(data) if data else {}
    return answer
