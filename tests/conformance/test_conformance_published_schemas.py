"""[sig-api-machinery] CustomResourcePublishOpenAPI: what clients read of a custom resource's schema follows its definition."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_api import API_ONLY, JSON, NS, Api, Object, fails, has_condition
from conformance_objects import meta
from test_conformance_definitions import DEFINITIONS, GROUP

from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

PUBLISHED = "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin]"
FREE: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
BARS: Object = {
    "type": "object",
    "description": "Foo CRD for Testing",
    "properties": {
        "spec": {
            "type": "object",
            "description": "Specification of Foo",
            "properties": {
                "bars": {
                    "type": "array",
                    "description": "List of Bars and their specs.",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string", "description": "Name of Bar."},
                            "age": {"type": "string", "description": "Age of Bar."},
                            "feeling": {"type": "string", "enum": ["Great", "Down"]},
                            "bazs": {"type": "array", "description": "List of Bazs.", "items": {"type": "string"}},
                        },
                    },
                }
            },
        },
        "status": {"type": "object", "description": "Status of Foo", "properties": {"ready": {"type": "boolean"}}},
    },
}


def row(name: str) -> pytest.MarkDecorator:
    return pytest.mark.conformance(f"{PUBLISHED} {name} [Conformance]")


def crd(plural: str, *versions: str, group: str = GROUP, schema: Object = BARS) -> Object:
    kind = plural.removesuffix("s").capitalize()
    made = [
        {"name": name, "served": True, "storage": name == versions[0], "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}
        for name in versions
    ]
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": made}
    return {"metadata": meta(f"{plural}.{group}"), "spec": spec}


async def make(cluster: InProcessCluster, body: Object) -> Api:
    crds = Api(cluster, *DEFINITIONS)
    await crds.create(body)
    await crds.wait(body["metadata"]["name"], lambda each: has_condition(each, "Established"))
    return crds


def key(version: str, kind: str, group: str = GROUP) -> str:
    return ".".join([*reversed(group.split(".")), version, kind])


async def schemas(cluster: InProcessCluster) -> Object:
    """All definitions of OpenAPI v2."""
    return (await Api(cluster, "v1", "").call("GET", "/openapi/v2"))["definitions"]


async def gone(cluster: InProcessCluster, name: str) -> None:
    async def reached() -> bool:
        return name not in await schemas(cluster)

    await cluster.wait_for(reached)


async def there(cluster: InProcessCluster, name: str) -> Object:
    async def reached() -> Any:
        return (await schemas(cluster)).get(name)

    found: Object = await cluster.wait_for(reached)
    return found


@row("works for CRD with validation schema")
def test_a_schema_is_published_explained_and_asked_of_what_is_written(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await make(cluster, crd("foos", "v1"))
        found = await there(cluster, key("v1", "Foo"))
        assert found["description"] == "Foo CRD for Testing"
        bars = found["properties"]["spec"]["properties"]["bars"]
        assert bars["description"] == "List of Bars and their specs."
        assert bars["items"]["required"] == ["name"] and bars["items"]["properties"]["feeling"]["enum"] == ["Great", "Down"]
        assert found["x-kubernetes-group-version-kind"] == [{"group": GROUP, "version": "v1", "kind": "Foo"}]
        three = await Api(cluster, "v1", "").call("GET", f"/openapi/v3/apis/{GROUP}/v1")
        assert three["components"]["schemas"][key("v1", "Foo")]["properties"]["spec"]["description"] == "Specification of Foo"
        assert f"/apis/{GROUP}/v1/namespaces/{{namespace}}/foos/{{name}}" in three["paths"]
        foos = Api(cluster, f"{GROUP}/v1", "foos", NS)
        body: Object = {"apiVersion": f"{GROUP}/v1", "kind": "Foo", "metadata": meta("test"), "spec": {"bars": [{"name": "test-bar"}]}}
        await foos.create(body, fieldValidation="Strict")
        other = {**body, "metadata": meta("other")}
        unknown = await fails(foos.create({**other, "spec": {"bars": [{"name": "a", "weird": 1}]}}, fieldValidation="Strict"), 400)
        assert 'unknown field "spec.bars[0].weird"' in str(unknown)
        lacking = await fails(foos.create({**other, "spec": {"bars": [{"age": "10"}]}}), 422, "Invalid")
        assert "spec.bars[0].name: Required value" in str(lacking)
        wrong = await fails(foos.create({**other, "spec": {"bars": [{"name": "a", "feeling": "NonExistentValue"}]}}), 422, "Invalid")
        assert 'Unsupported value: "NonExistentValue"' in str(wrong)

    knarr_cluster.run(scenario, **API_ONLY)


@row("works for CRD without validation schema")
def test_a_kind_without_a_schema_of_its_own_takes_anything(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await make(cluster, crd("empties", "v1", schema=FREE))
        found = await there(cluster, key("v1", "Emptie"))
        assert "properties" not in found and "x-kubernetes-preserve-unknown-fields" not in found
        api = Api(cluster, f"{GROUP}/v1", "empties", NS)
        body = {"apiVersion": f"{GROUP}/v1", "kind": "Emptie", "metadata": meta("test"), "a": {"b": [{"c": "d"}]}}
        made = await api.create(body, fieldValidation="Strict")
        assert made["a"] == body["a"]

    knarr_cluster.run(scenario, **API_ONLY)


@row("works for multiple CRDs of different groups")
def test_kinds_of_different_groups_are_published_side_by_side(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        for group in ("one.example.com", "two.example.com"):
            await make(cluster, crd("foos", "v1", group=group))
        for group in ("one.example.com", "two.example.com"):
            found = await there(cluster, key("v1", "Foo", group))
            assert found["x-kubernetes-group-version-kind"][0]["group"] == group

    knarr_cluster.run(scenario, **API_ONLY)


@row("works for multiple CRDs of same group but different versions")
def test_versions_of_one_group_are_published_side_by_side(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await make(cluster, crd("foos", "v2", "v3"))
        await make(cluster, crd("bars", "v4"))
        await make(cluster, crd("bazs", "v5"))
        for version, kind in (("v2", "Foo"), ("v3", "Foo"), ("v4", "Bar"), ("v5", "Baz")):
            found = await there(cluster, key(version, kind))
            assert found["x-kubernetes-group-version-kind"] == [{"group": GROUP, "version": version, "kind": kind}]

    knarr_cluster.run(scenario, **API_ONLY)


@row("works for multiple CRDs of same group and version but different kinds")
def test_kinds_of_one_version_are_published_side_by_side(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await make(cluster, crd("foos", "v6"))
        await make(cluster, crd("waldos", "v6"))
        await there(cluster, key("v6", "Foo"))
        await there(cluster, key("v6", "Waldo"))
        three = await Api(cluster, "v1", "").call("GET", f"/openapi/v3/apis/{GROUP}/v6")
        assert {key("v6", "Foo"), key("v6", "Waldo")} <= set(three["components"]["schemas"])

    knarr_cluster.run(scenario, **API_ONLY)


@row("updates the published spec when one version gets renamed")
def test_a_renamed_version_is_published_under_its_new_name_only(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        crds = await make(cluster, crd("foos", "v2", "v3"))
        await there(cluster, key("v3", "Foo"))
        before = (await schemas(cluster))[key("v2", "Foo")]
        await crds.patch(f"foos.{GROUP}", [{"op": "replace", "path": "/spec/versions/1/name", "value": "v4"}], kind=JSON)
        await there(cluster, key("v4", "Foo"))
        await gone(cluster, key("v3", "Foo"))
        assert (await schemas(cluster))[key("v2", "Foo")] == before
        await fails(Api(cluster, f"{GROUP}/v3", "foos", NS).items(), 404)
        assert await Api(cluster, f"{GROUP}/v4", "foos", NS).items() == []

    knarr_cluster.run(scenario, **API_ONLY)


@row("removes definition from spec when one version gets changed to not be served")
def test_a_version_that_is_no_longer_served_is_no_longer_published(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        crds = await make(cluster, crd("foos", "v5", "v6alpha1"))
        await there(cluster, key("v6alpha1", "Foo"))
        before = (await there(cluster, key("v5", "Foo")))
        await crds.patch(f"foos.{GROUP}", [{"op": "replace", "path": "/spec/versions/1/served", "value": False}], kind=JSON)
        await gone(cluster, key("v6alpha1", "Foo"))
        assert (await schemas(cluster))[key("v5", "Foo")] == before
        # The other way round, where what is not served is what is stored.
        await crds.patch(
            f"foos.{GROUP}",
            [{"op": "replace", "path": f"/spec/versions/{at}/served", "value": bool(at)} for at in (0, 1)],
            kind=JSON,
        )
        await there(cluster, key("v6alpha1", "Foo"))
        await gone(cluster, key("v5", "Foo"))
        api = Api(cluster, f"{GROUP}/v6alpha1", "foos", NS)
        await api.create({"apiVersion": f"{GROUP}/v6alpha1", "kind": "Foo", "metadata": meta("a"), "spec": {"bars": [{"name": "b"}]}})
        assert (await api.get("a"))["spec"] == {"bars": [{"name": "b"}]}

    knarr_cluster.run(scenario, **API_ONLY)
