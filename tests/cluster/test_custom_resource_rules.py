"""Rules in CEL in a definition: who breaks one is told, and old objects can still be changed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from knarr.api.apiextensions import rule_costs
from knarr.client.transport import Response
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

PATH = "/apis/example.com/v1/namespaces/default/windows"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def definition(spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    status = {"type": "object", "properties": {"open": {"type": "integer"}},
              "x-kubernetes-validations": [{"rule": "self.open >= 0", "message": "open must not be negative"}]}  # fmt: skip
    schema = {"type": "object", "required": ["spec"], "properties": {"spec": spec, "status": status}, **more}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}
    names = {"plural": "windows", "singular": "window", "kind": "Window", "listKind": "WindowList"}
    body = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "windows.example.com"}, "spec": body}  # fmt: skip


def spec(*rules: dict[str, Any]) -> dict[str, Any]:
    number = {"type": "integer"}
    return {"type": "object", "required": ["low"], "properties": {"low": number, "high": number}, "x-kubernetes-validations": list(rules)}


RANGE = {"rule": "!has(self.high) || self.low <= self.high", "messageExpression": "'low %d is above high %d'.format([self.low, self.high])"}
FIXED = {"rule": "self.low == oldSelf.low", "message": "low is fixed", "reason": "FieldValueForbidden", "fieldPath": ".low"}


async def call(cluster: InProcessCluster, method: str, path: str, body: Any) -> Response:
    content = "application/merge-patch+json" if method == "PATCH" else "application/json"
    return await cluster.client.raw(method, path, body=msgspec.json.encode(body), headers={"Content-Type": content})


def window(name: str, **values: int) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Window", "metadata": {"name": name}, "spec": values}


def message(answer: Response) -> str:
    return str(msgspec.json.decode(answer.body)["message"])


async def established(cluster: InProcessCluster, body: dict[str, Any]) -> None:
    answer = await call(cluster, "POST", DEFINITIONS, body)
    assert answer.status == 201, answer.body
    for _ in range(100):
        if (await cluster.client.raw("GET", PATH)).status == 200:
            return
        await cluster.sleep(0.1)
    raise AssertionError("not served")


def test_an_object_that_breaks_a_rule_is_refused_and_nothing_is_written(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await established(cluster, definition(spec(RANGE, FIXED)))
        refused = await call(cluster, "POST", PATH, window("a", low=3, high=2))
        assert refused.status == 422
        assert message(refused) == 'Window.example.com "a" is invalid: spec: Invalid value: low 3 is above high 2'
        assert (await cluster.client.raw("GET", f"{PATH}/a")).status == 404
        assert (await call(cluster, "POST", PATH, window("a", low=1, high=2))).status == 201
        moved = await call(cluster, "PATCH", f"{PATH}/a", {"spec": {"low": 2}})
        assert moved.status == 422
        assert message(moved) == 'Window.example.com "a" is invalid: spec.low: Forbidden: low is fixed'
        assert (await call(cluster, "PATCH", f"{PATH}/a", {"spec": {"high": 9}})).status == 200
        status = await call(cluster, "PATCH", f"{PATH}/a/status", {"status": {"open": -1}})
        assert status.status == 422 and "status: Invalid value: open must not be negative" in message(status)
        assert (await call(cluster, "PATCH", f"{PATH}/a/status", {"status": {"open": 1}})).status == 200

    knarr_cluster.run(scenario, nodes=0)


def test_an_object_unsound_otherwise_is_not_asked_the_rules(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await established(cluster, definition(spec(RANGE)))
        refused = await call(cluster, "POST", PATH, window("a", high=2))
        assert refused.status == 422
        assert "spec.low: Required value" in message(refused)
        assert '<nil>: Invalid value: "null": some validation rules were not checked because the object was invalid' in message(refused)

    knarr_cluster.run(scenario, nodes=0)


def test_a_new_rule_leaves_old_objects_changeable_and_warns(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await established(cluster, definition(spec()))
        assert (await call(cluster, "POST", PATH, window("old", low=0))).status == 201
        name = f"{DEFINITIONS}/windows.example.com"
        wanted = definition(spec({"rule": "self.low > 0", "message": "low must be positive"}))["spec"]["versions"]
        assert (await call(cluster, "PATCH", name, {"spec": {"versions": wanted}})).status == 200
        for _ in range(100):
            if (await call(cluster, "POST", f"{PATH}?dryRun=All", window("new", low=0))).status == 422:
                break
            await cluster.sleep(0.1)
        labelled = await call(cluster, "PATCH", f"{PATH}/old", {"metadata": {"labels": {"a": "b"}}})
        assert labelled.status == 200, labelled.body
        assert "spec: Invalid value: low must be positive" in labelled.headers["Warning"]
        assert (await call(cluster, "PATCH", f"{PATH}/old", {"spec": {"high": 1}})).status == 422

    knarr_cluster.run(scenario, nodes=0)


def test_a_definition_with_a_rule_that_cannot_be_is_refused(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        refused = await call(cluster, "POST", DEFINITIONS, definition(spec({"rule": "self.lo > 0"})))
        assert refused.status == 422
        text = message(refused)
        assert "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: " in text
        assert "compilation failed: ERROR: <input>:1:5: undefined field 'lo'\n | self.lo > 0\n | ....^" in text

    knarr_cluster.run(scenario, nodes=0)


def selectable(*paths: str) -> dict[str, Any]:
    body = definition(spec())
    version = body["spec"]["versions"][0]
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["color"] = {"type": "string"}
    version["selectableFields"] = [{"jsonPath": path} for path in paths]
    return body


def test_objects_are_selected_by_the_fields_their_definition_names(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await established(cluster, selectable(".spec.color", ".spec.high"))
        for name, color, high in (("a", "red", 1), ("b", "blue", 2), ("c", "red", 2)):
            assert (await call(cluster, "POST", PATH, {**window(name), "spec": {"low": 0, "color": color, "high": high}})).status == 201

        async def named(selector: str) -> list[str]:
            answer = await cluster.client.raw("GET", PATH, query=[("fieldSelector", selector)])
            assert answer.status == 200, answer.body
            return [each["metadata"]["name"] for each in msgspec.json.decode(answer.body)["items"]]

        assert await named("spec.color=red") == ["a", "c"]
        assert await named("spec.color!=red") == ["b"]
        assert await named("spec.color=red,spec.high=2,metadata.name=c") == ["c"]
        assert (await call(cluster, "PATCH", f"{PATH}/a", {"spec": {"color": None}})).status == 200
        assert await named("spec.color=") == ["a"]
        refused = await cluster.client.raw("GET", PATH, query=[("fieldSelector", "spec.low=0")])
        assert refused.status == 400 and "field label not supported: spec.low" in message(refused)

    knarr_cluster.run(scenario, nodes=0)


def test_fields_that_nothing_can_be_selected_by_are_refused(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        refused = await call(cluster, "POST", DEFINITIONS, selectable(".spec.nope", ".metadata.name", ".spec", ".spec.color", ".spec.color", ".spec['color']"))
        assert refused.status == 422
        text = message(refused)
        for index, fault in enumerate((
            'Invalid value: ".spec.nope": is an invalid path: does not refer to a valid field',
            'Invalid value: ".metadata.name": is an invalid path: does not refer to a valid field',
            'Invalid value: ".spec": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.',
        )):
            assert f"spec.selectableFields[{index}].jsonPath: {fault}" in text, text
        assert 'spec.selectableFields[4].jsonPath: Duplicate value: ".spec.color"' in text
        assert "spec.selectableFields[5].jsonPath: Invalid value: \".spec['color']\": is an invalid path: array notation is not allowed" in text

    knarr_cluster.run(scenario, nodes=0)


def pairs(limit: int | None) -> dict[str, Any]:
    names: dict[str, Any] = {"type": "array", "items": {"type": "string", "maxLength": 10}}
    if limit is not None:
        names["maxItems"] = limit
    rule = {"rule": "self.names.all(x, self.names.exists_one(y, x == y))"}
    return definition({"type": "object", "properties": {"names": names}, "x-kubernetes-validations": [rule]})


def test_a_definition_whose_rule_could_cost_too_much_is_refused_with_every_cause(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        refused = await call(cluster, "POST", DEFINITIONS, pairs(None))
        assert refused.status == 422
        root = "spec.validation.openAPIV3Schema"
        rule = f"{root}.properties[spec].x-kubernetes-validations[0].rule"
        told = [(cause["field"], cause["reason"]) for cause in msgspec.json.decode(refused.body)["details"]["causes"]]
        assert told == [(rule, "FieldValueForbidden"), (rule, "FieldValueForbidden"), (root, "FieldValueForbidden")]
        assert "estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems" in message(refused)
        await established(cluster, pairs(100))

    knarr_cluster.run(scenario, nodes=0)


def test_a_definition_accepted_before_can_be_changed_but_not_its_schema(knarr_cluster: ClusterRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await established(cluster, pairs(100))
        # As after an upgrade to a server that allows less.
        monkeypatch.setattr(rule_costs, "RULE_COST_LIMIT", 10_000)
        path = f"{DEFINITIONS}/windows.example.com"
        assert (await call(cluster, "PATCH", path, {"spec": {"names": {"shortNames": ["w"]}}})).status == 200
        refused = await call(cluster, "PATCH", path, {"spec": {"versions": pairs(99)["spec"]["versions"]}})
        assert refused.status == 422
        assert "estimated rule cost exceeds budget by factor of" in message(refused)

    knarr_cluster.run(scenario, nodes=0)
