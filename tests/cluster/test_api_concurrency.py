"""Many at once: no write is lost, nothing is given twice, nothing is left open."""

from __future__ import annotations

import asyncio

import pytest
from cluster_objects import NS, deployed, deployment, is_ready

from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.apiserver.config import ServerConfig
from knarr.apiserver.loopback import LoopbackTransport
from knarr.apiserver.server import APIServer
from knarr.client.client import Client
from knarr.kit.clock import VirtualClock
from knarr.store.memory import MemoryStore
from knarr.testing import InProcessCluster, run
from knarr.testing.cluster import ADMIN
from knarr.testing.keys import service_account_key
from knarr.testing.plugin import ClusterRunner

BARE = {"nodes": 0, "controllers": False, "scheduler": False}


def config_map(name: str, **data: str) -> core.ConfigMap:
    return core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace=NS), data=data)


async def code_of(work: object) -> int:
    try:
        await work  # type: ignore[misc]
    except StatusError as error:
        return error.code
    return 200


def test_a_hundred_blind_patches_at_once_are_all_there(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(config_map("a"))
        patches = [
            cluster.client.patch(core.ConfigMap, "a", {"data": {f"k{number}": "v"}}, namespace=NS)
            for number in range(100)
        ]
        await asyncio.gather(*patches)
        assert len((await cluster.client.get(core.ConfigMap, "a", namespace=NS)).data) == 100

    knarr_cluster.run(scenario, **BARE)


def test_of_many_updates_of_one_revision_exactly_one_wins(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await cluster.client.create(config_map("a"))

        async def attempt(number: int) -> int:
            wanted = config_map("a", winner=str(number))
            wanted.metadata.resourceVersion = made.metadata.resourceVersion
            return await code_of(cluster.client.update(wanted))

        codes = await asyncio.gather(*map(attempt, range(20)))
        assert sorted(codes) == [200, *[409] * 19]
        winner = (await cluster.client.get(core.ConfigMap, "a", namespace=NS)).data["winner"]
        assert codes[int(winner)] == 200

    knarr_cluster.run(scenario, **BARE)


def test_of_many_creations_of_one_name_exactly_one_wins(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        codes = await asyncio.gather(*(code_of(cluster.client.create(config_map("a"))) for _ in range(20)))
        assert sorted(codes) == [200, *[409] * 19]
        codes = await asyncio.gather(
            *(code_of(cluster.client.delete(core.ConfigMap, "a", namespace=NS)) for _ in range(20))
        )
        assert sorted(codes) == [200, *[404] * 19]

    knarr_cluster.run(scenario, **BARE)


def test_services_made_at_once_never_share_an_address(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        def service(name: str) -> core.Service:
            spec = core.ServiceSpec(type="NodePort", ports=[core.ServicePort(port=80)])
            return core.Service(metadata=meta.ObjectMeta(name=name, namespace=NS), spec=spec)

        made = await asyncio.gather(*(cluster.client.create(service(f"s{number}")) for number in range(60)))
        assert len({each.spec.clusterIP for each in made}) == 60
        assert len({each.spec.ports[0].nodePort for each in made}) == 60

    knarr_cluster.run(scenario, **BARE)


def test_a_watch_that_its_client_leaves_is_forgotten(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        dispatcher = cluster.server.registry("", "configmaps").dispatcher
        before = len(dispatcher)

        async def look() -> None:
            async for _ in cluster.client.watch(core.ConfigMap, namespace=NS):
                pass

        tasks = [asyncio.ensure_future(look()) for _ in range(50)]
        await cluster.sleep(1)
        assert len(dispatcher) == before + 50
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert len(dispatcher) == before

    knarr_cluster.run(scenario, **BARE)


def test_what_one_of_two_servers_acknowledged_the_other_shows_at_once(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        config = ServerConfig(service_account_key_pem=service_account_key(), address="10.0.0.2")
        second = APIServer(cluster.store, config, clock=cluster.clock, chance=cluster.chance)
        serving = asyncio.ensure_future(second.run())
        await second.ready.wait()
        other = Client(LoopbackTransport(second, ADMIN))
        heard: list[str] = []

        async def look() -> None:
            nonlocal heard
            async for event in other.watch(core.ConfigMap, namespace=NS):
                heard += [event.object.metadata.name]

        looking = asyncio.ensure_future(look())
        for number in range(20):
            await cluster.client.create(config_map(f"a{number}"))
            assert (await other.get(core.ConfigMap, f"a{number}", namespace=NS)).metadata.uid
        patches = [
            client.patch(core.ConfigMap, "a0", {"data": {f"{name}{number}": "v"}}, namespace=NS)
            for name, client in (("x", cluster.client), ("y", other))
            for number in range(20)
        ]
        await asyncio.gather(*patches)
        assert len((await cluster.client.get(core.ConfigMap, "a0", namespace=NS)).data) == 40
        await cluster.sleep(0.1)
        assert heard[:20] == [f"a{number}" for number in range(20)] and heard.count("a0") == 41
        for task in (looking, serving):
            task.cancel()
            await asyncio.wait([task])

    knarr_cluster.run(scenario, **BARE)


def test_a_cluster_that_is_started_again_on_its_store_brings_everything_back() -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        store = MemoryStore(clock)
        async with InProcessCluster(nodes=2, clock=clock, store=store) as cluster:
            await cluster.client.create(deployment(replicas=3))
            await deployed(cluster)
            before = {
                each.metadata.uid: each.status.containerStatuses[0].containerID
                for each in await cluster.pods()
            }
        await clock.sleep(600)
        async with InProcessCluster(nodes=2, clock=clock, store=store, seed=1) as cluster:
            await cluster.sleep(60)
            pods = await cluster.pods()
            assert {each.metadata.uid for each in pods} == before.keys() and all(
                is_ready(each) for each in pods
            )
            # The machines were new, so the containers are; the pods are the same.
            assert not {each.status.containerStatuses[0].containerID for each in pods} & set(before.values())
            await cluster.client.patch(apps.Deployment, "web", {"spec": {"replicas": 5}}, namespace=NS)
            await deployed(cluster)
        await store.close()

    run(scenario())


@pytest.mark.parametrize("count", [400])
def test_a_large_list_is_one_answer_and_a_small_one_in_pages(
    knarr_cluster: ClusterRunner, count: int
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await asyncio.gather(*(cluster.client.create(config_map(f"c{number:04}")) for number in range(count)))
        assert len(await cluster.client.list(core.ConfigMap, namespace=NS)) == count
        seen, token = [], ""
        while True:
            page = await cluster.client.list(core.ConfigMap, namespace=NS, limit=97, continue_token=token)
            seen += [each.metadata.name for each in page]
            token = page.continue_token
            if not token:
                break
        assert seen == [f"c{number:04}" for number in range(count)]

    knarr_cluster.run(scenario, **BARE)
