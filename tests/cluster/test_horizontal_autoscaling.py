"""Autoscalers: replicas follow the load, no further than they may, and the status says why."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import yaml

from knarr.api import conditions
from knarr.api.apps import v1 as apps
from knarr.api.autoscaling import v2
from knarr.api.core import v1 as core
from knarr.apiserver.request import Response
from knarr.controllers.horizontal.controller import SYNC_PERIOD_S
from knarr.testing import InProcessCluster
from knarr.testing.backends import BackendCall, InProcessBackends
from knarr.testing.plugin import ClusterRunner

MINUTE_S = 60.0
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata:
      labels: {{app: {name}}}
      annotations: {{knarr.dev/simulate-cpu: "{cpu}", knarr.dev/simulate-memory: 50Mi, knarr.dev/simulate-cpu.side: "0"}}
    spec:
      containers:
      - {{name: main, image: a, resources: {{requests: {{cpu: 100m, memory: 100Mi}}}}}}
      - {{name: side, image: a, resources: {{requests: {{cpu: 100m, memory: 100Mi}}}}}}
"""


async def deploy(cluster: InProcessCluster, name: str = "web", *, replicas: int = 1, cpu: str = "100m") -> None:
    await cluster.apply(DEPLOYMENT.format(name=name, replicas=replicas, cpu=cpu))
    if replicas:
        await cluster.wait_for_condition(apps.Deployment, name, "Available")


async def autoscale(cluster: InProcessCluster, metrics: list[dict[str, Any]] | None = None, name: str = "web", **spec: Any) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    wanted = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 10, "metrics": metrics or [cpu(50)], **spec}
    hpa = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name}, "spec": wanted}
    await cluster.apply(yaml.safe_dump(hpa))


def cpu(percent: int) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}


def external(value: str, *, kind: str = "AverageValue", **selector: str) -> dict[str, Any]:
    field = {"AverageValue": "averageValue", "Value": "value"}[kind]
    metric: dict[str, Any] = {"name": "queue_length"}
    if selector:
        metric["selector"] = {"matchLabels": selector}
    return {"type": "External", "external": {"metric": metric, "target": {"type": kind, field: value}}}


async def size(cluster: InProcessCluster, name: str = "web") -> int:
    return (await cluster.client.get(apps.Deployment, name, namespace="default")).spec.replicas or 0


async def status(cluster: InProcessCluster, name: str = "web") -> v2.HorizontalPodAutoscalerStatus:
    return (await cluster.client.get(v2.HorizontalPodAutoscaler, name, namespace="default")).status


async def condition(cluster: InProcessCluster, kind: str, name: str = "web") -> tuple[str, str, str]:
    found = conditions.get((await status(cluster, name)).conditions, kind)
    return ("", "", "") if found is None else (found.status, found.reason, found.message)


async def told(cluster: InProcessCluster, reason: str) -> list[str]:
    return [each.message for each in await cluster.events(namespace="default") if each.reason == reason]


