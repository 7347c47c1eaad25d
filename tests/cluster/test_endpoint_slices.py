"""EndpointSlices: a service reaches the pods that are ready, and only those."""

from __future__ import annotations

from typing import Any

from cluster_objects import NS, pod

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.api.meta import v1 as meta
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

GATE = [core.PodReadinessGate(conditionType="test/open")]


def service(name: str = "web", **spec: Any) -> core.Service:
    spec.setdefault("ports", [core.ServicePort(name="http", port=80, targetPort=8080)])
    spec.setdefault("selector", {"app": "web"})
    return core.Service(metadata=meta.ObjectMeta(name=name, namespace=NS), spec=core.ServiceSpec(**spec))


async def slices(cluster: InProcessCluster, name: str = "web") -> list[discovery.EndpointSlice]:
    selector = f"kubernetes.io/service-name={name}"
    return (await cluster.client.list(discovery.EndpointSlice, namespace=NS, label_selector=selector)).items


async def endpoints(cluster: InProcessCluster, name: str = "web") -> dict[str, discovery.Endpoint]:
    """By pod."""
    return {
        each.targetRef.name: each
        for piece in await slices(cluster, name)
        for each in piece.endpoints
        if each.targetRef is not None
    }


async def open_gate(cluster: InProcessCluster, name: str, status: str = "True") -> None:
    change = {"status": {"conditions": [{"type": "test/open", "status": status}]}}
    await cluster.client.patch(core.Pod, name, change, namespace=NS, subresource="status")
    await cluster.sleep(3)


