"""[sig-api-machinery] AdmissionWebhook: what webhooks refuse and change, of which requests, and what becomes of those that fail.

Not here: the rows that need match conditions to be evaluated.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conformance_api import API_ONLY, STRATEGIC, Api, Object, discovered, fails, has_condition, namespace
from conformance_objects import config_map, meta, pod
from conformance_webhooks import SPACE, E2eWebhook, configurations, deployed, register, rule, webhook
from test_conformance_definitions import GROUP, defined, definition

from knarr.api.errors import StatusError
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

ROW = "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin]"
MAPS = rule(["configmaps"], ["CREATE"])
Scenario = Callable[[InProcessCluster, E2eWebhook], Awaitable[None]]


def row(name: str) -> pytest.MarkDecorator:
    return pytest.mark.conformance(f"{ROW} {name} [Conformance]")


def run(knarr_cluster: ClusterRunner, scenario: Scenario, **options: Any) -> None:
    webhooks = E2eWebhook()

    async def main(cluster: InProcessCluster) -> None:
        webhooks.clock = cluster.clock
        await scenario(cluster, webhooks)

    knarr_cluster.run(main, webhooks=webhooks, **{"nodes": 1, **options})


async def denied_by(call: Awaitable[Any], text: str) -> StatusError:
    error = await fails(call, 400)
    assert "denied the request" in str(error) and text in str(error), error
    return error


def maps(cluster: InProcessCluster, space: str = SPACE) -> Api:
    return Api(cluster, "v1", "configmaps", space)


@row("should include webhook resources in discovery documents")
def test_webhook_configurations_are_discovered(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await discovered(cluster, "admissionregistration.k8s.io", "v1", {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"})

    knarr_cluster.run(scenario, **API_ONLY)


@row("should be able to deny pod and configmap creation")
def test_pods_and_config_maps_are_denied_where_the_webhook_is_registered(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster, webhooks: E2eWebhook) -> None:
        space = await deployed(cluster, webhooks)
        selector = {"matchLabels": {SPACE: "true"}, "matchExpressions": [{"key": "skip-webhook-admission", "operator": "NotIn", "values": ["yes"]}]}
        await register(
            cluster,
            "validating",
            "deny",
            webhook("deny-unwanted-pod-container-name-and-label", "/pods", rule(["pods"], ["CREATE"]), everywhere=True, namespaceSelector=selector),
            webhook("deny-unwanted-configmap-data", "/configmaps", rule(["configmaps"], ["CREATE", "UPDATE"]), everywhere=True, namespaceSelector=selector),
        )
        pods = Api(cluster, "v1", "pods", space)
        bad = pod("disallowed-pod", {"webhook-e2e-test": "webhook-disallow"}, container={"name": "webhook-disallow"})
        error = await denied_by(pods.create(bad), "the pod contains unwanted container name; the pod contains unwanted label")
        assert str(error).startswith('admission webhook "deny-unwanted-pod-container-name-and-label.k8s.io" denied the request: ')
        (running,) = await pods.items("app=sample-webhook")
        assert webhooks.last().target.host == running["status"]["podIP"] and webhooks.last().target.port == 8444
        assert webhooks.last().target.url.startswith(f"https://e2e-test-webhook.{SPACE}.svc:8443/pods?timeout=10s")

        hanging = pods.create(pod("hanging-pod", {"webhook-e2e-test": "wait-forever"}))
        error = await fails(hanging, 500, "InternalError")
        assert "failed calling webhook" in str(error) and "context deadline exceeded" in str(error)
        assert not await pods.exists("hanging-pod")

        unwanted = {"webhook-e2e-test": "webhook-disallow"}
        await denied_by(maps(cluster).create(config_map("disallowed-configmap", None, **unwanted)), "the configmap contains unwanted key and value")
        held = await maps(cluster).create(config_map("allowed-configmap", None, admit="this"))
        await denied_by(maps(cluster).update({**held, "data": unwanted}), "the configmap contains unwanted key and value")
        await denied_by(maps(cluster).patch("allowed-configmap", {"data": unwanted}, kind=STRATEGIC), "the configmap contains unwanted key and value")
        assert (await maps(cluster).get("allowed-configmap"))["data"] == {"admit": "this"}
        skipped = await namespace(cluster, "skipped", **{"skip-webhook-admission": "yes", SPACE: "true"})
        await maps(cluster, skipped).create(config_map("disallowed-configmap", None, **unwanted))

    run(knarr_cluster, scenario)


@row("should be able to deny attaching pod")
def test_attaching_is_denied(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster, webhooks: E2eWebhook) -> None:
        space = await deployed(cluster, webhooks)
        await register(cluster, "validating", "attach", webhook("deny-attaching-pod", "/pods/attach", rule(["pods/attach"], ["CONNECT"])))
        pods = Api(cluster, "v1", "pods", space)
        await pods.create(pod("to-be-attached-pod", container={"name": "container1"}))
        query = {"container": "container1", "stdin": "true", "stdout": "true", "stderr": "true"}
        attach = pods.call("POST", pods.path("to-be-attached-pod", "attach"), **query)
        await denied_by(attach, "attaching to pod 'to-be-attached-pod' is not allowed")

    run(knarr_cluster, scenario)


@row("should be able to deny custom resource creation, update and deletion")
def test_custom_objects_are_denied_when_made_changed_and_deleted(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster, webhooks: E2eWebhook) -> None:
        space = await deployed(cluster, webhooks)
        await defined(cluster, "noxus")
        await register(
            cluster, "validating", "custom", webhook("deny-unwanted-custom-resource-data", "/custom-resource", rule(["noxus"], ["CREATE", "UPDATE", "DELETE"], GROUP))
        )
        noxus = Api(cluster, f"{GROUP}/v1", "noxus", space)
        unwanted = {"webhook-e2e-test": "webhook-disallow"}
        obj: Object = {"apiVersion": f"{GROUP}/v1", "kind": "Noxu", "metadata": meta("cr-instance-1"), "data": unwanted}
        await denied_by(noxus.create(obj), "the custom resource contains unwanted data")
        await noxus.create({**obj, "data": {"webhook-e2e-test": "webhook-allow"}})
        await denied_by(noxus.patch("cr-instance-1", {"data": unwanted}), "the custom resource contains unwanted data")
        # What is unwanted came in before anybody asked.
        await configurations(cluster, "validating").delete("custom")
        await noxus.patch("cr-instance-1", {"data": unwanted})
        await register(cluster, "validating", "custom", webhook("deny", "/custom-resource", rule(["noxus"], ["UPDATE", "DELETE"], GROUP)))
        text = "the custom resource cannot be deleted because it contains unwanted key and value"
        await denied_by(noxus.delete("cr-instance-1"), text)
        await noxus.patch("cr-instance-1", {"data": {"webhook-e2e-test": "webhook-allow"}})
        await noxus.delete("cr-instance-1")
        await noxus.wait_gone("cr-instance-1")

    run(knarr_cluster, scenario)


@row("should unconditionally reject operations on fail closed webhook")
def test_a_webhook_that_cannot_be_reached_refuses(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster, webhooks: E2eWebhook) -> None:
        await deployed(cluster, webhooks)
        await namespace(cluster, "closed", fail="closed")
        broken = webhook("fail-closed", "/configmaps", MAPS, failurePolicy="Fail")
        broken["clientConfig"] = {"service": {"namespace": SPACE, "name": "not-there", "path": "/configmaps"}}
        broken["namespaceSelector"] = {"matchLabels": {"fail": "closed"}}
        await register(cluster, "validating", "closed", broken)
        error = await fails(maps(cluster, "closed").create(config_map("foo")), 500, "InternalError")
        assert 'failed calling webhook "fail-closed.k8s.io"' in str(error)
        await maps(cluster).create(config_map("foo"))

    run(knarr_cluster, scenario)


@row("should mutate configmap")
def test_config_maps_are_changed_by_one_webhook_after_another(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster, webhooks: E2eWebhook) -> None:
        await deployed(cluster, webhooks)
        stages = [webhook(f"adding-configmap-data-stage-{stage}", "/mutating-configmaps", MAPS) for stage in (1, 2)]
        await register(cluster, "mutating", "stages", *stages)
        made = await maps(cluster).create(config_map("to-be-mutated", None, **{"mutation-start": "yes"}))
        assert made["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}

    run(knarr_cluster, scenario)


@row("should mutate pod and apply defaults after mutation")
def test_a_container_added_by_a_webhook_gets_its_defaults(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster, webhooks: E2eWebhook) -> None:
        space = await deployed(cluster, webhooks)
        await register(cluster, "mutating", "pods", webhook("adding-init-container", "/mutating-pods", rule(["pods"], ["CREATE"])))
        made = await Api(cluster, "v1", "pods", space).create(pod("webhook-to-be-mutated"))
        (added,) = made["spec"]["initContainers"]
        assert added["name"] == "webhook-added-init-container"
        assert added["terminationMessagePolicy"] == "File" and added["terminationMessagePath"] == "/dev/termination-log"

    run(knarr_cluster, scenario)


@row("should not be able to mutate or prevent deletion of webhook configuration objects")
def test_webhook_configurations_are_out_of_webhooks_reach(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster, webhooks: E2eWebhook) -> None:
        await deployed(cluster, webhooks)
        kinds = ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"]
        deleted = rule(kinds, ["DELETE"], "admissionregistration.k8s.io", "*")
        made = rule(kinds, ["CREATE"], "admissionregistration.k8s.io", "*")
        await register(cluster, "validating", "deny", webhook("deny-webhook-configuration-deletions", "/always-deny", deleted, everywhere=True, failurePolicy="Fail"))
        await register(cluster, "mutating", "label", webhook("add-label-to-webhook-configurations", "/add-label", made, everywhere=True, failurePolicy="Fail"))
        for kind in ("validating", "mutating"):
            dummy = webhook("dummy", "/never", rule(["pods"], ["CREATE"]), everywhere=True, failurePolicy="Ignore", namespaceSelector={"matchLabels": {"nobody": "x"}})
            created = await register(cluster, kind, f"dummy-{kind}", dummy)
            assert "labels" not in created["metadata"]
            await configurations(cluster, kind).delete(f"dummy-{kind}")
            await configurations(cluster, kind).wait_gone(f"dummy-{kind}")
        assert webhooks.calls == []

    run(knarr_cluster, scenario)


@row("should mutate custom resource")
def test_custom_objects_are_changed(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster, webhooks: E2eWebhook) -> None:
        made = await _mutated(cluster, webhooks, None)
        assert made["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}

    run(knarr_cluster, scenario)


@row("should mutate custom resource with pruning")
def test_what_a_webhook_adds_is_pruned_by_the_schema(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster, webhooks: E2eWebhook) -> None:
        known = {name: {"type": "string"} for name in ("mutation-start", "mutation-stage-1")}
        made = await _mutated(cluster, webhooks, {"type": "object", "properties": {"data": {"type": "object", "properties": known}}})
        assert made["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes"}

    run(knarr_cluster, scenario)


async def _mutated(cluster: InProcessCluster, webhooks: E2eWebhook, schema: Object | None) -> Object:
    space = await deployed(cluster, webhooks)
    await defined(cluster, "noxus", schema)
    stages = [webhook(f"mutate-custom-resource-data-stage-{stage}", "/mutating-custom-resource", rule(["noxus"], ["CREATE", "UPDATE"], GROUP)) for stage in (1, 2)]
    await register(cluster, "mutating", "custom", *stages)
    noxus = Api(cluster, f"{GROUP}/v1", "noxus", space)
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Noxu", "metadata": meta("cr-instance-1"), "data": {"mutation-start": "yes"}}
    return await noxus.create(body)


@row("should mutate custom resource with different stored version")
def test_custom_objects_are_changed_in_the_version_they_are_written_in_whichever_is_stored(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster, webhooks: E2eWebhook) -> None:
        space = await deployed(cluster, webhooks)
        free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        body = definition("noxus", None, free)
        second = {"name": "v2", "served": True, "storage": False, "schema": {"openAPIV3Schema": free}}
        body["spec"]["versions"].append(second)
        crds = Api(cluster, "apiextensions.k8s.io/v1", "customresourcedefinitions")
        await crds.create(body)
        await crds.wait(f"noxus.{GROUP}", lambda each: has_condition(each, "Established"))
        stages = [webhook(f"stage-{stage}", "/mutating-custom-resource", rule(["noxus"], ["CREATE", "UPDATE"], GROUP, "*")) for stage in (1, 2)]
        await register(cluster, "mutating", "custom", *stages)
        noxus = Api(cluster, f"{GROUP}/v1", "noxus", space)
        data = {"mutation-start": "yes"}
        made = await noxus.create({"apiVersion": f"{GROUP}/v1", "kind": "Noxu", "metadata": meta("cr-instance-1"), "data": data})
        assert made["data"] == {**data, "mutation-stage-1": "yes", "mutation-stage-2": "yes"}
        other = [
            {"op": "replace", "path": "/spec/versions/0/storage", "value": False},
            {"op": "replace", "path": "/spec/versions/1/storage", "value": True},
        ]
        await crds.patch(f"noxus.{GROUP}", other, kind="application/json-patch+json")
        await crds.wait(f"noxus.{GROUP}", lambda each: "v2" in each["status"]["storedVersions"])
        stored = next(each["name"] for each in (await crds.get(f"noxus.{GROUP}"))["spec"]["versions"] if each["storage"])
        assert stored == "v2"
        patched = await noxus.patch("cr-instance-1", {"data": {"mutation-start": "yes", "more": "data"}})
        assert patched["apiVersion"] == f"{GROUP}/v1"
        assert patched["data"] == {**data, "more": "data", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}

    run(knarr_cluster, scenario)


@row("should deny crd creation")
def test_a_definition_is_denied(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster, webhooks: E2eWebhook) -> None:
        await deployed(cluster, webhooks)
        selector = {"matchLabels": {"webhook-e2e-test": "webhook-disallow"}}
        crds = rule(["customresourcedefinitions"], ["CREATE"], "apiextensions.k8s.io", "*")
        await register(cluster, "validating", "crds", webhook("deny-crd-with-unwanted-label", "/crd", crds, everywhere=True, objectSelector=selector))
        api = Api(cluster, "apiextensions.k8s.io/v1", "customresourcedefinitions")
        await denied_by(api.create(definition("noxus", {"webhook-e2e-test": "webhook-disallow"})), "the crd contains unwanted label")
        await api.create(definition("noxus"))

    run(knarr_cluster, scenario)


@row("should honor timeout")
def test_a_slow_webhook_is_waited_for_as_long_as_it_says(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster, webhooks: E2eWebhook) -> None:
        await deployed(cluster, webhooks)
        slow = ("allow-configmap-with-delay", "/always-allow-delay-5s", MAPS)

        async def attempt(name: str, **more: Any) -> None:
            await register(cluster, "validating", "slow", webhook(*slow, **more))
            try:
                await maps(cluster).create(config_map(name))
            finally:
                await configurations(cluster, "validating").delete("slow")

        error = await fails(attempt("fails", timeoutSeconds=1, failurePolicy="Fail"), 500)
        assert "context deadline exceeded" in str(error) and "timeout=1s" in str(error)
        await attempt("ignored", timeoutSeconds=1, failurePolicy="Ignore")
        await attempt("patient", timeoutSeconds=10, failurePolicy="Fail")
        await attempt("default", failurePolicy="Fail")
        assert not await maps(cluster).exists("fails")

    run(knarr_cluster, scenario)


@row("patching/updating a validating webhook should work")
def test_a_validating_webhook_follows_its_configuration(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster, webhooks: E2eWebhook) -> None:
        await deployed(cluster, webhooks)
        api = configurations(cluster, "validating")
        await register(cluster, "validating", "changing", webhook("deny-unwanted-configmap-data", "/configmaps", MAPS))
        unwanted = config_map("bad", None, **{"webhook-e2e-test": "webhook-disallow"})
        await denied_by(maps(cluster).create(unwanted), "unwanted key and value")
        await api.change("changing", lambda obj: obj["webhooks"][0]["rules"][0].update(operations=["UPDATE"]))
        await maps(cluster).create(unwanted)
        await maps(cluster).delete("bad")
        await api.patch("changing", [{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}], kind="application/json-patch+json")
        await denied_by(maps(cluster).create(unwanted), "unwanted key and value")

    run(knarr_cluster, scenario)


@row("patching/updating a mutating webhook should work")
def test_a_mutating_webhook_follows_its_configuration(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster, webhooks: E2eWebhook) -> None:
        await deployed(cluster, webhooks)
        api = configurations(cluster, "mutating")
        await register(cluster, "mutating", "changing", webhook("adding-configmap-data", "/mutating-configmaps", MAPS))

        async def changed(name: str) -> bool:
            made = await maps(cluster).create(config_map(name, None, **{"mutation-start": "yes"}))
            return "mutation-stage-1" in made["data"]

        assert await changed("one")
        await api.change("changing", lambda obj: obj["webhooks"][0]["rules"][0].update(operations=["UPDATE"]))
        assert not await changed("two")
        await api.patch("changing", [{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}], kind="application/json-patch+json")
        assert await changed("three")

    run(knarr_cluster, scenario)


@row("listing validating webhooks should work")
def test_validating_webhooks_are_listed_and_end_when_deleted_together(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster, webhooks: E2eWebhook) -> None:
        await deployed(cluster, webhooks)
        label = {"e2e-list-test": "yes"}
        for number in range(10):
            await register(cluster, "validating", f"list-{number}", webhook(f"deny-{number}", "/configmaps", MAPS), labels=label)
        api = configurations(cluster, "validating")
        assert len(await api.items("e2e-list-test=yes")) == 10
        unwanted = config_map("bad", None, **{"webhook-e2e-test": "webhook-disallow"})
        await denied_by(maps(cluster).create(unwanted), "unwanted key and value")
        await api.delete_collection("e2e-list-test=yes")
        await maps(cluster).create(unwanted)

    run(knarr_cluster, scenario)


@row("listing mutating webhooks should work")
def test_mutating_webhooks_are_listed_and_end_when_deleted_together(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster, webhooks: E2eWebhook) -> None:
        await deployed(cluster, webhooks)
        label = {"e2e-list-test": "yes"}
        for number in range(10):
            await register(cluster, "mutating", f"list-{number}", webhook(f"add-{number}", "/mutating-configmaps", MAPS), labels=label)
        api = configurations(cluster, "mutating")
        assert len(await api.items("e2e-list-test=yes")) == 10
        made = await maps(cluster).create(config_map("one", None, **{"mutation-start": "yes"}))
        assert made["data"]["mutation-stage-1"] == "yes"
        await api.delete_collection("e2e-list-test=yes")
        made = await maps(cluster).create(config_map("two", None, **{"mutation-start": "yes"}))
        assert made["data"] == {"mutation-start": "yes"}

    run(knarr_cluster, scenario)


@row("should be able to create and update validating webhook configurations with match conditions")
def test_validating_configurations_hold_match_conditions(knarr_cluster: ClusterRunner) -> None:
    _conditions(knarr_cluster, "validating")


@row("should be able to create and update mutating webhook configurations with match conditions")
def test_mutating_configurations_hold_match_conditions(knarr_cluster: ClusterRunner) -> None:
    _conditions(knarr_cluster, "mutating")


def _conditions(knarr_cluster: ClusterRunner, kind: str) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        first = [{"name": "expression-1", "expression": "object.metadata.namespace == 'production'"}]
        made = await register(cluster, kind, "conditions", webhook("conditional", "/pods", MAPS, everywhere=True, matchConditions=first))
        assert made["webhooks"][0]["matchConditions"] == first
        second = [*first, {"name": "expression-2", "expression": "object.metadata.namespace == 'staging'"}]
        updated = await configurations(cluster, kind).change("conditions", lambda obj: obj["webhooks"][0].update(matchConditions=second))
        assert updated["webhooks"][0]["matchConditions"] == second
        assert (await configurations(cluster, kind).get("conditions"))["webhooks"][0]["matchConditions"] == second

    knarr_cluster.run(scenario, **API_ONLY)

