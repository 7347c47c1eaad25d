"""[sig-api-machinery] Aggregator: another API server behind this one, with resources of its own. The server behind is functions in this process."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conformance_api import API_ONLY, NS, STRATEGIC, Api, Object, fails, has_condition
from conformance_objects import meta

from knarr.apiserver.request import Response
from knarr.testing import InProcessCluster
from knarr.testing.backends import BackendCall, InProcessBackends
from knarr.testing.plugin import ClusterRunner

GROUP = "wardle.example.com"
NAME = f"v1alpha1.{GROUP}"
SERVER = "sample-api.default.svc"


class Sample:
    """An API server that keeps flunders in memory."""

    def __init__(self) -> None:
        self.flunders: dict[str, Object] = {}
        self.askers: set[str] = set()

    async def __call__(self, call: BackendCall) -> Response:
        self.askers.update(call.said("x-remote-user"))
        parts = call.target.path.partition("?")[0].strip("/").split("/")
        if parts[:3] != ["apis", GROUP, "v1alpha1"]:
            return answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound"})
        if len(parts) == 3:
            verbs = ["create", "delete", "get", "list"]
            row = {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder", "verbs": verbs}
            return answer(200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/v1alpha1", "resources": [row]})
        name = parts[6] if len(parts) > 6 else ""
        if call.method == "POST":
            made = json.loads(call.body)
            self.flunders[made["metadata"]["name"]] = made
            return answer(201, made)
        if not name:
            return answer(200, {"kind": "FlunderList", "apiVersion": f"{GROUP}/v1alpha1", "metadata": {}, "items": list(self.flunders.values())})
        if name not in self.flunders:
            return answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound"})
        return answer(200, self.flunders.pop(name) if call.method == "DELETE" else self.flunders[name])


def answer(status: int, content: Any) -> Response:
    return Response(status, json.dumps(content).encode())


async def register(cluster: InProcessCluster) -> Api:
    service = {"metadata": meta("sample-api"), "spec": {"ports": [{"port": 7443, "targetPort": 443}]}}
    await Api(cluster, "v1", "services", NS).create(service)
    slices = Api(cluster, "discovery.k8s.io/v1", "endpointslices", NS)
    ready = [{"addresses": ["10.1.2.3"], "conditions": {"ready": True}}]
    labels = {"kubernetes.io/service-name": "sample-api"}
    await slices.create({"metadata": meta("sample", labels), "addressType": "IPv4", "ports": [{"port": 443}], "endpoints": ready})
    services = Api(cluster, "apiregistration.k8s.io/v1", "apiservices")
    spec = {
        "service": {"namespace": NS, "name": "sample-api", "port": 7443},
        "group": GROUP,
        "version": "v1alpha1",
        "insecureSkipTLSVerify": True,
        "groupPriorityMinimum": 2000,
        "versionPriority": 200,
    }
    await services.create({"metadata": meta(NAME), "spec": spec})
    await services.wait(NAME, lambda each: has_condition(each, "Available"))
    return services


@pytest.mark.conformance("[sig-api-machinery] Aggregator Should be able to support the 1.17 Sample API Server using the current Aggregator [Conformance]")
def test_another_api_server_is_part_of_the_api(knarr_cluster: ClusterRunner) -> None:
    sample, backends = Sample(), InProcessBackends()
    backends.serve(SERVER, sample)

    async def scenario(cluster: InProcessCluster) -> None:
        services = await register(cluster)
        flunders = Api(cluster, f"{GROUP}/v1alpha1", "flunders", NS)
        await flunders.create({"apiVersion": f"{GROUP}/v1alpha1", "kind": "Flunder", "metadata": meta("one"), "spec": {}})
        assert [each["metadata"]["name"] for each in await flunders.items()] == ["one"]
        assert (await flunders.get("one"))["kind"] == "Flunder"
        assert sample.askers >= {"kubernetes-admin"}
        await flunders.delete("one")
        await fails(flunders.get("one"), 404, "NotFound")
        groups = (await services.call("GET", "/apis"))["groups"]
        assert next(each for each in groups if each["name"] == GROUP)["preferredVersion"]["version"] == "v1alpha1"
        assert [each["name"] for each in (await services.call("GET", f"/apis/{GROUP}/v1alpha1"))["resources"]] == ["flunders"]
        await operations(services)
        await services.delete(NAME)
        await services.wait_gone(NAME)
        await fails(flunders.list(), 404)

    knarr_cluster.run(scenario, **API_ONLY, backends=backends)


async def operations(services: Api) -> None:
    """What can be done with the APIService itself."""
    status = await services.get(NAME, "status")
    assert has_condition(status, "Available")
    condition = {"type": "StatusUpdated", "status": "True", "reason": "E2E", "message": "Set from the test", "lastTransitionTime": "2030-01-01T00:00:00Z"}

    def add(obj: Object) -> None:
        obj["status"]["conditions"].append(condition)

    changed = await services.change(NAME, add, "status")
    assert has_condition(changed, "StatusUpdated", reason="E2E")
    patched = await services.patch(NAME, {"spec": {"versionPriority": 400}}, kind=STRATEGIC)
    assert patched["spec"]["versionPriority"] == 400
    labelled = await services.patch(NAME, {"metadata": {"labels": {"e2e": "patched"}}})
    assert labelled["metadata"]["labels"]["e2e"] == "patched"
    assert [each["metadata"]["name"] for each in await services.items("e2e=patched")] == [NAME]
    updated = await services.change(NAME, lambda obj: obj["metadata"]["labels"].update(e2e="updated"))
    assert updated["metadata"]["labels"]["e2e"] == "updated" and updated["spec"]["versionPriority"] == 400
