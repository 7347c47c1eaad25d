"""``metrics.k8s.io``: what nodes and pods use. Without it ``kubectl top`` and every autoscaler on CPU are lost."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from knarr.api.core import v1 as core
from knarr.api.core.connect import KUBELET_SERVER
from knarr.api.metrics import v1beta1 as metrics
from knarr.apiserver.config import ServerConfig
from knarr.apiserver.node_metrics.kubelets import Kubelets
from knarr.apiserver.node_metrics.scraper import (
    ASKED_AT_ONCE,
    DEADLINE_S,
    FRESH_S,
    OLDEST_S,
    PATIENCE_S,
    SHORTEST_WINDOW_S,
)
from knarr.apiserver.request import Response
from knarr.apiserver.subresources.forwarding import Forwarder
from knarr.apiserver.subresources.node_proxy import NodeProxy
from knarr.apiserver.subresources.service_endpoints import ServiceEndpoints
from knarr.testing import InProcessCluster
from knarr.testing.backends import BackendCall, InProcessBackends
from knarr.testing.plugin import ClusterRunner

MINUTE_S = 60.0
ROOT = "/apis/metrics.k8s.io/v1beta1"
POD = """
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  labels: {{app: {name}}}
  annotations: {{knarr.dev/simulate-cpu: 250m, knarr.dev/simulate-memory: 64Mi, knarr.dev/simulate-cpu.side: 50m}}
spec:
  containers: [{{name: main, image: a}}, {{name: side, image: a}}]
