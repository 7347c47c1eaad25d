"""Other API servers behind this one: metrics, custom APIs. Without aggregation ``kubectl top`` and every extension server are lost."""

from __future__ import annotations

import json
from typing import Any

from knarr.apiserver.aggregation.aggregator import CHECK_PERIOD_S
from knarr.apiserver.request import Response
from knarr.testing import InProcessCluster
from knarr.testing.backends import BackendCall, InProcessBackends
from knarr.testing.plugin import ClusterRunner

API_ONLY: dict[str, Any] = {"nodes": 0, "controllers": False, "scheduler": False}
GROUP = "wardle.example.com"
SERVER = "api.wardle.svc"
FLUNDERS = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{GROUP}/v1alpha1",
    "resources": [
        {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder", "verbs": ["get", "list"]},
        {"name": "flunders/status", "singularName": "", "namespaced": True, "kind": "Flunder", "verbs": ["get"]},
    ],
}


async def wardle(call: BackendCall) -> Response:
    path = call.target.path.partition("?")[0]
    if path == f"/apis/{GROUP}/v1alpha1":
        return Response(body=json.dumps(FLUNDERS).encode())
    if path == "/openapi/v3":
        index = {"paths": {f"apis/{GROUP}/v1alpha1": {"serverRelativeURL": f"/openapi/v3/apis/{GROUP}/v1alpha1?hash=1"}}}
        return Response(body=json.dumps(index).encode())
    if path.endswith("/flunders/teapot"):
        headers = {"Location": "/tea", "Access-Control-Allow-Origin": "*"}
        return Response(418, b'<a href="/tea">short and stout</a>', "text/html", headers)
    return Response(body=json.dumps({"path": call.target.path, "method": call.method}).encode())


async def send(cluster: InProcessCluster, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    sent = b"" if body is None else json.dumps(body).encode()
    headers.setdefault("Content-Type", "application/json")
    answer = await cluster.client.raw(method, path, body=sent, headers=headers)
    try:
        return answer.status, json.loads(answer.body)
    except ValueError:
        return answer.status, answer.body.decode()


async def register(cluster: InProcessCluster, *, endpoints: bool = True, **spec: Any) -> None:
    await send(cluster, "POST", "/api/v1/namespaces", {"metadata": {"name": "wardle"}})
    ports = [{"name": "https", "port": 443, "targetPort": 8443}]
    service = {"metadata": {"name": "api"}, "spec": {"ports": ports}}
    assert (await send(cluster, "POST", "/api/v1/namespaces/wardle/services", service))[0] == 201
    if endpoints:
        await add_endpoints(cluster)
    api_service = {
        "metadata": {"name": f"v1alpha1.{GROUP}"},
        "spec": {
            "group": GROUP,
            "version": "v1alpha1",
            "groupPriorityMinimum": 2000,
            "versionPriority": 200,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": "wardle", "name": "api"},
            **spec,
        },
    }
    code, answer = await send(cluster, "POST", "/apis/apiregistration.k8s.io/v1/apiservices", api_service)
    assert code == 201, answer


async def add_endpoints(cluster: InProcessCluster) -> None:
    part = {
        "metadata": {"name": "api-1", "labels": {"kubernetes.io/service-name": "api"}},
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": 8443}],
        "endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": True}}],
    }
    path = "/apis/discovery.k8s.io/v1/namespaces/wardle/endpointslices"
    assert (await send(cluster, "POST", path, part))[0] == 201


async def available(cluster: InProcessCluster, name: str = f"v1alpha1.{GROUP}") -> tuple[str, str, str]:
    code, found = await send(cluster, "GET", f"/apis/apiregistration.k8s.io/v1/apiservices/{name}")
    for condition in found.get("status", {}).get("conditions", []) if code == 200 else ():
        if condition["type"] == "Available":
            return condition["status"], condition["reason"], condition["message"]
    return "", "", ""


async def becomes(cluster: InProcessCluster, reason: str) -> str:
    async def there() -> bool:
        return (await available(cluster))[1] == reason

    await cluster.wait_for(there, 2 * CHECK_PERIOD_S)
    return (await available(cluster))[2]


