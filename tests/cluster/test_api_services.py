"""Services' addresses and ports, evictions under a budget, and bodies in protobuf."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cluster_objects import NS, pod

from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.networking import v1 as networking
from knarr.api.policy import v1 as policy
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

BARE = {"nodes": 0, "controllers": False, "scheduler": False}


def service(name: str = "web", **spec: Any) -> core.Service:
    spec.setdefault("ports", [core.ServicePort(port=80)])
    return core.Service(metadata=meta.ObjectMeta(name=name, namespace=NS), spec=core.ServiceSpec(**spec))


async def addresses(cluster: InProcessCluster) -> set[str]:
    return {each.metadata.name for each in await cluster.client.list(networking.IPAddress)} - {"10.96.0.1"}


def test_a_service_gets_an_address_of_its_own_and_keeps_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = [await cluster.client.create(service(f"s{number}")) for number in range(20)]
        given = {each.spec.clusterIP for each in made}
        assert len(given) == 20 and all(each.startswith("10.96.") for each in given)
        assert made[0].spec.clusterIPs == [made[0].spec.clusterIP] and made[0].spec.ipFamilies == ["IPv4"]
        assert (
            made[0].spec.ipFamilyPolicy == "SingleStack" and made[0].spec.internalTrafficPolicy == "Cluster"
        )
        assert await addresses(cluster) == given
        again = await cluster.client.update(service("s0", ports=[core.ServicePort(port=81)]))
        assert again.spec.clusterIP == made[0].spec.clusterIP

    knarr_cluster.run(scenario, **BARE)


def test_a_chosen_address_is_given_once_and_comes_back(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(service("a", clusterIP="10.96.0.50"))
        with pytest.raises(StatusError) as refused:
            await cluster.client.create(service("b", clusterIP="10.96.0.50"))
        assert refused.value.code == 422 and str(refused.value) == (
            'Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.50"]: failed to allocate IP 10.96.0.50: '
            "provided IP is already allocated"
        )
        await cluster.client.delete(core.Service, "a", namespace=NS)
        await cluster.client.create(service("b", clusterIP="10.96.0.50"))

    knarr_cluster.run(scenario, **BARE)


@pytest.mark.parametrize(
    ("address", "text"), [("192.168.1.1", "not in the valid range"), ("nonsense", "must be a valid IP")]
)
def test_an_address_outside_the_range_is_refused(
    knarr_cluster: ClusterRunner, address: str, text: str
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        with pytest.raises(StatusError) as refused:
            await cluster.client.create(service(clusterIP=address))
        assert refused.value.code == 422 and text in str(refused.value)
        assert await addresses(cluster) == set()

    knarr_cluster.run(scenario, **BARE)


def test_an_address_cannot_be_exchanged_in_place(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await cluster.client.create(service())
        made.spec.clusterIP = "10.96.0.77"
        made.spec.clusterIPs = ["10.96.0.77"]
        with pytest.raises(StatusError) as refused:
            await cluster.client.update(made)
        assert refused.value.code == 422 and "field is immutable" in str(refused.value)
        assert "10.96.0.77" not in await addresses(cluster)

    knarr_cluster.run(scenario, **BARE)


def test_a_refused_service_leaves_no_address_taken(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        with pytest.raises(StatusError):
            await cluster.client.create(service(ports=[core.ServicePort(port=70000)]))
        assert await addresses(cluster) == set()
        await cluster.client.create(service())
        with pytest.raises(StatusError):
            await cluster.client.create(service())
        assert len(await addresses(cluster)) == 1

    knarr_cluster.run(scenario, **BARE)


def test_node_ports_are_given_kept_and_given_back(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await cluster.client.create(service("a", type="NodePort"))
        port = made.spec.ports[0].nodePort
        assert 30000 <= port <= 32767
        again = await cluster.client.update(service("a", type="NodePort"))
        assert again.spec.ports[0].nodePort == port
        with pytest.raises(StatusError) as refused:
            await cluster.client.create(
                service("b", type="NodePort", ports=[core.ServicePort(port=80, nodePort=port)])
            )
        assert str(refused.value) == (
            f'Service "b" is invalid: spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated'
        )
        inside = await cluster.client.update(service("a", type="ClusterIP"))
        assert inside.spec.ports[0].nodePort == 0
        await cluster.client.create(
            service("b", type="NodePort", ports=[core.ServicePort(port=80, nodePort=port)])
        )
        await cluster.client.delete(core.Service, "b", namespace=NS)
        page = await cluster.store.range("/registry/knarr/nodeports/")
        assert page.items == []

    knarr_cluster.run(scenario, **BARE)


def test_a_node_port_outside_the_range_is_refused(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        with pytest.raises(StatusError) as refused:
            await cluster.client.create(
                service(type="NodePort", ports=[core.ServicePort(port=80, nodePort=80)])
            )
        assert "provided port is not in the valid range. The range of valid ports is 30000-32767" in str(
            refused.value
        )

    knarr_cluster.run(scenario, **BARE)


def test_an_external_name_has_no_address(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await cluster.client.create(service(type="ExternalName", externalName="example.com", ports=[]))
        assert made.spec.clusterIP == "" and await addresses(cluster) == set()
        became = await cluster.client.update(service())
        assert became.spec.clusterIP
        await cluster.client.update(service(type="ExternalName", externalName="example.com", ports=[]))
        assert await addresses(cluster) == set()

    knarr_cluster.run(scenario, **BARE)


async def budget(cluster: InProcessCluster, allowed: int) -> None:
    wanted = policy.PodDisruptionBudget(
        metadata=meta.ObjectMeta(name="pdb", namespace=NS),
        spec=policy.PodDisruptionBudgetSpec(
            minAvailable=1, selector=meta.LabelSelector(matchLabels={"app": "web"})
        ),
    )
    made = await cluster.client.create(wanted)
    made.status = policy.PodDisruptionBudgetStatus(
        disruptionsAllowed=allowed,
        currentHealthy=1 + allowed,
        desiredHealthy=1,
        expectedPods=2,
        observedGeneration=1,
    )
    await cluster.client.update_status(made)


async def evict(cluster: InProcessCluster, name: str) -> None:
    wanted = policy.Eviction(metadata=meta.ObjectMeta(name=name, namespace=NS))
    await cluster.client.create_subresource(core.Pod, name, "eviction", wanted, namespace=NS)


def test_an_eviction_is_refused_when_the_budget_is_used_up(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        for name in ("a", "b"):
            await cluster.client.create(pod(name, labels={"app": "web"}, nodeName="nowhere"))
            running = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
            await cluster.client.patch(core.Pod, name, running, namespace=NS, subresource="status")
        await budget(cluster, 1)
        await evict(cluster, "a")
        assert (await cluster.client.get(core.Pod, "a", namespace=NS)).metadata.deletionTimestamp
        with pytest.raises(StatusError) as refused:
            await evict(cluster, "b")
        error = refused.value
        assert (error.code, error.reason) == (429, "TooManyRequests")
        assert str(error) == "Cannot evict pod as it would violate the pod's disruption budget."
        assert error.status.details is not None
        (cause,) = error.status.details.causes
        assert cause.reason == "DisruptionBudget"
        assert not (await cluster.client.get(core.Pod, "b", namespace=NS)).metadata.deletionTimestamp
        held = await cluster.client.get(policy.PodDisruptionBudget, "pdb", namespace=NS)
        assert held.status.disruptionsAllowed == 0 and list(held.status.disruptedPods) == ["a"]

    account = core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace=NS))

    async def prepared(cluster: InProcessCluster) -> None:
        await cluster.client.create(account)
        await scenario(cluster)

    knarr_cluster.run(prepared, **BARE)


def test_a_pod_without_a_budget_is_simply_evicted(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("a"))
        await cluster.wait_for_condition(core.Pod, "a", "Ready")
        await evict(cluster, "a")
        await cluster.wait_for_deletion(core.Pod, "a")
        with pytest.raises(StatusError) as refused:
            await evict(cluster, "a")
        assert refused.value.code == 404

    knarr_cluster.run(scenario)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field; short ones only."""
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def test_a_protobuf_body_makes_the_same_object(knarr_cluster: ClusterRunner) -> None:
    """Built by hand: ConfigMap{metadata{name, namespace, labels}, data{k: v}} in the envelope ``k8s\\0``."""

    async def scenario(cluster: InProcessCluster) -> None:
        label = field(1, b"app") + field(2, b"web")
        metadata = field(1, b"proto") + field(3, b"default") + field(11, label)
        body = field(1, metadata) + field(2, field(1, b"k") + field(2, b"v"))
        kind = field(1, b"v1") + field(2, b"ConfigMap")
        envelope = b"k8s\x00" + field(1, kind) + field(2, body)
        headers = {"Content-Type": "application/vnd.kubernetes.protobuf", "Accept": "application/json"}
        path = f"/api/v1/namespaces/{NS}/configmaps"
        answer = await cluster.client.raw("POST", path, body=envelope, headers=headers)
        assert answer.status == 201, answer.body
        made = json.loads(answer.body)
        assert made["metadata"]["name"] == "proto" and made["metadata"]["labels"] == {"app": "web"}
        assert made["data"] == {"k": "v"}
        broken = await cluster.client.raw("POST", path, body=envelope[:-3], headers=headers)
        assert broken.status == 400
        foreign = await cluster.client.raw("POST", path, body=b"xyz" + envelope, headers=headers)
        assert foreign.status == 400

    knarr_cluster.run(scenario, **BARE)


def test_what_the_server_chose_for_a_type_goes_with_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await cluster.client.create(service("a", type="NodePort"))
        assert made.spec.ports[0].nodePort and made.spec.externalTrafficPolicy == "Cluster"
        made.spec.type, made.spec.externalName = "ExternalName", "example.org"
        changed = await cluster.client.update(made)
        assert (changed.spec.clusterIP, changed.spec.externalTrafficPolicy) == ("", "")
        assert changed.spec.ports[0].nodePort == 0 and not await addresses(cluster)
        made = await cluster.client.create(service("b", type="NodePort"))
        made.spec.type = "ClusterIP"
        changed = await cluster.client.update(made)
        assert changed.spec.clusterIP and changed.spec.ports[0].nodePort == 0
        with pytest.raises(StatusError) as refused:
            await cluster.client.create(service("c", ports=[core.ServicePort(port=80, nodePort=30080)]))
        assert "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'" in str(refused.value)

    knarr_cluster.run(scenario, **BARE)
