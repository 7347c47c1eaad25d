"""Bodies that are broken on purpose: each gets a Status, nothing is written, the server goes on."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knarr.testing import InProcessCluster, run

BARE = {"nodes": 0, "controllers": False, "scheduler": False}
JSON_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["metadata", "spec", "status", "kind", "apiVersion", "data", "name", "labels", "annotations", "containers", "replicas",
     "selector", "template", "finalizers", "ownerReferences", "ports", "type", "rules", "creationTimestamp"]
)
SHAPED = st.recursive(
    JSON_VALUE, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(FIELDS, inner, max_size=4), max_leaves=10
)
PATHS = [
    "/api/v1/namespaces/default/configmaps",
    "/api/v1/namespaces/default/pods",
    "/api/v1/namespaces/default/services",
    "/api/v1/namespaces",
    "/api/v1/nodes",
    "/apis/apps/v1/namespaces/default/deployments",
    "/apis/batch/v1/namespaces/default/jobs",
    "/apis/batch/v1/namespaces/default/cronjobs",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
    "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/authorization.k8s.io/v1/subjectaccessreviews",
    "/apis/events.k8s.io/v1/namespaces/default/events",
]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(["POST", "PATCH", "DELETE"]), SHAPED), max_size=12))
def test_no_json_makes_the_server_fail(requests: list[tuple[str, str, object]]) -> None:
    async def scenario() -> None:
        async with InProcessCluster(**BARE) as cluster:  # type: ignore[arg-type]
            for path, method, body in requests:
                kind = "application/json" if method != "PATCH" else "application/merge-patch+json"
                target = path if method == "POST" else f"{path}/default"
                data = json.dumps(body).encode()
                answer = await cluster.client.raw(method, target, body=data, headers={"Content-Type": kind})
                assert answer.status < 500, (method, target, data, answer.body)
            assert (await cluster.client.raw("GET", "/readyz")).status == 200

    run(scenario())


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=60), max_size=10), st.sampled_from(
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/json-patch+json", ""]
))
def test_no_bytes_make_the_server_fail(bodies: list[bytes], kind: str) -> None:
    async def scenario() -> None:
        async with InProcessCluster(**BARE) as cluster:  # type: ignore[arg-type]
            for body in bodies:
                for prefix in (b"", b"k8s\x00"):
                    method = "PATCH" if "patch" in kind else "POST"
                    path = PATHS[0] if method == "POST" else f"{PATHS[3]}/default"
                    answer = await cluster.client.raw(method, path, body=prefix + body, headers={"Content-Type": kind})
                    assert 400 <= answer.status < 500, (kind, body, answer.status, answer.body)

    run(scenario())


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(
    st.sampled_from(["labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "timeoutSeconds",
                     "resourceVersionMatch", "sendInitialEvents", "includeObject", "pretty"]),
    st.text(max_size=12) | st.sampled_from(["a=b", "a in (b", "metadata.name=x", "0", "-1", "1", "Exact", "true", "=", "!"]),
), max_size=4))
def test_no_query_makes_the_server_fail(query: list[tuple[str, str]]) -> None:
    async def scenario() -> None:
        async with InProcessCluster(**BARE) as cluster:  # type: ignore[arg-type]
            for path in (PATHS[1], PATHS[3]):
                answer = await cluster.client.raw("GET", path, query=query)
                assert answer.status < 500 or answer.status == 504, (query, answer.body)
            watch = [*[pair for pair in query if pair[0] != "timeoutSeconds"], ("watch", "1"), ("timeoutSeconds", "1")]
            answer = await cluster.client.raw("GET", PATHS[1], query=watch)
            assert answer.status < 500 or answer.status == 504, (query, answer.body)

    run(scenario())


LAUGHS = b"".join(b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10) if n else b"lol") for n in range(12))


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 50_000, b"&a [" + b"*a," * 10 + b"]", LAUGHS])
def test_a_body_that_has_no_end_is_refused(body: bytes) -> None:
    async def scenario() -> None:
        async with InProcessCluster(**BARE) as cluster:  # type: ignore[arg-type]
            for kind in ("application/json", "application/yaml"):
                answer = await cluster.client.raw("POST", PATHS[0], body=body, headers={"Content-Type": kind})
                assert answer.status == 400, answer.body[:200]

    run(scenario())
