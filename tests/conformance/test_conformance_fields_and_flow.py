"""[sig-api-machinery] field validation of built-in kinds, FlowSchema and PriorityLevelConfiguration."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conformance_api import API_ONLY, APPLY, MERGE, NS, Api, Object, api_operations, discovered, fails
from conformance_objects import workload

from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

JSON_TYPE = {"Accept": "application/json", "Content-Type": "application/json"}


async def warnings(cluster: InProcessCluster, method: str, path: str, body: bytes, content: str = "application/json", **query: str) -> tuple[int, Object, str]:
    """Status, answer and warning headers of one request."""
    headers = {"Accept": "application/json", "Content-Type": content}
    answer = await cluster.client.raw(method, path, query=list(query.items()), body=body, headers=headers)
    warned = next((str(value) for key, value in answer.headers.items() if key.lower() == "warning"), "")
    return answer.status, json.loads(answer.body), warned


def twice(document: Object) -> bytes:
    """The document with ``spec.paused`` said twice and a field that no Deployment has."""
    text = json.dumps(document)
    assert text.count('"replicas": 1') == 1
    return text.replace('"replicas": 1', '"replicas": 1, "unknown": "x", "paused": true, "paused": false').encode()


@pytest.mark.conformance(
    "[sig-api-machinery] FieldValidation should detect unknown and duplicate fields of a typed object [Conformance]"
)
def test_unknown_and_duplicate_fields_of_a_deployment_are_found(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "apps/v1", "deployments", NS)
        body = twice(workload("Deployment", "web", {"app": "web"}))
        status, answer, _ = await warnings(cluster, "POST", api.path(), body, fieldValidation="Strict")
        assert status == 400
        assert 'unknown field "spec.unknown"' in answer["message"] and 'duplicate field "spec.paused"' in answer["message"]
        status, _, warned = await warnings(cluster, "POST", api.path(), body, fieldValidation="Warn")
        assert status == 201 and 'unknown field' in warned and 'duplicate field' in warned
        held = await api.get("web")
        assert "unknown" not in held["spec"]
        status, _, warned = await warnings(cluster, "PUT", api.path("web"), body, fieldValidation="Ignore")
        assert status == 200 and warned == ""
        patch = b'{"spec": {"unknown": "x", "paused": true, "paused": true}}'
        status, answer, _ = await warnings(cluster, "PATCH", api.path("web"), patch, MERGE, fieldValidation="Strict")
        assert status in (400, 422) and "spec.unknown" in answer["message"] and "paused" in answer["message"]

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(
    "[sig-api-machinery] FieldValidation should detect unknown metadata fields of a typed object [Conformance]"
)
def test_unknown_metadata_of_a_deployment_is_found(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "apps/v1", "deployments", NS)
        body = workload("Deployment", "web", {"app": "web"})
        body["metadata"]["unknownMeta"] = "foo"
        error = await fails(api.create(body, fieldValidation="Strict"), 400, "BadRequest")
        assert 'unknown field "metadata.unknownMeta"' in str(error)
        applied = json.dumps(body).encode()
        query = {"fieldManager": "mgr", "fieldValidation": "Strict"}
        status, answer, _ = await warnings(cluster, "PATCH", api.path("web"), applied, APPLY, **query)
        assert status >= 400 and ".metadata.unknownMeta: field not declared in schema" in answer["message"]
        assert not await api.exists("web")

    knarr_cluster.run(scenario, **API_ONLY)


FLOW_SCHEMA: Object = {
    "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
    "kind": "FlowSchema",
    "metadata": {},
    "spec": {
        "matchingPrecedence": 10000,
        "priorityLevelConfiguration": {"name": "global-default"},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [
            {
                "subjects": [{"kind": "User", "user": {"name": "example-e2e-flowschema"}}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }
        ],
    },
}

PRIORITY_LEVEL: Object = {
    "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
    "kind": "PriorityLevelConfiguration",
    "metadata": {},
    "spec": {
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}},
    },
}

CONDITION = {"status": "False", "reason": "PatchStatus", "message": "from the test", "lastTransitionTime": "2030-01-01T00:00:00Z"}


async def flow_control(cluster: InProcessCluster, plural: str, obj: Object, condition: str, spec: Any) -> None:
    await discovered(cluster, "flowcontrol.apiserver.k8s.io", "v1", {plural, f"{plural}/status"})
    api = Api(cluster, "flowcontrol.apiserver.k8s.io/v1", plural)
    await api_operations(api, obj, status={"conditions": [{"type": condition, **CONDITION}]})
    await api.create({**obj, "metadata": {"name": "spec"}})
    patched = await api.patch("spec", {"spec": spec})
    assert patched["metadata"]["generation"] == 2
    key, value = next(iter(spec.items()))
    assert patched["spec"][key] == value or patched["spec"][key].items() >= value.items()


@pytest.mark.conformance(
    "[sig-api-machinery] API priority and fairness should support FlowSchema API operations [Conformance]"
)
def test_flow_schemas_can_be_kept(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await flow_control(cluster, "flowschemas", FLOW_SCHEMA, "Dangling", {"matchingPrecedence": 9999})

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.conformance(
    "[sig-api-machinery] API priority and fairness should support PriorityLevelConfiguration API operations [Conformance]"
)
def test_priority_levels_can_be_kept(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        spec = {"limited": {"nominalConcurrencyShares": 4}}
        await flow_control(cluster, "prioritylevelconfigurations", PRIORITY_LEVEL, "Stale", spec)

    knarr_cluster.run(scenario, **API_ONLY)
