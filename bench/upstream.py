"""Knarr beside upstream, in one run: ``python -m bench.upstream BINARIES api [options of bench.api]``.

BINARIES is a directory with upstream's ``kube-apiserver``, ``kube-controller-manager`` and ``kube-scheduler``
(``tools/upstream/servers`` builds them); etcd is the one on the PATH. Both control planes stand at the same time, each with its
controllers and its scheduler (Knarr also with a node); the measurement runs on one and then on the other, so that what the machine does
meanwhile falls on both. Absolute times move with the machine, the ratio of two such figures hardly does.

Upstream is started as kubeadm does: TLS, client certificates, Node and RBAC authorization, default admission. With
``--simulated-nodes`` Knarr's fleet of nodes that only pretend to run pods stands behind each of the two API servers
(``controllers`` needs it). ``--api-qps`` lifts the rate at which upstream's controllers and scheduler let themselves send
requests, 20 and 50 a second by default.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.report import ROWS_FILE, client, fresh_cluster
from knarr.client import kubeconfig
from knarr.client.kubeconfig import Credentials
from knarr.cluster.addresses import AddressPlan
from knarr.cluster.components import run_process
from knarr.cluster.pki import Pki
from knarr.cluster.simulated_nodes import SimulatedFleet
from knarr.kit.chance import Chance
from knarr.kit.clock import RealClock

HOST = "127.0.0.1"
READY_WITHIN_S = 60.0
ENDS_WITHIN_S = 10.0
SERVICE_RANGE = "10.96.0.0/16"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Upstream:
    """An upstream control plane below ``directory``, for as long as ``running`` lasts."""

    def __init__(self, binaries: Path, directory: Path, *, nodes: int = 0, api_qps: int = 0) -> None:
        self._binaries = binaries
        self._directory = directory
        self._nodes = nodes
        self._rates = [f"--kube-api-qps={api_qps}", f"--kube-api-burst={api_qps}"] if api_qps else []
        self._pki = Pki(directory / "pki")
        self._port, self._etcd, self._etcd_peer = free_port(), free_port(), free_port()
        self.kubeconfig = self._identity("admin", "kubernetes-admin", groups=("system:masters",))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def _identity(self, file: str, user: str, *, groups: tuple[str, ...] = ()) -> Path:
        self._pki.ensure_ca()
        certificate, key = self._pki.ensure(file, user, groups=groups)
        credentials = Credentials(
            f"https://{HOST}:{self._port}",
            ca_pem=self._pki.ca_pem,
            certificate_pem=certificate.read_bytes(),
            key_pem=key.read_bytes(),
        )
        path = self._directory / f"{file}.kubeconfig"
        kubeconfig.write(path, kubeconfig.render("upstream", credentials))
        return path

    def _start(self, name: str, program: str, *flags: str, cwd: Path | None = None) -> None:
        with (self._directory / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen([program, *flags], stdout=log, stderr=log, cwd=cwd or self._directory)

    @contextmanager
    def running(self) -> Iterator[None]:
        try:
            self._start_all()
            yield
        finally:
            # One after the other, as they stand on each other.
            for process in reversed(self.processes.values()):
                process.terminate()
                try:
                    process.wait(ENDS_WITHIN_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _start_api_server(self) -> None:
        client, peer = f"http://{HOST}:{self._etcd}", f"http://{HOST}:{self._etcd_peer}"
        self._start(
            "etcd",
            "etcd",
            "--data-dir=etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        )
        certificate, key = self._pki.ensure("apiserver", "kube-apiserver", server_names=(HOST, "localhost"))
        accounts = self._pki.path("sa.key")
        self._start(
            "kube-apiserver",
            str(self._binaries / "kube-apiserver"),
            f"--etcd-servers={client}",
            f"--bind-address={HOST}",
            f"--advertise-address={HOST}",
            "--endpoint-reconciler-type=none",
            f"--secure-port={self._port}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self._pki.path('ca.crt')}",
            f"--service-account-key-file={accounts}",
            f"--service-account-signing-key-file={accounts}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--authorization-mode=Node,RBAC",
        )

    def _start_all(self) -> None:
        self._start_api_server()
        self._wait()
        accounts = self._pki.path("sa.key")
        manager = self._identity("controller-manager", "system:kube-controller-manager")
        scheduler = self._identity("scheduler", "system:kube-scheduler")
        self._start(
            "kube-controller-manager",
            str(self._binaries / "kube-controller-manager"),
            f"--kubeconfig={manager}",
            f"--service-account-private-key-file={accounts}",
            f"--root-ca-file={self._pki.path('ca.crt')}",
            "--use-service-account-credentials",
            f"--secure-port={free_port()}",
            f"--bind-address={HOST}",
            *self._rates,
        )
        self._start(
            "kube-scheduler",
            str(self._binaries / "kube-scheduler"),
            f"--kubeconfig={scheduler}",
            f"--secure-port={free_port()}",
            f"--bind-address={HOST}",
            *self._rates,
        )
        if self._nodes:
            self._start_fleet()

    def _start_fleet(self) -> None:
        # Nobody asks these kubelets anything, so they need no server and no address.
        program = f"from bench.upstream import fleet; fleet({str(self.kubeconfig)!r}, {self._nodes})"
        self._start("fleet", sys.executable, "-c", program, cwd=Path(__file__).resolve().parents[1])

    def _wait(self) -> None:
        credentials = kubeconfig.load([self.kubeconfig])
        tls = kubeconfig.tls_context(credentials)
        deadline_s = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline_s:
            try:
                with urllib.request.urlopen(f"{credentials.server}/readyz", context=tls, timeout=1):
                    return
            except OSError:
                time.sleep(0.2)
        said = (self._directory / "kube-apiserver.log").read_text()[-2000:]
        sys.exit(f"upstream's API server did not become ready in {READY_WITHIN_S:.0f} s; it said:\n{said}")


def fleet(path: str, count: int) -> None:
    """Run Knarr's simulated nodes on somebody else's API server until told to stop."""

    async def run() -> None:
        async with client(kubeconfig.load([Path(path)])) as own:
            nodes = SimulatedFleet("upstream", own, count=count, plan=AddressPlan(0), clock=RealClock(), chance=Chance())
            await nodes.run()

    run_process(run)


def rows_of(bench: str, path: Path, words: list[str]) -> dict[str, tuple[float, str]]:
    """Each figure's median and unit, as one measurement gives them on the cluster of a kubeconfig."""
    with tempfile.NamedTemporaryFile("r") as rows:
        command = [sys.executable, "-m", f"bench.{bench}", "--kubeconfig", str(path), "--runs", "1", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, ROWS_FILE: rows.name})
        return {name: (median, unit) for name, median, unit in map(json.loads, rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binaries", type=Path)
    parser.add_argument("bench", help="the measurement: one that takes --kubeconfig")
    parser.add_argument("--runs", type=int, default=3, help="each on both; the median is shown")
    parser.add_argument("--simulated-nodes", type=int, default=0, help="behind each API server")
    parser.add_argument("--api-qps", type=int, default=0, help="for upstream's controllers and scheduler; 0: their own default")
    options, words = parser.parse_known_args()
    found: dict[str, list[dict[str, tuple[float, str]]]] = {"knarr": [], "upstream": []}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nodes = options.simulated_nodes
        _, ours = stack.enter_context(fresh_cluster(*(("--simulated-nodes", str(nodes)) if nodes else ())))
        upstream = Upstream(options.binaries.resolve(), directory, nodes=nodes, api_qps=options.api_qps)
        stack.enter_context(upstream.running())
        for _ in range(options.runs):
            found["knarr"].append(rows_of(options.bench, ours, words))
            found["upstream"].append(rows_of(options.bench, upstream.kubeconfig, words))
    print(f"{'':<36}{'Knarr':>12}{'upstream':>12}{'ratio':>8}")
    for name, (_, unit) in found["knarr"][0].items():
        mine, theirs = (statistics.median(run[name][0] for run in found[who]) for who in ("knarr", "upstream"))
        better = mine / theirs if unit.startswith("/s") else theirs / mine
        print(f"{name:<36}{mine:>12,.2f}{theirs:>12,.2f}{better:>7.1f}x  {unit}")


if __name__ == "__main__":
    main()
