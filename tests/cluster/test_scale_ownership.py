"""Whom a size belongs to, when it is changed through the scale: an autoscaler and whoever applies the object see each other."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml

from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

LABELS = {"app": "web"}
POD = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "web", "image": "app:1"}]}}
BARE = {"nodes": 0, "controllers": False, "scheduler": False}
PLURALS = {
    "Deployment": "/apis/apps/v1/namespaces/default/deployments",
    "ReplicaSet": "/apis/apps/v1/namespaces/default/replicasets",
    "StatefulSet": "/apis/apps/v1/namespaces/default/statefulsets",
    "ReplicationController": "/api/v1/namespaces/default/replicationcontrollers",
    "Fleet": "/apis/eg.com/v1/namespaces/default/fleets",
}
FLEETS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: fleets.eg.com}
spec:
  group: eg.com
  scope: Namespaced
  names: {plural: fleets, singular: fleet, kind: Fleet}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {
        spec: {type: object, properties: {size: {type: integer}, colour: {type: string}}}}}}
      subresources: {scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
"""


def manifest(kind: str, size: int | None) -> dict[str, Any]:
    if kind == "Fleet":
        spec: dict[str, Any] = {"colour": "red", "size": size}
        version = "eg.com/v1"
    else:
        version = "v1" if kind == "ReplicationController" else "apps/v1"
        selector = LABELS if version == "v1" else {"matchLabels": LABELS}
        spec = {"selector": selector, "template": POD, "replicas": size}
        if kind == "StatefulSet":
            spec["serviceName"] = "web"
    wanted = {name: value for name, value in spec.items() if value is not None}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "web"}, "spec": wanted}


class Sized:
    """One object of a kind, and the three ways to change it."""

    def __init__(self, cluster: InProcessCluster, kind: str) -> None:
        self.cluster, self.kind, self.path = cluster, kind, f"{PLURALS[kind]}/web"

    async def send(
        self, method: str, path: str, body: Any, media: str, *, manager: str = "", force: bool = False
    ) -> tuple[int, dict[str, Any]]:
        query = [("fieldManager", manager), *([("force", "true")] if force else [])]
        answer = await self.cluster.client.raw(
            method, path, query=query, body=yaml.safe_dump(body).encode() if "yaml" in media else msgspec.json.encode(body),
            headers={"Content-Type": media, "Accept": "application/json"},
        )
        return answer.status, msgspec.json.decode(answer.body)

    async def apply(self, size: int | None, manager: str, *, force: bool = False) -> tuple[int, dict[str, Any]]:
        return await self.send(
            "PATCH", self.path, manifest(self.kind, size), "application/apply-patch+yaml", manager=manager, force=force
        )

    async def apply_scale(self, size: int, manager: str, *, force: bool = False) -> tuple[int, dict[str, Any]]:
        content = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": size}}
        return await self.send(
            "PATCH", f"{self.path}/scale", content, "application/apply-patch+yaml", manager=manager, force=force
        )

    async def patch_scale(self, content: dict[str, Any], manager: str) -> None:
        status, answer = await self.send(
            "PATCH", f"{self.path}/scale", content, "application/merge-patch+json", manager=manager
        )
        assert status == 200, answer

    async def held(self) -> tuple[int, set[tuple[str, str, str]]]:
        """The size, and its owners with operation and sub-resource."""
        obj = msgspec.json.decode((await self.cluster.client.raw("GET", self.path)).body)
        name = "size" if self.kind == "Fleet" else "replicas"
        owners = {
            (each["manager"], each["operation"], each.get("subresource", ""))
            for each in obj["metadata"].get("managedFields", ())
            if f"f:{name}" in each["fieldsV1"].get("f:spec", {})
        }
        return obj["spec"][name], owners