def test_endpoints_follow_readiness(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(service())
        for name in ("a", "b"):
            await cluster.client.create(pod(name, labels={"app": "web"}, readinessGates=GATE))
        await cluster.sleep(5)
        found = await endpoints(cluster)
        assert {name: each.conditions.ready for name, each in found.items()} == {"a": False, "b": False}
        await open_gate(cluster, "a")
        found = await endpoints(cluster)
        ready = found["a"]
        assert ready.conditions.ready is True and ready.conditions.serving is True
        assert ready.conditions.terminating is False
        assert ready.nodeName == "node-1" and ready.targetRef is not None and ready.targetRef.kind == "Pod"
        assert found["b"].conditions.ready is False
        (piece,) = await slices(cluster)
        assert piece.addressType == "IPv4"
        assert [(port.name, port.port, port.protocol) for port in piece.ports] == [("http", 8080, "TCP")]
        assert (
            piece.metadata.labels["endpointslice.kubernetes.io/managed-by"]
            == "endpointslice-controller.k8s.io"
        )
        assert piece.metadata.ownerReferences[0].kind == "Service"
        await open_gate(cluster, "a", "False")
        assert (await endpoints(cluster))["a"].conditions.ready is False

    knarr_cluster.run(scenario)


def test_a_terminating_pod_is_no_longer_ready_but_still_serving(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(service())
        await cluster.client.create(pod("a", labels={"app": "web"}))
        await cluster.sleep(3)
        seen: list[tuple[bool | None, ...]] = []
        registry = cluster.server.registry("discovery.k8s.io", "endpointslices")

        def look(change: Any) -> None:
            found = [each.conditions for each in registry.cache.object(change.entry).endpoints]
            seen.extend((each.ready, each.serving, each.terminating) for each in found)

        registry.cache.subscribers.append(look)
        # A silent node cannot end the pod, so it stays terminating.
        await cluster.stop_node("node-1")
        await cluster.client.delete(core.Pod, "a", namespace=NS)
        await cluster.sleep(5)
        assert (False, True, True) in seen
        await cluster.start_node("node-1")
        await cluster.wait_for_deletion(core.Pod, "a")
        await cluster.sleep(2)
        assert await endpoints(cluster) == {}

    knarr_cluster.run(scenario)


def test_a_named_target_port_is_each_pods_own(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(service(ports=[core.ServicePort(name="http", port=80, targetPort="web")]))
        for name, number in (("a", 8080), ("b", 9090)):
            container = core.Container(
                name="c", image="app:1", ports=[core.ContainerPort(name="web", containerPort=number)]
            )
            await cluster.client.create(pod(name, labels={"app": "web"}, containers=[container]))
        await cluster.sleep(5)
        ports = {
            each.targetRef.name: piece.ports[0].port
            for piece in await slices(cluster)
            for each in piece.endpoints
            if each.targetRef is not None
        }
        assert ports == {"a": 8080, "b": 9090}

    knarr_cluster.run(scenario)


def test_a_headless_service_has_endpoints_and_no_address(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        made = await cluster.client.create(service(clusterIP="None"))
        assert made.spec.clusterIP == "None" and made.spec.clusterIPs == ["None"]
        await cluster.client.create(pod("a", labels={"app": "web"}, hostname="a", subdomain="web"))
        await cluster.sleep(5)
        (piece,) = await slices(cluster)
        assert piece.metadata.labels["service.kubernetes.io/headless"] == ""
        assert piece.endpoints[0].hostname == "a"

    knarr_cluster.run(scenario)


def test_publish_not_ready_addresses_are_ready_whatever_the_pods_are(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(service(publishNotReadyAddresses=True))
        await cluster.client.create(pod("a", labels={"app": "web"}, readinessGates=GATE))
        await cluster.sleep(5)
        assert (await endpoints(cluster))["a"].conditions.ready is True

    knarr_cluster.run(scenario)


def test_a_service_without_a_selector_keeps_the_slices_its_user_wrote(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(service(selector={}))
        own = discovery.EndpointSlice(
            metadata=meta.ObjectMeta(name="mine", namespace=NS, labels={"kubernetes.io/service-name": "web"}),
            addressType="IPv4",
            endpoints=[discovery.Endpoint(addresses=["10.1.2.3"])],
        )
        await cluster.client.create(own)
        await cluster.sleep(10)
        assert [each.metadata.name for each in await slices(cluster)] == ["mine"]

    knarr_cluster.run(scenario)


def test_slices_go_with_their_service(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(service())
        await cluster.client.create(pod("a", labels={"app": "web"}))
        await cluster.sleep(5)
        assert await slices(cluster)
        await cluster.client.delete(core.Service, "web", namespace=NS)
        await cluster.sleep(5)
        assert await slices(cluster) == []

    knarr_cluster.run(scenario)


def test_slices_hold_a_hundred_endpoints_each(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(service())
        for number in range(130):
            made = pod(f"p{number}", labels={"app": "web"})
            made.spec.nodeName = "elsewhere"
            await cluster.client.create(made)
            status = {
                "status": {
                    "podIP": f"10.9.0.{number + 1}",
                    "podIPs": [{"ip": f"10.9.0.{number + 1}"}],
                    "phase": "Running",
                }
            }
            await cluster.client.patch(
                core.Pod, made.metadata.name, status, namespace=NS, subresource="status"
            )
        await cluster.sleep(5)
        sizes = sorted(len(piece.endpoints) for piece in await slices(cluster))
        assert sum(sizes) == 130 and max(sizes) <= 100

    knarr_cluster.run(scenario, nodes=0)


async def subsets(cluster: InProcessCluster, name: str = "web") -> list[core.EndpointSubset]:
    return (await cluster.client.get(core.Endpoints, name, namespace=NS)).subsets


def test_who_still_reads_endpoints_sees_the_same(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(service())
        await cluster.sleep(1)
        assert await subsets(cluster) == []
        for name in ("a", "b"):
            await cluster.client.create(pod(name, labels={"app": "web"}, readinessGates=GATE))
        await cluster.sleep(5)
        await open_gate(cluster, "a")
        (subset,) = await subsets(cluster)
        assert [each.targetRef and each.targetRef.name for each in subset.addresses] == ["a"]
        assert [each.targetRef and each.targetRef.name for each in subset.notReadyAddresses] == ["b"]
        assert [(port.name, port.port, port.protocol) for port in subset.ports] == [("http", 8080, "TCP")]
        await cluster.client.delete(core.Pod, "b", namespace=NS)
        await cluster.sleep(1)
        (subset,) = await subsets(cluster)
        assert subset.notReadyAddresses == []
        await cluster.client.delete(core.Service, "web", namespace=NS)
        await cluster.sleep(3)
        left = (await cluster.client.list(core.Endpoints, namespace=NS)).items
        assert [each.metadata.name for each in left] == ["kubernetes"]

    knarr_cluster.run(scenario)


def test_endpoints_without_a_selector_are_left_to_their_author(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        address = core.EndpointSubset(
            addresses=[core.EndpointAddress(ip="192.0.2.7")], ports=[core.EndpointPort(port=80, protocol="TCP")]
        )
        metadata = meta.ObjectMeta(name="web", namespace=NS)
        await cluster.client.create(core.Endpoints(metadata=metadata, subsets=[address]))
        await cluster.client.create(service(selector={}))
        await cluster.sleep(3)
        await cluster.client.create(service("other"))
        await cluster.client.delete(core.Service, "other", namespace=NS)
        await cluster.sleep(3)
        assert [each.ip for part in await subsets(cluster) for each in part.addresses] == ["192.0.2.7"]

    knarr_cluster.run(scenario)


def test_endpoints_are_mirrored_only_where_nobody_else_writes_slices(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        spec = core.ServiceSpec(ports=[core.ServicePort(port=80)])
        await cluster.client.create(core.Service(metadata=meta.ObjectMeta(name="web", namespace=NS), spec=spec))
        subset = core.EndpointSubset(addresses=[core.EndpointAddress(ip="10.9.9.9")], ports=[core.EndpointPort(port=80)])
        skip = {"endpointslice.kubernetes.io/skip-mirror": "true"}
        written = core.Endpoints(metadata=meta.ObjectMeta(name="web", namespace=NS, labels=skip), subsets=[subset])
        await cluster.client.create(written)
        await cluster.sleep(5)
        assert await slices(cluster) == []
        unmarked = {"metadata": {"labels": {next(iter(skip)): None}}}
        await cluster.client.patch(core.Endpoints, "web", unmarked, namespace=NS)

        async def mirrored() -> bool:
            return [each.endpoints[0].addresses for each in await slices(cluster)] == [["10.9.9.9"]]

        await cluster.wait_for(mirrored)
        await cluster.client.patch(core.Service, "web", {"spec": {"selector": {"app": "none"}}}, namespace=NS)

        async def taken_over() -> bool:
            found = await slices(cluster)
            return len(found) == 1 and not found[0].endpoints

        await cluster.wait_for(taken_over)

    knarr_cluster.run(scenario)