def behind() -> InProcessBackends:
    backends = InProcessBackends()
    backends.serve(SERVER, wardle)
    return backends


def test_requests_reach_the_server_behind_with_the_name_of_who_asks(knarr_cluster: ClusterRunner) -> None:
    backends = behind()

    async def scenario(cluster: InProcessCluster) -> None:
        await register(cluster)
        assert await becomes(cluster, "Passed") == "all checks passed"
        path = f"/apis/{GROUP}/v1alpha1/namespaces/default/flunders"
        status, answer = await send(
            cluster, "POST", f"{path}?dryRun=All", {"a": 1}, **{"X-Remote-User": "root", "X-Remote-Extra-Scopes": "all", "Authorization": "Bearer x"}
        )
        assert (status, answer) == (200, {"path": f"{path}?dryRun=All", "method": "POST"})
        call = backends.calls[-1]
        assert call.target.host == "10.1.2.3" and call.target.port == 8443 and json.loads(call.body) == {"a": 1}
        assert call.said("X-Remote-User") == ["kubernetes-admin"]
        assert call.said("X-Remote-Group") == ["system:masters", "system:authenticated"]
        assert not call.said("X-Remote-Extra-Scopes") and not call.said("Authorization")
        assert (await send(cluster, "GET", f"{path}/teapot")) == (418, '<a href="/tea">short and stout</a>')

    knarr_cluster.run(scenario, **API_ONLY, backends=backends)


def test_an_answer_from_behind_is_not_rewritten_as_a_proxied_pods_is(knarr_cluster: ClusterRunner) -> None:
    servers = behind()

    async def scenario(cluster: InProcessCluster) -> None:
        await register(cluster)
        await becomes(cluster, "Passed")
        answer = await cluster.client.raw("GET", f"/apis/{GROUP}/v1alpha1/flunders/teapot")
        assert answer.body == b'<a href="/tea">short and stout</a>' and answer.headers["Location"] == "/tea"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"

    knarr_cluster.run(scenario, **API_ONLY, backends=servers)


def test_who_may_not_does_not_reach_the_server_behind(knarr_cluster: ClusterRunner) -> None:
    backends = behind()

    async def scenario(cluster: InProcessCluster) -> None:
        await register(cluster)
        await becomes(cluster, "Passed")
        before = len(backends.calls)
        answer = await cluster.client_for("jane").raw("GET", f"/apis/{GROUP}/v1alpha1/namespaces/default/flunders/a")
        text = f'flunders.{GROUP} "a" is forbidden: User "jane" cannot get resource "flunders" in API group "{GROUP}" in the namespace "default"'
        assert answer.status == 403 and json.loads(answer.body)["message"] == text
        assert len(backends.calls) == before

    knarr_cluster.run(scenario, **API_ONLY, backends=backends)


