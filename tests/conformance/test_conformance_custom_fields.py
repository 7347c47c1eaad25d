"""[sig-api-machinery] field validation of custom resources, and what aggregated discovery says of them."""

from __future__ import annotations

import json

import pytest
from conformance_api import API_ONLY, APPLY, NS, Api, Object, fails
from test_conformance_fields_and_flow import warnings
from test_conformance_published_schemas import FREE, GROUP, crd, make

from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

VALIDATION = "[sig-api-machinery] FieldValidation should"
DISCOVERY = "[sig-api-machinery] AggregatedDiscovery should support"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
STRICT = {"fieldManager": "mgr", "fieldValidation": "Strict"}
CRON: Object = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "foo": {"type": "string"},
                "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
                "ports": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
                    "items": {
                        "type": "object",
                        "required": ["containerPort", "protocol"],
                        "properties": {
                            "containerPort": {"type": "integer", "format": "int32"},
                            "hostIP": {"type": "string"},
                            "protocol": {"type": "string"},
                        },
                    },
                },
            },
        }
    },
}
EMBEDDED: Object = {
    "type": "object",
    "x-kubernetes-preserve-unknown-fields": True,
    "properties": {
        "spec": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {
                "template": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "x-kubernetes-embedded-resource": True,
                    "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string"}}}},
                }
            },
        }
    },
}


def of(**spec: object) -> Object:
    return {"apiVersion": f"{GROUP}/v1", "kind": "Noxu", "metadata": {"name": "mytest"}, "spec": spec}


async def noxus(cluster: InProcessCluster, schema: Object) -> Api:
    """The resource of a new definition."""
    await make(cluster, crd("noxus", "v1", schema=schema))
    return Api(cluster, f"{GROUP}/v1", "noxus", NS)


async def applied(api: Api, obj: Object | bytes) -> tuple[int, Object, str]:
    body = obj if isinstance(obj, bytes) else json.dumps(obj).encode()
    return await warnings(api.cluster, "PATCH", api.path("mytest"), body, APPLY, **STRICT)


