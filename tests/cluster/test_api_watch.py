"""WATCH: what a client that lists and watches can rely on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cluster_objects import NS

from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.apiserver import cacher
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

PATH = f"/api/v1/namespaces/{NS}/configmaps"
BARE = {"nodes": 0, "controllers": False, "scheduler": False}


class Watching:
    """One watch in the background; ``told`` is what it was told."""

    def __init__(
        self, cluster: InProcessCluster, *, path: str = PATH, accept: str = "application/json", **query: str
    ) -> None:
        self.told: list[dict[str, Any]] = []
        self.status = 0
        self._cluster = cluster
        self._path = path
        self._headers = {"Accept": accept}
        self._query = [("watch", "true"), *query.items()]

    async def run(self) -> None:
        transport = self._cluster.client.transport
        async with transport.stream("GET", self._path, query=self._query, headers=self._headers) as answer:
            self.status = answer.status
            async for chunk in answer.chunks:
                self.told.extend(json.loads(line) for line in chunk.splitlines())

    def kinds(self) -> list[tuple[str, str]]:
        return [(each["type"], each["object"]["metadata"].get("name", "")) for each in self.told]


@contextlib.asynccontextmanager
async def watching(cluster: InProcessCluster, **more: str) -> AsyncIterator[Watching]:
    watch = Watching(cluster, **more)
    task = asyncio.ensure_future(watch.run())
    try:
        await cluster.sleep(0.1)
        yield watch
        await cluster.sleep(0.1)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def make(cluster: InProcessCluster, name: str, **labels: str) -> core.ConfigMap:
    return await cluster.client.create(
        core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace=NS, labels=labels))
    )


async def label(cluster: InProcessCluster, name: str, **labels: str | None) -> core.ConfigMap:
    return await cluster.client.patch(core.ConfigMap, name, {"metadata": {"labels": labels}}, namespace=NS)


async def revision(cluster: InProcessCluster) -> str:
    return (await cluster.client.list(core.ConfigMap, namespace=NS)).resource_version


def test_every_change_is_told_once_and_in_order(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        start = await revision(cluster)
        async with watching(cluster, resourceVersion=start) as watch:
            await make(cluster, "a")
            await make(cluster, "b")
            await label(cluster, "a", x="1")
            await cluster.client.delete(core.ConfigMap, "b", namespace=NS)
        assert watch.kinds() == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
        versions = [int(each["object"]["metadata"]["resourceVersion"]) for each in watch.told]
        assert versions == sorted(set(versions))

    knarr_cluster.run(scenario, **BARE)


def test_a_watch_resumes_from_any_revision_it_has_seen(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        start = await revision(cluster)
        for name in "abcd":
            await make(cluster, name)
        async with watching(cluster, resourceVersion=start) as first:
            pass
        after_b = first.told[1]["object"]["metadata"]["resourceVersion"]
        async with watching(cluster, resourceVersion=after_b) as second:
            pass
        assert second.kinds() == [("ADDED", "c"), ("ADDED", "d")]

    knarr_cluster.run(scenario, **BARE)


def test_a_selector_turns_changes_into_arrivals_and_departures(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await make(cluster, "a", app="web")
        start = await revision(cluster)
        async with watching(cluster, resourceVersion=start, labelSelector="app=web") as watch:
            await label(cluster, "a", tier="front")
            await label(cluster, "a", app="db")
            await label(cluster, "a", tier="back")
            left = await label(cluster, "a", app="web")
            await cluster.client.delete(core.ConfigMap, "a", namespace=NS)
        assert [each["type"] for each in watch.told] == ["MODIFIED", "DELETED", "ADDED", "DELETED"]
        # Who left is shown as it was when it still belonged, at the revision at which it left.
        gone = watch.told[1]["object"]["metadata"]
        assert gone["labels"] == {"app": "web", "tier": "front"}
        assert int(gone["resourceVersion"]) == int(left.metadata.resourceVersion) - 2

    knarr_cluster.run(scenario, **BARE)


def test_a_field_selector_follows_one_object(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        start = await revision(cluster)
        async with watching(cluster, resourceVersion=start, fieldSelector="metadata.name=b") as watch:
            await make(cluster, "a")
            await make(cluster, "b")
        assert watch.kinds() == [("ADDED", "b")]

    knarr_cluster.run(scenario, **BARE)


def test_a_watch_without_a_revision_begins_with_what_is_there(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await make(cluster, "a")
        await make(cluster, "b")
        async with watching(cluster) as watch:
            await make(cluster, "c")
        assert watch.kinds() == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]

    knarr_cluster.run(scenario, **BARE)


def test_send_initial_events_ends_them_with_a_marked_bookmark(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await make(cluster, "a")
        query = {
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
            "allowWatchBookmarks": "true",
        }
        async with watching(cluster, **query) as watch:
            await make(cluster, "b")
        assert [each["type"] for each in watch.told] == ["ADDED", "BOOKMARK", "ADDED"]
        mark = watch.told[1]["object"]
        assert mark["kind"] == "ConfigMap" and mark["apiVersion"] == "v1"
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(mark["metadata"]["resourceVersion"]) >= int(
            watch.told[0]["object"]["metadata"]["resourceVersion"]
        )

    knarr_cluster.run(scenario, **BARE)


def test_send_initial_events_needs_a_match(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        answer = await cluster.client.raw(
            "GET", PATH, query=[("watch", "true"), ("sendInitialEvents", "true")]
        )
        assert answer.status == 422
        assert (
            b"resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            in answer.body
        )

    knarr_cluster.run(scenario, **BARE)


def test_bookmarks_come_while_nothing_happens(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        start = await revision(cluster)
        async with watching(cluster, resourceVersion=start, allowWatchBookmarks="true") as watch:
            await cluster.client.create(core.Namespace(metadata=meta.ObjectMeta(name="elsewhere")))
            await cluster.sleep(130)
        assert len(watch.told) == 2 and {each["type"] for each in watch.told} == {"BOOKMARK"}
        # It has moved on although nothing of this kind changed.
        assert int(watch.told[-1]["object"]["metadata"]["resourceVersion"]) > int(start)

    knarr_cluster.run(scenario, **BARE)


def test_a_watch_from_too_long_ago_is_told_to_list_again(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        start = await revision(cluster)
        await make(cluster, "a")
        for number in range(cacher.HISTORY_LIMIT + 10):
            await cluster.client.patch(core.ConfigMap, "a", {"data": {"n": str(number)}}, namespace=NS)
        with pytest.raises(StatusError) as refused:
            async for _ in cluster.client.watch(core.ConfigMap, namespace=NS, resource_version=start):
                pass
        assert (refused.value.code, refused.value.reason) == (410, "Expired")
        assert str(refused.value).startswith(f"too old resource version: {start} (")

    knarr_cluster.run(scenario, **BARE)


def test_a_watch_ends_when_its_time_is_over(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        started_s = cluster.clock.monotonic_s()
        watch = Watching(cluster, timeoutSeconds="30", resourceVersion=await revision(cluster))
        await watch.run()
        assert cluster.clock.monotonic_s() - started_s == pytest.approx(30, abs=0.1) and watch.status == 200

    knarr_cluster.run(scenario, **BARE)


def test_metadata_only_and_table_watches(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        start = await revision(cluster)
        partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
        table = "application/json;as=Table;v=v1;g=meta.k8s.io"
        async with (
            watching(cluster, resourceVersion=start, accept=partial) as metadata,
            watching(cluster, resourceVersion=start, accept=table) as rows,
        ):
            await cluster.client.create(
                core.ConfigMap(metadata=meta.ObjectMeta(name="a", namespace=NS), data={"k": "v"})
            )
            await make(cluster, "b")
        (first, _) = metadata.told
        assert first["object"]["kind"] == "PartialObjectMetadata" and "data" not in first["object"]
        assert first["object"]["apiVersion"] == "meta.k8s.io/v1"
        assert [each["object"]["kind"] for each in rows.told] == ["Table", "Table"]
        assert rows.told[0]["object"]["rows"][0]["cells"][:2] == ["a", 1]
        # Columns are described once.
        assert rows.told[0]["object"]["columnDefinitions"] and not rows.told[1]["object"].get(
            "columnDefinitions"
        )

    knarr_cluster.run(scenario, **BARE)


def test_watches_end_cleanly_when_the_server_stops(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> Watching:
        watch = Watching(cluster, resourceVersion=await revision(cluster))
        task = asyncio.ensure_future(watch.run())
        await cluster.sleep(0.1)
        cluster.server.stop_watches()
        await asyncio.wait_for(task, 1)
        return watch

    assert knarr_cluster.run(scenario, **BARE).status == 200
