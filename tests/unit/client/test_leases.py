"""Leader election: one works, another takes over, and clocks of machines are never compared."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from knarr.api.coordination import v1 as coordination
from knarr.client.events import EventRecorder
from knarr.client.leases import LeaderElectionConfig, LeaderElector, LeadershipLost
from knarr.testing import Faults, FaultyTransport, InProcessCluster
from knarr.testing.plugin import ClusterRunner


def elector(cluster: InProcessCluster, identity: str, link: FaultyTransport | None = None) -> LeaderElector:
    client = cluster.client if link is None else type(cluster.client)(link)
    recorder = EventRecorder(client, "boss", clock=cluster.clock, chance=cluster.chance)
    config = LeaderElectionConfig("boss")
    return LeaderElector(
        client, config, identity=identity, clock=cluster.clock, chance=cluster.chance, recorder=recorder
    )


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
        assert leading == ["second"] and isinstance(first.exception(), LeadershipLost)
        lease = await cluster.client.get(coordination.Lease, "boss", namespace="kube-system")
        assert lease.spec.holderIdentity == "second" and lease.spec.leaseTransitions == 1
        assert lease.spec.leaseDurationSeconds == 15
        second.cancel()
        await asyncio.wait([second])
        assert leading == []

    knarr_cluster.run(scenario, nodes=0, controllers=False, scheduler=False)


def test_a_leader_whose_work_is_done_gives_the_lease_back(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        done: list[str] = []

        async def lead() -> None:
            done.append("once")

        await elector(cluster, "first").run(lead)
        lease = await cluster.client.get(coordination.Lease, "boss", namespace="kube-system")
        assert done == ["once"] and lease.spec.holderIdentity is None and lease.spec.leaseDurationSeconds == 1

        async def fail() -> None:
            raise LookupError("what went wrong")

        with pytest.raises(LookupError, match="what went wrong"):
            await elector(cluster, "second").run(fail)

    knarr_cluster.run(scenario, nodes=0, controllers=False, scheduler=False)


def test_who_was_killed_and_comes_back_under_its_name_leads_again_at_once(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        link = FaultyTransport(cluster.client.transport, Faults(), cluster.clock, cluster.chance)
        killed = asyncio.ensure_future(elector(cluster, "one", link).run(asyncio.Event().wait))
        await cluster.sleep(5)
        link.cut = True
        killed.cancel()
        leads = asyncio.Event()

        async def lead() -> None:
            leads.set()

        again = asyncio.ensure_future(elector(cluster, "one").run(lead))
        await cluster.sleep(0)
        await cluster.wait_for(leads.is_set, 0.1)
        await again

    knarr_cluster.run(scenario, nodes=0, controllers=False, scheduler=False)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_breaks_no_two_lead_at_once_and_somebody_does_again(seed: int, knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        leading: set[str] = set()
        terms: list[str] = []

        async def lead(name: str) -> None:
            assert not leading, f"{name} and {leading}"
            leading.add(name)
            terms.append(name)
            try:
                await asyncio.Event().wait()
            finally:
                leading.discard(name)

        faults = Faults(refuse=0.2, lose_answer=0.2, conflict=0.1, fail=0.1, delay=0.3, delay_s=4)
        links: list[FaultyTransport] = []

        async def candidate(name: str) -> None:
            link = FaultyTransport(cluster.client.transport, faults, cluster.clock, cluster.chance)
            links.append(link)
            while True:
                # As its supervisor starts it again.
                with contextlib.suppress(LeadershipLost):
                    await elector(cluster, name, link).run(lambda: lead(name))

        tasks = [asyncio.ensure_future(candidate(f"c{number}")) for number in range(3)]
        for _ in range(40):
            await cluster.sleep(15)
            for link in links:
                link.cut = cluster.chance.uniform(0, 1) < 0.3
        for link in links:
            link.cut, link.faults = False, Faults()
        await cluster.sleep(60)
        assert len(leading) == 1 and len(terms) > 5
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    knarr_cluster.run(scenario, nodes=0, controllers=False, scheduler=False, seed=seed)


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ((10, 10, 2), "leaseDuration must be greater than renewDeadline"),
        ((15, 10, 9), r"renewDeadline must be greater than retryPeriod\*JitterFactor"),
        ((15, 10, 0), "must be greater than zero"),
    ],
)
def test_times_that_would_allow_two_leaders_are_refused(times: tuple[float, float, float], said: str) -> None:
    lease_duration_s, renew_deadline_s, retry_period_s = times
    with pytest.raises(ValueError, match=said):
        LeaderElectionConfig(
            "boss",
            lease_duration_s=lease_duration_s,
            renew_deadline_s=renew_deadline_s,
            retry_period_s=retry_period_s,
        )
