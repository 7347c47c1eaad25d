"""Policies in CEL: what they refuse, warn of and change, with which parameters, and what becomes of those that fail."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from knarr.client.transport import Response
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

Object = dict[str, Any]
ROOT = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
ANY_MAP = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE", "DELETE"], "resources": ["configmaps"]}
WRITTEN_MAP = {**ANY_MAP, "operations": ["CREATE", "UPDATE"]}


async def call(cluster: InProcessCluster, method: str, path: str, body: Any = None, **headers: str) -> Response:
    content = "application/merge-patch+json" if method == "PATCH" else "application/json"
    sent = b"" if body is None else msgspec.json.encode(body)
    return await cluster.client.raw(method, path, body=sent, headers={"Content-Type": content, **headers})


async def made(cluster: InProcessCluster, path: str, body: Object) -> Object:
    answer = await call(cluster, "POST", path, body)
    assert answer.status == 201, answer.body
    found: Object = msgspec.json.decode(answer.body)
    return found


def message(answer: Response) -> str:
    return str(msgspec.json.decode(answer.body).get("message"))


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels or {}}, "data": data}


async def bind(
    cluster: InProcessCluster, spec: Object, binding: Object | None = None, *, name: str = "p", kind: str = "Validating"
) -> None:
    """Make a policy and a binding of the same name."""
    rules = [ANY_MAP] if kind == "Validating" else [WRITTEN_MAP]
    spec = {"matchConstraints": {"resourceRules": rules}, **spec}
    actions = {"validationActions": ["Deny"]} if kind == "Validating" else {}
    plural = f"{kind.lower()}admissionpolic"
    policy = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": f"{kind}AdmissionPolicy", "metadata": {"name": name}, "spec": spec}
    await made(cluster, f"{ROOT}/{plural}ies", policy)
    body = {"policyName": name, **actions, **(binding or {})}
    bound = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": f"{kind}AdmissionPolicyBinding", "metadata": {"name": name}, "spec": body}
    await made(cluster, f"{ROOT}/{plural}ybindings", bound)


def says(*expressions: str, **more: Any) -> Object:
    return {"validations": [{"expression": each} for each in expressions], **more}


OPTIONS: Object = {"nodes": 0, "controllers": False, "scheduler": False}


def test_the_reason_decides_the_code_and_nothing_is_written(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        validation = {"expression": "object == null || !('bad' in object.data)", "reason": "Forbidden", "message": " no bad data "}
        await bind(cluster, {"validations": [validation]})
        refused = await call(cluster, "POST", MAPS, config_map("a", bad="1"))
        assert refused.status == 403 and msgspec.json.decode(refused.body)["reason"] == "Forbidden"
        assert message(refused) == (
            "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no bad data"
        )
        assert (await cluster.client.raw("GET", f"{MAPS}/a")).status == 404
        await made(cluster, MAPS, config_map("a", good="1"))

    knarr_cluster.run(scenario, **OPTIONS)


def test_a_deletion_is_judged_by_the_object_as_it_was(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await bind(cluster, says("request.operation != 'DELETE' || !has(oldObject.metadata.labels) || !('keep' in oldObject.metadata.labels)"))
        await made(cluster, MAPS, config_map("kept", {"keep": "yes"}))
        await made(cluster, MAPS, config_map("free"))
        assert (await call(cluster, "DELETE", f"{MAPS}/kept")).status == 422
        assert (await call(cluster, "DELETE", f"{MAPS}/free")).status == 200

    knarr_cluster.run(scenario, **OPTIONS)


def test_warnings_and_notes_do_not_refuse(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        annotations = [{"key": "size", "valueExpression": "string(object.data.size())"}]
        await bind(cluster, says("object.data.size() < 1", auditAnnotations=annotations), {"validationActions": ["Warn", "Audit"]})
        answer = await call(cluster, "POST", MAPS, config_map("a", x="1"))
        assert answer.status == 201
        text = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p': failed expression: object.data.size() < 1"
        assert answer.headers["Warning"] == f'299 - "{text}"'

    knarr_cluster.run(scenario, **OPTIONS)


def test_a_policy_that_fails_denies_or_not_as_it_says(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await bind(cluster, says("object.nope == 1", failurePolicy="Ignore"))
        await made(cluster, MAPS, config_map("a"))
        await call(cluster, "PATCH", f"{ROOT}/validatingadmissionpolicies/p", {"spec": {"failurePolicy": "Fail"}})
        refused = await call(cluster, "POST", MAPS, config_map("b"))
        assert "denied request: expression 'object.nope == 1' resulted in error: no such key: nope" in message(refused)

    knarr_cluster.run(scenario, **OPTIONS)


def test_conditions_choose_the_requests(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        conditions = [{"name": "marked", "expression": "object.metadata.?labels.marked.orValue('') == 'yes'"}]
        await bind(cluster, says("false", matchConditions=conditions))
        await made(cluster, MAPS, config_map("free"))
        assert (await call(cluster, "POST", MAPS, config_map("caught", {"marked": "yes"}))).status == 422
        broken = [*conditions, {"name": "broken", "expression": "object.data.x == '1'"}]
        await call(cluster, "PATCH", f"{ROOT}/validatingadmissionpolicies/p", {"spec": {"matchConditions": broken}})
        refused = await call(cluster, "POST", MAPS, config_map("also", {"marked": "yes"}, y="1"))
        assert "resulted in error: no such key: x" in message(refused)
        await made(cluster, MAPS, config_map("free2"))

    knarr_cluster.run(scenario, **OPTIONS)


def test_a_binding_brings_its_parameters(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        kind = {"apiVersion": "v1", "kind": "Secret"}
        rule = {"expression": "object.data.size() <= int(string(params.metadata.labels.max))", "messageExpression": "'at most ' + params.metadata.labels.max"}
        reference = {"name": "limits", "parameterNotFoundAction": "Deny"}
        await bind(cluster, {"paramKind": kind, "validations": [rule]}, {"paramRef": reference})
        refused = await call(cluster, "POST", MAPS, config_map("a", x="1"))
        assert message(refused) == (
            "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: "
            "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        )
        secrets = "/api/v1/namespaces/default/secrets"
        await made(cluster, secrets, {"metadata": {"name": "limits", "labels": {"max": "1"}}})
        await made(cluster, MAPS, config_map("a", x="1"))
        assert "denied request: at most 1" in message(await call(cluster, "POST", MAPS, config_map("b", x="1", y="2")))
        # Every parameter that a selector finds has a say.
        selected = {"selector": {"matchLabels": {"limits": "yes"}}, "parameterNotFoundAction": "Allow", "name": None}
        await call(cluster, "PATCH", f"{ROOT}/validatingadmissionpolicybindings/p", {"spec": {"paramRef": selected}})
        await made(cluster, MAPS, config_map("c", x="1", y="2"))
        for name, limit in (("wide", "9"), ("narrow", "2")):
            await made(cluster, secrets, {"metadata": {"name": name, "labels": {"limits": "yes", "max": limit}}})
        await made(cluster, MAPS, config_map("d", x="1", y="2"))
        assert "at most 2" in message(await call(cluster, "POST", MAPS, config_map("e", x="1", y="2", z="3")))

    knarr_cluster.run(scenario, **OPTIONS)


def test_parameters_may_be_custom_resources_and_must_be_served(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        kind = {"apiVersion": "example.com/v1", "kind": "Limit"}
        reference = {"name": "limit", "parameterNotFoundAction": "Deny"}
        await bind(cluster, says("object.data.size() <= params.max", paramKind=kind), {"paramRef": reference})
        refused = await call(cluster, "POST", MAPS, config_map("a", x="1"))
        assert message(refused) == (
            "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: "
            "failed to find resource referenced by paramKind: 'example.com/v1, Kind=Limit'"
        )
        schema = {"type": "object", "properties": {"max": {"type": "integer"}}}
        names = {"plural": "limits", "singular": "limit", "kind": "Limit", "listKind": "LimitList"}
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        spec = {"group": "example.com", "scope": "Cluster", "names": names, "versions": [version]}
        await made(cluster, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {"metadata": {"name": "limits.example.com"}, "spec": spec})
        for _ in range(100):
            if (await cluster.client.raw("GET", "/apis/example.com/v1/limits")).status == 200:
                break
            await cluster.sleep(0.1)
        await made(cluster, "/apis/example.com/v1/limits", {"apiVersion": "example.com/v1", "kind": "Limit", "metadata": {"name": "limit"}, "max": 1})
        await made(cluster, MAPS, config_map("a", x="1"))
        assert (await call(cluster, "POST", MAPS, config_map("b", x="1", y="2"))).status == 422

    knarr_cluster.run(scenario, **OPTIONS)


def test_expressions_see_the_sender_the_namespace_and_what_may_be_done(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await bind(
            cluster,
            says(
                "namespaceObject.metadata.name == 'default' && namespaceObject.status.phase == 'Active'",
                "request.userInfo.username != '' && 'system:masters' in request.userInfo.groups",
                "request.kind.kind == 'ConfigMap' && request.resource.resource == 'configmaps' && request.namespace == 'default'",
                "authorizer.requestResource.check('delete').allowed()",
                "!authorizer.serviceAccount('default', 'nobody').group('').resource('pods').namespace('default').check('create').allowed()",
                "!has(request.dryRun) || request.dryRun == false",
                "oldObject == null",
            ),
        )
        await made(cluster, MAPS, config_map("a"))

    knarr_cluster.run(scenario, **OPTIONS)


def test_a_policy_without_end_does_not_stop_the_server(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await bind(cluster, says("lists.range(5000).all(a, lists.range(5000).all(b, a + b >= 0))"))
        refused = await call(cluster, "POST", MAPS, config_map("a"))
        assert refused.status == 422 and "resulted in error: operation cancelled: actual cost limit exceeded" in message(refused)
        assert (await cluster.client.raw("GET", MAPS)).status == 200

    knarr_cluster.run(scenario, **OPTIONS)


def test_a_policy_goes_with_its_binding(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await bind(cluster, says("false"))
        assert (await call(cluster, "POST", MAPS, config_map("a"))).status == 422
        assert (await call(cluster, "DELETE", f"{ROOT}/validatingadmissionpolicybindings/p")).status == 200
        await made(cluster, MAPS, config_map("a"))

    knarr_cluster.run(scenario, **OPTIONS)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (says("object.x ==="), "spec.validations[0].expression: Invalid value: \"object.x ===\": compilation failed: ERROR: <input>:1:12: Syntax error"),
        (says("'a'"), "spec.validations[0].expression: Invalid value: \"'a'\": must evaluate to bool but got string"),
        (says("object.x"), 'spec.validations[0].expression: Invalid value: "object.x": must evaluate to bool but got dyn'),
        (says("request.nope == 1"), "undefined field 'nope'"),
        (says("params.x == 1"), "undeclared reference to 'params' (in container '')"),
        (says("variables.x == 1", variables=[{"name": "y", "expression": "1"}]), "undefined field 'x'"),
        (says("true", variables=[{"name": "y", "expression": "1 +"}]), "spec.variables[0].expression: Invalid value"),
        (says("true", variables=[{"name": "if", "expression": "1"}]), "must be a valid CEL identifier"),
        ({"validations": [{"expression": "true", "messageExpression": "1"}]}, "must evaluate to string but got int"),
        ({"validations": [{"expression": "true", "messageExpression": "authorizer.path('/x')"}]}, "undeclared reference to 'authorizer'"),
        ({"auditAnnotations": [{"key": "a", "valueExpression": "1"}]}, "must evaluate to one of [string null_type] but got int"),
        (says("true", matchConditions=[{"name": "a", "expression": "1"}]), "spec.matchConditions[0].expression"),
        (says("true", matchConditions=[{"name": "a b", "expression": "true"}]), "spec.matchConditions[0].name"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(knarr_cluster: ClusterRunner, spec: Object, text: str) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        body = {"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": [ANY_MAP]}, **spec}}
        refused = await call(cluster, "POST", f"{ROOT}/validatingadmissionpolicies", body)
        assert refused.status == 422 and text in message(refused), message(refused)

    knarr_cluster.run(scenario, **OPTIONS)


def changes(kind: str, expression: str, **more: Any) -> Object:
    key = kind[0].lower() + kind[1:] if kind != "JSONPatch" else "jsonPatch"
    return {"reinvocationPolicy": "Never", "mutations": [{"patchType": kind, key: {"expression": expression}}], **more}


def test_a_policy_adds_what_is_missing(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        labels = "Object{metadata: Object.metadata{labels: {'team': 'a', 'name': string(object.metadata.name)}}, data: {'added': 'yes'}}"
        await bind(cluster, changes("ApplyConfiguration", labels), kind="Mutating", name="labels")
        patch = """[
            JSONPatch{op: 'test', path: '/data/added', value: 'yes'},
            JSONPatch{op: 'add', path: '/metadata/annotations', value: {'example.com/x': 'y'}},
            JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('a'), value: string(object.data.size())}
        ]"""
        await bind(cluster, changes("JSONPatch", patch), kind="Mutating", name="patch")
        found = await made(cluster, MAPS, config_map("m", {"own": "1"}, x="1"))
        assert found["metadata"]["labels"] == {"own": "1", "team": "a", "name": "m"}
        assert found["metadata"]["annotations"] == {"example.com/x": "y"}
        assert found["data"] == {"x": "1", "added": "yes", "a": "2"}

    knarr_cluster.run(scenario, **OPTIONS)


def test_containers_are_found_by_their_names(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
        sidecar = "Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: 'mesh', image: 'mesh:1', restartPolicy: 'Always'}]}}"
        pull = """Object{spec: Object.spec{containers: object.spec.containers.map(c,
            Object.spec.containers{name: c.name, imagePullPolicy: 'Always'})}}"""
        for name, text in (("sidecar", sidecar), ("pull", pull)):
            await bind(cluster, {**changes("ApplyConfiguration", text), "matchConstraints": {"resourceRules": rules}}, kind="Mutating", name=name)
        containers = [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]
        await made(cluster, "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "x"}})
        body = {"metadata": {"name": "p"}, "spec": {"containers": containers, "serviceAccountName": "x"}}
        found = await made(cluster, "/api/v1/namespaces/default/pods", body)
        assert [(c["name"], c["image"], c["imagePullPolicy"]) for c in found["spec"]["containers"]] == [("a", "a:1", "Always"), ("b", "b:1", "Always")]
        assert [c["name"] for c in found["spec"]["initContainers"]] == ["mesh"]
        assert found["spec"]["initContainers"][0]["terminationMessagePath"] == "/dev/termination-log"

    knarr_cluster.run(scenario, **OPTIONS)


def test_a_policy_that_wants_it_sees_what_later_ones_did(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        count = "Object{data: {'seen': string(object.data.size())}}"
        late = "Object{data: {'late': 'yes'}}"
        await bind(cluster, {**changes("ApplyConfiguration", count), "reinvocationPolicy": "IfNeeded"}, kind="Mutating", name="a-count")
        await bind(cluster, changes("ApplyConfiguration", late), kind="Mutating", name="b-late")
        found = await made(cluster, MAPS, config_map("m", x="1"))
        assert found["data"] == {"x": "1", "seen": "3", "late": "yes"}

    knarr_cluster.run(scenario, **OPTIONS)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (changes("ApplyConfiguration", "Object{data: {'a': object.nope}}"), "resulted in error: no such key: nope"),
        (changes("ApplyConfiguration", "Object{nope: 'a'}"), "failed to convert patch object to typed object: .nope: field not declared in schema"),
        (changes("ApplyConfiguration", "Object{metadata: Object.spec{}}"), 'type mismatch: unexpected type name "Object.spec", expected "Object.metadata"'),
        (changes("JSONPatch", "[JSONPatch{op: 'remove', path: '/data/none'}]"), "JSON Patch: "),
    ],
)
def test_a_mutation_that_fails_refuses_or_not_as_its_policy_says(knarr_cluster: ClusterRunner, spec: Object, text: str) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await bind(cluster, spec, kind="Mutating")
        refused = await call(cluster, "POST", MAPS, config_map("m", x="1"))
        assert refused.status == 403 and message(refused).startswith("policy 'p' with binding 'p' denied request: ")
        assert text in message(refused)
        await call(cluster, "PATCH", f"{ROOT}/mutatingadmissionpolicies/p", {"spec": {"failurePolicy": "Ignore"}})
        assert (await made(cluster, MAPS, config_map("m", x="1")))["data"] == {"x": "1"}

    knarr_cluster.run(scenario, **OPTIONS)


def test_a_list_that_would_be_replaced_whole_is_not_touched(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["services"]}]
        text = "Object{spec: Object.spec{externalIPs: ['1.2.3.4'], loadBalancerSourceRanges: ['1.0.0.0/8']}}"
        await bind(cluster, {**changes("ApplyConfiguration", text), "matchConstraints": {"resourceRules": rules}}, kind="Mutating")
        body = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
        refused = await call(cluster, "POST", "/api/v1/namespaces/default/services", body)
        assert "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.externalIPs" in message(refused)

    knarr_cluster.run(scenario, **OPTIONS)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (changes("ApplyConfiguration", "{}"), "must evaluate to Object but got map"),
        (changes("JSONPatch", "[JSONPatch{nope: 'x'}]"), "expected type of field 'nope' is '' but provided type is 'string'"),
        (changes("JSONPatch", "Object{}"), "must evaluate to list(JSONPatch) but got Object"),
        ({"reinvocationPolicy": "Never", "mutations": [{"patchType": "JSONPatch"}]}, "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch"),
        ({"mutations": []}, "spec.reinvocationPolicy: Required value"),
    ],
)
def test_a_mutation_that_cannot_be_is_refused(knarr_cluster: ClusterRunner, spec: Object, text: str) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        body = {"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": [WRITTEN_MAP]}, **spec}}
        refused = await call(cluster, "POST", f"{ROOT}/mutatingadmissionpolicies", body)
        assert refused.status == 422 and text in message(refused), message(refused)

    knarr_cluster.run(scenario, **OPTIONS)


def test_a_policy_says_what_in_its_expressions_is_suspicious(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        rules = [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments", "replicasets"]}]
        expressions = ["object.spec.replicas > 'a'", "object.spec.strategy.type == 'Recreate'", "object.metadata.namespace != ''", "variables.n > 1"]
        variables = [{"name": "n", "expression": "object.spec.template.spec.containers.size()"}]
        spec = {"matchConstraints": {"resourceRules": rules}, "variables": variables, **says(*expressions)}
        await made(cluster, f"{ROOT}/validatingadmissionpolicies", {"metadata": {"name": "p"}, "spec": spec})
        status: Object = {}
        for _ in range(100):
            status = msgspec.json.decode((await call(cluster, "GET", f"{ROOT}/validatingadmissionpolicies/p")).body)["status"]
            if status.get("observedGeneration") == 1:
                break
            await cluster.sleep(0.1)
        found = {each["fieldRef"]: each["warning"] for each in status["typeChecking"]["expressionWarnings"]}
        assert set(found) == {"spec.validations[0].expression", "spec.validations[1].expression"}
        fault = "compilation failed: ERROR: <input>:1:12: undefined field 'strategy'\n | object.spec.strategy.type == 'Recreate'\n | ...........^"
        assert found["spec.validations[1].expression"] == f"apps/v1, Kind=ReplicaSet: {fault}\n"
        assert found["spec.validations[0].expression"].count("found no matching overload for '_>_' applied to '(int, string)'") == 2
        await call(cluster, "PATCH", f"{ROOT}/validatingadmissionpolicies/p", {"spec": {"validations": [{"expression": "true"}]}})
        for _ in range(100):
            status = msgspec.json.decode((await call(cluster, "GET", f"{ROOT}/validatingadmissionpolicies/p")).body)["status"]
            if status.get("observedGeneration") == 2:
                break
            await cluster.sleep(0.1)
        assert status == {"observedGeneration": 2, "typeChecking": {}}

    knarr_cluster.run(scenario, nodes=0)
