"""[sig-api-machinery] custom resources in several versions with a conversion webhook, and schemas that default or keep what they do not name."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_api import API_ONLY, JSON, Api, Object, fails, has_condition
from conformance_objects import meta
from conformance_webhooks import E2eWebhook, client_config, deployed
from test_conformance_definitions import DEFINITIONS, GROUP, SIMPLE, defined

from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

STABLE = "stable.example.com"
CONVERSION = "[sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin]"
PUBLISHED = "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin]"


def multiversion() -> Object:
    def version(name: str, storage: bool, **properties: Object) -> Object:
        schema = {"type": "object", "properties": properties}
        return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}}

    text = {"type": "string"}
    names = {"plural": "testcrds", "singular": "testcrd", "kind": "TestCrd", "listKind": "TestCrdList"}
    webhook = {"clientConfig": client_config("/crdconvert"), "conversionReviewVersions": ["v1", "v1beta1"]}
    spec = {
        "group": STABLE,
        "scope": "Namespaced",
        "names": names,
        "versions": [version("v1", True, hostPort=text), version("v2", False, host=text, port=text)],
        "conversion": {"strategy": "Webhook", "webhook": webhook},
    }
    return {"metadata": meta(f"testcrds.{STABLE}"), "spec": spec}


def hosts(cluster: InProcessCluster, version: str, space: str) -> Api:
    return Api(cluster, f"{STABLE}/{version}", "testcrds", space)


def host(name: str, version: str, **fields: str) -> Object:
    return {"apiVersion": f"{STABLE}/{version}", "kind": "TestCrd", "metadata": meta(name), **fields}


async def prepared(cluster: InProcessCluster, webhooks: E2eWebhook) -> tuple[Api, str]:
    space = await deployed(cluster, webhooks)
    crds = Api(cluster, *DEFINITIONS)
    await crds.create(multiversion())
    await crds.wait(f"testcrds.{STABLE}", lambda each: has_condition(each, "Established"))
    return crds, space


@pytest.mark.conformance(f"{CONVERSION} should be able to convert from CR v1 to CR v2 [Conformance]")
def test_an_object_of_one_version_is_read_in_the_other(knarr_cluster: ClusterRunner) -> None:
    webhooks = E2eWebhook()

    async def scenario(cluster: InProcessCluster) -> None:
        _, space = await prepared(cluster, webhooks)
        await hosts(cluster, "v1", space).create(host("name-1", "v1", hostPort="host1:8080"))
        read = await hosts(cluster, "v2", space).get("name-1")
        assert (read["apiVersion"], read["host"], read["port"]) == (f"{STABLE}/v2", "host1", "8080") and "hostPort" not in read
        assert webhooks.last().target.url.endswith("/crdconvert?timeout=30s")

    knarr_cluster.run(scenario, nodes=1, webhooks=webhooks)


@pytest.mark.conformance(f"{CONVERSION} should be able to convert a non homogeneous list of CRs [Conformance]")
def test_a_list_of_objects_stored_in_different_versions_is_read_in_each(knarr_cluster: ClusterRunner) -> None:
    webhooks = E2eWebhook()

    async def scenario(cluster: InProcessCluster) -> None:
        crds, space = await prepared(cluster, webhooks)
        v1, v2 = hosts(cluster, "v1", space), hosts(cluster, "v2", space)
        await v1.create(host("name-1", "v1", hostPort="host1:8080"))
        swap = [{"op": "replace", "path": f"/spec/versions/{at}/storage", "value": bool(at)} for at in (0, 1)]
        await crds.patch(f"testcrds.{STABLE}", swap, kind=JSON)
        await crds.wait(f"testcrds.{STABLE}", lambda each: "v2" in each["status"]["storedVersions"])
        await v1.create(host("name-2", "v1", hostPort="host1:8080"))
        values = (await cluster.store.range(f"/registry/{STABLE}/testcrds/")).items
        assert [b'"apiVersion":"stable.example.com/v%d"' % number in item.value for item, number in zip(values, (1, 2), strict=True)] == [True, True]
        assert [each["hostPort"] for each in await v1.items()] == ["host1:8080"] * 2
        assert [(each["host"], each["port"]) for each in await v2.items()] == [("host1", "8080")] * 2

    knarr_cluster.run(scenario, nodes=1, webhooks=webhooks)


@pytest.mark.conformance(f"{SIMPLE} custom resource defaulting for requests and from storage works [Conformance]")
def test_defaults_come_with_requests_and_with_what_was_stored_before(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        schema = {"type": "object", "properties": {"a": {"type": "string", "default": "A"}, "b": {"type": "string"}}}
        crds, noxus = await defined(cluster, "noxus", schema)
        made = await noxus.create({"apiVersion": f"{GROUP}/v1", "kind": "Noxu", "metadata": meta("name1")})
        assert made["a"] == "A" and "b" not in made
        root = "/spec/versions/0/schema/openAPIV3Schema/properties"
        change = [{"op": "remove", "path": f"{root}/a/default"}, {"op": "add", "path": f"{root}/b/default", "value": "B"}]
        await crds.patch(f"noxus.{GROUP}", change, kind=JSON)
        read = await noxus.wait("name1", lambda each: each.get("b") == "B")
        assert read["a"] == "A"
        other = await noxus.create({"apiVersion": f"{GROUP}/v1", "kind": "Noxu", "metadata": meta("name2")})
        assert other["b"] == "B" and "a" not in other

    knarr_cluster.run(scenario, **API_ONLY)


FREE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


async def published(api: Api, kind: str) -> Object:
    """The kind's definition in the documents clients read: in OpenAPI v2, and the same in v3."""
    key = f"com.example.e2e.v1.{kind}"
    found = (await api.call("GET", "/openapi/v2"))["definitions"][key]
    assert key in (await api.call("GET", f"/openapi/v3/apis/{GROUP}/v1"))["components"]["schemas"]
    return found


