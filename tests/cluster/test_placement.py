"""Placement by other pods: apart, together, spread evenly, and making way for the important."""

from __future__ import annotations

from typing import Any

from cluster_objects import NS, deployment, is_ready, pod

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.api.quantity import Quantity
from knarr.api.scheduling import v1 as scheduling
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


def term(app: str, key: str = HOST) -> core.PodAffinityTerm:
    return core.PodAffinityTerm(labelSelector=meta.LabelSelector(matchLabels={"app": app}), topologyKey=key)


async def placed(cluster: InProcessCluster, app: str) -> list[str]:
    return sorted(each.spec.nodeName for each in await cluster.pods(f"app={app}"))


async def zones(cluster: InProcessCluster) -> dict[str, str]:
    """Two zones: the first node alone in one, the others in the other."""
    names = sorted(cluster.nodes)
    found = {}
    for number, name in enumerate(names):
        found[name] = "a" if number == 0 else "b"
        await cluster.client.patch(core.Node, name, {"metadata": {"labels": {ZONE: found[name]}}})
    await cluster.sleep(1)
    return found


def test_pods_that_keep_apart_land_on_different_nodes_and_the_surplus_waits(
    knarr_cluster: ClusterRunner,
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        count = len(cluster.nodes)
        affinity = core.Affinity(
            podAntiAffinity=core.PodAntiAffinity(requiredDuringSchedulingIgnoredDuringExecution=[term("web")])
        )
        await cluster.client.create(deployment(replicas=count + 1, affinity=affinity))
        await cluster.sleep(10)
        nodes = await placed(cluster, "web")
        assert nodes == ["", *sorted(cluster.nodes)]
        waiting = next(each for each in await cluster.pods("app=web") if not each.spec.nodeName)
        messages = [c.message for c in waiting.status.conditions if c.type == "PodScheduled"]
        assert f"{count} node(s) didn't match pod anti-affinity rules" in messages[0]
        await cluster.add_node("late")
        await cluster.sleep(20)
        assert "late" in await placed(cluster, "web")

    knarr_cluster.run(scenario, nodes=3)


def test_a_newcomer_respects_those_who_were_there_first(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        affinity = core.Affinity(
            podAntiAffinity=core.PodAntiAffinity(
                requiredDuringSchedulingIgnoredDuringExecution=[term("noisy")]
            )
        )
        await cluster.client.create(pod("quiet", labels={"app": "quiet"}, affinity=affinity))
        await cluster.sleep(3)
        (quiet,) = await placed(cluster, "quiet")
        for number in range(4):
            await cluster.client.create(pod(f"noisy-{number}", labels={"app": "noisy"}))
        await cluster.sleep(5)
        assert quiet not in await placed(cluster, "noisy")

    knarr_cluster.run(scenario, nodes=3)


def test_pods_that_want_company_follow_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        of = await zones(cluster)
        near = core.Affinity(
            podAffinity=core.PodAffinity(requiredDuringSchedulingIgnoredDuringExecution=[term("cache", ZONE)])
        )
        await cluster.client.create(deployment("web", replicas=3, affinity=near))
        await cluster.sleep(3)
        assert await placed(cluster, "web") == ["", "", ""], "there is no company yet"
        await cluster.client.create(pod("cache", labels={"app": "cache"}, nodeSelector={ZONE: "b"}))
        await cluster.sleep(20)
        assert {of[node] for node in await placed(cluster, "web")} == {"b"}

    knarr_cluster.run(scenario, nodes=3)


def test_a_spread_constraint_keeps_zones_even(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        of = await zones(cluster)
        constraint = core.TopologySpreadConstraint(
            maxSkew=1,
            topologyKey=ZONE,
            whenUnsatisfiable="DoNotSchedule",
            labelSelector=meta.LabelSelector(matchLabels={"app": "web"}),
        )
        await cluster.client.create(deployment(replicas=6, topologySpreadConstraints=[constraint]))
        await cluster.sleep(15)
        nodes = await placed(cluster, "web")
        assert sorted(of[node] for node in nodes) == ["a"] * 3 + ["b"] * 3

    knarr_cluster.run(scenario, nodes=3)


def test_replicas_spread_over_nodes_without_being_told(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment(replicas=len(cluster.nodes)))
        await cluster.sleep(5)
        assert await placed(cluster, "web") == sorted(cluster.nodes)

    knarr_cluster.run(scenario, nodes=3)


async def important(cluster: InProcessCluster) -> None:
    for name, value in (("high", 1000), ("low", 10)):
        await cluster.client.create(
            scheduling.PriorityClass(metadata=meta.ObjectMeta(name=name), value=value)
        )


def test_an_important_pod_takes_the_place_of_a_lesser_one(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await important(cluster)
        node = sorted(cluster.nodes)[0]
        only: dict[str, Any] = {"nodeSelector": {HOST: node}}
        obj = await cluster.client.get(core.Node, node)
        cpus = int(obj.status.allocatable["cpu"])
        for number in range(cpus):
            lesser = pod(f"low-{number}", labels={"app": "low"}, cpu="1", priorityClassName="low", **only)
            await cluster.client.create(lesser)
        await cluster.sleep(5)
        assert len([each for each in await cluster.pods("app=low") if is_ready(each)]) == cpus
        await cluster.client.create(
            pod("boss", labels={"app": "boss"}, cpu="1", priorityClassName="high", **only)
        )

        async def running() -> bool:
            return is_ready(await cluster.client.get(core.Pod, "boss", namespace=NS))

        await cluster.wait_for(running, 120)
        assert len(await cluster.pods("app=low")) == cpus - 1, "no more than needed had to go"
        assert "Preempted" in {event.reason for event in await cluster.events(namespace=NS)}

    knarr_cluster.run(scenario, nodes=3)


def test_nobody_goes_for_a_pod_of_the_same_rank(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await important(cluster)
        count = len(cluster.nodes)
        await cluster.client.create(deployment("low", replicas=count, cpu="3", priorityClassName="low"))
        await cluster.sleep(5)
        await cluster.client.create(pod("same", labels={"app": "same"}, cpu="3", priorityClassName="low"))
        await cluster.sleep(60)
        obj = await cluster.client.get(core.Pod, "same", namespace=NS)
        (message,) = [c.message for c in obj.status.conditions if c.type == "PodScheduled"]
        assert message == (
            f"0/{count} nodes are available: {count} Insufficient cpu. preemption: 0/{count} nodes are available: "
            f"{count} No preemption victims found for incoming pod."
        )
        assert len(await cluster.pods("app=low")) == count

    knarr_cluster.run(scenario, nodes=3)


def test_an_extended_resource_is_counted_out_to_pods(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        name = "example.com/dongle"
        change = {"status": {"capacity": {name: "2"}}}
        await cluster.client.patch(core.Node, "node-1", change, subresource="status")
        await cluster.sleep(15)
        node = await cluster.client.get(core.Node, "node-1")
        assert node.status.capacity[name] == node.status.allocatable[name] == "2"
        amounts: dict[str, Quantity] = {name: Quantity("2")}
        for number in (1, 2):
            resources = core.ResourceRequirements(requests=amounts, limits=amounts)
            container = core.Container(name="main", image="app:1", resources=resources)
            metadata = meta.ObjectMeta(name=f"taker-{number}", namespace="default")
            await cluster.client.create(core.Pod(metadata=metadata, spec=core.PodSpec(containers=[container])))
        await cluster.sleep(10)
        one, two = [
            await cluster.client.get(core.Pod, f"taker-{number}", namespace="default") for number in (1, 2)
        ]
        assert (one.status.phase, two.status.phase) == ("Running", "Pending")
        assert f"Insufficient {name}" in two.status.conditions[0].message

    knarr_cluster.run(scenario)
