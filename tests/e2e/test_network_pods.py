"""The pod network and the proxy as a node runs them: real bridge plugin, real routes, real rules."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from network_lab import Lab

pytestmark = pytest.mark.e2e

OBJECTS = Path(__file__).parents[1] / "unit" / "network"

#: A node's process, without an API server: its objects come from here.
NODE = """
import asyncio, sys
from pathlib import Path
from network_objects import HandFactory, piece, service
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.kit.clock import RealClock
from knarr.network.nft import Nft
from knarr.network.podnetwork import PodNetwork, PodNetworkConfig
from knarr.network.proxy import ServiceProxy

def node(number):
    return core.Node(
        metadata=meta.ObjectMeta(name=f"n{number}"),
        spec=core.NodeSpec(podCIDR=f"10.244.{number}.0/24", podCIDRs=[f"10.244.{number}.0/24"]),
        status=core.NodeStatus(addresses=[core.NodeAddress(type="InternalIP", address=f"172.30.0.{number}")]),
    )

async def main():
    name, folder = sys.argv[1], Path(sys.argv[2])
    clock, factory = RealClock(), HandFactory()
    nft = Nft(clock)
    ranges = ("10.244.0.0/16", "10.96.0.0/16", "172.30.0.0/16")
    config = PodNetworkConfig(
        cluster="lab", node=name, cluster_cidrs=ranges, cni_dir=folder / "net.d", ipam_dir=folder / "ipam"
    )
    network = PodNetwork(config, factory, nft, clock=clock)
    proxy = ServiceProxy(
        factory, nft, clock=clock, cluster="lab", node=name, pod_cidrs=ranges[:1], service_cidrs=ranges[1:2]
    )
    factory.set(node(1), node(2), service(), piece("10.244.1.2", "10.244.2.2"))
    async with asyncio.TaskGroup() as group:
        group.create_task(network.run())
        group.create_task(proxy.run())
        await network.wait_ready()
        await proxy.wait_synced()
        print("ready", flush=True)

loop = asyncio.new_event_loop()
task = loop.create_task(main())
loop.add_signal_handler(15, task.cancel)
try:
    loop.run_until_complete(task)
except asyncio.CancelledError:
    pass
"""


class Nodes(Lab):
    """Two nodes and a stranger on one wire; pods come from the bridge plugin."""

    def __init__(self, folder: Path) -> None:
        super().__init__("y", subnet="192.0.2")
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []
        self.stranger = self._plug("s", "172.31.0.9/32")
        self.inside(self.stranger, "ip", "route", "add", "172.30.0.0/16", "dev", "eth0")
        self.nodes = [self._plug(f"m{number}", f"172.30.0.{number}/16") for number in (1, 2)]
        for name in self.nodes:
            self.inside(name, "ip", "route", "add", "default", "dev", "eth0")

    def _plug(self, suffix: str, address: str) -> str:
        name = self._namespace(suffix)
        self.inside(
            self.node, "ip", "link", "add", f"w{suffix}", "type", "veth", "peer", "eth0", "netns", name
        )
        self.inside(self.node, "ip", "link", "set", f"w{suffix}", "master", "br0", "up")
        self.inside(name, "ip", "addr", "add", address, "dev", "eth0")
        self.inside(name, "ip", "link", "set", "eth0", "up")
        return name

    def start(self, number: int) -> subprocess.Popen[str]:
        folder = self.folder / f"n{number}"
        command = [sys.executable, "-c", NODE, f"n{number}", str(folder)]
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.nodes[number - 1]}", *command],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(OBJECTS)},
        )
        self.processes.append(process)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        return process

    def add_pod(self, number: int) -> tuple[str, str]:
        name = self._namespace(f"q{number}{len(self.namespaces)}")
        config = json.loads((self.folder / f"n{number}" / "net.d" / "10-knarr.conflist").read_text())
        plugin = {**config["plugins"][0], "name": config["name"], "cniVersion": config["cniVersion"]}
        environment = {
            **os.environ,
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": name,
            "CNI_NETNS": f"/run/netns/{name}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/usr/lib/cni",
        }
        node = self.nodes[number - 1]
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{node}", "/usr/lib/cni/bridge"],
            input=json.dumps(plugin),
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return name, json.loads(done.stdout)["ips"][0]["address"].partition("/")[0]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        super().close()


@contextmanager
def two_nodes(folder: Path) -> Iterator[Nodes]:
    made = Nodes(folder)
    try:
        yield made
    finally:
        made.close()


def test_pods_reach_pods_on_other_nodes_services_and_the_world(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as made:
        first = made.start(1)
        made.start(2)
        pods = [made.add_pod(1), made.add_pod(2), made.add_pod(1)]
        assert [address for _, address in pods] == ["10.244.1.2", "10.244.2.2", "10.244.1.3"]
        for (namespace, _), name in zip(pods, "abc", strict=True):
            made.serve(namespace, name)
        made.serve(made.stranger, "world")
        a, b, _ = (namespace for namespace, _ in pods)
        assert made.ask(a, "10.244.2.2", 8080) == ["b 10.244.1.2"], "pods see each other's own address"
        assert made.ask(b, "10.244.1.3", 8080) == ["c 10.244.2.2"]
        assert made.ask(made.nodes[0], "10.244.2.2", 8080)[0].startswith("b ")
        made.inside(made.nodes[0], "ip", "route", "add", "172.31.0.9/32", "dev", "eth0")
        assert made.ask(a, "172.31.0.9", 8080) == ["world 172.30.0.1"], "the world sees the node"
        answers = [line.split()[0] for line in made.ask(a, "10.96.0.10", 80, count=10)]
        assert answers in (["a", "b"] * 5, ["b", "a"] * 5)

        # The node's process goes and comes: its pods do not notice.
        first.send_signal(signal.SIGTERM)
        assert first.wait(10) == 0
        assert made.ask(a, "10.244.2.2", 8080) == ["b 10.244.1.2"]
        assert len(set(made.ask(a, "10.96.0.10", 80, count=2))) == 2
        made.start(1)
        assert len(made.ask(a, "10.96.0.10", 80, count=2)) == 2


def test_every_reviewed_rule_is_one_that_nft_takes() -> None:
    golden = sorted((OBJECTS / "golden").glob("*.nft"))
    assert len(golden) > 10
    made = Lab("z")
    try:
        for path in golden:
            base = "empty-ipv6.nft" if "ipv6" in path.name else "empty.nft"
            text = (OBJECTS / "golden" / base).read_text()
            if not path.name.startswith("empty"):
                text += path.read_text()
            command = ["nsenter", f"--net={made.netns}", "nft", "-f", "-"]
            done = subprocess.run(command, input=text, text=True, capture_output=True)
            assert done.returncode == 0, f"{path.name}: {done.stderr}"
    finally:
        made.close()


def test_a_clusters_tables_are_removed_by_its_name_alone() -> None:
    made = Lab("w")
    try:
        for name in ("knarr-a-proxy", "knarr-a-pods", "knarr-a-b-proxy", "other"):
            made.inside(made.node, "nft", "add", "table", "ip", name)
        script = "from knarr.network.nft import delete_tables; delete_tables('a')"
        made.inside(made.node, sys.executable, "-c", script)
        assert made.inside(made.node, "nft", "list", "tables").split() == [
            *("table", "ip", "knarr-a-b-proxy"),
            *("table", "ip", "other"),
        ]
    finally:
        made.close()
