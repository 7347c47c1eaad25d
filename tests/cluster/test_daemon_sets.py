"""DaemonSets: a pod on each node, wherever nodes come from, and updates that keep their promise."""

from __future__ import annotations

import json
from typing import Any

from cluster_objects import NS, image_of, image_patch, is_ready, template

from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner


def daemon_set(**more: Any) -> apps.DaemonSet:
    own = {key: more.pop(key) for key in ("updateStrategy", "minReadySeconds") if key in more}
    return apps.DaemonSet(
        metadata=meta.ObjectMeta(name="agent", namespace=NS),
        spec=apps.DaemonSetSpec(
            selector=meta.LabelSelector(matchLabels={"app": "agent"}),
            template=template("agent", **more),
            **own,
        ),
    )


async def settled(cluster: InProcessCluster, count: int) -> apps.DaemonSet:
    async def reached() -> apps.DaemonSet | None:
        obj = await cluster.client.get(apps.DaemonSet, "agent", namespace=NS)
        status = obj.status
        numbers = (status.desiredNumberScheduled, status.numberReady, status.updatedNumberScheduled)
        return (
            obj
            if numbers == (count, count, count) and status.observedGeneration == obj.metadata.generation
            else None
        )

    found: apps.DaemonSet = await cluster.wait_for(reached, 300)
    return found


async def placed(cluster: InProcessCluster) -> list[str]:
    return sorted(pod.spec.nodeName for pod in await cluster.pods("app=agent"))


def test_every_node_gets_one_and_a_new_node_too(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(daemon_set())
        before = len(cluster.nodes)
        await settled(cluster, before)
        assert await placed(cluster) == sorted(cluster.nodes)
        await cluster.add_node("late")
        await settled(cluster, before + 1)
        assert "late" in await placed(cluster)

    knarr_cluster.run(scenario, nodes=3)


def test_only_selected_nodes_get_one_and_lose_it_with_the_label(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        first = sorted(cluster.nodes)[0]
        await cluster.client.create(daemon_set(nodeSelector={"disk": "ssd"}))
        await cluster.sleep(2)
        assert await placed(cluster) == []
        await cluster.client.patch(core.Node, first, {"metadata": {"labels": {"disk": "ssd"}}})
        await settled(cluster, 1)
        assert await placed(cluster) == [first]
        await cluster.client.patch(core.Node, first, {"metadata": {"labels": {"disk": None}}})
        await cluster.sleep(40)
        assert await placed(cluster) == []

    knarr_cluster.run(scenario, nodes=3)


def test_a_cordoned_node_keeps_its_daemon(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(daemon_set())
        await settled(cluster, len(cluster.nodes))
        first = sorted(cluster.nodes)[0]
        await cluster.client.patch(core.Node, first, {"spec": {"unschedulable": True}})
        await cluster.sleep(5)
        pod = next(pod for pod in await cluster.pods("app=agent") if pod.spec.nodeName == first)
        await cluster.client.delete(core.Pod, pod.metadata.name, namespace=NS)
        await cluster.sleep(40)
        assert first in await placed(cluster), "a daemon tolerates a cordon"

    knarr_cluster.run(scenario, nodes=3)


def test_an_update_replaces_one_at_a_time(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        count = len(cluster.nodes)
        await cluster.client.create(daemon_set())
        await settled(cluster, count)
        await cluster.client.patch(apps.DaemonSet, "agent", image_patch("app:2"), namespace=NS)
        lowest = count

        async def updated() -> bool:
            nonlocal lowest
            pods = await cluster.pods("app=agent")
            lowest = min(
                lowest, sum(1 for pod in pods if is_ready(pod) and pod.metadata.deletionTimestamp is None)
            )
            return len(pods) == count and all(image_of(pod) == "app:2" and is_ready(pod) for pod in pods)

        await cluster.wait_for(updated, 600)
        assert lowest >= count - 1
        await settled(cluster, count)

    knarr_cluster.run(scenario, nodes=3)


def test_on_delete_waits_for_the_user(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(daemon_set(updateStrategy=apps.DaemonSetUpdateStrategy(type="OnDelete")))
        await settled(cluster, len(cluster.nodes))
        await cluster.client.patch(apps.DaemonSet, "agent", image_patch("app:2"), namespace=NS)
        await cluster.sleep(120)
        assert {image_of(pod) for pod in await cluster.pods("app=agent")} == {"app:1"}

    knarr_cluster.run(scenario, nodes=3)


def test_changes_of_the_template_are_counted_and_the_pods_say_which_they_are_of(knarr_cluster: ClusterRunner) -> None:
    counted, labelled = "deprecated.daemonset.template.generation", "pod-template-generation"

    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(daemon_set())
        assert (await settled(cluster, 1)).metadata.annotations[counted] == "1"
        await cluster.client.patch(apps.DaemonSet, "agent", {"spec": {"minReadySeconds": 1}}, namespace=NS)
        await cluster.client.patch(apps.DaemonSet, "agent", image_patch("app:2"), namespace=NS)
        assert (await settled(cluster, 1)).metadata.annotations[counted] == "2"
        (made,) = await cluster.pods("app=agent")
        assert made.metadata.labels[labelled] == "2"

    knarr_cluster.run(scenario)


def test_a_revision_holds_the_bytes_that_clients_compare_with(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(daemon_set())
        await cluster.sleep(5)
        path = f"/apis/apps/v1/namespaces/{NS}/controllerrevisions"
        (held,) = json.loads((await cluster.client.raw("GET", path)).body)["items"]
        template = held["data"]["spec"]["template"]
        assert json.dumps(held["data"]) == json.dumps(held["data"], sort_keys=True) and next(iter(template)) == "$patch"

    knarr_cluster.run(scenario)
