"""LIST: pages, revisions, selectors and forms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cluster_objects import NS, pod

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

PATH = f"/api/v1/namespaces/{NS}/configmaps"
BARE = {"nodes": 0, "controllers": False, "scheduler": False}


async def fill(cluster: InProcessCluster, count: int = 10) -> None:
    for number in range(count):
        labels = {"parity": "odd" if number % 2 else "even"}
        metadata = meta.ObjectMeta(name=f"c{number:02}", namespace=NS, labels=labels)
        await cluster.client.create(core.ConfigMap(metadata=metadata))


async def ask(
    cluster: InProcessCluster, *, path: str = PATH, accept: str = "application/json", **query: Any
) -> tuple[int, dict[str, Any]]:
    asked = [(key.rstrip("_"), str(value)) for key, value in query.items()]
    answer = await cluster.client.raw("GET", path, query=asked, headers={"Accept": accept})
    return answer.status, json.loads(answer.body)


def names(body: dict[str, Any]) -> list[str]:
    return [each["metadata"]["name"] for each in body["items"]]


def test_pages_show_one_moment_whatever_is_written_between_them(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await fill(cluster)
        _, first = await ask(cluster, limit=4)
        assert names(first) == ["c00", "c01", "c02", "c03"] and first["metadata"]["remainingItemCount"] == 6
        await cluster.client.delete(core.ConfigMap, "c05", namespace=NS)
        await cluster.client.create(core.ConfigMap(metadata=meta.ObjectMeta(name="c04a", namespace=NS)))
        _, second = await ask(cluster, limit=4, continue_=first["metadata"]["continue"])
        _, third = await ask(cluster, limit=4, continue_=second["metadata"]["continue"])
        assert names(second) + names(third) == [f"c{number:02}" for number in range(4, 10)]
        versions = {page["metadata"]["resourceVersion"] for page in (first, second, third)}
        assert len(versions) == 1 and not third["metadata"].get("continue")

    knarr_cluster.run(scenario, **BARE)


def test_pages_of_a_selection_are_full_and_complete(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await fill(cluster)
        found, token, sizes = [], "", []
        while True:
            _, page = await ask(
                cluster, limit=2, labelSelector="parity=odd", **({"continue_": token} if token else {})
            )
            found += names(page)
            sizes.append(len(page["items"]))
            assert "remainingItemCount" not in page["metadata"]
            token = page["metadata"].get("continue", "")
            if not token:
                break
        assert found == ["c01", "c03", "c05", "c07", "c09"] and sizes[:2] == [2, 2]

    knarr_cluster.run(scenario, **BARE)


def test_a_page_from_compacted_history_gets_410_and_a_way_to_go_on(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await fill(cluster)
        _, first = await ask(cluster, limit=4)
        await cluster.client.create(core.ConfigMap(metadata=meta.ObjectMeta(name="z", namespace=NS)))
        await cluster.store.compact(await cluster.store.revision())
        status, error = await ask(cluster, limit=4, continue_=first["metadata"]["continue"])
        assert status == 410 and error["reason"] == "Expired"
        assert error["message"].startswith("The provided continue parameter is too old")
        _, rest = await ask(cluster, continue_=error["metadata"]["continue"])
        assert names(rest) == [*(f"c{number:02}" for number in range(4, 10)), "z"]

    knarr_cluster.run(scenario, **BARE)


@pytest.mark.parametrize("token", ["!!!", "bm9uc2Vuc2U", "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ"])
def test_a_false_continue_token_is_a_bad_request(knarr_cluster: ClusterRunner, token: str) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        status, error = await ask(cluster, limit=4, continue_=token)
        assert status == 400 and error["message"].startswith("continue key is not valid")

    knarr_cluster.run(scenario, **BARE)


def test_an_exact_revision_is_history_and_not_older_than_is_now(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await fill(cluster, 2)
        _, body = await ask(cluster)
        then = body["metadata"]["resourceVersion"]
        await fill_more(cluster)
        _, exact = await ask(cluster, resourceVersion=then, resourceVersionMatch="Exact")
        assert names(exact) == ["c00", "c01"] and exact["metadata"]["resourceVersion"] == then
        _, later = await ask(cluster, resourceVersion=then, resourceVersionMatch="NotOlderThan")
        assert names(later) == ["c00", "c01", "later"]
        _, plain = await ask(cluster, resourceVersion="0")
        assert names(plain) == ["c00", "c01", "later"]

    async def fill_more(cluster: InProcessCluster) -> None:
        await cluster.client.create(core.ConfigMap(metadata=meta.ObjectMeta(name="later", namespace=NS)))

    knarr_cluster.run(scenario, **BARE)


@pytest.mark.parametrize(
    ("query", "code", "text"),
    [
        (
            {"resourceVersionMatch": "Exact"},
            422,
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            {"resourceVersion": "0", "resourceVersionMatch": "Exact"},
            422,
            'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
        ),
        (
            {"resourceVersion": "5", "resourceVersionMatch": "Nearly"},
            422,
            'resourceVersionMatch: Unsupported value: "Nearly": supported values: "", "Exact", "NotOlderThan"',
        ),
        ({"labelSelector": "a in b"}, 400, "unable to parse requirement"),
        (
            {"fieldSelector": "data.x=1"},
            400,
            '"data.x" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        ({"resourceVersion": "abc"}, 400, "Invalid value"),
        ({"limit": "many"}, 400, 'strconv.ParseInt: parsing \\"many\\": invalid syntax'),
    ],
)
def test_queries_that_make_no_sense_are_refused(
    knarr_cluster: ClusterRunner, query: dict[str, str], code: int, text: str
) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        status, error = await ask(cluster, **query)
        assert status == code, error
        assert text in error["message"].replace('\\"', '"') or text in json.dumps(error["message"])

    knarr_cluster.run(scenario, **BARE)


def test_a_revision_from_the_future_times_out(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        status, error = await ask(cluster, resourceVersion="999999")
        assert status == 504 and error["reason"] == "Timeout"
        assert error["message"].startswith("Timeout: Too large resource version: 999999, current: ")

    knarr_cluster.run(scenario, **BARE)


def test_field_selectors_of_pods(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        for name, node in (("a", "node-1"), ("b", "")):
            await cluster.client.create(pod(name, nodeName=node))
        await cluster.sleep(5)
        path = "/api/v1/pods"
        for selector, expected in (
            ("spec.nodeName=node-1", ["a", "b"]),
            ("status.phase=Running", ["a", "b"]),
            ("metadata.name=a", ["a"]),
            ("metadata.name!=a,status.phase!=Pending", ["b"]),
            ("metadata.namespace=other", []),
        ):
            _, body = await ask(cluster, path=path, fieldSelector=selector)
            assert names(body) == expected, selector

    knarr_cluster.run(scenario)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("parity=odd", ["c01", "c03"]),
        ("parity!=odd", ["c00", "c02"]),
        ("parity in (odd,even)", ["c00", "c01", "c02", "c03"]),
        ("parity notin (odd)", ["c00", "c02"]),
        ("!parity", []),
        ("parity,parity==even", ["c00", "c02"]),
    ],
)
def test_label_selectors(knarr_cluster: ClusterRunner, selector: str, expected: list[str]) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await fill(cluster, 4)
        _, body = await ask(cluster, labelSelector=selector)
        assert names(body) == expected

    knarr_cluster.run(scenario, **BARE)


def test_the_table_is_what_kubectl_prints(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(pod("web"))
        await cluster.wait_for_condition(core.Pod, "web", "Ready")
        await cluster.sleep(180)
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        _, table = await ask(cluster, path=f"/api/v1/namespaces/{NS}/pods", accept=accept)
        columns = [each["name"] for each in table["columnDefinitions"]]
        assert columns == [
            "Name",
            "Ready",
            "Status",
            "Restarts",
            "Age",
            "IP",
            "Node",
            "Nominated Node",
            "Readiness Gates",
        ]
        (row,) = table["rows"]
        assert row["cells"][:5] == ["web", "1/1", "Running", "0", "3m"]
        assert row["cells"][6:] == ["node-1", "<none>", "<none>"]
        assert row["object"]["kind"] == "PartialObjectMetadata" and row["object"]["metadata"]["name"] == "web"
        _, bare = await ask(
            cluster, path=f"/api/v1/namespaces/{NS}/pods", accept=accept, includeObject="None"
        )
        assert "object" not in bare["rows"][0] or bare["rows"][0]["object"] is None
        _, single = await ask(cluster, path=f"/api/v1/namespaces/{NS}/pods/web", accept=accept)
        assert single["kind"] == "Table" and len(single["rows"]) == 1

    knarr_cluster.run(scenario)


def test_partial_metadata_leaves_the_rest_out(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await fill(cluster, 2)
        _, body = await ask(
            cluster, accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
        )
        assert body["kind"] == "PartialObjectMetadataList" and body["apiVersion"] == "meta.k8s.io/v1"
        assert all(set(each) <= {"kind", "apiVersion", "metadata"} for each in body["items"])
        _, one = await ask(
            cluster, path=f"{PATH}/c00", accept="application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
        )
        assert one["kind"] == "PartialObjectMetadata" and one["metadata"]["labels"] == {"parity": "even"}

    knarr_cluster.run(scenario, **BARE)


def test_an_unacceptable_form_is_refused(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        status, error = await ask(cluster, accept="text/html")
        assert status == 406 and error["reason"] == "NotAcceptable"
        assert error["message"].startswith("only the following media types are accepted: application/json")

    knarr_cluster.run(scenario, **BARE)


def test_yaml_is_answered_to_who_asks_for_it(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await fill(cluster, 1)
        answer = await cluster.client.raw("GET", PATH, headers={"Accept": "application/yaml"})
        assert answer.headers["Content-Type"] == "application/yaml" and b"kind: ConfigMapList" in answer.body

    knarr_cluster.run(scenario, **BARE)
