"""[sig-api-machinery] ResourceQuota at work, [sig-scheduling] limit ranges, [sig-apps] a controller that a quota stops."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_api import NS, Api, Object, fails, has_condition
from conformance_objects import config_map, meta, phase, pod, replication_controller, service, workload
from test_conformance_ownership import quota

from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

QUOTAS = ("v1", "resourcequotas")
ROW = "[sig-api-machinery] ResourceQuota"


def used(**amounts: str) -> Any:
    """Whether a quota's status counts exactly that of those."""

    def check(obj: Object) -> bool:
        held = obj.get("status", {}).get("used", {})
        return all(held.get(key) == value for key, value in amounts.items())

    return check


async def life(cluster: InProcessCluster, key: str, api: Api, obj: Object) -> None:
    """The quota counts one more while the object is there."""
    quotas = Api(cluster, *QUOTAS, NS)
    await cluster.sleep(5)
    await quotas.create(quota("test-quota", **{key: "30"}))
    before = int((await quotas.wait("test-quota", lambda each: key in each["status"].get("used", {})))["status"]["used"][key])
    await api.create(obj)
    await quotas.wait("test-quota", used(**{key: str(before + 1)}))
    await api.delete(obj["metadata"]["name"])
    await quotas.wait("test-quota", used(**{key: str(before)}))