@pytest.mark.conformance(f"{VALIDATION} create/apply a valid CR for CRD with validation schema [Conformance]")
def test_a_custom_resource_that_fits_its_schema_is_applied(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = await noxus(cluster, CRON)
        wanted = of(foo="foo1", cronSpec="* * * * */5", ports=[{"containerPort": 80, "protocol": "TCP", "hostIP": "10.0.0.1"}])
        status, answer, warned = await applied(api, wanted)
        assert (status, warned) == (201, "") and answer["spec"] == wanted["spec"]
        assert (await api.get("mytest"))["spec"] == wanted["spec"]
        status, answer, _ = await applied(api, of(cronSpec="every day"))
        assert (status, answer["reason"]) == (422, "Invalid") and "spec.cronSpec" in answer["message"]

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(f"{VALIDATION} create/apply a CR with unknown fields for CRD with no validation schema [Conformance]")
def test_a_definition_that_names_no_fields_takes_any(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = await noxus(cluster, FREE)
        wanted = of(foo="foo1", bar={"baz": [1, "two", None]})
        status, answer, warned = await applied(api, wanted)
        assert (status, warned) == (201, "") and answer["spec"]["bar"]["baz"][:2] == [1, "two"]
        assert (await api.get("mytest"))["spec"]["foo"] == "foo1"

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(f"{VALIDATION} create/apply an invalid CR with extra properties for CRD with validation schema [Conformance]")
def test_a_field_the_schema_does_not_have_is_refused_by_name(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = await noxus(cluster, CRON)
        wanted = of(foo="foo1", extraProperty="arbitrary-value", cronSpec="* * * * */5")
        status, answer, _ = await applied(api, wanted)
        assert status == 500 and ".spec.extraProperty: field not declared in schema" in answer["message"]
        status, answer, _ = await warnings(cluster, "POST", api.path(), json.dumps(wanted).encode(), fieldValidation="Strict")
        assert status == 400 and 'strict decoding error: unknown field "spec.extraProperty"' in answer["message"]
        assert not await api.exists("mytest")

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(f"{VALIDATION} detect unknown metadata fields in both the root and embedded object of a CR [Conformance]")
def test_metadata_is_checked_in_a_custom_resource_and_in_what_it_holds(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = await noxus(cluster, EMBEDDED)
        inner = {"apiVersion": "foo/v1", "kind": "Sub", "metadata": {"name": "subobject", "unknownSubMeta": "foo"}, "unknownSub": 1}
        wanted = of(template=inner, anything={"a": None})
        wanted["metadata"]["unknownMeta"] = "foo"
        for code, told, (status, answer, _) in (
            (500, ".%s: field not declared in schema", await applied(api, wanted)),
            (
                400,
                'unknown field "%s"',
                await warnings(cluster, "POST", api.path(), json.dumps(wanted).encode(), fieldValidation="Strict"),
            ),
        ):
            assert status == code
            assert told % "metadata.unknownMeta" in answer["message"]
            assert told % "spec.template.metadata.unknownSubMeta" in answer["message"]
            assert "anything" not in answer["message"] and "spec.template.unknownSub:" not in answer["message"]
        assert not await api.exists("mytest")
        status, answer, warned = await warnings(cluster, "POST", api.path(), json.dumps(wanted).encode(), fieldValidation="Warn")
        assert status == 201 and "unknownSubMeta" in warned
        kept = {**inner, "metadata": {"name": "subobject"}}
        assert answer["spec"] == (await api.get("mytest"))["spec"] == {"template": kept, "anything": {"a": None}}
        error = await fails(api.patch("mytest", {"spec": {"template": {"kind": None}}}), 422, "Invalid")
        assert "spec.template.kind: Required value: must not be empty" in str(error)
        patched = await api.patch("mytest", {"spec": {"template": {"metadata": {"labels": {"a": "b"}}, "unknownSub": 2}}})
        assert patched["spec"]["template"] == {**kept, "unknownSub": 2, "metadata": {"name": "subobject", "labels": {"a": "b"}}}

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(f"{VALIDATION} detect duplicates in a CR when preserving unknown fields [Conformance]")
def test_a_key_said_twice_is_refused_even_where_all_keys_are_kept(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = await noxus(cluster, FREE)
        body = f"apiVersion: {GROUP}/v1\nkind: Noxu\nmetadata:\n  name: mytest\nspec:\n  unknown: uk1\n  unknownDupe: unknown\n  unknownDupe: unknown2\n"
        status, answer, _ = await applied(api, body.encode())
        assert (status, answer["reason"]) == (400, "BadRequest")
        assert 'line 8: key "unknownDupe" already set in map' in answer["message"]
        assert not await api.exists("mytest")
        status, _, warned = await warnings(cluster, "POST", api.path(), body.encode(), "application/yaml", fieldValidation="Warn", dryRun="All")
        assert status == 201 and 'key \\"unknownDupe\\" already set in map' in warned
        status, answer, _ = await warnings(cluster, "POST", api.path(), body.encode(), "application/yaml", fieldValidation="Strict")
        assert status == 400 and 'strict decoding error: yaml: unmarshal errors:\n  line 8: key "unknownDupe" already set in map' in answer["message"]
        twice = json.dumps(of(unknown="uk1")).replace('"unknown"', '"unknown": 0, "unknown"').encode()
        status, answer, _ = await warnings(cluster, "POST", api.path(), twice, fieldValidation="Strict")
        assert status == 400 and 'duplicate field "spec.unknown"' in answer["message"]

    knarr_cluster.run(scenario, **API_ONLY)


async def discovered_versions(cluster: InProcessCluster, group: str) -> dict[str, set[str]]:
    """What aggregated discovery says of a group: the resources of each version."""
    answer = await cluster.client.raw("GET", "/apis", headers={"Accept": AGGREGATED})
    assert answer.status == 200 and answer.headers["Content-Type"] == AGGREGATED
    document = json.loads(answer.body)
    assert (document["kind"], document["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    found = [each for each in document["items"] if each["metadata"]["name"] == group]
    return {version["version"]: {each["resource"] for each in version["resources"]} for item in found for version in item["versions"]}


async def made_and_found(cluster: InProcessCluster) -> dict[str, dict[str, set[str]]]:
    """Two definitions, one of them with two versions, and what discovery came to say of their groups."""
    await make(cluster, crd("foos", "v1", "v2", group="one.example.com"))
    await make(cluster, crd("bars", "v1", group="two.example.com"))
    wanted = {"one.example.com": {"v1": {"foos"}, "v2": {"foos"}}, "two.example.com": {"v1": {"bars"}}}

    async def told() -> bool:
        return {group: await discovered_versions(cluster, group) for group in wanted} == wanted

    await cluster.wait_for(told)
    return wanted


@pytest.mark.conformance(f"{DISCOVERY} raw aggregated discovery request for CRDs [Conformance]")
def test_one_request_tells_of_all_custom_resources(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await made_and_found(cluster)
        answer = await cluster.client.raw("GET", "/apis", headers={"Accept": AGGREGATED})
        group = next(each for each in json.loads(answer.body)["items"] if each["metadata"]["name"] == "one.example.com")
        resource = group["versions"][0]["resources"][0]
        assert resource["responseKind"] == {"group": "one.example.com", "version": group["versions"][0]["version"], "kind": "Foo"}
        assert (resource["scope"], resource["singularResource"]) == ("Namespaced", "foo")
        assert set(resource["verbs"]) == {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
        assert [each["subresource"] for each in resource["subresources"]] == ["status"]

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(f"{DISCOVERY} aggregated discovery interface for CRDs [Conformance]")
def test_both_ways_of_discovery_tell_the_same_of_custom_resources(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        wanted = await made_and_found(cluster)
        api = Api(cluster, "v1", "")
        groups = {each["name"]: {v["version"] for v in each["versions"]} for each in (await api.call("GET", "/apis"))["groups"]}
        for group, versions in wanted.items():
            assert groups[group] == set(versions)
            for version, plurals in versions.items():
                listed = (await api.call("GET", f"/apis/{group}/{version}"))["resources"]
                assert {each["name"] for each in listed} == plurals | {f"{plural}/status" for plural in plurals}
        crds = Api(cluster, "apiextensions.k8s.io/v1", "customresourcedefinitions")
        await crds.delete("bars.two.example.com")

        async def forgotten() -> bool:
            return await discovered_versions(cluster, "two.example.com") == {}

        await cluster.wait_for(forgotten)

    knarr_cluster.run(scenario, **API_ONLY)