@pytest.mark.parametrize("kind", sorted(PLURALS))
def test_a_size_goes_from_hand_to_hand(knarr_cluster: ClusterRunner, kind: str) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        if kind == "Fleet":
            await cluster.apply(FLEETS)

            async def served() -> bool:
                return (await cluster.client.raw("GET", PLURALS["Fleet"])).status == 200

            await cluster.wait_for(served)
        web = Sized(cluster, kind)
        field = ".spec.size" if kind == "Fleet" else ".spec.replicas"
        version = manifest(kind, 1)["apiVersion"]
        assert (await web.apply(1, "alice"))[0] == 201
        assert await web.held() == (1, {("alice", "Apply", "")})

        await web.patch_scale({"spec": {"replicas": 5}}, "patcher")
        assert await web.held() == (5, {("patcher", "Update", "scale")})
        status, answer = await web.apply(1, "alice")
        told = f'Apply failed with 1 conflict: conflict with "patcher" with subresource "scale" using {version}: {field}'
        assert (status, answer["message"]) == (409, told)
        await web.apply(1, "alice", force=True)
        assert await web.held() == (1, {("alice", "Apply", "")})

        status, answer = await web.apply_scale(17, "scaler")
        assert status == 409 and answer["details"]["causes"][0]["reason"] == "FieldManagerConflict"
        assert answer["message"] == 'Apply failed with 1 conflict: conflict with "alice": .spec.replicas'
        status, answer = await web.apply_scale(17, "scaler", force=True)
        assert status == 200 and answer["kind"] == "Scale" and answer["spec"] == {"replicas": 17}
        assert await web.held() == (17, {("scaler", "Apply", "scale")})

        posted = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": 7}}
        assert (await web.send("PUT", f"{web.path}/scale", posted, "application/json", manager="putter"))[0] == 200
        assert await web.held() == (7, {("putter", "Update", "scale")})
        assert (await web.apply_scale(7, "sharer"))[0] == 200
        assert await web.held() == (7, {("putter", "Update", "scale"), ("sharer", "Apply", "scale")})
        status, answer = await web.apply_scale(8, "sharer")
        assert answer["message"] == (
            'Apply failed with 1 conflict: conflict with "putter" with subresource "scale" using autoscaling/v1: .spec.replicas'
        )

    knarr_cluster.run(scenario, **BARE)


def test_a_size_that_somebody_wrote_before_any_apply_is_not_taken_unasked(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        web = Sized(cluster, "Deployment")
        await web.send("POST", PLURALS["Deployment"], manifest("Deployment", 2), "application/json")
        status, answer = await web.apply_scale(3, "scaler")
        told = 'Apply failed with 1 conflict: conflict with "before-first-apply" using autoscaling/v1: .spec.replicas'
        assert (status, answer["message"]) == (409, told)
        await web.apply_scale(3, "scaler", force=True)
        assert await web.held() == (3, {("scaler", "Apply", "scale")})
        status, answer = await web.apply(3, "alice")
        assert status == 200, "the same size is nothing to disagree about"
        obj = msgspec.json.decode((await cluster.client.raw("GET", web.path)).body)
        rest = next(each for each in obj["metadata"]["managedFields"] if each["manager"] == "before-first-apply")
        assert "f:template" in rest["fieldsV1"]["f:spec"], "an apply of the scale begins the object's tracking"

    knarr_cluster.run(scenario, **BARE)


def test_a_defaulted_size_is_scaled_by_whoever_comes_and_stays_nobodys(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        web = Sized(cluster, "Deployment")
        await web.apply(None, "alice")
        await web.patch_scale({"spec": {"replicas": 4}}, "patcher")
        assert await web.held() == (4, set())

    knarr_cluster.run(scenario, **BARE)


def test_what_changes_no_size_changes_no_owner(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        web = Sized(cluster, "Deployment")
        await web.apply(0, "alice")
        await cluster.sleep(5)
        before = (await cluster.client.raw("GET", web.path)).body
        await web.patch_scale({"status": {"replicas": 42}}, "patcher")
        await web.apply(0, "alice")
        assert (await cluster.client.raw("GET", web.path)).body == before
        await web.apply_scale(0, "scaler")
        shared = (await cluster.client.raw("GET", web.path)).body
        await cluster.sleep(5)
        await web.apply_scale(0, "scaler")
        assert (await cluster.client.raw("GET", web.path)).body == shared

    knarr_cluster.run(scenario, **BARE)


def test_a_scale_of_another_object_or_version_is_refused(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        web = Sized(cluster, "Deployment")
        await web.apply(1, "alice")
        posted = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web", "uid": "other"}, "spec": {"replicas": 7}}
        status, answer = await web.send("PUT", f"{web.path}/scale", posted, "application/json")
        assert status == 409 and answer["message"].startswith(
            'Operation cannot be fulfilled on deployments/scale.apps "web": Precondition failed: UID in precondition: other, '
        )
        status, answer = await web.send(
            "PATCH", f"{web.path}/scale", manifest("Deployment", 2), "application/apply-patch+yaml", manager="scaler"
        )
        assert (status, answer["message"]) == (
            400,
            "Incorrect version specified in apply patch. Specified patch version: apps/v1, expected: autoscaling/v1",
        )
        missing = Sized(cluster, "StatefulSet")
        status, answer = await missing.apply_scale(2, "scaler")
        assert (status, answer["message"]) == (404, 'statefulsets.apps "web" not found')

    knarr_cluster.run(scenario, **BARE)