@pytest.mark.conformance(f"{PUBLISHED} works for CRD preserving unknown fields at the schema root [Conformance]")
def test_a_root_that_preserves_unknown_fields_keeps_and_publishes_them(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        _, noxus = await defined(cluster, "noxus", FREE)
        schema = await published(noxus, "Noxu")
        # Whatever this version of the format listed, clients would take for everything there is.
        assert set(schema) == {"type", "x-kubernetes-group-version-kind"}
        assert schema["x-kubernetes-group-version-kind"] == [{"group": GROUP, "version": "v1", "kind": "Noxu"}]
        body = {"apiVersion": f"{GROUP}/v1", "kind": "Noxu", "metadata": meta("test"), "a": {"b": {"c": "d"}}}
        made = await noxus.create(body, fieldValidation="Strict")
        assert made["a"] == body["a"] and (await noxus.get("test"))["a"] == body["a"]
        applied: dict[str, Any] = {**body, "a": {"b": {"c": "e"}}, "spec": [1]}
        again = await noxus.patch("test", applied, kind="application/apply-patch+yaml", fieldManager="kubectl", force="true")
        assert again["a"] == applied["a"] and again["spec"] == [1]
        removed = await noxus.patch("test", {"a": None})
        assert "a" not in removed and removed["spec"] == [1]
        await noxus.delete("test")

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(f"{PUBLISHED} works for CRD preserving unknown fields in an embedded object [Conformance]")
def test_a_part_that_preserves_unknown_fields_keeps_and_publishes_them(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        schema = {"type": "object", "properties": {"spec": FREE, "status": FREE}}
        _, noxus = await defined(cluster, "noxus", schema)
        found = await published(noxus, "Noxu")
        assert found["properties"]["spec"]["x-kubernetes-preserve-unknown-fields"] is True
        body = {"apiVersion": f"{GROUP}/v1", "kind": "Noxu", "metadata": meta("test"), "spec": {"b": [{"c": "d"}]}}
        made = await noxus.create(body, fieldValidation="Strict")
        assert made["spec"] == body["spec"]
        await fails(noxus.create({**body, "metadata": meta("other"), "rest": 1}, fieldValidation="Strict"), 400)
        dropped = await noxus.create({**body, "metadata": meta("other"), "rest": 1})
        assert "rest" not in dropped

    knarr_cluster.run(scenario, **API_ONLY)


