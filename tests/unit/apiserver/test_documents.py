"""Discovery and OpenAPI: every document is well-formed, complete and free of dead references."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from knarr.api import scheme
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

BARE = {"nodes": 0, "controllers": False, "scheduler": False}


async def get(cluster: InProcessCluster, path: str, accept: str = "application/json") -> Any:
    answer = await cluster.client.raw("GET", path, headers={"Accept": accept})
    assert answer.status == 200, (path, answer.body)
    return json.loads(answer.body)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def resolves(document: Any, reference: str) -> bool:
    node = document
    for part in reference.removeprefix("#/").split("/"):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def test_every_openapi_v3_document_is_whole(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        index = await get(cluster, "/openapi/v3")
        assert {"api/v1", "apis/apps/v1", "apis/batch/v1"} <= set(index["paths"])
        for root, entry in index["paths"].items():
            assert entry["serverRelativeURL"].startswith(f"/openapi/v3/{root}?hash=")
            document = await get(cluster, f"/openapi/v3/{root}")
            assert document["openapi"].startswith("3.0") and document["info"]["title"] == "Kubernetes"
            dead = {each for each in references(document) if not resolves(document, each)}
            assert not dead, (root, sorted(dead)[:5])

    knarr_cluster.run(scenario, **BARE)


def test_openapi_v2_is_whole_and_describes_every_kind(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        document = await get(cluster, "/openapi/v2")
        assert document["swagger"] == "2.0"
        assert not {each for each in references(document) if not resolves(document, each)}
        described = {
            (marker["group"], marker["version"], marker["kind"])
            for schema in document["definitions"].values()
            for marker in schema.get("x-kubernetes-group-version-kind", ())
        }
        missing = {
            (each.group, each.version, each.kind)
            for each in scheme.all_resources()
            if each.storage_prefix and (each.group, each.version, each.kind) not in described
        }
        assert not missing

    knarr_cluster.run(scenario, **BARE)


def test_discovery_lists_every_resource_in_all_three_ways(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        groups = await get(cluster, "/apis")
        assert groups["kind"] == "APIGroupList" and "apps" in {each["name"] for each in groups["groups"]}
        assert (await get(cluster, "/api"))["versions"] == ["v1"]
        for api_version in scheme.group_versions():
            root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            listed = await get(cluster, root)
            assert listed["kind"] == "APIResourceList" and listed["groupVersion"] == api_version
            names = {each["name"] for each in listed["resources"]}
            wanted = {each.plural for each in scheme.all_resources() if each.api_version == api_version}
            assert wanted <= names, (api_version, wanted - names)
        pods = next(each for each in (await get(cluster, "/api/v1"))["resources"] if each["name"] == "pods")
        assert pods["shortNames"] == ["po"] and pods["namespaced"] and pods["kind"] == "Pod"
        assert set(pods["verbs"]) == {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
        accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        aggregated = await get(cluster, "/apis", accept)
        assert aggregated["kind"] == "APIGroupDiscoveryList"
        apps = next(each for each in aggregated["items"] if each["metadata"]["name"] == "apps")
        deployments = next(each for each in apps["versions"][0]["resources"] if each["resource"] == "deployments")
        assert {each["subresource"] for each in deployments["subresources"]} == {"scale", "status"}
        assert deployments["responseKind"]["kind"] == "Deployment" and deployments["scope"] == "Namespaced"

    knarr_cluster.run(scenario, **BARE)


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_health_is_told_to_anybody(knarr_cluster: ClusterRunner, path: str) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        nobody = cluster.client_for("system:anonymous", ("system:unauthenticated",))
        answer = await nobody.raw("GET", path)
        assert (answer.status, answer.body) == (200, b"ok")

    knarr_cluster.run(scenario, **BARE)


def test_the_version_is_upstreams(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        version = await get(cluster, "/version")
        assert (version["major"], version["minor"]) == ("1", "36") and version["gitVersion"].startswith("v1.36.")

    knarr_cluster.run(scenario, **BARE)
