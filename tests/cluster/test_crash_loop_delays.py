"""A pod may say how long its containers wait between restarts; who writes nonsense hears of it, and the pod restarts all the same."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubelet_cluster import SimulatedCluster, simulated_cluster

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.core.crash_loop import INITIAL, LEAST_S, MAXIMUM, MOST_S, crash_loop_of
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner
from knarr.testing.time import run

CRASHES = {"knarr.dev/simulate-run-seconds": "1", "knarr.dev/simulate-exit-code": "3"}


async def gaps(cluster: SimulatedCluster, name: str, count: int) -> list[int]:
    """Seconds between restarts, the container's own second included."""

    async def reached(number: int) -> bool:
        pod = await cluster.pod(name)
        return bool(pod.status.containerStatuses) and pod.status.containerStatuses[0].restartCount >= number

    times = []
    for number in range(1, count + 2):
        await cluster.eventually(lambda number=number: reached(number), within_s=4000)
        times.append(cluster.clock.monotonic_s())
    return [round(later - earlier) for earlier, later in itertools.pairwise(times)]


def test_a_pod_that_asks_for_short_delays_restarts_sooner_and_never_later_than_its_maximum(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            await cluster.create("bad", annotations={**CRASHES, INITIAL: "2s", MAXIMUM: "10s"})
            assert await gaps(cluster, "bad", 5) == [3, 5, 9, 11, 11]
            assert "InvalidCrashLoopDelay" not in [reason for reason, _ in await cluster.events("bad")]

    run(scenario())


def test_a_maximum_alone_is_enough_and_may_be_longer_than_the_nodes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            await cluster.create("quick", annotations={**CRASHES, MAXIMUM: "3s"})
            assert await gaps(cluster, "quick", 3) == [4, 4, 4]
            await cluster.client.delete(core.Pod, "quick", namespace="default")
            await cluster.create("slow", annotations={**CRASHES, MAXIMUM: "1h"})
            assert await gaps(cluster, "slow", 6) == [11, 21, 41, 81, 161, 321]

    run(scenario())


def test_delays_that_cannot_be_read_are_told_once_a_series_and_the_usual_ones_hold(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with simulated_cluster(tmp_path) as cluster:
            await cluster.create("bad", annotations={**CRASHES, INITIAL: "soon", MAXIMUM: "2h"})
            assert await gaps(cluster, "bad", 3) == [11, 21, 41]
            said = [message for reason, message in await cluster.events("bad") if reason == "InvalidCrashLoopDelay"]
            assert sorted(said) == [
                f'{INITIAL}: expected a duration from 1s to 1h0m0s, such as 30s, got "soon"',
                f'{MAXIMUM}: expected a duration from 1s to 1h0m0s, such as 30s, got "2h"',
            ]

    run(scenario())


def test_whoever_writes_a_delay_that_cannot_be_read_is_warned(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        async def warnings(path: str, body: object) -> str:
            headers = {"Content-Type": "application/json"}
            answer = await cluster.client.raw("POST", path, body=codec.encode(body), headers=headers)
            assert answer.status == 201, answer.body
            return answer.headers.get("Warning", "")

        spec = {"containers": [{"name": "main", "image": "app:1"}]}
        metadata = {"name": "web", "labels": {"app": "web"}, "annotations": {INITIAL: "1m", MAXIMUM: "30s"}}
        said = await warnings("/api/v1/namespaces/default/pods", {"metadata": metadata, "spec": spec})
        assert f"metadata.annotations: {INITIAL}: expected at most 30s, the longest delay, got" in said
        template = {"metadata": metadata, "spec": spec}
        workload = {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template}}
        said = await warnings("/apis/apps/v1/namespaces/default/deployments", workload)
        assert f"spec.template.metadata.annotations: {INITIAL}: expected at most 30s" in said

    knarr_cluster.run(scenario, nodes=0, scheduler=False)


@given(st.none() | st.text(max_size=6) | st.integers(0, 5000).map("{}s".format), st.none() | st.integers(0, 5000).map("{}s".format))
def test_whatever_is_asked_for_the_delays_stay_within_limits(initial: str | None, maximum: str | None) -> None:
    asked = {key: text for key, text in ((INITIAL, initial), (MAXIMUM, maximum)) if text is not None}
    limits = crash_loop_of(asked)
    assert LEAST_S <= limits.initial_s <= limits.maximum_s <= MOST_S
    assert limits.problems or all(float(text[:-1]) in (limits.initial_s, limits.maximum_s) for text in asked.values())


@pytest.mark.parametrize(("node_s", "expected"), [(300.0, (10, 300)), (5.0, (5, 5))])
def test_a_pod_that_asks_for_nothing_has_what_its_node_has(node_s: float, expected: tuple[float, float]) -> None:
    limits = crash_loop_of({}, maximum_s=node_s)
    assert (limits.initial_s, limits.maximum_s, limits.problems) == (*expected, ())
