"""A node's namespaces: reachable from the host, a way out for itself, and nothing that leaks or stays
behind.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from runtime_node import temporary_node

from knarr.cluster.commands import CommandError, run
from knarr.cluster.packages import missing

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
    pytest.mark.skipif(bool(missing()), reason="run `knarr setup` first"),
]

CLUSTER = "e2e-node"
OUTSIDE = "knarr-e2e-outside"


@contextmanager
def outside() -> Iterator[str]:
    """A machine beyond the host that knows no way back to the cluster's addresses; gives its own."""
    try:
        run(["ip", "netns", "add", OUTSIDE])
        run(
            ["ip", "link", "add", "name", "e2e-out", "type", "veth", "peer", "name", "eth0", "netns", OUTSIDE]
        )
        run(["ip", "addr", "add", "198.51.100.1/30", "dev", "e2e-out"])
        run(["ip", "link", "set", "dev", "e2e-out", "up"])
        run(["ip", "-netns", OUTSIDE, "addr", "add", "198.51.100.2/30", "dev", "eth0"])
        run(["ip", "-netns", OUTSIDE, "link", "set", "dev", "eth0", "up"])
        yield "198.51.100.2"
    finally:
        for argv in (["ip", "link", "delete", "dev", "e2e-out"], ["ip", "netns", "delete", OUTSIDE]):
            subprocess.run(argv, capture_output=True, check=False)


def ping(address: str) -> list[str]:
    return ["busybox", "ping", "-c", "1", "-W", "2", address]


def test_a_node_reaches_the_host_and_the_world_beyond_it(tmp_path: Path) -> None:
    with temporary_node(CLUSTER, tmp_path / "n0") as node, outside() as beyond:
        run(ping(node.address))
        node.run(ping(node.plan.bridge_address))
        # Answers come back only if the question seemed to come from the host.
        node.run(ping(beyond))


def test_what_nobody_answers_for_ends_at_the_bridge(tmp_path: Path) -> None:
    with temporary_node(CLUSTER, tmp_path / "n0") as node:
        for cidr in (node.plan.pod_cidr, node.plan.service_cidr):
            somewhere = cidr.replace("0.0/16", "77.7")
            assert "dev kn-e2e-node" in run(["ip", "route", "get", somewhere])


def test_a_node_that_is_cut_off_is_back_when_plugged_in_again(tmp_path: Path) -> None:
    with temporary_node(CLUSTER, tmp_path / "n0") as node:
        node.cut_off(connected=False)
        with pytest.raises(CommandError):
            run(ping(node.address))
        node.cut_off(connected=True)
        run(ping(node.address))


def test_paths_inside_are_the_nodes_own(tmp_path: Path) -> None:
    with temporary_node(CLUSTER, tmp_path / "n0") as node:
        node.run(["sh", "-c", "echo mine > /var/lib/kubelet/mark; mkdir -p /var/log/pods/x"])
        assert (node.state_dir / "kubelet" / "mark").read_text() == "mine\n"
        assert not Path("/var/lib/kubelet/mark").exists() and not Path("/var/log/pods/x").exists()
        # A pod's volumes must reach containers that were there before.
        assert "shared:" in node.run(["grep", " / / ", "/proc/self/mountinfo"])


def test_nothing_of_a_deleted_node_or_cluster_is_left(tmp_path: Path) -> None:
    with temporary_node(CLUSTER, tmp_path / "n0") as node:
        pid = node.spawn(["sleep", "1000"], log_path=tmp_path / "log")
        assert pid in node.processes()
    assert not node.exists() and not node.netns_path.exists() and not node.run_dir.exists()
    assert CLUSTER not in run(["nft", "list", "tables"])
    assert CLUSTER not in run(["ip", "-details", "link"])
    assert node.processes() == set()
