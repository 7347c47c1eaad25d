"""Keeps a cluster's processes running, without an init system.

One small process a cluster: it starts each component, waits for it in a thread of its own, and starts it
again after a pause that grows
with failures. It obeys a few words on a socket: ``status``, ``stop``, ``stop-node NAME``, ``start-node
NAME``. It imports as little as it can,
since it lives as long as the cluster.

Neighbours: ``up`` writes the plan and starts it; ``down`` and ``delete`` tell it to stop.

Limits: a component's restarts are at most ``MAX_PAUSE_S`` apart; a stopping process gets ``STOP_S`` before
SIGKILL.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 10.0
#: A process that lived this long starts the next series of pauses from the first.
STABLE_S = 30.0
STOP_S = 5.0
PR_SET_CHILD_SUBREAPER = 36
MAX_REQUEST_BYTES = 4096


class Child:
    """One process that is to run: ``argv`` in the order it is started, ``node`` if it belongs to one."""

    def __init__(self, name: str, argv: list[str], *, log: Path, node: str = "") -> None:
        self.name = name
        self.argv = argv
        self.log = log
        self.node = node
        self.wanted = False
        self.restarts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def process_id(self) -> int | None:
        """The last process's id, whether it still runs or waits to be collected by its thread."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self.wanted = True
        self._stopped.clear()
        self._thread = threading.Thread(target=self._keep_running, name=self.name, daemon=True)
        self._thread.start()

    def _keep_running(self) -> None:
        pause_s = FIRST_PAUSE_S
        while self.wanted:
            started_s = time.monotonic()
            code = self._run_once()
            if not self.wanted:
                return
            self.restarts += 1
            if time.monotonic() - started_s > STABLE_S:
                pause_s = FIRST_PAUSE_S
            print(
                f"supervisor: {self.name} ended with {code}, starting again in {pause_s:g} s",
                file=sys.stderr,
                flush=True,
            )
            self._stopped.wait(pause_s)
            pause_s = min(pause_s * 2, MAX_PAUSE_S)

    def _run_once(self) -> int:
        with self.log.open("ab") as output:
            try:
                self._process = subprocess.Popen(
                    self.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except OSError as error:
                print(f"supervisor: {self.name} cannot be started: {error}", file=sys.stderr, flush=True)
                return 127
        return self._process.wait()

    def signal(self, number: int) -> None:
        self.wanted = False
        self._stopped.set()
        pid = self.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def join(self, timeout_s: float) -> bool:
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self.pid is None


class Supervisor:
    """All children of one cluster, and the socket."""

    def __init__(self, children: list[Child], *, control: Path, stopped_nodes: set[str]) -> None:
        self._children = children
        self._control = control
        self._stopped_nodes = stopped_nodes
        self._stop = threading.Event()

    def run(self) -> None:
        """Start everything and obey until told to stop."""
        # Containers' shims whose parents die come to us, so that ``wait`` below can collect them.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._control.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self._control))
            os.chmod(self._control, 0o600)
            listening.listen()
            listening.settimeout(0.5)
            for child in self._children:
                if child.node not in self._stopped_nodes:
                    child.start()
            while not self._stop.is_set():
                self._reap()
                with contextlib.suppress(TimeoutError):
                    connection, _ = listening.accept()
                    threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        self._control.unlink(missing_ok=True)

    def _reap(self) -> None:
        """Collect adopted processes that have ended; our own are waited for by their threads."""
        own = {child.process_id for child in self._children}
        task = Path(f"/proc/self/task/{os.getpid()}/children")
        with contextlib.suppress(OSError, ValueError):
            for pid in map(int, task.read_text().split()):
                if pid not in own and _is_zombie(pid):
                    os.waitpid(pid, os.WNOHANG)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(STOP_S)
            with contextlib.suppress(OSError, ValueError):
                request = json.loads(connection.recv(MAX_REQUEST_BYTES))
                answer = self.obey(request)
                connection.sendall(json.dumps(answer).encode())

    def obey(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request."""
        verb, node = request.get("do"), request.get("node", "")
        mine = [child for child in self._children if child.node == node]
        if verb == "status":
            return {
                c.name: {"pid": c.pid, "restarts": c.restarts, "wanted": c.wanted} for c in self._children
            }
        if verb == "stop":
            self.stop(self._children)
            self._stop.set()
            return {"ok": True}
        if verb == "stop-node" and mine:
            self.stop(mine, at_once=True)
            return {"ok": True}
        if verb == "start-node" and mine:
            for child in mine:
                child.start()
            return {"ok": True}
        return {"error": f"cannot {verb} {node}"}

    def stop(self, children: list[Child], *, at_once: bool = False) -> None:
        """End processes: politely, the last started first, then by force."""
        for child in reversed(children):
            child.signal(signal.SIGKILL if at_once else signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_S
        for child in children:
            if not child.join(max(deadline_s - time.monotonic(), 0.05)):
                child.signal(signal.SIGKILL)
                child.join(1.0)


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def main(plan_path: str) -> None:
    """Entry point: ``python -m knarr.cluster.supervisor PLAN``."""
    plan = json.loads(Path(plan_path).read_text())
    children = [
        Child(item["name"], item["argv"], log=Path(item["log"]), node=item.get("node", ""))
        for item in plan["children"]
    ]
    supervisor = Supervisor(
        children, control=Path(plan["control"]), stopped_nodes=set(plan.get("stopped_nodes", ()))
    )
    signal.signal(
        signal.SIGTERM, lambda *_: threading.Thread(target=supervisor.obey, args=({"do": "stop"},)).start()
    )
    supervisor.run()


if __name__ == "__main__":
    main(sys.argv[1])