class Metrics:
    """A metrics API behind the server's own, for custom and external metrics; ``values`` is what it says of each metric."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.asked: list[str] = []
        self.backends = InProcessBackends()
        self.backends.serve("adapter.default.svc", self._answer)

    async def _answer(self, call: BackendCall) -> Response:
        path = call.target.path.partition("?")[0]
        parts = path.strip("/").split("/")
        if len(parts) <= 3:
            rows = {"kind": "APIResourceList", "groupVersion": "/".join(parts[1:]), "resources": []}
            return Response(body=json.dumps(rows).encode())
        self.asked.append(call.target.path)
        found = self.values.get(parts[-1])
        if found is None:
            return Response(404, b"404 page not found\n", "text/plain")
        if isinstance(found, dict):
            items = [
                {"describedObject": {"kind": "Pod", "name": name}, "timestamp": "2026-01-01T00:00:00Z", "value": value}
                for name, value in found.items()
            ]
        else:
            items = [{"value": value, "timestamp": "2026-01-01T00:00:00Z"} for value in found]
        return Response(body=json.dumps({"items": items}).encode())

    async def install(self, cluster: InProcessCluster, *group_versions: str) -> None:
        await cluster.apply(ADAPTER)
        for each in group_versions:
            group, version = each.split("/")
            spec = {"group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 100}
            spec |= {"insecureSkipTLSVerify": True, "service": {"name": "adapter", "namespace": "default"}}
            service = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"}
            await cluster.apply(yaml.safe_dump({**service, "metadata": {"name": f"{version}.{group}"}, "spec": spec}))

            async def available(path: str = f"/apis/{each}") -> bool:
                return (await cluster.client.raw("GET", path)).status == 200

            await cluster.wait_for(available)


ADAPTER = """
apiVersion: v1
kind: Service
metadata: {name: adapter}
spec: {ports: [{name: https, port: 443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: adapter-1, labels: {kubernetes.io/service-name: adapter}}
addressType: IPv4
endpoints: [{addresses: [10.1.2.3], conditions: {ready: true}}]
ports: [{name: https, port: 443}]
"""


def test_load_brings_replicas_and_its_end_takes_them_after_five_minutes(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await deploy(cluster, cpu="10m")
        await autoscale(cluster)
        await cluster.sleep(6 * MINUTE_S)
        assert await size(cluster) == 1
        await cluster.set_usage("app=web", cpu="100m")

        async def grown() -> bool:
            return await size(cluster) == 2

        await cluster.wait_for(grown, 2 * SYNC_PERIOD_S)
        # Both containers of the old pod are busy: 200m of the 200m that it asks for, twice what is wanted.
        assert (await told(cluster, "SuccessfulRescale"))[-1] == (
            "New size: 2; reason: cpu resource utilization (percentage of request) above target"
        )
        await cluster.sleep(10)
        await cluster.set_usage("app=web", cpu="5m")
        await cluster.sleep(4 * MINUTE_S)
        assert await size(cluster) == 2
        assert (await condition(cluster, "AbleToScale"))[1] == "ScaleDownStabilized"
        await cluster.sleep(3 * MINUTE_S)
        assert await size(cluster) == 1
        assert (await told(cluster, "SuccessfulRescale"))[-1] == "New size: 1; reason: All metrics below target"

    knarr_cluster.run(scenario, nodes=2)


def test_the_status_says_what_was_measured_and_decided(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await deploy(cluster, cpu="100m")
        await autoscale(cluster)
        await cluster.sleep(7 * MINUTE_S)
        found = await status(cluster)
        assert (found.currentReplicas, found.desiredReplicas) == (1, 1)
        (current,) = found.currentMetrics
        assert current.resource is not None
        assert (current.resource.current.averageUtilization, current.resource.current.averageValue) == (50, "100m")
        assert await condition(cluster, "ScalingActive") == (
            "True",
            "ValidMetricFound",
            "the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)",
        )
        assert (await condition(cluster, "AbleToScale"))[:2] == ("True", "ReadyForNewScale")
        assert (await condition(cluster, "ScalingLimited"))[:2] == ("False", "DesiredWithinRange")
        row = await cluster.client.raw(
            "GET",
            "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
            headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"},
        )
        assert json.loads(row.body)["rows"][0]["cells"][1:6] == ["Deployment/web", "cpu: 50%/50%", "1", 10, 1]
        assert found.lastScaleTime is None

    knarr_cluster.run(scenario)


def test_a_round_that_finds_nothing_new_writes_nothing(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await deploy(cluster, cpu="100m")
        await autoscale(cluster)
        await cluster.sleep(7 * MINUTE_S)

        async def version() -> str:
            found = await cluster.client.get(v2.HorizontalPodAutoscaler, "web", namespace="default")
            return found.metadata.resourceVersion

        before = await version()
        await cluster.sleep(10 * SYNC_PERIOD_S)
        assert await version() == before

    knarr_cluster.run(scenario)


def test_replicas_out_of_bounds_are_brought_back_without_any_metric(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await deploy(cluster, replicas=8, cpu="100m")
        await autoscale(cluster, minReplicas=2, maxReplicas=4)
        await cluster.sleep(SYNC_PERIOD_S + 5)
        assert await size(cluster) == 4
        assert (await told(cluster, "SuccessfulRescale"))[-1] == (
            "New size: 4; reason: Current number of replicas above Spec.MaxReplicas"
        )
        assert (await condition(cluster, "AbleToScale"))[1:] == (
            "SucceededRescale",
            "the HPA controller was able to update the target scale to 4",
        )
        await autoscale(cluster, minReplicas=6, maxReplicas=9)
        await cluster.sleep(SYNC_PERIOD_S + 5)
        assert await size(cluster) == 6
        assert (await status(cluster)).lastScaleTime is not None

    knarr_cluster.run(scenario)


def test_policies_and_windows_of_the_behavior_hold(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await deploy(cluster, cpu="1")
        up = {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}
        down = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}
        await autoscale(cluster, behavior={"scaleUp": up, "scaleDown": down})
        sizes = []
        for _ in range(6):
            await cluster.sleep(MINUTE_S)
            sizes.append(await size(cluster))
        assert all(after - before <= 1 for before, after in itertools.pairwise(sizes)) and sizes[-1] >= 3
        assert (await condition(cluster, "ScalingLimited"))[:2] == ("True", "ScaleUpLimit")
        await cluster.sleep(6 * MINUTE_S)
        before = await size(cluster)
        assert before >= 6
        await cluster.set_usage("", cpu="0")
        await cluster.sleep(SYNC_PERIOD_S * 2)
        assert await size(cluster) == before - 2
        assert (await condition(cluster, "ScalingLimited"))[:2] == ("True", "ScaleDownLimit")

    knarr_cluster.run(scenario, nodes=4)


def test_a_tolerance_of_its_own_is_respected(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await deploy(cluster, cpu="140m")
        up = {"tolerance": "0.5", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}
        await autoscale(cluster, behavior={"scaleUp": up})
        await cluster.sleep(7 * MINUTE_S)
        assert await size(cluster) == 1
        await cluster.set_usage("app=web", cpu="160m")
        await cluster.sleep(3 * SYNC_PERIOD_S)
        assert await size(cluster) > 1

    knarr_cluster.run(scenario)


def test_pods_whose_node_is_silent_scale_nothing_down(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await deploy(cluster, replicas=4, cpu="60m")
        await autoscale(cluster)
        await cluster.sleep(7 * MINUTE_S)
        assert await size(cluster) == 3, "60m of 200m is 30 %, and 50 % is wanted"
        down = {"stabilizationWindowSeconds": 0}
        await autoscale(cluster, behavior={"scaleDown": down})
        places = [pod.spec.nodeName for pod in await cluster.pods("app=web")]
        await cluster.stop_node(max(places, key=places.count))
        await cluster.set_usage("app=web", cpu="30m")
        await cluster.sleep(3 * SYNC_PERIOD_S)
        assert await size(cluster) == 3, "what is not measured counts as busy"
        await cluster.stop_node(min(places, key=places.count))
        await cluster.sleep(4 * SYNC_PERIOD_S)
        assert await condition(cluster, "ScalingActive") == (
            "False",
            "FailedGetResourceMetric",
            "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for "
            "resource cpu: no metrics returned from resource metrics API",
        )
        assert (await told(cluster, "FailedComputeMetricsReplicas"))[-1] == (
            "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu "
            "utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API"
        )

    knarr_cluster.run(scenario, nodes=2)


def test_memory_one_container_and_averages_are_metrics_as_well(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await deploy(cluster, cpu="90m")
        memory = {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "40Mi"}}}
        target = {"type": "Utilization", "averageUtilization": 90}
        one = {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "main", "target": target}}
        await autoscale(cluster, [one, memory], maxReplicas=3)
        await cluster.sleep(7 * MINUTE_S)
        found = await status(cluster)
        assert await size(cluster) == 3, "100Mi in two containers, and 40Mi are wanted"
        assert (await told(cluster, "SuccessfulRescale"))[-1] == "New size: 3; reason: memory resource above target"
        container, whole = found.currentMetrics
        assert container.containerResource is not None and whole.resource is not None
        assert container.containerResource.current.averageUtilization == 90
        assert whole.resource.current.averageValue == "104857600"

    knarr_cluster.run(scenario)


def test_external_metrics_scale_by_what_another_server_says(knarr_cluster: ClusterRunner) -> None:
    metrics = Metrics()

    async def scenario(cluster: InProcessCluster) -> None:
        await metrics.install(cluster, "external.metrics.k8s.io/v1beta1")
        metrics.values["queue_length"] = ["10", "20"]
        await deploy(cluster)
        await autoscale(cluster, [external("10", app="orders")])
        await cluster.sleep(SYNC_PERIOD_S + 5)
        assert await size(cluster) == 3
        assert metrics.asked[-1] == (
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queue_length?labelSelector=app%3Dorders"
        )
        name = "external metric queue_length(&LabelSelector{MatchLabels:map[string]string{app: orders,},MatchExpressions:[]LabelSelectorRequirement{},})"
        assert (await told(cluster, "SuccessfulRescale"))[-1] == f"New size: 3; reason: {name} above target"
        await autoscale(cluster, [external("5", kind="Value")])
        await cluster.sleep(SYNC_PERIOD_S * 2)
        assert await size(cluster) > 3

    knarr_cluster.run(scenario, backends=metrics.backends)


@pytest.mark.parametrize("version", ["v1beta2", "v1beta1"])
def test_custom_metrics_of_pods_and_of_objects_count(knarr_cluster: ClusterRunner, version: str) -> None:
    metrics = Metrics()

    async def scenario(cluster: InProcessCluster) -> None:
        root = f"custom.metrics.k8s.io/{version}"
        await metrics.install(cluster, root)
        await deploy(cluster)
        (pod,) = await cluster.pods("app=web")
        metrics.values["requests"] = {pod.metadata.name: "30"}
        each = {"metric": {"name": "requests"}, "target": {"type": "AverageValue", "averageValue": "10"}}
        down = {"stabilizationWindowSeconds": 0}
        await autoscale(cluster, [{"type": "Pods", "pods": each}], behavior={"scaleDown": down})
        await cluster.sleep(SYNC_PERIOD_S + 5)
        assert await size(cluster) == 3
        assert metrics.asked[-1] == f"/apis/{root}/namespaces/default/pods/*/requests?labelSelector=app%3Dweb"
        assert (await told(cluster, "SuccessfulRescale"))[-1] == "New size: 3; reason: pods metric requests above target"
        metrics.values["hits"] = ["4500m"]
        about = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "front"}
        metric = {"describedObject": about, "metric": {"name": "hits"}, "target": {"type": "Value", "value": "1500m"}}
        await autoscale(cluster, [{"type": "Object", "object": metric}], maxReplicas=9, behavior={"scaleDown": down})
        await cluster.sleep(3 * SYNC_PERIOD_S)
        assert await size(cluster) == 9
        assert metrics.asked[-1] == f"/apis/{root}/namespaces/default/ingresses.networking.k8s.io/front/hits"
        assert (await told(cluster, "SuccessfulRescale"))[-1] == "New size: 9; reason: Ingress metric hits above target"
        del metrics.values["hits"]
        await cluster.sleep(SYNC_PERIOD_S + 5)
        assert (await condition(cluster, "ScalingActive"))[1] == "FailedGetObjectMetric"

    knarr_cluster.run(scenario, backends=metrics.backends)


def test_an_idle_target_goes_to_zero_and_comes_back(knarr_cluster: ClusterRunner) -> None:
    metrics = Metrics()

    async def scenario(cluster: InProcessCluster) -> None:
        await metrics.install(cluster, "external.metrics.k8s.io/v1beta1")
        metrics.values["queue_length"] = ["20"]
        await deploy(cluster, replicas=2)
        await autoscale(cluster, [external("10")], minReplicas=0)
        await cluster.sleep(SYNC_PERIOD_S * 2)
        assert await size(cluster) == 2
        metrics.values["queue_length"] = ["0"]
        await cluster.sleep(6 * MINUTE_S)
        assert await size(cluster) == 0
        assert (await condition(cluster, "ScaledToZero"))[:2] == ("True", "ScaledToZero")
        metrics.values["queue_length"] = ["25"]
        await cluster.sleep(SYNC_PERIOD_S + 5)
        assert await size(cluster) == 3
        assert (await condition(cluster, "ScaledToZero"))[:2] == ("False", "NotScaledToZero")

    knarr_cluster.run(scenario, backends=metrics.backends)


def test_what_somebody_switched_off_stays_off(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await deploy(cluster, replicas=0)
        await autoscale(cluster, minReplicas=2)
        await cluster.sleep(MINUTE_S)
        assert await size(cluster) == 0
        assert await condition(cluster, "ScalingActive") == (
            "False",
            "ScalingDisabled",
            "scaling is disabled since the replica count of the target is zero",
        )

    knarr_cluster.run(scenario)


def test_of_several_metrics_the_greatest_counts_and_a_failed_one_lets_nothing_shrink(knarr_cluster: ClusterRunner) -> None:
    metrics = Metrics()

    async def scenario(cluster: InProcessCluster) -> None:
        await metrics.install(cluster, "external.metrics.k8s.io/v1beta1")
        metrics.values["queue_length"] = ["30"]
        await deploy(cluster, cpu="1m")
        down = {"stabilizationWindowSeconds": 0}
        await autoscale(cluster, [external("10"), cpu(50)], behavior={"scaleDown": down})
        await cluster.sleep(2 * MINUTE_S)
        assert await size(cluster) == 3
        del metrics.values["queue_length"]
        await cluster.sleep(7 * MINUTE_S)
        assert await size(cluster) == 3
        active = await condition(cluster, "ScalingActive")
        assert active[:2] == ("False", "FailedGetExternalMetric")
        assert active[2] == (
            "the HPA was unable to compute the replica count: unable to get external metric default/queue_length/nil: unable to "
            "fetch metrics from external metrics API: the server could not find the requested resource "
            "(get queue_length.external.metrics.k8s.io)"
        )
        assert any(each.startswith("invalid metrics (1 invalid out of 2)") for each in await told(cluster, "FailedComputeMetricsReplicas"))
        await cluster.set_usage("app=web", cpu="1")
        await cluster.sleep(3 * SYNC_PERIOD_S)
        assert await size(cluster) > 3, "up it may go"
        assert (await condition(cluster, "ScalingActive"))[:2] == ("True", "ValidMetricFound")

    knarr_cluster.run(scenario, backends=metrics.backends)


def test_without_an_api_for_it_a_metric_says_so(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await deploy(cluster)
        each = {"metric": {"name": "requests"}, "target": {"type": "AverageValue", "averageValue": "10"}}
        await autoscale(cluster, [{"type": "Pods", "pods": each}])
        await cluster.sleep(SYNC_PERIOD_S + 5)
        assert await told(cluster, "FailedGetPodsMetric") == [
            "unable to get metric requests: unable to fetch metrics from custom metrics API: no custom metrics API "
            "(custom.metrics.k8s.io) registered"
        ]

    knarr_cluster.run(scenario)


def test_two_autoscalers_of_the_same_pods_scale_nothing(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await deploy(cluster, cpu="1")
        await autoscale(cluster, name="one", minReplicas=2)
        await autoscale(cluster, name="two", maxReplicas=9)
        await cluster.sleep(2 * MINUTE_S)
        for name in ("one", "two"):
            active = await condition(cluster, "ScalingActive", name)
            assert active[:2] == ("False", "AmbiguousSelector")
            assert "controlled by multiple HPAs: [default/" in active[2]
        before = await size(cluster)
        await cluster.client.delete(v2.HorizontalPodAutoscaler, "two", namespace="default")
        await cluster.sleep(6 * MINUTE_S)
        assert (await condition(cluster, "ScalingActive", "one"))[1] == "ValidMetricFound"
        assert await size(cluster) > before

    knarr_cluster.run(scenario, nodes=3)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}, 'deployments.apps "none" not found'),
        ({"apiVersion": "apps/v1", "kind": "Nothing", "name": "web"}, 'no matches for kind "Nothing" in group "apps"'),
        ({"apiVersion": "a/b/c", "kind": "Deployment", "name": "web"}, "unexpected GroupVersion string: a/b/c"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "name": "kube-root-ca.crt"}, "the server could not find the requested resource"),
    ],
)
def test_a_target_that_cannot_be_scaled_is_told(knarr_cluster: ClusterRunner, target: dict[str, str], message: str) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await autoscale(cluster, scaleTargetRef=target)
        await cluster.sleep(SYNC_PERIOD_S + 5)
        assert await condition(cluster, "AbleToScale") == (
            "False",
            "FailedGetScale",
            f"the HPA controller was unable to get the target's current scale: {message}",
        )
        assert await told(cluster, "FailedGetScale") == [message]

    knarr_cluster.run(scenario, nodes=0)


def test_anything_with_a_scale_can_be_scaled(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.apply(OTHERS)
        crontab = json.dumps({"metadata": {"name": "tab"}, "spec": {"replicas": 9}}).encode()
        path = "/apis/stable.example.com/v1/namespaces/default/crontabs"

        async def created() -> bool:
            answer = await cluster.client.raw("POST", path, body=crontab, headers={"Content-Type": "application/json"})
            return answer.status == 201

        await cluster.wait_for(created)
        kinds = {"rs": "apps/v1 ReplicaSet", "sts": "apps/v1 StatefulSet", "rc": "v1 ReplicationController", "tab": "stable.example.com/v1 CronTab"}
        for name, kind in kinds.items():
            version, _, kind = kind.partition(" ")
            await autoscale(cluster, name=name, scaleTargetRef={"apiVersion": version, "kind": kind, "name": name}, maxReplicas=2)
        await cluster.sleep(SYNC_PERIOD_S + 5)
        for kind, name in ((apps.ReplicaSet, "rs"), (apps.StatefulSet, "sts"), (core.ReplicationController, "rc")):
            assert (await cluster.client.get(kind, name, namespace="default")).spec.replicas == 2  # type: ignore[attr-defined]
        answer = await cluster.client.raw("GET", f"{path}/tab")
        assert json.loads(answer.body)["spec"]["replicas"] == 2
        await cluster.sleep(SYNC_PERIOD_S + 5)
        assert (await condition(cluster, "ScalingActive", "tab"))[1:] == (
            "InvalidSelector",
            "the HPA target's scale is missing a selector",
        )

    knarr_cluster.run(scenario, nodes=0)


OTHERS = """
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: rs}
spec: {replicas: 9, selector: {matchLabels: {app: rs}}, template: &pod {metadata: {labels: {app: rs}}, spec: {containers: [{name: a, image: a}]}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: sts}
spec: {replicas: 9, serviceName: sts, selector: {matchLabels: {app: sts}}, template: {metadata: {labels: {app: sts}}, spec: {containers: [{name: a, image: a}]}}}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: rc}
spec: {replicas: 9, selector: {app: rc}, template: {metadata: {labels: {app: rc}}, spec: {containers: [{name: a, image: a}]}}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, kind: CronTab}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {replicas: {type: integer}}}, status: {type: object, properties: {replicas: {type: integer}}}}}}
"""