def test_what_is_served_behind_is_discovered(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await register(cluster)
        await becomes(cluster, "Passed")
        _, groups = await send(cluster, "GET", "/apis")
        names = [group["name"] for group in groups["groups"]]
        assert GROUP in names and names[0] == "apiregistration.k8s.io"
        accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        _, found = await send(cluster, "GET", "/apis", Accept=accept)
        (item,) = [item for item in found["items"] if item["metadata"]["name"] == GROUP]
        (version,) = item["versions"]
        assert version["freshness"] == "Current"
        (row,) = version["resources"]
        kind = {"group": GROUP, "version": "v1alpha1", "kind": "Flunder"}
        assert row["resource"] == "flunders" and row["scope"] == "Namespaced" and row["responseKind"] == kind
        assert row["subresources"] == [{"subresource": "status", "responseKind": kind, "verbs": ["get"]}]
        assert (await send(cluster, "GET", f"/apis/{GROUP}/v1alpha1"))[1] == FLUNDERS
        _, index = await send(cluster, "GET", "/openapi/v3")
        assert index["paths"][f"apis/{GROUP}/v1alpha1"]["serverRelativeURL"].endswith("?hash=1")
        assert (await send(cluster, "GET", f"/openapi/v3/apis/{GROUP}/v1alpha1"))[0] == 200

    knarr_cluster.run(scenario, **API_ONLY, backends=behind())


def test_a_server_that_cannot_be_called_says_why_and_comes_back(knarr_cluster: ClusterRunner) -> None:
    backends = InProcessBackends()

    async def scenario(cluster: InProcessCluster) -> None:
        await register(cluster, endpoints=False)
        assert await becomes(cluster, "EndpointsNotFound") == 'cannot find endpointslices for service/api in "wardle"'
        assert await send(cluster, "GET", f"/apis/{GROUP}/v1alpha1") == (503, "service unavailable\n")
        await add_endpoints(cluster)
        text = await becomes(cluster, "FailedDiscoveryCheck")
        assert text.startswith(f"failing or missing response from https://10.1.2.3:8443/apis/{GROUP}/v1alpha1: ")
        backends.serve(SERVER, wardle)
        await becomes(cluster, "Passed")
        backends.stop(SERVER)
        await becomes(cluster, "FailedDiscoveryCheck")
        accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        _, found = await send(cluster, "GET", "/apis", Accept=accept)
        (item,) = [item for item in found["items"] if item["metadata"]["name"] == GROUP]
        assert item["versions"][0]["freshness"] == "Stale"
        await send(cluster, "DELETE", "/api/v1/namespaces/wardle/services/api")
        assert await becomes(cluster, "ServiceNotFound") == 'service/api in "wardle" is not present'
        await send(cluster, "DELETE", f"/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.{GROUP}")
        assert (await send(cluster, "GET", f"/apis/{GROUP}/v1alpha1"))[0] == 404

    knarr_cluster.run(scenario, **API_ONLY, backends=backends)


def test_a_port_that_is_not_there_is_named(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await register(cluster, service={"namespace": "wardle", "name": "api", "port": 8080})
        assert await becomes(cluster, "ServicePortError") == 'service/api in "wardle" is not listening on port 8080'

    knarr_cluster.run(scenario, **API_ONLY, backends=behind())


def test_everything_served_here_has_its_api_service(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        _, found = await send(cluster, "GET", "/apis/apiregistration.k8s.io/v1/apiservices")
        names = {item["metadata"]["name"] for item in found["items"]}
        assert {"v1.", "v1.apps", "v2.autoscaling"} <= names and "v1.apiregistration.k8s.io" not in names
        assert await available(cluster, "v1.apps") == ("True", "Local", "Local APIServices are always available")
        schema = {"openAPIV3Schema": {"type": "object"}}
        definition = {
            "metadata": {"name": "boats.example.com"},
            "spec": {
                "group": "example.com",
                "scope": "Namespaced",
                "names": {"plural": "boats", "kind": "Boat"},
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
            },
        }
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        assert (await send(cluster, "POST", path, definition))[0] == 201

        async def there() -> bool:
            return (await available(cluster, "v1.example.com"))[1] == "Local"

        async def gone() -> bool:
            return (await send(cluster, "GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1.example.com"))[0] == 404

        await cluster.wait_for(there, 5)
        await send(cluster, "DELETE", f"{path}/boats.example.com")
        await cluster.wait_for(gone, 5)

    knarr_cluster.run(scenario, **API_ONLY)


def test_servers_behind_are_told_whom_to_believe(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        status, found = await send(cluster, "GET", "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication")
        assert status == 200 and found["kind"] == "ConfigMap"

    knarr_cluster.run(scenario, **API_ONLY)


def test_a_change_of_its_priority_does_not_interrupt_the_server_behind(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await register(cluster)
        await becomes(cluster, "Passed")
        body = {"spec": {"versionPriority": 400}}
        answer = await cluster.client.raw(
            "PATCH",
            f"/apis/apiregistration.k8s.io/v1/apiservices/v1alpha1.{GROUP}",
            body=json.dumps(body).encode(),
            headers={"Content-Type": "application/merge-patch+json"},
        )
        assert answer.status == 200
        status, _ = await send(cluster, "GET", f"/apis/{GROUP}/v1alpha1/namespaces/default/flunders")
        assert status == 200

    knarr_cluster.run(scenario, **API_ONLY, backends=behind())
