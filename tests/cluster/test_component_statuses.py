"""``kubectl get cs``: whether the scheduler, the controllers and the store are well, as upstream tells it."""

from __future__ import annotations

from typing import Any

import msgspec

from knarr.api.coordination import v1 as coordination
from knarr.api.meta import v1 as meta
from knarr.kit.clock import rfc3339_micro
from knarr.store.contract import StoreError
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

BARE: dict[str, Any] = {"nodes": 0, "controllers": False, "scheduler": False}
PATH = "/api/v1/componentstatuses"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


async def get(cluster: InProcessCluster, path: str = PATH, accept: str = "application/json", **query: str) -> tuple[int, Any]:
    answer = await cluster.client.raw("GET", path, query=list(query.items()), headers={"Accept": accept})
    if answer.status == 200:
        assert answer.headers["Warning"] == '299 - "v1 ComponentStatus is deprecated in v1.19+"'
    return answer.status, msgspec.json.decode(answer.body)


async def printed(cluster: InProcessCluster) -> list[list[str]]:
    _, table = await get(cluster, accept=TABLE)
    assert [each["name"] for each in table["columnDefinitions"]] == ["Name", "Status", "Message", "Error"]
    return [row["cells"] for row in table["rows"]]


async def lead(cluster: InProcessCluster, name: str, *, holder: str = "me") -> None:
    lease = coordination.Lease(
        metadata=meta.ObjectMeta(name=name, namespace="kube-system"),
        spec=coordination.LeaseSpec(
            holderIdentity=holder, leaseDurationSeconds=15, renewTime=rfc3339_micro(cluster.clock.now())
        ),
    )
    await cluster.client.create(lease)


def test_components_are_printed_as_upstream_prints_them(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await lead(cluster, "kube-scheduler")
        await lead(cluster, "kube-controller-manager")
        assert await printed(cluster) == [
            ["scheduler", "Healthy", "ok", ""],
            ["controller-manager", "Healthy", "ok", ""],
            ["etcd-0", "Healthy", "ok", ""],
        ]
        status, listed = await get(cluster)
        assert (status, listed["kind"], listed["apiVersion"]) == (200, "ComponentStatusList", "v1")
        status, store = await get(cluster, f"{PATH}/etcd-0")
        assert (store["kind"], store["metadata"]["name"]) == ("ComponentStatus", "etcd-0")
        assert store["conditions"] == [{"type": "Healthy", "status": "True", "message": "ok"}]
        _, listed = await get(cluster, fieldSelector="metadata.name=scheduler")
        assert [each["metadata"]["name"] for each in listed["items"]] == ["scheduler"]
        _, listed = await get(cluster, labelSelector="app=web")
        assert listed["items"] == []

    knarr_cluster.run(scenario, **BARE)


def test_who_leads_no_more_is_told(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await lead(cluster, "kube-scheduler")
        since = (await cluster.client.get(coordination.Lease, "kube-scheduler", namespace="kube-system")).spec.renewTime
        await lead(cluster, "kube-controller-manager", holder="")
        await cluster.sleep(20)
        assert (await printed(cluster))[:2] == [
            ["scheduler", "Unhealthy", f'me has not renewed the lease "kube-system/kube-scheduler" since {since}', ""],
            ["controller-manager", "Unhealthy", 'nobody holds the lease "kube-system/kube-controller-manager"', ""],
        ]

    knarr_cluster.run(scenario, **BARE)


def test_a_component_that_was_never_elected_and_a_store_that_fails_are_not_called_healthy(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        async def refuses() -> int:
            raise StoreError("disk full")

        cluster.store.revision = refuses  # type: ignore[method-assign]
        _, store = await get(cluster, f"{PATH}/etcd-0")
        assert store["conditions"] == [{"type": "Healthy", "status": "False", "message": "disk full"}]
        del cluster.store.revision
        [scheduler, *_] = await printed(cluster)
        assert scheduler == ["scheduler", "Unhealthy", 'leases.coordination.k8s.io "kube-scheduler" not found', ""]

        async def hangs() -> int:
            await cluster.sleep(3600)
            return 0

        cluster.store.revision = hangs  # type: ignore[method-assign]
        _, store = await get(cluster, f"{PATH}/etcd-0")
        assert store["conditions"][0]["message"] == "the store has not answered within 20 s"
        del cluster.store.revision

    knarr_cluster.run(scenario, **BARE)


def test_components_can_only_be_read(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        status, answer = await get(cluster, f"{PATH}/kube-proxy")
        assert (status, answer["message"], answer.get("reason")) == (500, "Component not found: kube-proxy", None)
        status, answer = await get(cluster, watch="1")
        assert (status, answer["reason"]) == (405, "MethodNotAllowed")
        assert (await cluster.client.raw("DELETE", f"{PATH}/etcd-0")).status == 405
        _, listed = await get(cluster, "/api/v1/namespaces/default/componentstatuses")
        assert listed["code"] == 404
        resources = msgspec.json.decode((await cluster.client.raw("GET", "/api/v1")).body)["resources"]
        told = next(each for each in resources if each["name"] == "componentstatuses")
        assert told == {
            "name": "componentstatuses",
            "singularName": "componentstatus",
            "namespaced": False,
            "kind": "ComponentStatus",
            "verbs": ["get", "list"],
            "shortNames": ["cs"],
        }
        described = msgspec.json.decode((await cluster.client.raw("GET", "/openapi/v3/api/v1")).body)
        assert set(described["paths"]["/api/v1/componentstatuses"]) == {"get"}
        assert "io.k8s.api.core.v1.ComponentStatus" in described["components"]["schemas"]

    knarr_cluster.run(scenario, **BARE)
