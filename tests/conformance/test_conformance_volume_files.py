"""[sig-storage] what ConfigMaps, Secrets and facts about the pod look like as files."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

import pytest
from conformance_api import NS, Api, Object, namespace
from conformance_objects import template
from conformance_volumes import Files, holder, reading, row, source

from knarr.api import quantity
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

LINUX = "[LinuxOnly]"
CONFIG, SECRET = ("configMap", False), ("secret", False)
PROJECTED_CONFIG, PROJECTED_SECRET = ("configMap", True), ("secret", True)
AREAS = {CONFIG: "ConfigMap", SECRET: "Secrets", PROJECTED_CONFIG: "Projected configMap", PROJECTED_SECRET: "Projected secret"}
EVERY = tuple(AREAS)
CONFIGS = (CONFIG, PROJECTED_CONFIG)


def rows(name: str, kinds: Any = EVERY, *, tail: str = "") -> Any:
    """One test for each way of having the same object in a volume."""
    return pytest.mark.parametrize(("kind", "projected"), [row(name, *each, area=AREAS[each], tail=tail) for each in kinds])


def mapped(mode: int | None = None) -> list[Object]:
    return [{"key": "data-2", "path": "path/to/data-2", **({"mode": mode} if mode is not None else {})}]


async def read_one(cluster: InProcessCluster, kind: str, projected: bool, **more: Any) -> Files:
    """A pod with one volume, ``/etc/it``, of an object with three entries."""
    files = Files(cluster)
    spec = more.pop("spec", {})
    await files.holders(kind).create(holder(kind, "it", **{"data-1": "value-1", "data-2": "value-2", "data-3": "value-3"}))
    await files.run(reading("reader", {"it": source(kind, "it", projected=projected, **more)}, **spec))
    return files


@rows("should be consumable from pods in volume")
def test_each_entry_is_a_file(knarr_cluster: ClusterRunner, tmp_path: Path, kind: str, projected: bool) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        files = await read_one(cluster, kind, projected)
        assert await files.text("/etc/it/data-1") == "value-1" and await files.mode("/etc/it/data-1") == 0o644

    knarr_cluster.run(scenario, host_root=tmp_path)


@rows("should be consumable from pods in volume with defaultMode set", tail=LINUX)
def test_files_have_the_mode_of_the_volume(knarr_cluster: ClusterRunner, tmp_path: Path, kind: str, projected: bool) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        files = await read_one(cluster, kind, projected, mode=0o400)
        assert await files.text("/etc/it/data-1") == "value-1" and await files.mode("/etc/it/data-1") == 0o400

    knarr_cluster.run(scenario, host_root=tmp_path)


@rows("should be consumable from pods in volume with mappings")
def test_an_entry_can_be_given_another_path(knarr_cluster: ClusterRunner, tmp_path: Path, kind: str, projected: bool) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        files = await read_one(cluster, kind, projected, items=mapped())
        assert await files.text("/etc/it/path/to/data-2") == "value-2"
        assert await files.mode("/etc/it/path/to/data-2") == 0o644
        assert await files.text("/etc/it/data-1") is None, "only what is listed is there"

    knarr_cluster.run(scenario, host_root=tmp_path)


@pytest.mark.parametrize(
    ("kind", "projected"),
    [
        row(f"should be consumable from pods in volume with mappings and Item {word} set", *each, area=AREAS[each], tail=LINUX)
        for each, word in ((CONFIG, "mode"), (PROJECTED_CONFIG, "mode"), (SECRET, "Mode"), (PROJECTED_SECRET, "Mode"))
    ],
)
def test_an_entry_can_have_a_mode_of_its_own(knarr_cluster: ClusterRunner, tmp_path: Path, kind: str, projected: bool) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        files = await read_one(cluster, kind, projected, items=mapped(0o400))
        assert await files.text("/etc/it/path/to/data-2") == "value-2"
        assert await files.mode("/etc/it/path/to/data-2") == 0o400

    knarr_cluster.run(scenario, host_root=tmp_path)


@rows("should be consumable from pods in volume as non-root", CONFIGS)
def test_a_container_that_is_not_root_can_read(knarr_cluster: ClusterRunner, tmp_path: Path, kind: str, projected: bool) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        files = await read_one(cluster, kind, projected, spec={"securityContext": {"runAsUser": 1000}})
        assert await files.anyone_may_read("/etc/it/data-1", "/etc/it")

    knarr_cluster.run(scenario, host_root=tmp_path)


@rows("should be consumable from pods in volume with mappings as non-root", CONFIGS)
def test_a_container_that_is_not_root_can_read_below_a_path(
    knarr_cluster: ClusterRunner, tmp_path: Path, kind: str, projected: bool
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        files = await read_one(cluster, kind, projected, items=mapped(), spec={"securityContext": {"runAsUser": 1000}})
        assert await files.anyone_may_read("/etc/it/path/to/data-2", "/etc/it")

    knarr_cluster.run(scenario, host_root=tmp_path)


@rows("should be consumable from pods in volume as non-root with defaultMode and fsGroup set", (SECRET, PROJECTED_SECRET), tail=LINUX)
def test_files_belong_to_the_pods_group(knarr_cluster: ClusterRunner, tmp_path: Path, kind: str, projected: bool) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        files = await read_one(cluster, kind, projected, mode=0o440, spec={"securityContext": {"runAsUser": 1000, "fsGroup": 1001}})
        assert (await files.path("/etc/it/data-1")).stat().st_gid == 1001
        assert await files.mode("/etc/it/data-1") == 0o440

    knarr_cluster.run(scenario, host_root=tmp_path)


@pytest.mark.parametrize(
    ("kind", "projected"),
    [
        row(f"should be consumable in multiple volumes in {words}", *each, area=AREAS[each])
        for each, words in (
            (CONFIG, "the same pod"),
            (PROJECTED_CONFIG, "the same pod"),
            (SECRET, "a pod"),
            (PROJECTED_SECRET, "a pod"),
        )
    ],
)
def test_one_object_can_be_in_two_volumes(knarr_cluster: ClusterRunner, tmp_path: Path, kind: str, projected: bool) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        files = Files(cluster)
        await files.holders(kind).create(holder(kind, "it", **{"data-1": "value-1"}))
        both = {name: source(kind, "it", projected=projected) for name in ("one", "other")}
        await files.run(reading("reader", both))
        assert [await files.text(f"/etc/{name}/data-1") for name in both] == ["value-1", "value-1"]

    knarr_cluster.run(scenario, host_root=tmp_path)


@rows("updates should be reflected in volume", CONFIGS)
def test_a_change_reaches_the_file(knarr_cluster: ClusterRunner, tmp_path: Path, kind: str, projected: bool) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        files = await read_one(cluster, kind, projected)
        await files.holders(kind).patch("it", {"data": {"data-1": "value-2"}})
        await files.becomes("/etc/it/data-1", "value-2")

    knarr_cluster.run(scenario, host_root=tmp_path)


@rows("optional updates should be reflected in volume")
def test_what_is_optional_comes_changes_and_goes(knarr_cluster: ClusterRunner, tmp_path: Path, kind: str, projected: bool) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        files = Files(cluster)
        holders = files.holders(kind)
        await holders.create(holder(kind, "going", **{"data-1": "value-1"}))
        await holders.create(holder(kind, "changing", **{"data-1": "value-1"}))
        names = ("going", "changing", "coming")
        await files.run(reading("reader", {name: source(kind, name, projected=projected, optional=True) for name in names}))
        assert [await files.text(f"/etc/{name}/data-1") for name in names] == ["value-1", "value-1", None]
        await holders.delete("going")
        field = "stringData" if kind == "secret" else "data"
        await holders.patch("changing", {field: {"data-3": "value-3"}})
        await holders.create(holder(kind, "coming", **{"data-1": "value-1"}))
        await files.becomes("/etc/coming/data-1", "value-1")
        await files.becomes("/etc/changing/data-3", "value-3")
        await files.becomes("/etc/going/data-1", None)

    knarr_cluster.run(scenario, host_root=tmp_path)


@pytest.mark.conformance("[sig-storage] ConfigMap binary data should be reflected in volume [NodeConformance] [Conformance]")
def test_bytes_that_are_no_text_arrive_as_they_are(knarr_cluster: ClusterRunner, tmp_path: Path) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        files, dump = Files(cluster), bytes([0xDE, 0xCA, 0xFE, 0xBA, 0xD0, 0xFE, 0xFF])
        made = holder("configMap", "it", **{"data-1": "value-1"}) | {"binaryData": {"dump.bin": base64.b64encode(dump).decode()}}
        await files.holders("configMap").create(made)
        await files.run(reading("reader", {"it": source("configMap", "it", projected=False)}))
        assert (await files.path("/etc/it/dump.bin")).read_bytes() == dump
        assert await files.text("/etc/it/data-1") == "value-1"

    knarr_cluster.run(scenario, host_root=tmp_path)


@pytest.mark.conformance(
    "[sig-storage] Secrets should be able to mount in a volume regardless of a different secret existing with same name in different namespace "
    "[NodeConformance] [Conformance]"
)
def test_a_secret_of_another_namespace_is_never_read(knarr_cluster: ClusterRunner, tmp_path: Path) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        other = await namespace(cluster, "other")
        await Files(cluster).holders("secret", other).create(holder("secret", "it", **{"data-1": "theirs"}))
        files = await read_one(cluster, "secret", False)
        assert await files.text("/etc/it/data-1") == "value-1"

    knarr_cluster.run(scenario, host_root=tmp_path)


@pytest.mark.conformance(
    "[sig-storage] Projected combined should project all components that make up the projection API [Projection] [NodeConformance] [Conformance]"
)
def test_one_volume_can_hold_all_kinds(knarr_cluster: ClusterRunner, tmp_path: Path) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        files = Files(cluster)
        await files.holders("configMap").create(holder("configMap", "config", config="from the config map"))
        await files.holders("secret").create(holder("secret", "hidden", secret="from the secret"))
        facts = [{"path": "podname", "fieldRef": {"fieldPath": "metadata.name"}}]
        sources = [{"configMap": {"name": "config"}}, {"secret": {"name": "hidden"}}, {"downwardAPI": {"items": facts}}]
        await files.run(reading("reader", {"all": {"projected": {"sources": sources}}}))
        read = [await files.text(f"/etc/all/{name}") for name in ("config", "secret", "podname")]
        assert read == ["from the config map", "from the secret", "reader"]

    knarr_cluster.run(scenario, host_root=tmp_path)


@pytest.mark.conformance("[sig-storage] EmptyDir wrapper volumes should not conflict [Conformance]")
def test_a_secret_and_a_config_map_lie_side_by_side(knarr_cluster: ClusterRunner, tmp_path: Path) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        files = Files(cluster)
        for kind in ("configMap", "secret"):
            await files.holders(kind).create(holder(kind, "it", **{"data-1": kind}))
        volumes = {kind.lower(): source(kind, "it", projected=False) for kind in ("configMap", "secret")}
        await files.run(reading("reader", volumes))
        assert await files.text("/etc/configmap/data-1") == "configMap" and await files.text("/etc/secret/data-1") == "secret"

    knarr_cluster.run(scenario, host_root=tmp_path)


@pytest.mark.conformance(
    "[sig-storage] EmptyDir wrapper volumes should not cause race condition when used for configmaps [Serial] [Conformance]"
)
def test_fifty_volumes_in_five_pods_at_once_are_all_there(knarr_cluster: ClusterRunner, tmp_path: Path) -> None:
    names = [f"racey-{number}" for number in range(50)]

    async def scenario(cluster: InProcessCluster) -> None:
        files = Files(cluster)
        for name in names:
            await files.holders("configMap").create(holder("configMap", name, **{"data-1": name}))
        spec = reading("reader", {name: source("configMap", name, projected=False) for name in names})["spec"]
        controllers = Api(cluster, "v1", "replicationcontrollers", NS)
        body = {"replicas": 5, "template": template({"name": "racey"}) | {"spec": spec}}
        await controllers.create({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "racey"}, "spec": body})
        await controllers.wait("racey", lambda held: held["status"].get("readyReplicas") == 5)
        for held in await files.pods.items("name=racey"):
            for name in names:
                assert await files.text(f"/etc/{name}/data-1", held["metadata"]["name"]) == name

    knarr_cluster.run(scenario, host_root=tmp_path)


@pytest.mark.conformance(
    "[sig-storage] EmptyDir volumes volume on default medium should have the correct mode [LinuxOnly] [NodeConformance] [Conformance]"
)
def test_anyone_may_write_to_an_empty_directory(knarr_cluster: ClusterRunner, tmp_path: Path) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        files = Files(cluster)
        await files.run(reading("reader", {"scratch": {"emptyDir": {}}}))
        assert await files.mode("/etc/scratch") == 0o777

    knarr_cluster.run(scenario, host_root=tmp_path)


DOWNWARD = {False: "Downward API volume", True: "Projected downwardAPI"}
RESOURCES = {"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}}


def facts(name: str, *values: Any, tail: str = "") -> list[Any]:
    return [row(name, *values, projected, area=area, tail=tail) for projected, area in DOWNWARD.items()]


def downward(projected: bool, *items: Object, mode: int | None = None) -> Object:
    common = {"defaultMode": mode} if mode is not None else {}
    if projected:
        return {"projected": {"sources": [{"downwardAPI": {"items": list(items)}}], **common}}
    return {"downwardAPI": {"items": list(items), **common}}


def field(path: str, name: str, **more: Any) -> Object:
    return {"path": path, "fieldRef": {"fieldPath": name}, **more}


async def read_facts(cluster: InProcessCluster, volume: Object, *, resources: Object | None = None, **metadata: Any) -> Files:
    files = Files(cluster)
    made = reading("reader", {"facts": volume})
    made["metadata"] |= metadata
    made["spec"]["containers"][0]["resources"] = resources or {}
    await files.run(made)
    return files


@pytest.mark.parametrize("projected", facts("should provide podname only"))
def test_a_pod_can_read_its_name(knarr_cluster: ClusterRunner, tmp_path: Path, projected: bool) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        files = await read_facts(cluster, downward(projected, field("podname", "metadata.name")))
        assert await files.text("/etc/facts/podname") == "reader"

    knarr_cluster.run(scenario, host_root=tmp_path)


@pytest.mark.parametrize(
    ("item", "volume", "projected"),
    [
        *facts("should set DefaultMode on files", None, 0o400, tail=LINUX),
        *facts("should set mode on item file", 0o400, None, tail=LINUX),
    ],
)
def test_the_files_mode_is_the_items_or_else_the_volumes(
    knarr_cluster: ClusterRunner, tmp_path: Path, item: int | None, volume: int | None, projected: bool
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        wanted = field("podname", "metadata.name", **({"mode": item} if item is not None else {}))
        files = await read_facts(cluster, downward(projected, wanted, mode=volume))
        assert await files.mode("/etc/facts/podname") == 0o400

    knarr_cluster.run(scenario, host_root=tmp_path)


@pytest.mark.parametrize(
    ("what", "projected"),
    [*facts("should update labels on modification", "labels"), *facts("should update annotations on modification", "annotations")],
)
def test_what_is_said_about_a_pod_follows_the_pod(knarr_cluster: ClusterRunner, tmp_path: Path, what: str, projected: bool) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        volume = downward(projected, field("said", f"metadata.{what}"))
        files = await read_facts(cluster, volume, **{what: {"key1": "value1", "key2": "value2"}})
        assert await files.text("/etc/facts/said") == 'key1="value1"\nkey2="value2"'
        await files.pods.patch("reader", {"metadata": {what: {"key3": "value3"}}})
        await files.becomes("/etc/facts/said", 'key1="value1"\nkey2="value2"\nkey3="value3"')

    knarr_cluster.run(scenario, host_root=tmp_path)


@pytest.mark.parametrize(
    ("resource", "wanted", "projected"),
    [
        *facts("should provide container's cpu limit", "limits.cpu", "2"),
        *facts("should provide container's cpu request", "requests.cpu", "1"),
        *facts("should provide container's memory limit", "limits.memory", "67108864"),
        *facts("should provide container's memory request", "requests.memory", "33554432"),
    ],
)
def test_a_container_can_read_what_it_may_use(
    knarr_cluster: ClusterRunner, tmp_path: Path, resource: str, wanted: str, projected: bool
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        item = {"path": "amount", "resourceFieldRef": {"containerName": "main", "resource": resource}}
        files = await read_facts(cluster, downward(projected, item), resources=RESOURCES)
        assert await files.text("/etc/facts/amount") == wanted

    knarr_cluster.run(scenario, host_root=tmp_path)


@pytest.mark.parametrize(
    ("resource", "projected"),
    [
        *facts("should provide node allocatable (cpu) as default cpu limit if the limit is not set", "cpu"),
        *facts("should provide node allocatable (memory) as default memory limit if the limit is not set", "memory"),
    ],
)
def test_without_a_limit_the_node_is_the_limit(knarr_cluster: ClusterRunner, tmp_path: Path, resource: str, projected: bool) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        item = {"path": "amount", "resourceFieldRef": {"containerName": "main", "resource": f"limits.{resource}"}}
        files = await read_facts(cluster, downward(projected, item))
        node = await Api(cluster, "v1", "nodes").get("node-1")
        has = math.ceil(quantity.nanos(node["status"]["allocatable"][resource]) / 1e9)
        assert await files.text("/etc/facts/amount") == str(has)

    knarr_cluster.run(scenario, host_root=tmp_path)
