"""What a kubelet says is used: rates over windows that mean something, for containers and for the node."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core import v1 as core
from knarr.kubelet.cgroups import Cgroups
from knarr.kubelet.machine import read_own_use
from knarr.kubelet.server.stats import FRESH_S, OLDEST_LOOK_S, SHORTEST_WINDOW_S
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations: {knarr.dev/simulate-cpu: 250m, knarr.dev/simulate-memory: 64Mi}
spec:
  containers: [{name: main, image: a}]
"""


async def summary(cluster: InProcessCluster) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod's only container, and the node."""
    found = await cluster.nodes["node-1"].kubelet.stats.summary()
    return found["pods"][0]["containers"][0], found["node"]


async def start(cluster: InProcessCluster) -> None:
    await cluster.apply(POD)
    await cluster.wait_for_condition(core.Pod, "web", "Ready")


def test_the_first_question_gets_a_rate_at_once_and_one_of_now(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await start(cluster)
        await cluster.sleep(3600)
        await cluster.set_usage("", cpu="2")
        began_s = cluster.clock.monotonic_s()
        container, node = await summary(cluster)
        assert container["cpu"]["usageNanoCores"] == node["cpu"]["usageNanoCores"] == 2 * 10**9
        assert container["memory"]["workingSetBytes"] == 64 << 20
        assert cluster.clock.monotonic_s() - began_s == SHORTEST_WINDOW_S

    knarr_cluster.run(scenario)


def test_asking_often_keeps_the_window_long(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await start(cluster)
        await summary(cluster)
        await cluster.set_usage("", cpu="1")
        await cluster.sleep(FRESH_S / 2)
        assert (await summary(cluster))[0]["cpu"]["usageNanoCores"] == 250_000_000
        await cluster.set_usage("", cpu="0")
        await cluster.sleep(FRESH_S / 2)
        assert (await summary(cluster))[0]["cpu"]["usageNanoCores"] == pytest.approx(500_000_000, rel=0.01)
        await cluster.sleep(OLDEST_LOOK_S)
        began_s = cluster.clock.monotonic_s()
        assert (await summary(cluster))[0]["cpu"]["usageNanoCores"] == 0
        assert cluster.clock.monotonic_s() == began_s, "the look before is good for that long"

    knarr_cluster.run(scenario)


def test_who_ask_together_wait_once(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await start(cluster)
        began_s = cluster.clock.monotonic_s()
        found = await asyncio.gather(*(summary(cluster) for _ in range(5)))
        assert cluster.clock.monotonic_s() - began_s == SHORTEST_WINDOW_S
        assert {container["cpu"]["usageNanoCores"] for container, _ in found} == {250_000_000}

    knarr_cluster.run(scenario)


def test_what_an_ended_container_used_stays_the_nodes(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await start(cluster)
        await cluster.sleep(100)
        _, before = await summary(cluster)
        await cluster.client.delete(core.Pod, "web", namespace="default", grace_period_s=0)
        await cluster.wait_for_deletion(core.Pod, "web")
        await cluster.sleep(FRESH_S)
        after = (await cluster.nodes["node-1"].kubelet.stats.summary())["node"]
        assert after["cpu"]["usageCoreNanoSeconds"] >= before["cpu"]["usageCoreNanoSeconds"] > 20 * 10**9
        assert after["memory"]["workingSetBytes"] == 0

    knarr_cluster.run(scenario)


def write(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def test_a_nodes_use_is_its_cgroups_in_version_1(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "cpuacct/cgroup.procs": "",
            "memory/cgroup.procs": "",
            "cpuacct/knarr/c/n/cpuacct.usage": "123456\n",
            "memory/knarr/c/n/memory.usage_in_bytes": "5000\n",
            "memory/knarr/c/n/memory.stat": "inactive_file 1\ntotal_inactive_file 2000\n",
        },
    )
    assert Cgroups(tmp_path).use("/knarr/c/n") == (123456, 3000)
    assert Cgroups(tmp_path).use("/knarr/c/other") == (0, 0)


def test_a_nodes_use_is_its_cgroups_in_version_2(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "cgroup.controllers": "cpu memory",
            "knarr/c/n/cpu.stat": "usage_usec 123\nuser_usec 100\n",
            "knarr/c/n/memory.current": "5000\n",
            "knarr/c/n/memory.stat": "anon 3000\ninactive_file 2000\n",
        },
    )
    assert Cgroups(tmp_path).use("/knarr/c/n") == (123_000, 3000)
    assert Cgroups(tmp_path).use("/knarr/c/other") == (0, 0)


def test_a_process_knows_what_it_uses_itself() -> None:
    use = read_own_use()
    assert use.working_set_bytes > 1 << 20
    assert use.cpu_nanoseconds <= sum(os.times()[:2]) * 1e9
