"""Server-side apply: what one manager stops applying goes, what another owns is a conflict, lists merge by key."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

PATH = "/apis/apps/v1/namespaces/default/deployments/web"


def manifest(**spec: Any) -> dict[str, Any]:
    container = {"name": "web", "image": "app:1", **spec.pop("container", {})}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": spec.pop("labels", {})},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
            **spec,
        },
    }


async def apply(
    cluster: InProcessCluster,
    content: dict[str, Any],
    *,
    manager: str = "alice",
    force: bool = False,
    path: str = PATH,
) -> tuple[int, dict[str, Any]]:
    query = [("fieldManager", manager), *([("force", "true")] if force else [])]
    answer = await cluster.client.raw(
        "PATCH",
        path,
        query=query,
        body=yaml.safe_dump(content).encode(),
        headers={"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"},
    )
    return answer.status, msgspec.json.decode(answer.body)


def test_an_apply_creates_changes_and_removes(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        status, obj = await apply(cluster, manifest(replicas=2, labels={"a": "1", "b": "2"}))
        assert status == 201 and obj["spec"]["replicas"] == 2
        status, obj = await apply(cluster, manifest(labels={"a": "3"}))
        assert status == 200
        assert obj["metadata"]["labels"] == {"a": "3"}, "what is no longer applied goes"
        assert obj["spec"]["replicas"] == 1, "and a default takes its place"
        entry = obj["metadata"]["managedFields"][0]
        assert (entry["manager"], entry["operation"]) == ("alice", "Apply")
        assert entry["fieldsV1"]["f:metadata"] == {"f:labels": {"f:a": {}}}
        assert 'k:{"name":"web"}' in entry["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]

    knarr_cluster.run(scenario)


def test_applying_the_same_again_changes_nothing(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await apply(cluster, manifest(replicas=0))
        await cluster.sleep(5)
        _, before = await apply(cluster, manifest(replicas=0))
        await cluster.sleep(5)
        _, after = await apply(cluster, manifest(replicas=0))
        assert before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]

    knarr_cluster.run(scenario)


def test_another_owners_value_is_a_conflict_until_it_is_forced(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await apply(cluster, manifest(replicas=2))
        status, answer = await apply(cluster, manifest(replicas=5), manager="bob")
        assert status == 409
        assert (
            answer["message"]
            == 'Apply failed with 1 conflict: conflict with "alice": .spec.replicas'
        )
        assert answer["details"]["causes"][0]["reason"] == "FieldManagerConflict"
        status, obj = await apply(cluster, manifest(replicas=5), manager="bob", force=True)
        assert status == 200 and obj["spec"]["replicas"] == 5
        # Alice no longer owns the field: not applying it leaves it alone.
        status, obj = await apply(cluster, manifest())
        assert status == 200 and obj["spec"]["replicas"] == 5

    knarr_cluster.run(scenario)


def test_two_managers_share_a_list_of_environment_variables(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await apply(cluster, manifest(container={"env": [{"name": "A", "value": "1"}]}))
        content = manifest(container={"env": [{"name": "B", "value": "2"}]})
        status, obj = await apply(cluster, content, manager="bob")
        assert status == 200
        env = obj["spec"]["template"]["spec"]["containers"][0]["env"]
        assert [item["name"] for item in env] == ["A", "B"]
        _, obj = await apply(cluster, manifest(), manager="bob")
        env = obj["spec"]["template"]["spec"]["containers"][0]["env"]
        assert [item["name"] for item in env] == ["A"], "bob's variable went with bob's interest in it"

    knarr_cluster.run(scenario)


def test_an_update_takes_fields_over(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await apply(cluster, manifest(replicas=2))
        patch = b'{"spec":{"replicas":3}}'
        headers = {"Content-Type": "application/merge-patch+json"}
        await cluster.client.raw(
            "PATCH", PATH, query=[("fieldManager", "scaler")], body=patch, headers=headers
        )
        status, answer = await apply(cluster, manifest(replicas=2))
        assert status == 409 and '"scaler"' in answer["message"]

    knarr_cluster.run(scenario)


def test_a_field_manager_is_required(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        status, answer = await apply(cluster, manifest(), manager="")
        assert status == 422
        assert answer["message"] == (
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
        )

    knarr_cluster.run(scenario)


def test_objects_made_before_the_first_apply_belong_to_nobody_in_particular(
    knarr_cluster: ClusterRunner,
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        body = msgspec.json.encode(manifest(replicas=2))
        headers = {"Content-Type": "application/json"}
        await cluster.client.raw("POST", PATH.removesuffix("/web"), body=body, headers=headers)
        status, answer = await apply(cluster, manifest(replicas=4))
        assert status == 409 and '"before-first-apply"' in answer["message"]
        status, obj = await apply(cluster, manifest(replicas=2))
        assert status == 200
        names = {entry["manager"] for entry in obj["metadata"]["managedFields"]}
        assert names == {"alice", "before-first-apply"}

    knarr_cluster.run(scenario)
