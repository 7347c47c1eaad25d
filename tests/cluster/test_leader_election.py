"""Several controller managers beside each other: the work is done once, whenever whichever of them falls out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cluster_objects import NS, replica_set

from knarr.api.apps import v1 as apps
from knarr.api.coordination import v1 as coordination
from knarr.api.core import v1 as core
from knarr.apiserver.loopback import LoopbackTransport
from knarr.apiserver.request import UserInfo
from knarr.client.client import Client
from knarr.client.informer import InformerFactory
from knarr.client.leases import LeadershipLost
from knarr.client.transport import Query, Response, StreamResponse
from knarr.cluster.election import CONTROLLER_MANAGER, ElectionOptions, elected
from knarr.controllers.manager import ControllerManager
from knarr.testing import Faults, FaultyTransport, InProcessCluster
from knarr.testing.plugin import ClusterRunner

ALONE: dict[str, Any] = {"nodes": 1, "controllers": False, "scheduler": False}
COUNT = 12


class Asked:
    """Passes everything on and remembers what it was."""

    def __init__(self, inner: LoopbackTransport) -> None:
        self.inner = inner
        self.requests: list[tuple[str, str]] = []

    async def request(
        self, method: str, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Response:
        self.requests.append((method, path))
        return await self.inner.request(method, path, query=query, headers=headers, body=body)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[StreamResponse]:
        self.requests.append(("WATCH", path))
        async with self.inner.stream(method, path, query=query, headers=headers) as answer:
            yield answer

    async def close(self) -> None:
        return None


class Candidate:
    """A controller manager as its process runs it, and ways to end it."""

    def __init__(self, cluster: InProcessCluster, identity: str) -> None:
        clock, chance = cluster.clock, cluster.chance
        self.asked = Asked(LoopbackTransport(cluster.server, UserInfo("system:kube-controller-manager")))
        self.link = FaultyTransport(self.asked, Faults(), clock, chance)
        client = Client(self.link)
        factory = InformerFactory(client, clock=clock, chance=chance)
        self.works = False

        async def lead() -> None:
            self.works = True
            try:
                await ControllerManager(client, factory, clock=clock, chance=chance).run()
            finally:
                self.works = False

        async def run() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(factory.run())
                options = ElectionOptions(CONTROLLER_MANAGER, identity=identity)
                group.create_task(elected(options, client, lead, clock=clock, chance=chance))

        self.task = asyncio.ensure_future(run())

    def kill(self) -> None:
        """As by SIGKILL: nothing more is said."""
        self.link.cut = True
        self.task.cancel()

    async def stop(self) -> None:
        """As by SIGTERM."""
        self.task.cancel()
        await asyncio.wait([self.task])


async def pair(cluster: InProcessCluster) -> tuple[Candidate, Candidate]:
    """The leader, and one that waits."""
    first = Candidate(cluster, "first")
    await cluster.wait_for(lambda: first.works)
    return first, Candidate(cluster, "second")


async def lease(cluster: InProcessCluster) -> coordination.Lease:
    return await cluster.client.get(coordination.Lease, CONTROLLER_MANAGER, namespace="kube-system")


def when_pods(cluster: InProcessCluster, count: int, act: Callable[[], object]) -> set[str]:
    """Every pod's uid as it appears; at the ``count``-th, ``act``."""
    seen: set[str] = set()
    registry = cluster.server.registry("", "pods")

    def look(change: Any) -> None:
        before = len(seen)
        seen.update(pod.metadata.uid for pod in registry.objects(NS))
        if before < count <= len(seen):
            act()

    registry.cache.subscribers.append(look)
    return seen