"""
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


async def get(cluster: InProcessCluster, path: str, *, client: Any = None, accept: str = "", **query: str) -> tuple[int, Any]:
    headers = {"Accept": accept} if accept else {}
    answer = await (client or cluster.client).raw("GET", path, query=list(query.items()), headers=headers)
    try:
        return answer.status, json.loads(answer.body)
    except ValueError:
        return answer.status, answer.body.decode()


async def start(cluster: InProcessCluster, name: str = "web") -> None:
    await cluster.apply(POD.format(name=name))
    await cluster.wait_for_condition(core.Pod, name, "Ready")


class Watched:
    """Kubelets of which a test sees who is asked; ``before`` runs in front of each question."""

    def __init__(self, kubelets: Kubelets, before: Callable[[str], Any] | None = None) -> None:
        self._kubelets = kubelets
        self._before = before
        self.asked: Counter[str] = Counter()
        self.now = self.most = 0

    async def resource_metrics(self, node_name: str) -> str:
        self.asked[node_name] += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self._before is not None:
                await self._before(node_name)
            return await self._kubelets.resource_metrics(node_name)
        finally:
            self.now -= 1


def watched(before: Callable[[str], Any] | None = None) -> tuple[list[Watched], Callable[[ServerConfig], None]]:
    made: list[Watched] = []

    def configure(config: ServerConfig) -> None:
        assert config.kubelets is not None
        made.append(Watched(config.kubelets, before))
        config.kubelets = made[0]

    return made, configure


def test_a_pods_containers_show_what_they_use(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await start(cluster)
        status, found = await get(cluster, f"{ROOT}/namespaces/default/pods/web")
        assert status == 200 and found["kind"] == "PodMetrics" and found["apiVersion"] == "metrics.k8s.io/v1beta1"
        assert found["containers"] == [
            {"name": "main", "usage": {"cpu": "250m", "memory": "64Mi"}},
            {"name": "side", "usage": {"cpu": "50m", "memory": "64Mi"}},
        ]
        assert found["window"] == "2s" and found["timestamp"] and found["metadata"]["labels"] == {"app": "web"}
        _, node = await get(cluster, f"{ROOT}/nodes/node-1")
        assert node["usage"] == {"cpu": "300m", "memory": "128Mi"} and node["kind"] == "NodeMetrics"

    knarr_cluster.run(scenario)


def test_lists_are_by_namespace_label_and_name(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await start(cluster, "web")
        await start(cluster, "api")

        async def names(path: str, **query: str) -> list[str]:
            status, found = await get(cluster, f"{ROOT}{path}", **query)
            assert status == 200, found
            return [each["metadata"]["name"] for each in found["items"]]

        assert await names("/pods") == await names("/namespaces/default/pods") == ["api", "web"]
        assert await names("/namespaces/kube-system/pods") == []
        assert await names("/pods", labelSelector="app=api") == ["api"]
        assert await names("/pods", fieldSelector="metadata.name=web") == ["web"]
        assert await names("/nodes") == ["node-1", "node-2"]
        assert (await get(cluster, f"{ROOT}/pods", labelSelector="!"))[0] == 400
        _, shown = await get(cluster, f"{ROOT}/namespaces/default/pods", accept=TABLE)
        assert [column["name"] for column in shown["columnDefinitions"]] == ["Name", "cpu", "memory", "Window"]
        assert shown["rows"][0]["cells"][:3] == ["api", "300m", "128Mi"]

    knarr_cluster.run(scenario, nodes=2)


def test_nobody_is_asked_while_nobody_wants_to_know(knarr_cluster: ClusterRunner) -> None:
    made, configure = watched()

    async def scenario(cluster: InProcessCluster) -> None:
        await start(cluster)
        await cluster.sleep(600)
        assert not made[0].asked, "an idle cluster pays for nothing"
        await asyncio.gather(*(get(cluster, f"{ROOT}/pods") for _ in range(20)))
        assert made[0].asked.total() == 2, "the first question asks one kubelet twice, for all who ask"
        await get(cluster, f"{ROOT}/namespaces/default/pods/web")
        assert made[0].asked.total() == 2, "an answer is good for a while"
        await cluster.sleep(FRESH_S)
        await get(cluster, f"{ROOT}/pods")
        assert made[0].asked.total() == 3, "with an earlier answer one more is enough"

    knarr_cluster.run(scenario, configure=configure, nodes=2)


def test_after_a_long_silence_the_rate_is_that_of_now(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await start(cluster)
        await get(cluster, f"{ROOT}/pods")
        await cluster.sleep(3600)
        await cluster.set_usage("app=web", cpu="1500m", memory="1Gi")
        _, found = await get(cluster, f"{ROOT}/namespaces/default/pods/web")
        assert found["containers"][0]["usage"] == {"cpu": "1500m", "memory": "1Gi"}
        assert found["window"] == f"{SHORTEST_WINDOW_S:g}s"
        await cluster.sleep(30)
        await cluster.set_usage("app=web", cpu="0")
        await cluster.sleep(30)
        _, found = await get(cluster, f"{ROOT}/namespaces/default/pods/web")
        assert found["containers"][0]["usage"]["cpu"] == "750m" and found["window"] == f"{OLDEST_S // 60:g}m0s"

    knarr_cluster.run(scenario)


def test_a_dead_node_costs_its_own_metrics_only(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        for name in ("one", "two"):
            await start(cluster, name)
        places = {pod.metadata.name: pod.spec.nodeName for pod in await cluster.pods()}
        assert len(set(places.values())) == 2
        await cluster.stop_node(places["one"])
        _, found = await get(cluster, f"{ROOT}/pods")
        assert [each["metadata"]["name"] for each in found["items"]] == ["two"]
        _, nodes = await get(cluster, f"{ROOT}/nodes")
        assert [each["metadata"]["name"] for each in nodes["items"]] == [places["two"]]

    knarr_cluster.run(scenario, nodes=2)


def test_a_kubelet_that_does_not_answer_is_waited_for_once_and_not_for_long(knarr_cluster: ClusterRunner) -> None:
    async def hang(node_name: str) -> None:
        if node_name == "node-1":
            await asyncio.Event().wait()

    made, configure = watched(hang)

    async def scenario(cluster: InProcessCluster) -> None:
        began_s = cluster.clock.monotonic_s()
        _, found = await get(cluster, f"{ROOT}/nodes")
        assert [each["metadata"]["name"] for each in found["items"]] == ["node-2"]
        assert cluster.clock.monotonic_s() - began_s == pytest.approx(DEADLINE_S)
        await get(cluster, f"{ROOT}/nodes")
        assert cluster.clock.monotonic_s() - began_s == pytest.approx(DEADLINE_S), "it is remembered"
        assert made[0].asked["node-1"] == 1

    knarr_cluster.run(scenario, configure=configure, nodes=2)


def test_many_silent_kubelets_cost_patience_once(knarr_cluster: ClusterRunner) -> None:
    async def hang(node_name: str) -> None:
        if node_name != "node-1":
            await asyncio.Event().wait()

    made, configure = watched(hang)

    async def scenario(cluster: InProcessCluster) -> None:
        began_s = cluster.clock.monotonic_s()
        _, found = await get(cluster, f"{ROOT}/nodes")
        assert [each["metadata"]["name"] for each in found["items"]] == ["node-1"]
        assert cluster.clock.monotonic_s() - began_s == pytest.approx(PATIENCE_S)
        await cluster.sleep(10 * MINUTE_S)
        before = made[0].asked["node-2"]
        for _ in range(10):
            await cluster.sleep(MINUTE_S)
            await get(cluster, f"{ROOT}/nodes")
        assert made[0].asked["node-2"] - before <= 7, "who stays silent is asked less and less"

    knarr_cluster.run(scenario, configure=configure, nodes=3 * ASKED_AT_ONCE)


def test_only_so_many_kubelets_are_asked_at_once(knarr_cluster: ClusterRunner) -> None:
    async def slow(_node_name: str) -> None:
        await asyncio.sleep(0.1)

    made, configure = watched(slow)

    async def scenario(cluster: InProcessCluster) -> None:
        _, found = await get(cluster, f"{ROOT}/nodes")
        assert len(found["items"]) == ASKED_AT_ONCE + 4
        assert made[0].most == ASKED_AT_ONCE

    knarr_cluster.run(scenario, configure=configure, nodes=ASKED_AT_ONCE + 4)


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/namespaces/default/pods/none", 404, 'pods "none" not found'),
        ("/namespaces/default/pods/new", 404, 'pods.metrics.k8s.io "default/new" not found'),
        ("/nodes/none", 404, 'nodes "none" not found'),
        ("/nodes?watch=1", 405, 'watch is not supported on resources of kind "nodes.metrics.k8s.io"'),
    ],
)
def test_refusals_are_those_of_metrics_server(knarr_cluster: ClusterRunner, path: str, code: int, message: str) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.apply(POD.format(name="new").replace("spec:", "spec:\n  nodeSelector: {disk: none}"))
        plain, _, query = path.partition("?")
        status, found = await get(cluster, ROOT + plain, **dict([query.split("=")] if query else []))
        assert (status, found["message"]) == (code, message)

    knarr_cluster.run(scenario)


def test_a_stopped_nodes_metrics_are_not_found(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.stop_node("node-1")
        status, found = await get(cluster, f"{ROOT}/nodes/node-1")
        assert (status, found["message"]) == (404, 'nodes.metrics.k8s.io "node-1" not found')

    knarr_cluster.run(scenario)


def test_who_may_view_may_see_what_is_used(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await start(cluster)
        jane = cluster.client_for("jane", ("system:authenticated",))
        path = f"{ROOT}/namespaces/default/pods"
        assert (await get(cluster, path, client=jane))[0] == 403
        binding = {
            "metadata": {"name": "jane", "namespace": "default"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
        }
        where = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
        body = json.dumps(binding).encode()
        made = await cluster.client.raw("POST", where, body=body, headers={"Content-Type": "application/json"})
        assert made.status == 201
        await cluster.sleep(1)
        assert (await get(cluster, path, client=jane))[0] == 200
        assert (await get(cluster, f"{ROOT}/nodes", client=jane))[0] == 403

    knarr_cluster.run(scenario)


def test_discovery_offers_the_group_last_of_all(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        _, groups = await get(cluster, "/apis")
        assert groups["groups"][-1]["name"] == "metrics.k8s.io"
        _, listed = await get(cluster, ROOT)
        assert {each["name"]: each["verbs"] for each in listed["resources"]} == {"nodes": ["get", "list"], "pods": ["get", "list"]}
        _, service = await get(cluster, "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io")
        assert "service" not in service["spec"]
        assert [each["reason"] for each in service["status"]["conditions"]] == ["Local"]

    knarr_cluster.run(scenario, nodes=0)


def test_the_kinds_are_described(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        _, document = await get(cluster, "/openapi/v3/apis/metrics.k8s.io/v1beta1")
        schemas = document["components"]["schemas"]
        pods = schemas["io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics"]
        assert pods["x-kubernetes-group-version-kind"] == [{"group": "metrics.k8s.io", "kind": "PodMetrics", "version": "v1beta1"}]
        # What the structs have, the description has.
        for kind in (metrics.ContainerMetrics, metrics.NodeMetrics, metrics.PodMetrics, metrics.PodMetricsList):
            described = schemas[f"io.k8s.metrics.pkg.apis.metrics.v1beta1.{kind.__name__}"]["properties"]
            assert set(described) == set(kind.__struct_fields__)

    knarr_cluster.run(scenario, nodes=0)


def test_a_metrics_server_that_somebody_installs_is_asked_instead(knarr_cluster: ClusterRunner) -> None:
    backends = InProcessBackends()

    async def metrics_server(call: BackendCall) -> Response:
        if call.target.path.partition("?")[0] == ROOT:
            row = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}
            rows = {"kind": "APIResourceList", "groupVersion": "metrics.k8s.io/v1beta1", "resources": [row]}
            return Response(body=json.dumps(rows).encode())
        return Response(body=b'{"kind":"PodMetricsList","items":[{"metadata":{"name":"theirs"}}]}')

    backends.serve("metrics-server.kube-system.svc", metrics_server)

    async def names(cluster: InProcessCluster) -> list[str]:
        return [each["metadata"]["name"] for each in (await get(cluster, f"{ROOT}/pods"))[1]["items"]]

    async def scenario(cluster: InProcessCluster) -> None:
        await start(cluster)
        assert await names(cluster) == ["web"]
        await cluster.apply(METRICS_SERVER)

        async def theirs() -> bool:
            status, found = await get(cluster, f"{ROOT}/pods")
            return status == 200 and found["items"][0]["metadata"]["name"] == "theirs"

        await cluster.wait_for(theirs)
        await cluster.client.raw("DELETE", "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io")

        async def ours() -> bool:
            return await names(cluster) == ["web"]

        await cluster.wait_for(ours)

    knarr_cluster.run(scenario, backends=backends)


METRICS_SERVER = """
apiVersion: v1
kind: Service
metadata: {name: metrics-server, namespace: kube-system}
spec: {ports: [{name: https, port: 443, targetPort: 10250}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: metrics-server-1, namespace: kube-system, labels: {kubernetes.io/service-name: metrics-server}}
addressType: IPv4
endpoints: [{addresses: [10.1.2.3], conditions: {ready: true}}]
ports: [{name: https, port: 10250}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: metrics-server, namespace: kube-system}
"""


def test_a_kubelet_that_is_reached_elsewhere_is_asked_there(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        forwarder = Forwarder()
        registry = cluster.server.registry
        services = ServiceEndpoints(services=registry("", "services"), slices=registry("discovery.k8s.io", "endpointslices"))
        proxy = NodeProxy(
            pods=registry("", "pods"), nodes=registry("", "nodes"), services=services, tls=None, forwarder=forwarder
        )
        near = await proxy.kubelet("node-1", "/metrics/resource")
        assert (near.host, near.port, near.path) == (cluster.nodes["node-1"].address, 10250, "/metrics/resource")
        announced = {"metadata": {"annotations": {KUBELET_SERVER: "10.128.0.1:10251"}}}
        await cluster.client.patch(core.Node, "node-1", announced)
        far = await proxy.kubelet("node-1", "/metrics/resource")
        assert (far.host, far.port, far.path) == ("10.128.0.1", 10251, "/nodes/node-1/metrics/resource")

    knarr_cluster.run(scenario)
