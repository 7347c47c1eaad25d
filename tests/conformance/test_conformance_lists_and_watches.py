"""[sig-api-machinery] chunking, watchers, tables, discovery."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from conformance_api import API_ONLY, NS, Api, Object, fails, namespace
from conformance_objects import config_map, meta, pod_spec

from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

TEMPLATES = 400
LABEL = "watch-this-configmap"


async def pod_templates(cluster: InProcessCluster) -> Api:
    api = Api(cluster, "v1", "podtemplates", await namespace(cluster, "chunking"))
    body = {"template": {"spec": pod_spec()}}
    for number in range(TEMPLATES):
        await api.create({"metadata": meta(f"template-{number:04d}"), **body})
    return api


def number_of(item: Object) -> int:
    return int(item["metadata"]["name"].removeprefix("template-"))


@pytest.mark.conformance(
    "[sig-api-machinery] Servers with support for API chunking should return chunks of results for list calls [Conformance]"
)
def test_a_long_list_comes_in_chunks(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = await pod_templates(cluster)
        for limit in (1, 17, 200, 399, 400):
            found, token, version = 0, "", ""
            while True:
                page = await api.list(limit=str(limit), continue_=token)
                version = version or page["metadata"]["resourceVersion"]
                assert page["metadata"]["resourceVersion"] == version
                assert [number_of(each) for each in page["items"]] == list(range(found, found + len(page["items"])))
                assert len(page["items"]) <= limit
                found += len(page["items"])
                token = page["metadata"].get("continue", "")
                assert page["metadata"].get("remainingItemCount", 0) == TEMPLATES - found
                if not token:
                    break
            assert found == TEMPLATES
        whole = await api.list()
        assert len(whole["items"]) == TEMPLATES and not whole["metadata"].get("continue")

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(
    "[sig-api-machinery] Servers with support for API chunking should support continue listing from the last key if the original version has been compacted away, though the list is inconsistent [Slow] [Conformance]"
)
def test_a_list_goes_on_after_its_revision_is_gone(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = await pod_templates(cluster)
        first = await api.list(limit="40")
        assert len(first["items"]) == 40
        token, version = first["metadata"]["continue"], first["metadata"]["resourceVersion"]
        await api.patch("template-0399", {"metadata": {"labels": {"later": "yes"}}})
        await cluster.store.compact(await cluster.store.revision())
        error = await fails(api.list(limit="40", continue_=token), 410, "Expired")
        inconsistent = error.status.metadata.continue_
        assert inconsistent
        second = await api.list(limit="40", continue_=inconsistent)
        assert second["metadata"]["resourceVersion"] != version
        assert [number_of(each) for each in second["items"]] == list(range(40, 80))
        assert second["metadata"]["remainingItemCount"] == TEMPLATES - 80
        version, found, token = second["metadata"]["resourceVersion"], 80, second["metadata"]["continue"]
        while token:
            page = await api.list(limit="40", continue_=token)
            assert page["metadata"]["resourceVersion"] == version
            assert [number_of(each) for each in page["items"]] == list(range(found, found + len(page["items"])))
            found, token = found + len(page["items"]), page["metadata"].get("continue", "")
        assert found == TEMPLATES

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(
    "[sig-api-machinery] Servers with support for Table transformation should return a 406 for a backend which does not implement metadata [Conformance]"
)
def test_a_review_cannot_be_had_as_a_table(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        review = {"spec": {"resourceAttributes": {"namespace": NS, "verb": "get", "resource": "pods"}}}
        answer = await cluster.client.raw(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            body=json.dumps(review).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"},
        )
        assert answer.status == 406 and json.loads(answer.body)["reason"] == "NotAcceptable"

    knarr_cluster.run(scenario, **API_ONLY)


def maps(cluster: InProcessCluster) -> Api:
    return Api(cluster, "v1", "configmaps", NS)


async def mutate(api: Api, name: str, value: int) -> Object:
    return await api.change(name, lambda obj: obj.update(data={"mutation": str(value)}))


def says(name: str, value: int | None = None) -> Any:
    def check(obj: Object) -> bool:
        return obj["metadata"]["name"] == name and (value is None or obj.get("data", {}).get("mutation") == str(value))

    return check


@pytest.mark.conformance(
    "[sig-api-machinery] Watchers should observe add, update, and delete watch notifications on configmaps [Conformance]"
)
def test_watches_with_labels_see_every_change_of_theirs(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = maps(cluster)
        async with (
            api.watch(labelSelector=f"{LABEL}=a") as a,
            api.watch(labelSelector=f"{LABEL}=b") as b,
            api.watch(labelSelector=f"{LABEL} in (a,b)") as both,
        ):
            await api.create(config_map("map-a", {LABEL: "a"}))
            for watch in (a, both):
                await watch.until("ADDED", says("map-a"))
            for value in (1, 2):
                await mutate(api, "map-a", value)
                for watch in (a, both):
                    await watch.until("MODIFIED", says("map-a", value))
            await api.delete("map-a")
            for watch in (a, both):
                await watch.until("DELETED", says("map-a"))
            assert b.told == []
            await api.create(config_map("map-b", {LABEL: "b"}))
            for watch in (b, both):
                await watch.until("ADDED", says("map-b"))
            await api.delete("map-b")
            for watch in (b, both):
                await watch.until("DELETED", says("map-b"))
            await a.quiet()

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(
    "[sig-api-machinery] Watchers should be able to start watching from a specific resource version [Conformance]"
)
def test_a_watch_starts_where_it_is_told(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = maps(cluster)
        await api.create(config_map("map", {LABEL: "from"}))
        first = await mutate(api, "map", 1)
        await mutate(api, "map", 2)
        await api.delete("map")
        version = first["metadata"]["resourceVersion"]
        async with api.watch(labelSelector=f"{LABEL}=from", resourceVersion=version) as watch:
            await cluster.wait_for(lambda: len(watch.told) == 2)
            assert watch.told[0]["type"] == "MODIFIED" and says("map", 2)(watch.told[0]["object"])
            assert watch.told[1]["type"] == "DELETED"

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(
    "[sig-api-machinery] Watchers should be able to restart watching from the last resource version observed by the previous watch [Conformance]"
)
def test_a_second_watch_takes_up_where_the_first_ended(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = maps(cluster)
        async with api.watch(labelSelector=f"{LABEL}=restart") as watch:
            await api.create(config_map("map", {LABEL: "restart"}))
            await mutate(api, "map", 1)
            await watch.until("ADDED", says("map"))
            last = (await watch.until("MODIFIED", says("map", 1)))["metadata"]["resourceVersion"]
        await mutate(api, "map", 2)
        await api.delete("map")
        async with api.watch(labelSelector=f"{LABEL}=restart", resourceVersion=last) as watch:
            await cluster.wait_for(lambda: len(watch.told) == 2)
            assert watch.told[0]["type"] == "MODIFIED" and says("map", 2)(watch.told[0]["object"])
            assert watch.told[1]["type"] == "DELETED"

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(
    "[sig-api-machinery] Watchers should observe an object deletion if it stops meeting the requirements of the selector [Conformance]"
)
def test_an_object_that_leaves_the_selector_is_told_as_deleted(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = maps(cluster)

        def relabel(to: str) -> Any:
            return api.change("map", lambda obj: obj["metadata"].update(labels={LABEL: to}))

        async with api.watch(labelSelector=f"{LABEL}=kept") as watch:
            await api.create(config_map("map", {LABEL: "kept"}))
            await mutate(api, "map", 1)
            await relabel("other")
            await watch.until("ADDED", says("map"))
            await watch.until("MODIFIED", says("map", 1))
            await watch.until("DELETED", says("map"))
            await mutate(api, "map", 2)
            await watch.quiet()
            await relabel("kept")
            await mutate(api, "map", 3)
            await api.delete("map")
            await watch.until("ADDED", says("map", 2))
            await watch.until("MODIFIED", says("map", 3))
            await watch.until("DELETED", says("map"))

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(
    "[sig-api-machinery] Watchers should receive events on concurrent watches in same order [Conformance]"
)
def test_every_watch_tells_the_same_order(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "configmaps", await namespace(cluster, "orders"))
        start = (await api.list())["metadata"]["resourceVersion"]
        done = asyncio.Event()

        async def busy(worker: int) -> None:
            for step in range(20):
                name = f"map-{worker}-{step % 3}"
                if not await api.exists(name):
                    await api.create(config_map(name))
                elif step % 2:
                    await mutate(api, name, step)
                else:
                    await api.delete(name)
                await cluster.sleep(0.01 * (worker + 1))

        workers = asyncio.gather(*(busy(worker) for worker in range(3)))
        workers.add_done_callback(lambda _: done.set())
        orders: list[list[str]] = []
        version = start
        for _ in range(20):
            async with api.watch(resourceVersion=version) as watch:
                await cluster.wait_for(lambda watch=watch: watch.told or done.is_set())
                if done.is_set() and not watch.told:
                    break
                version = watch.told[0]["object"]["metadata"]["resourceVersion"]
        await workers
        for _ in range(5):
            async with api.watch(resourceVersion=start) as watch:
                await cluster.sleep(1)
                orders.append([each["object"]["metadata"]["resourceVersion"] for each in watch.told])
        assert orders[0] == sorted(orders[0], key=int) and len(orders[0]) == 60
        assert all(order == orders[0] for order in orders)

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(
    "[sig-api-machinery] Discovery should validate PreferredVersion for each APIGroup [Conformance]"
)
def test_every_group_prefers_a_version_it_has(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "")
        groups = (await api.call("GET", "/apis"))["groups"]
        assert groups
        for listed in groups:
            group = await api.call("GET", f"/apis/{listed['name']}")
            versions = [each["groupVersion"] for each in group["versions"]]
            assert group["preferredVersion"]["groupVersion"] in versions
            assert group["preferredVersion"] == listed["preferredVersion"]

    knarr_cluster.run(scenario, **API_ONLY)


LOCATED = [
    ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "v1", "apiservices"),
    ("apps", "v1", "deployments"),
    ("authentication.k8s.io", "v1", "tokenreviews"),
    ("authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
    ("autoscaling", "v1", "horizontalpodautoscalers"),
    ("autoscaling", "v2", "horizontalpodautoscalers"),
    ("batch", "v1", "jobs"),
    ("certificates.k8s.io", "v1", "certificatesigningrequests"),
    ("coordination.k8s.io", "v1", "leases"),
    ("discovery.k8s.io", "v1", "endpointslices"),
    ("events.k8s.io", "v1", "events"),
    ("networking.k8s.io", "v1", "ingresses"),
    ("node.k8s.io", "v1", "runtimeclasses"),
    ("policy", "v1", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", "v1", "roles"),
    ("scheduling.k8s.io", "v1", "priorityclasses"),
    ("storage.k8s.io", "v1", "csinodes"),
]


@pytest.mark.conformance(
    "[sig-api-machinery] Discovery should locate the groupVersion and a resource within each APIGroup [Conformance]"
)
def test_every_group_has_its_version_and_its_resource(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "")
        for group, version, plural in LOCATED:
            found = await api.call("GET", f"/apis/{group}")
            assert f"{group}/{version}" in [each["groupVersion"] for each in found["versions"]]
            resources = await api.call("GET", f"/apis/{group}/{version}")
            assert resources["groupVersion"] == f"{group}/{version}"
            assert plural in [each["name"] for each in resources["resources"]], plural

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(
    "[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers [Conformance]"
)
def test_discovery_in_one_document_follows_the_accept_header(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        for path in ("/api", "/apis"):
            answer = await cluster.client.raw("GET", path, headers={"Accept": v2})
            document = json.loads(answer.body)
            assert answer.status == 200 and document["kind"] == "APIGroupDiscoveryList"
            assert document["apiVersion"] == "apidiscovery.k8s.io/v2" and document["items"]
            assert answer.headers["Content-Type"] == v2
        plain = await cluster.client.raw("GET", "/apis", headers={"Accept": "application/json"})
        assert json.loads(plain.body)["kind"] == "APIGroupList"
        # A client that asks for more than one gets the first that is served.
        answer = await cluster.client.raw("GET", "/apis", headers={"Accept": f"{v2},application/json"})
        assert json.loads(answer.body)["kind"] == "APIGroupDiscoveryList"

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(
    "[sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface [Conformance]"
)
def test_discovery_in_one_document_has_every_group(knarr_cluster: ClusterRunner) -> None:
    expected = {
        ("", "v1"): {("namespaces", "Namespace"), ("pods", "Pod"), ("configmaps", "ConfigMap"), ("services", "Service")},
        ("admissionregistration.k8s.io", "v1"): {("mutatingwebhookconfigurations", "MutatingWebhookConfiguration")},
        ("apps", "v1"): {("daemonsets", "DaemonSet"), ("deployments", "Deployment"), ("replicasets", "ReplicaSet")},
        ("batch", "v1"): {("jobs", "Job"), ("cronjobs", "CronJob")},
        ("rbac.authorization.k8s.io", "v1"): {("clusterroles", "ClusterRole"), ("roles", "Role")},
    }

    async def scenario(cluster: InProcessCluster) -> None:
        accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        found: dict[tuple[str, str], set[tuple[str, str]]] = {}
        for path in ("/api", "/apis"):
            answer = await cluster.client.raw("GET", path, headers={"Accept": accept})
            for group in json.loads(answer.body)["items"]:
                for version in group["versions"]:
                    assert version.get("freshness") == "Current"
                    key = (group["metadata"].get("name", ""), version["version"])
                    found[key] = {(each["resource"], each["responseKind"]["kind"]) for each in version["resources"]}
        for key, wanted in expected.items():
            assert wanted <= found[key], key

    knarr_cluster.run(scenario, **API_ONLY)