@pytest.mark.parametrize("moment", [1, 4, 9, COUNT])
def test_a_manager_that_is_stopped_at_any_moment_leaves_exactly_as_many_pods_as_asked_for(
    moment: int, knarr_cluster: ClusterRunner
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        first, second = await pair(cluster)
        await cluster.wait_for(lambda: cluster.exists(core.ServiceAccount, "default"))
        seen = when_pods(cluster, moment, first.task.cancel)
        await cluster.client.create(replica_set("rs", COUNT))
        await cluster.sleep(8)
        assert second.works and first.task.cancelled()
        await cluster.sleep(30)
        assert len(await cluster.pods("app=rs")) == COUNT and len(seen) == COUNT
        await second.stop()

    knarr_cluster.run(scenario, **ALONE)


@pytest.mark.parametrize("moment", range(1, COUNT + 1, 2))
def test_a_manager_that_is_killed_at_any_moment_leaves_exactly_as_many_pods_as_asked_for(
    moment: int, knarr_cluster: ClusterRunner
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        first, second = await pair(cluster)
        # The default account, without which no pod may be.
        await cluster.wait_for(lambda: cluster.exists(core.ServiceAccount, "default"))
        seen = when_pods(cluster, moment, first.kill)
        await cluster.client.create(replica_set("rs", COUNT))
        await cluster.sleep(12)
        assert not second.works and {method for method, _ in second.asked.requests} == {"GET"}
        await cluster.sleep(20)
        assert second.works and not first.works
        await cluster.sleep(30)
        assert len(await cluster.pods("app=rs")) == COUNT and len(seen) == COUNT
        held = await lease(cluster)
        assert (held.spec.holderIdentity, held.spec.leaseTransitions) == ("second", 1)
        scaled = await cluster.client.get(apps.ReplicaSet, "rs", namespace=NS)
        scaled.spec.replicas = COUNT + 3
        await cluster.client.update(scaled)
        await cluster.sleep(5)
        assert len(seen) == COUNT + 3
        await second.stop()

    knarr_cluster.run(scenario, **ALONE)


def test_a_manager_that_waits_watches_nothing_and_follows_at_once_when_the_leader_ends_cleanly(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        first, second = await pair(cluster)
        await cluster.sleep(600)
        assert {method for method, _ in second.asked.requests} == {"GET"}
        assert len({path for _, path in second.asked.requests}) == 1 and len(second.asked.requests) < 310
        # A leader says so by one write each time, and reads nothing before it.
        path = f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{CONTROLLER_MANAGER}"
        assert first.asked.requests.count(("GET", path)) == 1
        assert 290 <= first.asked.requests.count(("PUT", path)) <= 300
        await first.stop()
        assert (await lease(cluster)).spec.holderIdentity is None
        await cluster.sleep(5)
        assert second.works
        said = [each for each in await cluster.events(namespace="kube-system") if each.reason == "LeaderElection"]
        assert [each.message for each in said] == ["first became leader", "first stopped leading", "second became leader"]
        assert {(each.involvedObject.kind, each.involvedObject.name) for each in said} == {("Lease", CONTROLLER_MANAGER)}
        await second.stop()

    knarr_cluster.run(scenario, **ALONE)


def test_a_leader_cut_off_ends_before_another_begins_and_its_process_with_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        first, second = await pair(cluster)
        await cluster.sleep(30)
        first.link.cut = True
        for _ in range(300):
            await cluster.sleep(0.1)
            assert not (first.works and second.works)
        assert second.works and first.task.done()
        assert first.task.exception().subgroup(LeadershipLost) is not None
        # One whose lease somebody else has written does not wait for its own time to be over.
        held = await lease(cluster)
        held.spec.holderIdentity = "third"
        await cluster.client.update(held)
        await cluster.sleep(2.5)
        assert second.task.done() and not second.works

    knarr_cluster.run(scenario, **ALONE)


def test_two_managers_that_start_together_do_not_both_lead(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        both = [Candidate(cluster, name) for name in ("first", "second")]
        await cluster.sleep(1)
        assert sum(each.works for each in both) == 1
        await cluster.sleep(60)
        assert sum(each.works for each in both) == 1
        for each in both:
            await each.stop()

    knarr_cluster.run(scenario, **ALONE)
