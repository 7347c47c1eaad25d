"""[sig-api-machinery] custom resource definitions as objects, and [sig-auth] which pods are given a token."""

from __future__ import annotations

import pytest
from conformance_api import API_ONLY, NS, Api, Object, fails, has_condition
from conformance_objects import meta, pod

from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

GROUP = "e2e.example.com"
DEFINITIONS = ("apiextensions.k8s.io/v1", "customresourcedefinitions")


def definition(plural: str, labels: dict[str, str] | None = None, schema: Object | None = None, **spec: object) -> Object:
    singular = plural.removesuffix("s")
    names = {"plural": plural, "singular": singular, "kind": singular.capitalize(), "listKind": f"{singular.capitalize()}List"}
    shape = schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": shape}, **spec}
    body = {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": meta(f"{plural}.{GROUP}", labels), "spec": body}


async def defined(cluster: InProcessCluster, plural: str, schema: Object | None = None, labels: dict[str, str] | None = None, **spec: object) -> tuple[Api, Api]:
    """The definitions' API and that of the new kind, which is served."""
    api = Api(cluster, *DEFINITIONS)
    await api.create(definition(plural, labels, schema, **spec))
    await api.wait(f"{plural}.{GROUP}", lambda each: has_condition(each, "Established") and has_condition(each, "NamesAccepted"))
    return api, Api(cluster, f"{GROUP}/v1", plural, NS)


SIMPLE = "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin]"


@pytest.mark.conformance(f"{SIMPLE} Simple CustomResourceDefinition creating/deleting custom resource definition objects works [Conformance]")
def test_a_definition_is_made_and_deleted(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        definitions, noxus = await defined(cluster, "noxus")
        assert await noxus.items() == []
        await definitions.delete(f"noxus.{GROUP}")
        await definitions.wait_gone(f"noxus.{GROUP}")
        await fails(noxus.items(), 404)

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.conformance(f"{SIMPLE} Simple CustomResourceDefinition listing custom resource definition objects works [Conformance]")
def test_definitions_are_listed_and_deleted_together(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        labels = {"e2e-list-test": "yes"}
        for number in range(10):
            definitions, _ = await defined(cluster, f"noxu{number}s", labels=labels)
        found = await definitions.items("e2e-list-test=yes")
        assert len(found) == 10
        assert {each["spec"]["versions"][0]["storage"] for each in found} == {True}
        await definitions.delete_collection("e2e-list-test=yes")
        await definitions.wait_items(lambda left: not left, "e2e-list-test=yes")

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.conformance(
    f"{SIMPLE} Simple CustomResourceDefinition getting/updating/patching custom resource definition status sub-resource works [Conformance]"
)
def test_the_status_of_a_definition_can_be_changed(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        definitions, _ = await defined(cluster, "noxus")
        name = f"noxus.{GROUP}"
        assert has_condition(await definitions.get(name, "status"), "Established")
        update = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "by a test"}
        updated = await definitions.change(name, lambda obj: obj["status"]["conditions"].append(update), "status")
        assert has_condition(updated, "StatusUpdate")
        held = await definitions.get(name, "status")
        condition = {"type": "StatusPatched", "status": "True", "reason": "E2E", "message": "by a test"}
        patch = {"status": {"conditions": [*held["status"]["conditions"], condition]}}
        patched = await definitions.patch(name, patch, "status")
        assert has_condition(patched, "StatusPatched") and has_condition(patched, "StatusUpdate")

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.conformance(f"{SIMPLE} should include custom resource definition resources in discovery documents [Conformance]")
def test_definitions_are_discovered(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api, group = Api(cluster, "v1", ""), "apiextensions.k8s.io"
        listed = next(each for each in (await api.call("GET", "/apis"))["groups"] if each["name"] == group)
        assert {"groupVersion": f"{group}/v1", "version": "v1"} in listed["versions"]
        one = await api.call("GET", f"/apis/{group}")
        assert {"groupVersion": f"{group}/v1", "version": "v1"} in one["versions"]
        resources = await api.call("GET", f"/apis/{group}/v1")
        assert any((each["name"], each["kind"]) == ("customresourcedefinitions", "CustomResourceDefinition") for each in resources["resources"])

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceDefinition Watch [Privileged:ClusterAdmin] CustomResourceDefinition Watch watch on custom resource definition objects [Conformance]"
)
def test_objects_of_a_defined_kind_are_watched(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        schema = {"type": "object", "properties": {"content": free, "num": free}}
        _, noxus = await defined(cluster, "noxus", schema)
        async with (
            noxus.watch(fieldSelector="metadata.name=name1") as first,
            noxus.watch(fieldSelector="metadata.name=name2") as second,
        ):
            for name, watch, other in (("name1", first, second), ("name2", second, first)):
                await noxus.create({"apiVersion": f"{GROUP}/v1", "kind": "Noxu", "metadata": meta(name), "content": {"key": "value"}})
                await watch.until("ADDED", lambda each, name=name: each["metadata"]["name"] == name)
                await noxus.patch(name, {"num": {"num1": 1}})
                await watch.until("MODIFIED", lambda each: each["num"] == {"num1": 1})
                assert other.told == []
            for name, watch in (("name1", first), ("name2", second)):
                await noxus.delete(name)
                await watch.until("DELETED", lambda each, name=name: each["metadata"]["name"] == name)

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.conformance("[sig-auth] ServiceAccounts should allow opting out of API token automount [Conformance]")
def test_the_pod_has_the_last_word_on_its_token(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        accounts, pods = Api(cluster, "v1", "serviceaccounts", NS), Api(cluster, "v1", "pods", NS)
        for account, wanted in (("default", None), ("mount", True), ("nomount", False)):
            if account == "default":
                await accounts.wait("default", bool)
            else:
                await accounts.create({"metadata": meta(account), "automountServiceAccountToken": wanted})
            for said in (None, True, False):
                name = f"pod-{account}-{said}".lower()
                spec = {} if said is None else {"automountServiceAccountToken": said}
                made = await pods.create(pod(name, serviceAccountName=account, **spec))
                mounts = made["spec"]["containers"][0].get("volumeMounts", [])
                mounted = any(each["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount" for each in mounts)
                assert mounted == (said if said is not None else wanted is not False), name

    knarr_cluster.run(scenario, nodes=0)
