"""A network that misbehaves: every cluster converges all the same, and nothing is made twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cluster_objects import NS, deployed, deployment, image_of, image_patch, is_ready
from test_jobs import finished, job
from test_stateful_sets import settled, stateful_set

from knarr.api.apps import v1 as apps
from knarr.api.batch import v1 as batch
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.client.transport import Query, Response, Transport, TransportError
from knarr.controllers.expectations import TIMEOUT_S
from knarr.controllers.pod_owner import PodOwnerController
from knarr.kit.chance import Chance
from knarr.kit.clock import VirtualClock
from knarr.testing import Faults, FaultyTransport, InProcessCluster
from knarr.testing.cluster import Wrap
from knarr.testing.plugin import ClusterRunner

WORST = Faults(
    refuse=0.05,
    lose_answer=0.05,
    conflict=0.1,
    expire=0.3,
    fail=0.05,
    delay=0.2,
    delay_s=1.0,
    drop_watch=0.8,
    drop_after_s=8,
)


class Broken:
    """Puts a ``FaultyTransport`` before the components named."""

    def __init__(self, faults: Faults, *components: str, seed: int = 0) -> None:
        self.transports: dict[str, FaultyTransport] = {}
        self._faults = faults
        self._components = components
        self._seed = seed

    def __call__(self, component: str, transport: Transport) -> Transport:
        if self._components and component not in self._components:
            return transport
        made = FaultyTransport(transport, self._faults, VirtualClock(), Chance(self._seed))
        self.transports[component] = made
        return made


@pytest.mark.parametrize("seed", range(5))
def test_a_rollout_converges_without_duplicates(knarr_cluster: ClusterRunner, seed: int) -> None:
    broken = Broken(WORST, seed=seed)

    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(replicas=5))
        await deployed(cluster, timeout_s=600)
        await cluster.client.patch(apps.Deployment, "web", image_patch("app:2"), namespace=NS)
        await deployed(cluster, timeout_s=900)
        await cluster.sleep(120)
        pods = await cluster.pods("app=web")
        assert len(pods) == 5 and all(is_ready(each) and image_of(each) == "app:2" for each in pods)
        assert len(await cluster.client.list(apps.ReplicaSet)) == 2
        slices = await cluster.client.list(core.ServiceAccount, namespace=NS)
        assert [each.metadata.name for each in slices] == ["default"]
        await cluster.client.delete(apps.Deployment, "web", namespace=NS)
        await cluster.sleep(400)
        assert await cluster.pods() == [] and len(await cluster.client.list(apps.ReplicaSet)) == 0
        assert all(each.counts for each in broken.transports.values())

    knarr_cluster.run(scenario, nodes=2, seed=seed, wrap=broken)


def test_controllers_that_were_cut_off_catch_up(knarr_cluster: ClusterRunner) -> None:
    broken = Broken(Faults(), "controller-manager")

    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(replicas=2))
        await deployed(cluster)
        link = broken.transports["controller-manager"]
        link.cut = True
        await cluster.client.patch(apps.Deployment, "web", {"spec": {"replicas": 4}}, namespace=NS)
        await cluster.sleep(60)
        assert len(await cluster.pods()) == 2
        link.cut = False
        await deployed(cluster, timeout_s=120)
        # The nodes could report all the time: none of them has been given up.
        assert not any(each.spec.taints for each in await cluster.client.list(core.Node))

    knarr_cluster.run(scenario, nodes=2, wrap=broken)


def test_a_node_that_is_cut_off_comes_back_with_its_pods(knarr_cluster: ClusterRunner) -> None:
    broken = Broken(Faults(), "node-1")

    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(replicas=2))
        await deployed(cluster)
        broken.transports["node-1"].cut = True
        await cluster.wait_for_condition(core.Node, "node-1", "Ready", status="Unknown", timeout_s=90)
        broken.transports["node-1"].cut = False
        await cluster.wait_for_condition(core.Node, "node-1", "Ready", timeout_s=60)
        await deployed(cluster)
        pods = await cluster.pods()
        assert all(each.status.containerStatuses[0].restartCount == 0 for each in pods)

    knarr_cluster.run(scenario, nodes=2, wrap=broken)


def test_without_faults_everything_passes(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        link = FaultyTransport(cluster.client.transport, Faults(), cluster.clock, Chance(1))
        answer = await link.request("GET", "/version")
        assert answer.status == 200 and not link.counts

    knarr_cluster.run(scenario, nodes=0)


def test_a_lost_answer_means_the_request_was_carried_out(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        link = FaultyTransport(cluster.client.transport, Faults(lose_answer=1.0), cluster.clock, Chance(1))
        with pytest.raises(TransportError):
            await type(cluster.client)(link).create(
                core.ConfigMap(metadata=meta.ObjectMeta(name="a", namespace=NS))
            )
        assert await cluster.exists(core.ConfigMap, "a") and link.counts == {"lose_answer": 1}

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.parametrize(("faults", "code"), [(Faults(conflict=1.0), 409), (Faults(expire=1.0), 410)])
def test_a_refusal_is_in_the_servers_words(knarr_cluster: ClusterRunner, faults: Faults, code: int) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        link = FaultyTransport(cluster.client.transport, faults, cluster.clock, Chance(1))
        method, query = ("PUT", []) if code == 409 else ("GET", [("resourceVersion", "1")])
        answer = await link.request(method, "/api/v1/pods", query=query)
        assert answer.status == code and b'"kind":"Status"' in answer.body

    knarr_cluster.run(scenario, nodes=0)


class FirstOf(FaultyTransport):
    """Refuses the first request of a method to a resource, in one way."""

    def prepare(self, method: str, resource: str, refuse_by: Exception | Response) -> None:
        self.method, self.resource, self.refuse_by = method, resource, refuse_by

    def _refusal(self, method: str, path: str, query: Query) -> Response | None:
        if self.counts["refused"] or method != self.method or f"/{self.resource}" not in path:
            return None
        self.counts["refused"] += 1
        if isinstance(self.refuse_by, Exception):
            raise self.refuse_by
        return self.refuse_by


def refusing_first(method: str, resource: str, refuse_by: Exception | Response) -> tuple[list[FirstOf], Wrap]:
    made: list[FirstOf] = []

    def wrap(component: str, transport: Transport) -> Transport:
        if component != "controller-manager":
            return transport
        made.append(FirstOf(transport, Faults(), VirtualClock(), Chance(1)))
        made[0].prepare(method, resource, refuse_by)
        return made[0]

    return made, wrap


def test_a_pod_whose_counting_met_a_conflict_is_counted_all_the_same(knarr_cluster: ClusterRunner) -> None:
    stale = Response(409, {}, b'{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409}')
    links, wrap = refusing_first("PATCH", "pods/work-", stale)

    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(job())
        await finished(cluster)
        assert links[0].counts["refused"] == 1

    knarr_cluster.run(scenario, wrap=wrap)


def test_a_stateful_set_makes_the_pod_whose_creation_never_reached_the_server(knarr_cluster: ClusterRunner) -> None:
    links, wrap = refusing_first("POST", "pods", TransportError("connection refused"))

    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(stateful_set(replicas=2))
        await settled(cluster, 2)
        assert links[0].counts["refused"] == 1

    knarr_cluster.run(scenario, wrap=wrap)


@pytest.mark.parametrize("owner", [stateful_set(replicas=1), job(parallelism=1)])
def test_a_creation_that_is_never_seen_is_not_waited_for_for_ever(
    knarr_cluster: ClusterRunner, owner: apps.StatefulSet | batch.Job
) -> None:
    """A dropped watch can swallow a pod that came and went."""

    async def scenario(cluster: InProcessCluster) -> None:
        controller = next(
            each
            for each in cluster.controllers.controllers
            if isinstance(each, PodOwnerController) and each.owner_type is type(owner)
        )
        controller.expectations.expect_creations((NS, owner.metadata.name), 1)
        await cluster.client.create(owner)
        await cluster.sleep(TIMEOUT_S - 10)
        assert await cluster.pods() == []
        await cluster.wait_for(lambda: cluster.pods(), 30)

    knarr_cluster.run(scenario)


def test_a_request_that_timed_out_may_have_been_carried_out(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        link = FaultyTransport(cluster.client.transport, Faults(time_out=1.0), cluster.clock, Chance(1))
        with pytest.raises(StatusError) as refused:
            await type(cluster.client)(link).create(
                core.ConfigMap(metadata=meta.ObjectMeta(name="a", namespace=NS))
            )
        assert refused.value.code == 504 and await cluster.exists(core.ConfigMap, "a")

    knarr_cluster.run(scenario, nodes=0)


def test_who_has_crashed_asks_nothing_more(knarr_cluster: ClusterRunner) -> None:
    crashed: list[str] = []

    async def scenario(cluster: InProcessCluster) -> None:
        link = FaultyTransport(cluster.client.transport, Faults(crash=2.0), cluster.clock, Chance(1))
        link.on_crash = lambda: crashed.append("now")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await link.request("GET", "/version")
        with pytest.raises(TransportError):
            await link.request("GET", "/version")
        assert crashed == ["now"]

    knarr_cluster.run(scenario, nodes=0)


def test_a_new_controller_manager_goes_on_where_the_one_before_was_stopped(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(replicas=2))
        await deployed(cluster)
        await cluster.stop_controllers()
        await cluster.client.patch(apps.Deployment, "web", {"spec": {"replicas": 4}}, namespace=NS)
        await cluster.sleep(60)
        assert len(await cluster.pods()) == 2
        cluster.start_controllers()
        await deployed(cluster)
        assert len(await cluster.pods()) == 4

    knarr_cluster.run(scenario)


def test_a_controller_that_is_stopped_in_the_middle_of_a_write_ends(knarr_cluster: ClusterRunner) -> None:
    links: list[Stuck] = []

    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(stateful_set(replicas=1))
        await cluster.wait_for(lambda: links[0].cut)
        async with asyncio.timeout(60):
            await cluster.stop_controllers()

    def wrap(component: str, transport: Transport) -> Transport:
        if component != "controller-manager":
            return transport
        links.append(Stuck(transport, Faults(), VirtualClock(), Chance(1)))
        return links[0]

    knarr_cluster.run(scenario, wrap=wrap)


class Stuck(FaultyTransport):
    """The creation of a pod is never answered, and from then on nothing can be reached."""

    async def request(self, method: str, path: str, **more: Any) -> Response:
        if method == "POST" and path.endswith("/pods"):
            self.cut = True
            await asyncio.Event().wait()
        return await super().request(method, path, **more)
