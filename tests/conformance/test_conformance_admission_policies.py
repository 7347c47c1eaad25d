"""[sig-api-machinery] ValidatingAdmissionPolicy, and the webhooks' rows on match conditions: expressions that decide on requests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from conformance_api import API_ONLY, NS, Api, Object, api_operations, fails, has_condition
from conformance_objects import config_map, meta, workload
from conformance_webhooks import E2eWebhook, configurations, deployed, register, rule, webhook

from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

ROW = "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin]"
WEBHOOK_ROW = "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin]"
GROUP = "admissionregistration.k8s.io/v1"
DEPLOYMENTS = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}


def policy(name: str, *validations: Object, **spec: Any) -> Object:
    body = {"matchConstraints": {"resourceRules": [DEPLOYMENTS]}, "validations": list(validations), **spec}
    return {"apiVersion": GROUP, "kind": "ValidatingAdmissionPolicy", "metadata": meta(name), "spec": body}


def binding(name: str, policy_name: str, **spec: Any) -> Object:
    body = {"policyName": policy_name, "validationActions": ["Deny"], **spec}
    return {"apiVersion": GROUP, "kind": "ValidatingAdmissionPolicyBinding", "metadata": meta(name), "spec": body}


def deployment(name: str, replicas: int = 1) -> Object:
    return workload("Deployment", name, {"app": name}, replicas=replicas)


async def bound(cluster: InProcessCluster, made: Object) -> None:
    name = made["metadata"]["name"]
    await Api(cluster, GROUP, "validatingadmissionpolicies").create(made)
    await Api(cluster, GROUP, "validatingadmissionpolicybindings").create(binding(name, name))


@pytest.mark.conformance(f"{ROW} should validate against a Deployment [Conformance]")
def test_deployments_are_held_to_a_policy(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await bound(
            cluster,
            policy(
                "replicas",
                {"expression": "object.spec.replicas > 1", "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)"},
                {"expression": f"namespaceObject.metadata.name == '{NS}'", "message": "another namespace"},
            ),
        )
        deployments = Api(cluster, "apps/v1", "deployments", NS)
        await deployments.create(deployment("two", replicas=2))
        error = await fails(deployments.create(deployment("one", replicas=1)), 422, "Invalid")
        text = "ValidatingAdmissionPolicy 'replicas' with binding 'replicas' denied request: wants replicas > 1, got 1"
        assert str(error) == f'deployments.apps "one" is forbidden: {text}'
        assert error.status.details is not None and [cause.message for cause in error.status.details.causes] == [text]
        await fails(deployments.patch("two", {"spec": {"replicas": 1}}), 422, "Invalid")
        assert (await deployments.get("two"))["spec"]["replicas"] == 2

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(f"{ROW} should allow expressions to refer variables. [Conformance]")
def test_expressions_use_the_variables_of_their_policy(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        variables = [
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
        ]
        await bound(
            cluster,
            policy("odd", {"expression": "variables.replicas > 1"}, {"expression": "variables.oddReplicas"}, variables=variables),
        )
        deployments = Api(cluster, "apps/v1", "deployments", NS)
        await deployments.create(deployment("three", replicas=3))
        error = await fails(deployments.create(deployment("one", replicas=1)), 422, "Invalid")
        assert "denied request: failed expression: variables.replicas > 1" in str(error)
        error = await fails(deployments.create(deployment("four", replicas=4)), 422, "Invalid")
        assert "denied request: failed expression: variables.oddReplicas" in str(error)

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(f"{ROW} should support ValidatingAdmissionPolicy API operations [Conformance]")
def test_validating_policies_are_kept(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        condition = {"type": "StatusPatched", "status": "True", "reason": "E2E", "message": "by a test", "lastTransitionTime": "2024-01-01T00:00:00Z"}
        api = Api(cluster, GROUP, "validatingadmissionpolicies")
        await api_operations(api, policy("", {"expression": "object.spec.replicas <= 100"}), status={"conditions": [condition]})
        made = await api.create(policy("status", {"expression": "true"}))
        assert made["status"] == {} or "conditions" not in made["status"]
        await api.patch("status", {"status": {"conditions": [condition]}}, "status")
        assert has_condition(await api.get("status", "status"), "StatusPatched")

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(f"{ROW} should support ValidatingAdmissionPolicyBinding API operations [Conformance]")
def test_validating_bindings_are_kept(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, GROUP, "validatingadmissionpolicybindings")
        await api_operations(api, binding("", "nothing.example.com"))

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(f"{WEBHOOK_ROW} should reject validating webhook configurations with invalid match conditions [Conformance]")
def test_validating_configurations_refuse_conditions_that_cannot_be(knarr_cluster: ClusterRunner) -> None:
    _rejected(knarr_cluster, "validating")


@pytest.mark.conformance(f"{WEBHOOK_ROW} should reject mutating webhook configurations with invalid match conditions [Conformance]")
def test_mutating_configurations_refuse_conditions_that_cannot_be(knarr_cluster: ClusterRunner) -> None:
    _rejected(knarr_cluster, "mutating")


def _rejected(knarr_cluster: ClusterRunner, kind: str) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        conditions = [{"name": "expression-1", "expression": "... [] bad expression"}]
        hook = webhook("conditional", "/pods", rule(["configmaps"], ["CREATE"]), everywhere=True, matchConditions=conditions)
        error = await fails(register(cluster, kind, "conditions", hook), 422, "Invalid")
        assert "webhooks[0].matchConditions[0].expression: Invalid value: \"... [] bad expression\": compilation failed" in str(error)
        await fails(configurations(cluster, kind).get("conditions"), 404)

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(f"{WEBHOOK_ROW} should mutate everything except 'skip-me' configmaps [Conformance]")
def test_a_condition_keeps_a_webhook_from_one_object(knarr_cluster: ClusterRunner) -> None:
    webhooks = E2eWebhook()

    async def scenario(cluster: InProcessCluster) -> None:
        webhooks.clock = cluster.clock
        space = await deployed(cluster, webhooks)
        conditions = [{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}]
        hook = webhook("adding-configmap-data-stage-1", "/mutating-configmaps", rule(["configmaps"], ["CREATE"]), matchConditions=conditions)
        await register(cluster, "mutating", "skip", hook)
        maps = Api(cluster, "v1", "configmaps", space)
        skipped = await maps.create(config_map("skip-me", None, **{"mutation-start": "yes"}))
        assert skipped["data"] == {"mutation-start": "yes"}
        changed = await maps.create(config_map("other", None, **{"mutation-start": "yes"}))
        assert changed["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes"}

    knarr_cluster.run(scenario, webhooks=webhooks, nodes=1)


def test_requests_that_no_policy_concerns_pass_by(knarr_cluster: ClusterRunner) -> None:
    """A policy on deployments is not asked about config maps: not even a broken one refuses them."""

    async def scenario(cluster: InProcessCluster) -> None:
        await bound(cluster, policy("broken", {"expression": "object.spec.nope > 1"}))
        maps = Api(cluster, "v1", "configmaps", NS)
        await asyncio.gather(*(maps.create(config_map(f"map-{number}", None)) for number in range(20)))
        error = await fails(Api(cluster, "apps/v1", "deployments", NS).create(deployment("web")), 422, "Invalid")
        assert "expression 'object.spec.nope > 1' resulted in error: no such key: nope" in str(error)

    knarr_cluster.run(scenario, **API_ONLY)
