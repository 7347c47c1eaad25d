"""What the server does to objects: names, generations, deletions, patches, dry runs, and what it refuses in which words."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from cluster_objects import NS, deployment, pod, replica_set

from knarr.api.apps import v1 as apps
from knarr.api.autoscaling import v1 as autoscaling
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.client.client import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

PATH = f"/api/v1/namespaces/{NS}/configmaps"
BARE = {"nodes": 0, "controllers": False, "scheduler": False}
JSON = {"Content-Type": "application/json"}


def config_map(name: str = "a", *, finalizers: list[str] | None = None, **data: str) -> core.ConfigMap:
    return core.ConfigMap(
        metadata=meta.ObjectMeta(name=name, namespace=NS, finalizers=finalizers or []), data=data
    )


async def send(
    cluster: InProcessCluster,
    method: str,
    path: str,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    **query: str,
) -> tuple[int, dict[str, Any], str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    answer = await cluster.client.raw(
        method, path, body=data, headers=headers or dict(JSON), query=list(query.items())
    )
    return answer.status, json.loads(answer.body or b"{}"), answer.headers.get("Warning", "")


def test_a_generated_name_is_the_base_and_five_letters(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = set()
        for _ in range(20):
            obj = core.ConfigMap(metadata=meta.ObjectMeta(generateName="job-", namespace=NS))
            name = (await cluster.client.create(obj)).metadata.name
            assert name.startswith("job-") and len(name) == 9
            made.add(name)
        assert len(made) == 20

    knarr_cluster.run(scenario, **BARE)


def test_the_server_sets_identity_and_nobody_else(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        wanted = config_map()
        wanted.metadata.uid = "chosen"
        wanted.metadata.creationTimestamp = "2001-01-01T00:00:00Z"
        made = await cluster.client.create(wanted)
        assert made.metadata.uid != "chosen" and made.metadata.creationTimestamp == "2026-01-01T00:00:00Z"
        held = made.metadata.uid
        made.metadata.uid = ""
        made.metadata.creationTimestamp = None
        assert (await cluster.client.update(made)).metadata.uid == held
        made.metadata.uid = "other"
        made.metadata.resourceVersion = ""
        with pytest.raises(StatusError) as refused:
            await cluster.client.update(made)
        assert refused.value.code == 409 and "Precondition failed: UID in precondition: other" in str(
            refused.value
        )

    knarr_cluster.run(scenario, **BARE)


def test_generation_counts_changes_of_the_specification_only(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await cluster.client.create(deployment())
        assert made.metadata.generation == 1

        async def after(patch: dict[str, Any], subresource: str = "") -> int | None:
            obj = await cluster.client.patch(
                apps.Deployment, "web", patch, namespace=NS, subresource=subresource
            )
            return obj.metadata.generation

        assert await after({"metadata": {"labels": {"a": "b"}}}) == 1
        assert await after({"spec": {"replicas": 3}}) == 1
        assert await after({"spec": {"replicas": 4}}) == 2
        assert await after({"status": {"replicas": 4}}, "status") == 2
        # A status in a plain write and a specification in a status write are left aside.
        assert await after({"status": {"replicas": 9}}) == 2
        assert await after({"spec": {"replicas": 7}}, "status") == 2
        obj = await cluster.client.get(apps.Deployment, "web", namespace=NS)
        assert (obj.spec.replicas, obj.status.replicas) == (4, 4)

    knarr_cluster.run(scenario, **BARE)


def test_a_resized_pod_has_a_new_generation_and_keeps_its_status(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("a"))
        container = {"name": "main", "resources": {"requests": {"cpu": "100m"}}}
        wanted = {"spec": {"containers": [container]}, "status": {"phase": "Failed"}}
        obj = await cluster.client.patch(core.Pod, "a", wanted, namespace=NS, subresource="resize")
        assert obj.spec.containers[0].resources.requests == {"cpu": "100m"}
        assert (obj.metadata.generation, obj.status.phase) == (2, "Pending")
        debugger = {"name": "debug", "image": "busybox:1.36"}
        added = {"spec": {"ephemeralContainers": [debugger]}}
        obj = await cluster.client.patch(
            core.Pod, "a", added, namespace=NS, subresource="ephemeralcontainers"
        )
        assert (obj.metadata.generation, len(obj.spec.ephemeralContainers)) == (3, 1)

    knarr_cluster.run(scenario, nodes=0)


def test_a_write_that_changes_nothing_is_no_new_revision(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await cluster.client.create(config_map(k="v"))
        again = await cluster.client.update(made)
        assert again.metadata.resourceVersion == made.metadata.resourceVersion
        patched = await cluster.client.patch(core.ConfigMap, "a", {"data": {"k": "v"}}, namespace=NS)
        assert patched.metadata.resourceVersion == made.metadata.resourceVersion

    knarr_cluster.run(scenario, **BARE)


def test_finalizers_hold_a_deleted_object_until_they_are_gone(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(config_map(finalizers=["example.com/one", "example.com/two"]))
        status, body, _ = await send(cluster, "DELETE", f"{PATH}/a")
        assert status == 200 and body["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:00Z"
        assert body["metadata"]["deletionGracePeriodSeconds"] == 0
        with pytest.raises(StatusError) as refused:
            patch = {"metadata": {"finalizers": ["example.com/one", "example.com/two", "example.com/three"]}}
            await cluster.client.patch(core.ConfigMap, "a", patch, namespace=NS)
        assert "no new finalizers can be added if the object is being deleted, found new finalizers" in str(
            refused.value
        )
        assert refused.value.code == 422
        one_left = {"metadata": {"finalizers": ["example.com/two"]}}
        await cluster.client.patch(core.ConfigMap, "a", one_left, namespace=NS, patch_type=MERGE_PATCH)
        assert await cluster.exists(core.ConfigMap, "a")
        await cluster.client.patch(core.ConfigMap, "a", {"metadata": {"finalizers": None}}, namespace=NS)
        assert not await cluster.exists(core.ConfigMap, "a")

    knarr_cluster.run(scenario, **BARE)


def test_deleting_without_a_trace_answers_with_a_status_or_the_object(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await cluster.client.create(config_map())
        status, body, _ = await send(cluster, "DELETE", f"{PATH}/a")
        assert status == 200
        assert body["kind"] == "Status" and body["status"] == "Success"
        assert body["details"] == {"name": "a", "kind": "configmaps", "uid": made.metadata.uid}

    knarr_cluster.run(scenario, **BARE)


def test_preconditions_protect_against_deleting_another_object(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await cluster.client.create(config_map())
        with pytest.raises(StatusError) as refused:
            await cluster.client.delete(core.ConfigMap, "a", namespace=NS, uid="other")
        assert refused.value.code == 409 and str(refused.value) == (
            'Operation cannot be fulfilled on configmaps "a": the UID in the precondition (other) does not match the UID '
            f"in record ({made.metadata.uid}). The object might have been deleted and then recreated"
        )
        with pytest.raises(StatusError):
            await cluster.client.delete(core.ConfigMap, "a", namespace=NS, resource_version="1")
        version = made.metadata.resourceVersion
        await cluster.client.delete(
            core.ConfigMap, "a", namespace=NS, uid=made.metadata.uid, resource_version=version
        )

    knarr_cluster.run(scenario, **BARE)


def test_a_graceful_pod_deletion_is_shortened_but_never_lengthened(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("a", nodeName="nowhere"))
        await cluster.client.delete(core.Pod, "a", namespace=NS, grace_period_s=20)
        held = await cluster.client.get(core.Pod, "a", namespace=NS)
        assert held.metadata.deletionGracePeriodSeconds == 20
        assert held.metadata.deletionTimestamp == "2026-01-01T00:00:20Z"
        await cluster.client.delete(core.Pod, "a", namespace=NS, grace_period_s=100)
        assert (
            await cluster.client.get(core.Pod, "a", namespace=NS)
        ).metadata.deletionGracePeriodSeconds == 20
        await cluster.client.delete(core.Pod, "a", namespace=NS, grace_period_s=5)
        held = await cluster.client.get(core.Pod, "a", namespace=NS)
        assert held.metadata.deletionTimestamp == "2026-01-01T00:00:05Z"
        await cluster.client.delete(core.Pod, "a", namespace=NS, grace_period_s=0)
        assert not await cluster.exists(core.Pod, "a")

    knarr_cluster.run(scenario, nodes=0)


def test_a_dry_run_does_everything_but_the_write(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        before = await cluster.store.revision()
        made = await cluster.client.create(config_map(), dry_run=True)
        assert made.metadata.uid and not await cluster.exists(core.ConfigMap, "a")
        service = core.Service(
            metadata=meta.ObjectMeta(name="s", namespace=NS),
            spec=core.ServiceSpec(ports=[core.ServicePort(port=80)]),
        )
        await cluster.client.create(service, dry_run=True)
        page = await cluster.store.range("/registry/ipaddresses/")
        assert [item.key.rsplit("/", 1)[-1] for item in page.items] == ["10.96.0.1"]
        await cluster.client.create(config_map())
        status, body, _ = await send(cluster, "PUT", f"{PATH}/a", config_map_body(k="new"), dryRun="All")
        assert status == 200 and body["data"] == {"k": "new"}
        status, _, _ = await send(cluster, "DELETE", f"{PATH}/a", dryRun="All")
        assert status == 200
        assert (await cluster.client.get(core.ConfigMap, "a", namespace=NS)).data == {}
        status, body, _ = await send(cluster, "POST", PATH, config_map_body(), dryRun="Some")
        assert status == 422
        assert body["message"] == (
            'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"'
        )
        assert before < await cluster.store.revision()

    knarr_cluster.run(scenario, **BARE)


def config_map_body(name: str = "a", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_unknown_fields_warn_or_are_refused_as_asked(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        body = {**config_map_body(), "dota": {"x": "1"}}
        status, answer, warning = await send(cluster, "POST", PATH, body)
        assert status == 201 and "dota" not in answer and warning == '299 - "unknown field \\"dota\\""'
        body["metadata"] = {"name": "b"}
        status, _, warning = await send(cluster, "POST", PATH, body, fieldValidation="Ignore")
        assert status == 201 and warning == ""
        body["metadata"] = {"name": "c"}
        status, answer, _ = await send(cluster, "POST", PATH, body, fieldValidation="Strict")
        assert status == 400 and answer["reason"] == "BadRequest"
        assert answer["message"] == (
            'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dota"'
        )
        twice = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"d"},"data":{"a":"1"},"data":{"a":"2"}}'
        status, answer, _ = await send(cluster, "POST", PATH, twice, fieldValidation="Strict")
        assert status == 400 and 'strict decoding error: duplicate field "data"' in answer["message"]
        assert not await cluster.exists(core.ConfigMap, "c") and not await cluster.exists(core.ConfigMap, "d")

    knarr_cluster.run(scenario, **BARE)


def test_the_three_patches_change_what_they_say(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(deployment())

        async def patched(patch: Any, kind: str) -> apps.Deployment:
            return await cluster.client.patch(apps.Deployment, "web", patch, namespace=NS, patch_type=kind)

        sidecar = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s:1"}]}}}}
        obj = await patched(sidecar, STRATEGIC_MERGE_PATCH)
        assert obj.spec.template.spec is not None
        assert {each.name for each in obj.spec.template.spec.containers} == {"main", "side"}
        obj = await patched(sidecar, MERGE_PATCH)
        assert obj.spec.template.spec is not None
        assert [each.name for each in obj.spec.template.spec.containers] == ["side"]
        operations = [
            {"op": "test", "path": "/spec/replicas", "value": 3},
            {"op": "replace", "path": "/spec/replicas", "value": 5},
            {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}},
        ]
        obj = await patched(operations, JSON_PATCH)
        assert obj.spec.replicas == 5 and obj.metadata.labels == {"a": "b"}
        with pytest.raises(StatusError) as refused:
            await patched(operations, JSON_PATCH)
        assert refused.value.code == 422 and refused.value.reason == "Invalid"
        assert str(refused.value).startswith("the server rejected our request due to an error in our request")

    knarr_cluster.run(scenario, **BARE)


def test_a_patch_of_unknown_type_is_refused(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(config_map())
        headers = {"Content-Type": "text/plain"}
        status, body, _ = await send(cluster, "PATCH", f"{PATH}/a", b"{}", headers=headers)
        assert status == 415 and body["reason"] == "UnsupportedMediaType"
        assert body["message"].startswith(
            "the body of the request was in an unknown format - accepted media types include:"
        )

    knarr_cluster.run(scenario, **BARE)


def test_a_patch_on_an_old_revision_conflicts_and_a_blind_one_does_not(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await cluster.client.create(config_map())
        await cluster.client.patch(core.ConfigMap, "a", {"data": {"x": "1"}}, namespace=NS)
        old = {"metadata": {"resourceVersion": made.metadata.resourceVersion}, "data": {"y": "2"}}
        with pytest.raises(StatusError) as refused:
            await cluster.client.patch(core.ConfigMap, "a", old, namespace=NS)
        assert refused.value.code == 409
        obj = await cluster.client.patch(core.ConfigMap, "a", {"data": {"y": "2"}}, namespace=NS)
        assert obj.data == {"x": "1", "y": "2"}
        made.data = {"z": "3"}
        with pytest.raises(StatusError) as refused:
            await cluster.client.update(made)
        assert str(refused.value) == (
            'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
            "please apply your changes to the latest version and try again"
        )

    knarr_cluster.run(scenario, **BARE)


def test_scale_reads_and_writes_the_size_of_any_workload(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(replica_set("rs", replicas=2))
        path = f"/apis/apps/v1/namespaces/{NS}/replicasets/rs/scale"
        status, body, _ = await send(cluster, "GET", path)
        assert status == 200 and body["kind"] == "Scale" and body["apiVersion"] == "autoscaling/v1"
        assert body["spec"] == {"replicas": 2} and body["status"]["selector"] == "app=rs"
        body["spec"]["replicas"] = 5
        status, body, _ = await send(cluster, "PUT", path, body)
        assert status == 200 and body["spec"] == {"replicas": 5}
        patch = {"spec": {"replicas": 1}}
        status, body, _ = await send(cluster, "PATCH", path, patch, headers={"Content-Type": MERGE_PATCH})
        assert status == 200 and body["spec"] == {"replicas": 1}
        obj = await cluster.client.get(apps.ReplicaSet, "rs", namespace=NS)
        assert obj.spec.replicas == 1 and obj.metadata.generation == 3
        body["spec"]["replicas"] = -1
        body["metadata"].pop("resourceVersion", None)
        status, body, _ = await send(cluster, "PUT", path, body)
        assert status == 422 and "must be greater than or equal to 0" in body["message"]
        assert autoscaling.Scale().kind == "Scale"

    knarr_cluster.run(scenario, **BARE)


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "reason", "message"),
    [
        ("GET", f"{PATH}/none", None, 404, "NotFound", 'configmaps "none" not found'),
        (
            "GET",
            "/apis/apps/v1/namespaces/default/deployments/none",
            None,
            404,
            "NotFound",
            'deployments.apps "none" not found',
        ),
        ("GET", "/api/v1/widgets", None, 404, "NotFound", "the server could not find the requested resource"),
        (
            "GET",
            "/api/v1/pods/there",
            None,
            404,
            "NotFound",
            "the server could not find the requested resource",
        ),
        (
            "GET",
            "/api/v1/namespaces/default/nodes",
            None,
            404,
            "NotFound",
            "the server could not find the requested resource",
        ),
        (
            "DELETE",
            "/api/v1/pods",
            None,
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
        (
            "POST",
            "/api/v1/namespaces/nope/pods",
            {
                "kind": "Pod",
                "apiVersion": "v1",
                "metadata": {"name": "a"},
                "spec": {"containers": [{"name": "c", "image": "x"}]},
            },
            404,
            "NotFound",
            'namespaces "nope" not found',
        ),
        (
            "DELETE",
            f"{PATH}/there",
            {"propagationPolicy": "Sideways"},
            422,
            "Invalid",
            'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Sideways"',
        ),
        ("GET", "/apis/apps/v1/widgets", None, 404, "NotFound", "the server could not find the requested resource"),
        ("POST", "/apis/apps/v1", {}, 405, "MethodNotAllowed", "the server does not allow this method on the requested resource"),
        (
            "POST",
            PATH,
            {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "there"}},
            409,
            "AlreadyExists",
            'configmaps "there" already exists',
        ),
        (
            "POST",
            PATH,
            {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {}},
            422,
            "Invalid",
            'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required',
        ),
        (
            "POST",
            PATH,
            {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "A_b"}},
            422,
            "Invalid",
            'ConfigMap "A_b" is invalid: metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain must consist of '
            "lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. "
            "'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ),
        (
            "POST",
            PATH,
            {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x", "namespace": "other"}},
            400,
            "BadRequest",
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            "PUT",
            f"{PATH}/there",
            {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "other"}},
            400,
            "BadRequest",
            "the name of the object (other) does not match the name on the URL (there)",
        ),
        ("POST", PATH, b"", 400, "BadRequest", "EOF"),
        ("POST", PATH, b"{", 400, "BadRequest", ""),
        (
            "POST",
            PATH,
            {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}, "data": {"a": 1}},
            400,
            "BadRequest",
            'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field '
            "ConfigMap.data of type string",
        ),
        ("PUT", f"{PATH}", {"kind": "ConfigMap"}, 405, "MethodNotAllowed", ""),
        (
            "PUT",
            f"{PATH}/none",
            {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "none"}},
            404,
            "NotFound",
            'configmaps "none" not found',
        ),
        ("POST", PATH, {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}}, 400, "BadRequest", ""),
        ("PATCH", f"{PATH}/there", b"nonsense", 415, "UnsupportedMediaType", ""),
        ("DELETE", f"{PATH}/none", None, 404, "NotFound", 'configmaps "none" not found'),
        (
            "POST",
            PATH,
            {
                "kind": "ConfigMap",
                "apiVersion": "v1",
                "metadata": {"name": "x", "creationTimestamp": "yesterday"},
            },
            400,
            "BadRequest",
            'ConfigMap in version "v1" cannot be handled as a ConfigMap: parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": '
            'cannot parse "yesterday" as "2006"',
        ),
        (
            "POST",
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            {
                "kind": "Lease",
                "apiVersion": "coordination.k8s.io/v1",
                "metadata": {"name": "x"},
                "spec": {"renewTime": "2026-01-02T03:04:05Z"},
            },
            400,
            "BadRequest",
            'Lease in version "v1" cannot be handled as a Lease: parsing time "2026-01-02T03:04:05Z" as '
            '"2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000"',
        ),
    ],
)
def test_a_wrong_request_gets_upstreams_words(
    knarr_cluster: ClusterRunner, method: str, path: str, body: Any, code: int, reason: str, message: str
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(config_map("there"))
        before = await cluster.store.revision()
        status, answer, _ = await send(cluster, method, path, body)
        assert (status, answer["reason"]) == (code, reason), answer
        assert answer["kind"] == "Status" and answer["apiVersion"] == "v1" and answer["code"] == code
        assert message in answer["message"], answer["message"]
        assert await cluster.store.revision() == before

    knarr_cluster.run(scenario, **BARE)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nothing"), ("POST", "/nothing"), ("GET", "/apis/none/v1"), ("GET", "/apis/none/v1/widgets"), ("GET", "/openapi/v3/none")],
)
def test_where_nothing_is_served_is_told_in_words_of_gos_own_server(knarr_cluster: ClusterRunner, method: str, path: str) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        for accept in ("application/json", "application/yaml"):
            answer = await cluster.client.raw(method, path, headers={"Accept": accept})
            assert (answer.status, answer.body) == (404, b"404 page not found\n")
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"

    knarr_cluster.run(scenario, **BARE)


@pytest.mark.parametrize(
    ("user", "method", "path", "body", "code"),
    [
        ("", "GET", f"{PATH}/none", b"", 404),
        ("", "GET", "/apis/apps/v1/widgets", b"", 404),
        ("", "POST", PATH, b"{", 400),
        ("", "PATCH", f"{PATH}/none", b"", 415),
        ("", "DELETE", "/api/v1/pods", b"", 405),
        ("nobody", "GET", f"{PATH}/none", b"", 403),
    ],
)
def test_a_refusal_is_told_in_the_form_that_is_asked_for(
    knarr_cluster: ClusterRunner, user: str, method: str, path: str, body: bytes, code: int
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        client = cluster.client_for(user) if user else cluster.client
        given = {"Content-Type": "application/json"} if method == "POST" else {}
        for accept, media in (
            ("application/yaml", "application/yaml"),
            ("application/json", "application/json"),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/yaml", "application/yaml"),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "application/json"),
        ):
            answer = await client.raw(method, path, body=body, headers={**given, "Accept": accept})
            assert (answer.status, answer.headers["Content-Type"]) == (code, media)
            if media == "application/yaml":
                assert answer.body.startswith(b"kind: Status\n") or answer.body.startswith(b"apiVersion: v1\nkind: Status\n")
                told = yaml.safe_load(answer.body)
            else:
                told = json.loads(answer.body)
            assert (told["kind"], told["status"], told["code"]) == ("Status", "Failure", code)

    knarr_cluster.run(scenario, **BARE)


def test_several_faults_are_told_together_with_a_cause_each(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        bad = deployment(replicas=-1)
        bad.spec.selector = meta.LabelSelector(matchLabels={"app": "other"})
        with pytest.raises(StatusError) as refused:
            await cluster.client.create(bad)
        status = refused.value.status
        assert status.code == 422 and status.details is not None
        assert (status.details.name, status.details.group, status.details.kind) == (
            "web",
            "apps",
            "Deployment",
        )
        causes = {(each.field, each.reason) for each in status.details.causes}
        assert causes == {
            ("spec.replicas", "FieldValueInvalid"),
            ("spec.template.metadata.labels", "FieldValueInvalid"),
        }
        assert status.message.startswith('Deployment.apps "web" is invalid: [spec.')

    knarr_cluster.run(scenario, **BARE)


def test_an_object_too_large_is_refused(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        status, body, _ = await send(cluster, "POST", PATH, config_map_body(k="x" * 3_200_000))
        assert status == 413 and body["reason"] == "RequestEntityTooLarge"
        assert body["message"] == "Request entity too large: limit is 3145728"
        status, body, _ = await send(cluster, "POST", PATH, config_map_body(k="x" * 1_200_000))
        assert status == 422 and "Too long: may not be more than 1048576 bytes" in body["message"]

    knarr_cluster.run(scenario, **BARE)


def test_an_immutable_field_cannot_be_changed(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("a"))
        with pytest.raises(StatusError) as refused:
            await cluster.client.patch(core.Pod, "a", {"spec": {"restartPolicy": "Never"}}, namespace=NS)
        assert refused.value.code == 422
        assert "spec: Forbidden: pod updates may not change fields other than" in str(refused.value)
        await cluster.client.create(replica_set())
        change = {
            "spec": {
                "selector": {"matchLabels": {"app": "x"}},
                "template": {"metadata": {"labels": {"app": "x"}}},
            }
        }
        with pytest.raises(StatusError) as refused:
            await cluster.client.patch(apps.ReplicaSet, "rs", change, namespace=NS)
        assert "spec.selector: Invalid value:" in str(refused.value) and "field is immutable" in str(
            refused.value
        )

    knarr_cluster.run(scenario, nodes=0)


def test_deleting_a_collection_takes_only_what_is_selected(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        for name, app in (("a", "x"), ("b", "x"), ("c", "y")):
            obj = config_map(name)
            obj.metadata.labels = {"app": app}
            await cluster.client.create(obj)
        status, body, _ = await send(cluster, "DELETE", PATH, labelSelector="app=x")
        assert status == 200 and body["kind"] == "ConfigMapList" and len(body["items"]) == 2
        assert [each.metadata.name for each in await cluster.client.list(core.ConfigMap, namespace=NS)] == [
            "c"
        ]

    knarr_cluster.run(scenario, **BARE)


def test_a_pods_annotations_can_be_written_with_its_status(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("a"))
        change = {
            "metadata": {"annotations": {"seen": "yes"}},
            "spec": {"activeDeadlineSeconds": 5},
            "status": {"message": "hello"},
        }
        await cluster.client.patch(core.Pod, "a", change, namespace=NS, subresource="status")
        held = await cluster.client.get(core.Pod, "a", namespace=NS)
        assert held.metadata.annotations == {"seen": "yes"} and held.status.message == "hello"
        assert held.spec.activeDeadlineSeconds is None

    knarr_cluster.run(scenario, nodes=0)
