"""Leader election: one works, another takes over, and clocks of machines are never compared."""

from __future__ import annotations

import asyncio

from knarr.api.coordination import v1 as coordination
from knarr.client.leases import LEASE_DURATION_S, LeaderElector
from knarr.testing import Faults, FaultyTransport, InProcessCluster
from knarr.testing.plugin import ClusterRunner


def elector(cluster: InProcessCluster, identity: str, link: FaultyTransport | None = None) -> LeaderElector:
    client = cluster.client if link is None else type(cluster.client)(link)
    return LeaderElector(client, "boss", identity=identity, clock=cluster.clock, chance=cluster.chance)


def test_one_leads_and_the_next_follows_when_it_falls_silent(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        leading: list[str] = []

        async def lead(name: str) -> None:
            leading.append(name)
            try:
                await asyncio.Event().wait()
            finally:
                leading.remove(name)

        link = FaultyTransport(cluster.client.transport, Faults(), cluster.clock, cluster.chance)
        first = asyncio.ensure_future(elector(cluster, "first", link).run(lambda: lead("first")))
        await cluster.sleep(1)
        second = asyncio.ensure_future(elector(cluster, "second").run(lambda: lead("second")))
        await cluster.sleep(60)
        assert leading == ["first"]
        link.cut = True
        for _ in range(400):
            await cluster.sleep(0.1)
            assert len(leading) <= 1
        assert leading == ["second"] and first.done()
        lease = await cluster.client.get(coordination.Lease, "boss", namespace="kube-system")
        assert lease.spec.holderIdentity == "second" and lease.spec.leaseTransitions == 1
        assert lease.spec.leaseDurationSeconds == LEASE_DURATION_S
        second.cancel()
        await asyncio.wait([second])
        assert leading == []

    knarr_cluster.run(scenario, nodes=0, controllers=False, scheduler=False)
