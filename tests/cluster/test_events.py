"""Events: what a user reads in ``kubectl describe`` is there, counted instead of repeated, and forgotten in time."""

from __future__ import annotations

import asyncio

from cluster_objects import NS, pod

from knarr.api.core import v1 as core
from knarr.api.events import v1 as events
from knarr.client.events import BURST, NORMAL, QUEUE_LIMIT, WRITE_BURST, WRITES_PER_S, EventRecorder
from knarr.testing import InProcessCluster, NodeShape
from knarr.testing.plugin import ClusterRunner


def test_the_life_of_a_pod_is_told_in_order(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("a"))
        await cluster.wait_for_condition(core.Pod, "a", "Ready")
        await cluster.sleep(1)
        await cluster.client.delete(core.Pod, "a", namespace=NS)
        await cluster.wait_for_deletion(core.Pod, "a")
        await cluster.sleep(1)
        told = [each for each in await cluster.events(namespace=NS) if each.involvedObject.name == "a"]
        assert [each.reason for each in told] == [
            "Scheduled",
            "Pulling",
            "Pulled",
            "Created",
            "Started",
            "Killing",
        ]
        scheduled, *_, started, _ = told
        assert scheduled.reportingComponent == "default-scheduler" and scheduled.type == "Normal"
        assert started.source.component == "kubelet" and started.source.host == "node-1"
        assert (
            started.involvedObject.fieldPath == "spec.containers{main}"
            and started.involvedObject.kind == "Pod"
        )
        assert started.metadata.namespace == NS and started.firstTimestamp == started.lastTimestamp

    knarr_cluster.run(scenario)


def test_a_repeated_event_is_counted(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("a", image="missing:1"))
        await cluster.sleep(300)
        told = [
            each
            for each in await cluster.events()
            if each.involvedObject.name == "a" and each.reason == "Failed"
        ]
        assert len(told) == len({each.message for each in told})
        assert max(each.count for each in told) > 1
        repeated = max(told, key=lambda each: each.count)
        assert repeated.firstTimestamp is not None and repeated.lastTimestamp is not None
        assert repeated.firstTimestamp < repeated.lastTimestamp

    knarr_cluster.run(scenario, shape=NodeShape(missing_images=frozenset({"missing:1"})))


def test_a_source_that_repeats_itself_too_fast_is_not_written_down(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await cluster.client.create(pod("a"))
        recorder = EventRecorder(cluster.client, "noisy", clock=cluster.clock, chance=cluster.chance)
        task = asyncio.ensure_future(recorder.run())
        for number in range(100):
            recorder.event(made, NORMAL, "Noise", f"number {number}")
        await cluster.sleep(5)
        task.cancel()
        noise = [each for each in await cluster.events() if each.reason == "Noise"]
        assert len(noise) == BURST

    knarr_cluster.run(scenario)


def test_in_a_storm_of_events_no_more_are_written_than_their_rate_allows_and_those_that_can_wait_are_not_lost(
    knarr_cluster: ClusterRunner,
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        def about(number: int) -> core.ObjectReference:
            return core.ObjectReference(apiVersion="v1", kind="Pod", namespace=NS, name=f"pod-{number}")

        async def written() -> int:
            return len([each for each in await cluster.events(namespace=NS) if each.reason == "Storm"])

        recorder = EventRecorder(cluster.client, "noisy", clock=cluster.clock, chance=cluster.chance)
        for number in range(QUEUE_LIMIT + 50):
            recorder.event_about(about(number), NORMAL, "Storm", "all at once")
        task = asyncio.ensure_future(recorder.run())
        await cluster.sleep(2)
        assert WRITE_BURST < await written() <= WRITE_BURST + 2 * WRITES_PER_S + 2
        await cluster.sleep(QUEUE_LIMIT / WRITES_PER_S)
        assert await written() == QUEUE_LIMIT
        recorder.event_about(about(0), NORMAL, "Storm", "when it is over")
        await cluster.sleep(1)
        assert await written() == QUEUE_LIMIT + 1
        task.cancel()

    knarr_cluster.run(scenario)


def test_events_are_forgotten_after_an_hour(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("a"))
        await cluster.sleep(5)
        assert await cluster.events(namespace=NS)
        await cluster.sleep(3700)
        assert [each for each in await cluster.events(namespace=NS) if each.involvedObject.name == "a"] == []

    knarr_cluster.run(scenario)


def test_an_event_can_be_read_in_both_versions(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("a"))
        await cluster.sleep(5)
        old = {each.metadata.name: each for each in await cluster.events(namespace=NS)}
        new = {each.metadata.name: each for each in await cluster.client.list(events.Event, namespace=NS)}
        assert old.keys() == new.keys()
        for name, each in new.items():
            assert (each.note, each.reason, each.regarding.name if each.regarding else "") == (
                old[name].message,
                old[name].reason,
                old[name].involvedObject.name,
            )

    knarr_cluster.run(scenario)


def test_events_are_found_by_who_told_them_in_either_api(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        told = events.Event(
            metadata=core.meta.ObjectMeta(name="told", namespace=NS),
            eventTime="2026-01-01T00:00:00.000000Z",
            reportingController="test-controller",
            reportingInstance="one",
            action="Do",
            reason="Test",
            type="Normal",
            regarding=core.ObjectReference(namespace=NS),
        )
        await cluster.client.create(told)
        old = await cluster.client.list(core.Event, namespace=NS, field_selector="source=test-controller")
        new = await cluster.client.list(events.Event, namespace=NS, field_selector="reportingController=test-controller")
        assert [each.metadata.name for each in (*old.items, *new.items)] == ["told", "told"]

    knarr_cluster.run(scenario, nodes=0, controllers=False, scheduler=False)