@pytest.mark.conformance(f"{ROW} should create a ResourceQuota and ensure its status is promptly calculated. [Conformance]")
def test_a_quota_counts_at_once(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        quotas = Api(cluster, *QUOTAS, NS)
        await quotas.create(quota("test-quota", pods="5", services="10"))
        held = await quotas.wait("test-quota", used(pods="0", services="1"))
        assert held["status"]["hard"] == {"pods": "5", "services": "10"}

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.conformance(f"{ROW} should create a ResourceQuota and capture the life of a configMap. [Conformance]")
def test_a_quota_counts_config_maps(knarr_cluster: ClusterRunner) -> None:
    knarr_cluster.run(lambda c: life(c, "configmaps", Api(c, "v1", "configmaps", NS), config_map("test-configmap")), nodes=0)


@pytest.mark.conformance(f"{ROW} should create a ResourceQuota and capture the life of a secret. [Conformance]")
def test_a_quota_counts_secrets(knarr_cluster: ClusterRunner) -> None:
    secret = {"metadata": meta("test-secret"), "data": {"data-1": "dmFsdWUtMQo="}}
    knarr_cluster.run(lambda c: life(c, "secrets", Api(c, "v1", "secrets", NS), secret), nodes=0)


@pytest.mark.conformance(f"{ROW} should create a ResourceQuota and capture the life of a replica set. [Conformance]")
def test_a_quota_counts_replica_sets(knarr_cluster: ClusterRunner) -> None:
    body = workload("ReplicaSet", "test-rs", {"name": "test-rs"}, replicas=0)
    knarr_cluster.run(lambda c: life(c, "count/replicasets.apps", Api(c, "apps/v1", "replicasets", NS), body), nodes=0)


@pytest.mark.conformance(f"{ROW} should create a ResourceQuota and capture the life of a replication controller. [Conformance]")
def test_a_quota_counts_replication_controllers(knarr_cluster: ClusterRunner) -> None:
    body = replication_controller("test-rc", {"name": "test-rc"}, 0)
    knarr_cluster.run(lambda c: life(c, "replicationcontrollers", Api(c, "v1", "replicationcontrollers", NS), body), nodes=0)


@pytest.mark.conformance(f"{ROW} should create a ResourceQuota and capture the life of a service. [Conformance]")
def test_a_quota_counts_services_by_their_kind(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        quotas, services = Api(cluster, *QUOTAS, NS), Api(cluster, "v1", "services", NS)
        hard = {"services": "10", "services.nodeports": "1", "services.loadbalancers": "1"}
        await quotas.create(quota("test-quota", **hard))
        await quotas.wait("test-quota", used(services="1", **{"services.nodeports": "0", "services.loadbalancers": "0"}))
        await services.create(service("plain"))
        await services.create(service("ports", type="NodePort"))
        await fails(services.create(service("more", type="NodePort")), 403, "Forbidden")
        await quotas.wait("test-quota", used(services="3", **{"services.nodeports": "1", "services.loadbalancers": "0"}))
        for name in ("plain", "ports"):
            await services.delete(name)
        await quotas.wait("test-quota", used(services="1", **{"services.nodeports": "0"}))

    knarr_cluster.run(scenario, nodes=0)


def asking(name: str, *, labels: dict[str, str] | None = None, limits: bool = False, cpu: str = "", memory: str = "", **spec: Any) -> Object:
    amount = {"cpu": cpu, "memory": memory}
    resources = {} if not cpu else {"requests": amount, **({"limits": amount} if limits else {})}
    return pod(name, labels, container={"resources": resources}, **spec)


@pytest.mark.conformance(f"{ROW} should create a ResourceQuota and capture the life of a pod. [Conformance]")
def test_a_quota_counts_what_pods_ask_for(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        quotas, pods = Api(cluster, *QUOTAS, NS), Api(cluster, "v1", "pods", NS)
        await quotas.create(quota("test-quota", pods="5", cpu="1", memory="500Mi"))
        await quotas.wait("test-quota", used(pods="0", cpu="0", memory="0"))
        await pods.create(asking("test-pod", cpu="500m", memory="252Mi"))
        await quotas.wait("test-quota", used(pods="1", cpu="500m", memory="252Mi"))
        await fails(pods.create(asking("fail-pod", cpu="600m", memory="100Mi")), 403, "Forbidden")
        await pods.change("test-pod", lambda obj: obj["metadata"].update(labels={"updated": "yes"}))
        await cluster.sleep(5)
        assert used(pods="1", cpu="500m", memory="252Mi")(await quotas.get("test-quota"))
        await pods.delete("test-pod", gracePeriodSeconds=0)
        await quotas.wait("test-quota", used(pods="0", cpu="0", memory="0"))

    knarr_cluster.run(scenario)


async def scopes(cluster: InProcessCluster, one: str, other: str, in_one: Object, in_other: Object) -> None:
    """Each pod is counted by the quota of its scope and by no other."""
    quotas, pods = Api(cluster, *QUOTAS, NS), Api(cluster, "v1", "pods", NS)
    for scope in (one, other):
        body = quota(f"quota-{scope.lower()}", pods="5")
        body["spec"]["scopes"] = [scope]
        await quotas.create(body)
        await quotas.wait(f"quota-{scope.lower()}", used(pods="0"))
    for obj, counts, leaves in ((in_one, one, other), (in_other, other, one)):
        await pods.create(obj)
        await quotas.wait(f"quota-{counts.lower()}", used(pods="1"))
        assert used(pods="0")(await quotas.get(f"quota-{leaves.lower()}"))
        await pods.delete(obj["metadata"]["name"], gracePeriodSeconds=0)
        await quotas.wait(f"quota-{counts.lower()}", used(pods="0"))


@pytest.mark.conformance(f"{ROW} should verify ResourceQuota with best effort scope. [Conformance]")
def test_a_quota_may_count_only_best_effort(knarr_cluster: ClusterRunner) -> None:
    best, burstable = asking("best"), asking("burstable", cpu="100m", memory="100Mi")
    knarr_cluster.run(lambda cluster: scopes(cluster, "BestEffort", "NotBestEffort", best, burstable))


@pytest.mark.conformance(f"{ROW} should verify ResourceQuota with terminating scopes. [Conformance]")
def test_a_quota_may_count_only_what_has_a_deadline(knarr_cluster: ClusterRunner) -> None:
    bounded, endless = asking("bounded", activeDeadlineSeconds=3600), asking("endless")
    knarr_cluster.run(lambda cluster: scopes(cluster, "Terminating", "NotTerminating", bounded, endless))


@pytest.mark.conformance(f"{ROW} should apply changes to a resourcequota status [Conformance]")
def test_the_status_of_a_quota_can_be_changed_and_is_set_right(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, *QUOTAS, NS)
        await api.create(quota("e2e", cpu="500m", memory="500Mi"))
        await api.wait("e2e", used(cpu="0", memory="0"))
        async with api.watch() as watch:
            await api.change("e2e", lambda obj: obj["spec"].update(hard={"cpu": "1", "memory": "1Gi"}))
            await watch.until("MODIFIED", lambda each: each["status"].get("hard") == {"cpu": "1", "memory": "1Gi"})
            wrong = {"status": {"hard": {"cpu": "2", "memory": "2Gi"}}}
            patched = await api.patch("e2e", wrong, "status")
            assert patched["status"]["hard"] == {"cpu": "2", "memory": "2Gi"} and patched["spec"]["hard"]["cpu"] == "1"
            await watch.until("MODIFIED", lambda each: each["status"]["hard"]["cpu"] == "2")
            # The controller looks at every quota again from time to time.
            await watch.until("MODIFIED", lambda each: each["status"]["hard"]["cpu"] == "1", timeout_s=400)

    knarr_cluster.run(scenario, nodes=0)


@pytest.mark.conformance(
    "[sig-apps] ReplicationController should surface a failure condition on a common issue like exceeded quota [Conformance]"
)
def test_a_controller_that_a_quota_stops_says_so(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api = Api(cluster, "v1", "replicationcontrollers", NS)
        await Api(cluster, *QUOTAS, NS).create(quota("condition-test", pods="2"))
        await Api(cluster, *QUOTAS, NS).wait("condition-test", used(pods="0"))
        await api.create(replication_controller("condition-test", {"name": "condition-test"}, 3))
        await api.wait("condition-test", lambda each: has_condition(each, "ReplicaFailure"))
        await api.change("condition-test", lambda obj: obj["spec"].update(replicas=2))
        await api.wait("condition-test", lambda each: not has_condition(each, "ReplicaFailure"))

    knarr_cluster.run(scenario)


@pytest.mark.conformance(
    "[sig-scheduling] LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied. [Conformance]"
)
def test_a_limit_range_gives_defaults_and_sets_bounds(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        ranges, pods = Api(cluster, "v1", "limitranges", NS), Api(cluster, "v1", "pods", NS)
        limits = {
            "type": "Container",
            "min": {"cpu": "50m", "memory": "100Mi"},
            "max": {"cpu": "500m", "memory": "500Mi"},
            "default": {"cpu": "500m", "memory": "500Mi"},
            "defaultRequest": {"cpu": "100m", "memory": "200Mi"},
        }
        await ranges.create({"metadata": meta("limit-range"), "spec": {"limits": [limits]}})
        await cluster.sleep(1)
        made = await pods.create(pod("pod-no-resources"))
        expected = {"requests": limits["defaultRequest"], "limits": limits["default"]}
        assert made["spec"]["containers"][0]["resources"] == expected
        partial = await pods.create(pod("pod-partial", container={"resources": {"requests": {"memory": "150Mi"}, "limits": {"cpu": "300m"}}}))
        # A limit that is said is the request that is not.
        assert partial["spec"]["containers"][0]["resources"] == {
            "requests": {"cpu": "300m", "memory": "150Mi"},
            "limits": {"cpu": "300m", "memory": "500Mi"},
        }
        await fails(pods.create(asking("pod-too-small", limits=True, cpu="10m", memory="50Mi")), 403, "Forbidden")
        await fails(pods.create(asking("pod-too-large", limits=True, cpu="600m", memory="600Mi")), 403, "Forbidden")
        await ranges.change("limit-range", lambda obj: obj["spec"]["limits"][0]["min"].update(cpu="9m", memory="49Mi"))
        await cluster.sleep(1)
        await pods.create(asking("pod-small", limits=True, cpu="10m", memory="50Mi"))
        await ranges.delete("limit-range")
        await cluster.sleep(1)
        await pods.create(asking("pod-large", limits=True, cpu="600m", memory="600Mi"))
        await pods.wait("pod-no-resources", lambda each: phase(each) == "Running")

    knarr_cluster.run(scenario)
