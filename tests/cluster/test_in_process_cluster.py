"""The test cluster itself: it starts at once, repeats itself, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time

import pytest
from cluster_objects import NS, deployed, deployment, image_patch, is_ready

from knarr.api import scheme
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.testing import InProcessCluster, NodeShape, run
from knarr.testing.plugin import ClusterRunner

MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: "app:1"}]}
"""


async def busy_life(cluster: InProcessCluster) -> str:
    """A digest of every object's every revision: a rollout, a lost node, a scale-down."""
    digest = hashlib.sha256()
    for resource in scheme.all_resources():
        if resource.storage_prefix:
            registry = cluster.server.registry(resource.group, resource.plural, resource.version)
            registry.cache.subscribers.append(lambda change: digest.update(change.entry.body))
    await cluster.client.create(deployment(replicas=6))
    await deployed(cluster)
    await cluster.client.patch(apps.Deployment, "web", image_patch("app:2"), namespace=NS)
    await deployed(cluster)
    await cluster.stop_node("node-1")
    await cluster.sleep(360)
    await cluster.client.patch(apps.Deployment, "web", {"spec": {"replicas": 2}}, namespace=NS)
    await cluster.sleep(60)
    return digest.hexdigest()


def test_nothing_is_left_when_a_cluster_has_ended() -> None:
    async def scenario() -> None:
        async with InProcessCluster(nodes=2) as cluster:
            await cluster.client.create(deployment())
            await deployed(cluster)
            await cluster.stop_node("node-2")
        assert asyncio.all_tasks() == {asyncio.current_task()}
        timers = [each for each in asyncio.get_running_loop()._scheduled if not each.cancelled()]  # type: ignore[attr-defined]
        assert timers == []

    run(scenario())


def test_nothing_is_left_when_the_test_fails() -> None:
    async def scenario() -> None:
        with pytest.raises(ZeroDivisionError):
            async with InProcessCluster(nodes=1) as cluster:
                await cluster.client.create(deployment())
                raise ZeroDivisionError
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scenario())


def test_run_ends_what_the_scenario_left_running() -> None:
    ended = []

    async def forever() -> None:
        try:
            await asyncio.sleep(1e9)
        finally:
            ended.append(True)

    async def scenario() -> int:
        task = asyncio.ensure_future(forever())
        await asyncio.sleep(3600)
        assert not task.done()
        return 7

    started_s = time.monotonic()
    assert run(scenario()) == 7 and ended == [True] and time.monotonic() - started_s < 5


def test_the_same_seed_gives_the_same_run_to_the_byte(knarr_cluster: ClusterRunner) -> None:
    runs = [knarr_cluster.run(busy_life, nodes=3, seed=seed) for seed in (5, 5, 6)]
    assert runs[0] == runs[1] != runs[2]


def test_the_same_seed_gives_the_same_run_in_another_process(knarr_cluster: ClusterRunner) -> None:
    program = (
        "import sys; sys.path.insert(0, 'tests/cluster')\n"
        "from knarr.testing.plugin import ClusterRunner\n"
        "from test_in_process_cluster import busy_life\n"
        "print(ClusterRunner().run(busy_life, nodes=3, seed=5))"
    )
    # Another order of sets of strings must not matter either.
    environment = {"PYTHONHASHSEED": "12345", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == knarr_cluster.run(busy_life, nodes=3, seed=5)


def test_a_manifest_is_created_and_then_merged(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        settings, web = await cluster.apply(MANIFEST)
        assert (settings.kind, web.spec.replicas) == ("ConfigMap", 2)
        await deployed(cluster)
        (_, changed) = await cluster.apply(MANIFEST.replace("replicas: 2", "replicas: 3"))
        assert changed.metadata.uid == web.metadata.uid and changed.spec.replicas == 3
        with pytest.raises(StatusError) as refused:
            await cluster.apply(MANIFEST.replace("replicas: 2", "replica: 2"))
        assert 'unknown field "spec.replica"' in str(refused.value)

    knarr_cluster.run(scenario)


def test_a_node_keeps_its_pods_through_a_restart_of_its_kubelet(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment())
        await deployed(cluster)
        before = {
            each.metadata.name: each.status.containerStatuses[0].containerID for each in await cluster.pods()
        }
        await cluster.stop_node("node-1")
        await cluster.sleep(20)
        await cluster.start_node("node-1")
        await cluster.sleep(30)
        pods = await cluster.pods()
        assert {each.metadata.name: each.status.containerStatuses[0].containerID for each in pods} == before
        assert all(is_ready(each) and each.status.containerStatuses[0].restartCount == 0 for each in pods)

    knarr_cluster.run(scenario)


def test_waiting_in_vain_says_so_and_what_happened_last(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(replicas=1, image="missing:1"))
        await cluster.wait_for_condition(apps.Deployment, "web", "Available", timeout_s=30)

    with pytest.raises(AssertionError, match="did not happen within 30 s") as failed:
        knarr_cluster.run(scenario, shape=NodeShape(missing_images=frozenset({"missing:1"})), seed=3)
    (note,) = failed.value.__notes__
    assert "seed 3" in note and "missing:1" in note


def test_two_clusters_live_in_one_process_without_noticing(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        async with InProcessCluster(nodes=1, seed=9, clock=cluster.clock) as other:
            await other.client.create(deployment())
            await deployed(other)
            assert await cluster.pods() == [] and len(await other.pods()) == 3

    knarr_cluster.run(scenario)


def test_hours_pass_in_moments(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(replicas=1))
        await deployed(cluster)
        await cluster.sleep(2 * 3600)
        (held,) = await cluster.pods()
        assert is_ready(held) and cluster.clock.now().isoformat().startswith("2026-01-01T02:00")

    started_s = time.monotonic()
    knarr_cluster.run(scenario)
    assert time.monotonic() - started_s < 30


@pytest.mark.knarr(nodes=2, shape=NodeShape(labels={"tier": "test"}))
def test_a_mark_sets_the_options_of_one_test(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        nodes = await cluster.client.list(core.Node, label_selector="tier=test")
        assert sorted(each.metadata.name for each in nodes) == ["node-1", "node-2"]

    knarr_cluster.run(scenario)
