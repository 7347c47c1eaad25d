"""Custom resources: defined, served, judged, printed, converted, collected and removed with their definition."""

from __future__ import annotations

from typing import Any

import msgspec

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.client.transport import Response
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema: &schema
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [cronSpec]
            properties:
              cronSpec: {type: string, minLength: 9}
              image: {type: string, default: "app:1"}
              replicas: {type: integer, minimum: 1, maximum: 10, default: 1}
          status:
            type: object
            properties: {phase: {type: string}}
  - name: v1beta1
    served: true
    storage: false
    schema: *schema
"""
ROOT = "/apis/stable.example.com"
PATH = f"{ROOT}/v1/namespaces/default/crontabs"


def body(answer: Response) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(answer.body)
    return found


async def defined(cluster: InProcessCluster) -> None:
    await cluster.apply(DEFINITION)

    async def served() -> bool:
        return (await cluster.client.raw("GET", PATH)).status == 200

    await cluster.wait_for(served)


async def send(
    cluster: InProcessCluster, method: str, path: str, content: Any, kind: str = "application/json"
) -> tuple[int, dict[str, Any]]:
    answer = await cluster.client.raw(
        method,
        path,
        body=msgspec.json.encode(content),
        headers={"Content-Type": kind, "Accept": "application/json"},
    )
    return answer.status, body(answer)


def cron_tab(name: str = "nightly", **spec: Any) -> dict[str, Any]:
    spec.setdefault("cronSpec", "* * * * */5")
    return {
        "apiVersion": "stable.example.com/v1",
        "kind": "CronTab",
        "metadata": {"name": name},
        "spec": spec,
    }


def test_an_object_is_defaulted_pruned_and_kept(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await defined(cluster)
        status, obj = await send(cluster, "POST", PATH, cron_tab(unknown=1))
        assert status == 201
        assert obj["spec"] == {"cronSpec": "* * * * */5", "image": "app:1", "replicas": 1}
        assert obj["metadata"]["generation"] == 1
        assert body(await cluster.client.raw("GET", f"{PATH}/nightly"))["spec"] == obj["spec"]

    knarr_cluster.run(scenario)


def test_faults_are_named_with_their_fields(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await defined(cluster)
        status, answer = await send(cluster, "POST", PATH, cron_tab(cronSpec="short", replicas=20))
        assert status == 422 and answer["reason"] == "Invalid"
        fields = {cause["field"] for cause in answer["details"]["causes"]}
        assert fields == {"spec.cronSpec", "spec.replicas"}
        missing = cron_tab()
        missing["spec"] = {}
        status, answer = await send(cluster, "POST", PATH, missing)
        assert status == 422 and "spec.cronSpec: Required value" in answer["message"]
        status, _ = await send(cluster, "POST", PATH, cron_tab(replicas="many"))
        assert status in (400, 422)

    knarr_cluster.run(scenario)


def test_status_is_a_sub_resource_of_its_own(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await defined(cluster)
        _, obj = await send(cluster, "POST", PATH, {**cron_tab(), "status": {"phase": "no"}})
        assert "status" not in obj
        merge = "application/merge-patch+json"
        status, obj = await send(
            cluster, "PATCH", f"{PATH}/nightly/status", {"status": {"phase": "Ready"}}, merge
        )
        assert status == 200 and obj["status"] == {"phase": "Ready"} and obj["metadata"]["generation"] == 1
        _, obj = await send(cluster, "PATCH", f"{PATH}/nightly", {"spec": {"replicas": 3}}, merge)
        assert obj["status"] == {"phase": "Ready"} and obj["metadata"]["generation"] == 2

    knarr_cluster.run(scenario)


def test_kubectl_sees_columns_short_names_and_versions(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await defined(cluster)
        await send(cluster, "POST", PATH, cron_tab())
        accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        table = body(await cluster.client.raw("GET", PATH, headers=accept))
        assert [column["name"] for column in table["columnDefinitions"]] == [
            "Name",
            "Spec",
            "Replicas",
            "Age",
        ]
        assert table["rows"][0]["cells"][:3] == ["nightly", "* * * * */5", 1]
        group = body(await cluster.client.raw("GET", ROOT))
        assert group["preferredVersion"]["version"] == "v1"
        resources = body(await cluster.client.raw("GET", f"{ROOT}/v1"))["resources"]
        assert resources[0]["shortNames"] == ["ct"]
        other = body(await cluster.client.raw("GET", f"{ROOT}/v1beta1/namespaces/default/crontabs/nightly"))
        assert other["apiVersion"] == "stable.example.com/v1beta1" and other["spec"]["replicas"] == 1
        schemas = body(await cluster.client.raw("GET", "/openapi/v3/apis/stable.example.com/v1"))[
            "components"
        ]["schemas"]
        assert "cronSpec" in schemas["com.example.stable.v1.CronTab"]["properties"]["spec"]["properties"]

    knarr_cluster.run(scenario)


def test_a_strategic_patch_is_refused_as_upstream_refuses_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await defined(cluster)
        await send(cluster, "POST", PATH, cron_tab())
        kind = "application/strategic-merge-patch+json"
        status, answer = await send(cluster, "PATCH", f"{PATH}/nightly", {"spec": {"replicas": 2}}, kind)
        assert status == 415 and answer["reason"] == "UnsupportedMediaType"

    knarr_cluster.run(scenario)


def test_what_a_custom_object_owns_goes_with_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await defined(cluster)
        _, obj = await send(cluster, "POST", PATH, cron_tab())
        owner = meta.OwnerReference(
            apiVersion="stable.example.com/v1", kind="CronTab", name="nightly", uid=obj["metadata"]["uid"]
        )
        metadata = meta.ObjectMeta(name="owned", namespace="default", ownerReferences=[owner])
        await cluster.client.create(core.ConfigMap(metadata=metadata))
        await cluster.sleep(30)
        assert await cluster.exists(core.ConfigMap, "owned")
        await cluster.client.raw("DELETE", f"{PATH}/nightly")
        await cluster.wait_for_deletion(core.ConfigMap, "owned", namespace="default")

    knarr_cluster.run(scenario)


def test_deleting_the_definition_deletes_its_objects_and_ends_the_kind(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await defined(cluster)
        await send(cluster, "POST", PATH, cron_tab())
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/crontabs.stable.example.com"
        await cluster.client.raw("DELETE", path)

        async def gone() -> bool:
            return (await cluster.client.raw("GET", path)).status == 404

        await cluster.wait_for(gone)
        assert (await cluster.client.raw("GET", PATH)).status == 404
        await defined(cluster)
        assert body(await cluster.client.raw("GET", PATH))["items"] == []

    knarr_cluster.run(scenario)


def test_a_namespace_takes_its_custom_objects_along(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await defined(cluster)
        await cluster.client.create(core.Namespace(metadata=meta.ObjectMeta(name="team")))
        await send(cluster, "POST", PATH.replace("default", "team"), cron_tab())
        await cluster.client.delete(core.Namespace, "team")
        await cluster.wait_for_deletion(core.Namespace, "team", namespace="")
        assert body(await cluster.client.raw("GET", f"{ROOT}/v1/crontabs"))["items"] == []

    knarr_cluster.run(scenario)


def test_the_status_alone_is_written_through_its_sub_resource_and_judged(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.apply(DEFINITION.replace("phase: {type: string}", "phase: {type: string, enum: [Good, Bad]}"))

        async def served() -> bool:
            return (await cluster.client.raw("GET", PATH)).status == 200

        await cluster.wait_for(served)
        metadata = {"name": "c", "labels": {"a": "b"}}
        made = {"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": metadata, "spec": {"cronSpec": "* * * * *"}}
        assert (await send(cluster, "POST", PATH, made))[0] == 201
        merge = "application/merge-patch+json"
        change = {"metadata": {"labels": {"a": "c"}}, "spec": {"replicas": 9}, "status": {"phase": "Good"}}
        status, held = await send(cluster, "PATCH", f"{PATH}/c/status", change, merge)
        assert status == 200 and held["status"] == {"phase": "Good"}
        assert held["metadata"]["labels"] == {"a": "b"} and held["spec"]["replicas"] == 1
        status, refused = await send(cluster, "PATCH", f"{PATH}/c/status", {"status": {"phase": "Odd"}}, merge)
        assert status == 422 and refused["details"]["causes"][0]["field"] == "status.phase"

    knarr_cluster.run(scenario, nodes=0)


def test_a_kind_whose_schema_has_no_status_takes_an_update_of_it_and_keeps_nothing(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        without = DEFINITION.replace("          status:\n            type: object\n            properties: {phase: {type: string}}\n", "")
        assert without != DEFINITION
        await cluster.apply(without)

        async def served() -> bool:
            return (await cluster.client.raw("GET", PATH)).status == 200

        await cluster.wait_for(served)
        made = {"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "c"}, "spec": {"cronSpec": "* * * * *"}}
        assert (await send(cluster, "POST", PATH, made))[0] == 201
        status, held = await send(cluster, "PATCH", f"{PATH}/c/status", {"status": {"phase": "x"}}, "application/merge-patch+json")
        assert status == 200 and "status" not in held

    knarr_cluster.run(scenario, nodes=0)


def test_a_custom_resource_is_scaled_where_its_definition_says(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        places = "scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.count, labelSelectorPath: .status.selector}"
        scalable = DEFINITION.replace("subresources: {status: {}}", f"subresources: {{status: {{}}, {places}}}")
        scalable = scalable.replace("phase: {type: string}", "phase: {type: string}, count: {type: integer}, selector: {type: string}")
        await cluster.apply(scalable)

        async def served() -> bool:
            return (await cluster.client.raw("GET", PATH)).status == 200

        await cluster.wait_for(served)
        tab = {"metadata": {"name": "one"}, "spec": {"cronSpec": "* * * * */5", "replicas": 2}}
        await send(cluster, "POST", PATH, tab)
        status = {"status": {"count": 1, "selector": "app=one"}}
        await send(cluster, "PATCH", f"{PATH}/one/status", status, "application/merge-patch+json")
        _, scale = await send(cluster, "GET", f"{PATH}/one/scale", None)
        assert (scale["kind"], scale["spec"], scale["status"]) == ("Scale", {"replicas": 2}, {"replicas": 1, "selector": "app=one"})
        code, scale = await send(cluster, "PATCH", f"{PATH}/one/scale", {"spec": {"replicas": 5}}, "application/merge-patch+json")
        assert code == 200 and scale["spec"] == {"replicas": 5}
        _, held = await send(cluster, "GET", f"{PATH}/one", None)
        assert held["spec"]["replicas"] == 5 and held["metadata"]["generation"] == 2
        code, refused = await send(cluster, "PATCH", f"{PATH}/one/scale", {"spec": {"replicas": 50}}, "application/merge-patch+json")
        assert code == 422 and "spec.replicas" in refused["message"]

    knarr_cluster.run(scenario, nodes=0, controllers=False, scheduler=False)
