"""Pods that run with an old ConfigMap or Secret are replaced if their workload asks for it, and never otherwise."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cluster_objects import NS, deployed, deployment, template

from knarr.api import codec
from knarr.api.apps import v1 as apps
from knarr.api.apps.restart_on_change import ASKED
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.controllers.restart_on_change import RESTARTED_FOR, RUNS_WITH, digest_of
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner


def config(name: str, **data: str) -> core.ConfigMap:
    return core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace=NS), data=data)


def secret(name: str, text: str) -> core.Secret:
    data = {"password": base64.b64encode(text.encode()).decode()}
    return core.Secret(metadata=meta.ObjectMeta(name=name, namespace=NS), data=data)


def container(**more: Any) -> core.Container:
    return core.Container(name="main", image="app:1", **more)


def from_map(name: str, *, optional: bool | None = None) -> core.EnvFromSource:
    return core.EnvFromSource(configMapRef=core.ConfigMapEnvSource(name=name, optional=optional))


def asking(obj: Any) -> Any:
    obj.metadata.annotations = {ASKED: "true"}
    return obj


async def uids(cluster: InProcessCluster) -> set[str]:
    return {pod.metadata.uid for pod in await cluster.pods("app=web") if pod.metadata.deletionTimestamp is None}


async def mark(cluster: InProcessCluster, kind: type[Any] = apps.Deployment) -> str | None:
    workload = await cluster.client.get(kind, "web", namespace=NS)
    found: str | None = workload.spec.template.metadata.annotations.get(RESTARTED_FOR)
    return found


async def change(cluster: InProcessCluster, name: str, **data: str) -> None:
    held = await cluster.client.get(core.ConfigMap, name, namespace=NS)
    held.data = data
    await cluster.client.update(held)


def test_a_changed_config_map_restarts_its_users_once_and_nothing_else_does(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        client = cluster.client
        for name in ("app", "other"):
            await client.create(config(name, level="info"))
        env = [container(envFrom=[from_map("app"), from_map("other")])]
        await client.create(asking(deployment("web", 2, containers=env)))
        await deployed(cluster)
        first = await uids(cluster)
        await cluster.sleep(60)
        assert await uids(cluster) == first and await mark(cluster) is None, "its creation is no change"
        # The same content under another label is none either.
        await client.patch(core.ConfigMap, "app", {"metadata": {"labels": {"a": "b"}}}, namespace=NS)
        await change(cluster, "app", level="info")
        await cluster.sleep(60)
        assert await uids(cluster) == first
        await change(cluster, "app", level="debug")
        await change(cluster, "other", level="debug")
        await cluster.sleep(5)
        await deployed(cluster)
        await cluster.sleep(60)
        second = await uids(cluster)
        assert len(second) == 2 and not second & first and await mark(cluster)
        assert (await client.get(apps.Deployment, "web", namespace=NS)).status.observedGeneration == 2, "one restart for both"
        said = [event.message for event in await cluster.events() if event.reason == "RestartedOnChange"]
        assert said == ["Restarting pods: ConfigMap app, ConfigMap other changed"]

    knarr_cluster.run(scenario)


@pytest.mark.parametrize("way", ["env", "volume", "projected"])
@pytest.mark.parametrize("kind", [apps.StatefulSet, apps.DaemonSet])
def test_every_way_to_use_a_secret_counts_and_its_digest_tells_nothing(
    way: str, kind: type[Any], knarr_cluster: ClusterRunner
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(secret("db", "hunter2"))
        projection = core.VolumeProjection(secret=core.SecretProjection(name="db"))
        volumes = {
            "volume": [core.Volume(name="v", secret=core.SecretVolumeSource(secretName="db"))],
            "projected": [core.Volume(name="v", projected=core.ProjectedVolumeSource(sources=[projection]))],
        }
        reference = core.EnvVarSource(secretKeyRef=core.SecretKeySelector(name="db", key="password"))
        variables = [core.EnvVar(name="PASSWORD", valueFrom=reference)] if way == "env" else []
        made = template("web", containers=[container(env=variables)], volumes=volumes.get(way, []))
        more: dict[str, Any] = {"serviceName": "web"} if kind is apps.StatefulSet else {}
        spec_type: Any = apps.StatefulSetSpec if kind is apps.StatefulSet else apps.DaemonSetSpec
        spec = spec_type(selector=meta.LabelSelector(matchLabels={"app": "web"}), template=made, **more)
        await cluster.client.create(asking(kind(metadata=meta.ObjectMeta(name="web", namespace=NS), spec=spec)))
        await cluster.sleep(30)
        first = await uids(cluster)
        assert len(first) == 1
        workload = await cluster.client.get(kind, "web", namespace=NS)
        digests = json.loads(workload.metadata.annotations[RUNS_WITH])
        assert set(digests) == {"Secret db"}
        held = await cluster.client.get(core.Secret, "db", namespace=NS)
        twin = await cluster.client.create(secret("twin", "hunter2"))
        assert twin.data == held.data and digest_of(twin) != digests["Secret db"] == digest_of(held), "nobody can guess by it"
        held.data = secret("db", "correct horse").data
        await cluster.client.update(held)
        await cluster.sleep(90)
        assert len(await uids(cluster)) == 1 and not await uids(cluster) & first

    knarr_cluster.run(scenario)


def test_what_does_not_ask_is_left_alone_and_asking_later_restarts_nothing(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        client = cluster.client
        await client.create(config("app", level="info"))
        await client.create(deployment("web", 1, containers=[container(envFrom=[from_map("app")])]))
        await deployed(cluster)
        first = await uids(cluster)
        await change(cluster, "app", level="debug")
        await cluster.sleep(60)
        await client.patch(apps.Deployment, "web", {"metadata": {"annotations": {ASKED: "true"}}}, namespace=NS)
        await cluster.sleep(60)
        assert await uids(cluster) == first
        # Nobody asks any more; what changes meanwhile is not caught up on later.
        await client.patch(apps.Deployment, "web", {"metadata": {"annotations": {ASKED: "false"}}}, namespace=NS)
        await cluster.sleep(5)
        await change(cluster, "app", level="trace")
        await cluster.sleep(60)
        await client.patch(apps.Deployment, "web", {"metadata": {"annotations": {ASKED: "true"}}}, namespace=NS)
        await cluster.sleep(60)
        assert await uids(cluster) == first and await mark(cluster) is None

    knarr_cluster.run(scenario)


def test_one_that_is_missing_for_a_while_or_comes_late_is_no_change_but_an_optional_one_is(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        client = cluster.client
        sources = [from_map("late"), from_map("perhaps", optional=True)]
        await client.create(asking(deployment("web", 1, containers=[container(envFrom=sources)])))
        await cluster.sleep(30)
        await client.create(config("late", level="info"))
        await deployed(cluster, timeout_s=300)
        first = await uids(cluster)
        await client.delete(core.ConfigMap, "late", namespace=NS)
        await cluster.sleep(30)
        await client.create(config("late", level="info"))
        await cluster.sleep(30)
        assert await uids(cluster) == first and await mark(cluster) is None
        await client.create(config("perhaps", level="info"))
        await cluster.sleep(5)
        await deployed(cluster)
        second = await uids(cluster)
        assert not second & first
        await client.delete(core.ConfigMap, "late", namespace=NS)
        await cluster.sleep(30)
        await client.create(config("late", level="other"))
        await cluster.sleep(5)
        await deployed(cluster)
        assert not await uids(cluster) & second

    knarr_cluster.run(scenario)


def test_a_template_that_uses_another_rolls_out_once(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        client = cluster.client
        for name in ("app", "other"):
            await client.create(config(name, level="info"))
        await client.create(asking(deployment("web", 1, containers=[container(envFrom=[from_map("app")])])))
        await deployed(cluster)
        changed = await client.get(apps.Deployment, "web", namespace=NS)
        changed.spec.template.spec.containers = [container(envFrom=[from_map("app"), from_map("other")])]
        await client.update(changed)
        await cluster.sleep(60)
        await deployed(cluster)
        assert await mark(cluster) is None
        held = await client.get(apps.Deployment, "web", namespace=NS)
        assert set(json.loads(held.metadata.annotations[RUNS_WITH])) == {"ConfigMap app", "ConfigMap other"}
        await change(cluster, "other", level="debug")
        await cluster.sleep(5)
        assert await mark(cluster)

    knarr_cluster.run(scenario)


def test_a_controller_that_starts_restarts_only_what_changed_while_it_was_away(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(config("app", level="info"))
        await cluster.client.create(asking(deployment("web", 1, containers=[container(envFrom=[from_map("app")])])))
        await deployed(cluster)
        await cluster.sleep(5)
        first = await uids(cluster)
        for level in ("info", "debug"):
            await cluster.stop_controllers()
            await change(cluster, "app", level=level)
            cluster.start_controllers()
            await cluster.sleep(60)
            if level == "info":
                assert await uids(cluster) == first and await mark(cluster) is None
        assert not await uids(cluster) & first and await mark(cluster)

    knarr_cluster.run(scenario)


def test_an_annotation_that_asks_for_nothing_is_warned_of(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        for value, warns in (("yes", True), ("true", False)):
            made = deployment(f"web-{value}", 1)
            made.metadata.annotations = {ASKED: value}
            path, headers = "/apis/apps/v1/namespaces/default/deployments", {"Content-Type": "application/json"}
            answer = await cluster.client.raw("POST", path, body=codec.encode(made), headers=headers)
            assert answer.status == 201
            text = answer.headers.get("Warning", "").replace("\\", "")
            assert (f'metadata.annotations: {ASKED}: expected "true" or "false", got "yes"' in text) is warns

    knarr_cluster.run(scenario, nodes=0, scheduler=False)
