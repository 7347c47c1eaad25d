"""The kubelet on a real containerd: what pods promise holds for real processes, files and limits."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubelet_in_node import SCENARIOS
from runtime_node import temporary_node

from knarr.cluster.commands import CommandError
from knarr.cluster.containerd import Containerd
from knarr.cluster.images import built_in_images, ensure_images
from knarr.cluster.nodes import NodeNamespace
from knarr.cluster.packages import missing
from knarr.kit.clock import RealClock

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
    pytest.mark.skipif(bool(missing()), reason="run `knarr setup` first"),
]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeNamespace]:
    with temporary_node("e2e-kubelet", tmp_path_factory.mktemp("node") / "n0") as node:
        containerd = Containerd(node)
        containerd.start()
        asyncio.run(containerd.wait_ready(RealClock()))
        ensure_images(containerd.socket, built_in_images(), scratch_dir=node.run_dir)
        yield node


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_on_a_real_node(node: NodeNamespace, scenario: str) -> None:
    script = Path(__file__).with_name("kubelet_in_node.py")
    socket = str(Containerd(node).socket)
    argv = [sys.executable, str(script), scenario, socket, node.cgroup, node.address]
    try:
        node.run(argv, timeout_s=90)
    except CommandError as error:
        pytest.fail(f"{scenario}:\n{error.stderr or error}")
