"""Custom resources in several versions with a webhook between them: every reader gets the version asked for, whatever is stored."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from knarr.api import codec
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner
from knarr.testing.webhooks import InProcessWebhooks, Review

HOST = "convert.example.com"
API_ONLY: dict[str, Any] = {"nodes": 0, "controllers": False, "scheduler": False}
GROUP = "stable.example.com"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def path(version: str, name: str = "") -> str:
    return f"/apis/{GROUP}/{version}/namespaces/default/hosts{'/' + name if name else ''}"


def version(name: str, *, storage: bool, properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in properties}}
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}


def definition(storage: str = "v1", **conversion: Any) -> dict[str, Any]:
    webhook = {"clientConfig": {"url": f"https://{HOST}/convert"}, "conversionReviewVersions": ["v1", "v1beta1"], **conversion}
    return {
        "metadata": {"name": f"hosts.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": "hosts", "singular": "host", "kind": "Host", "listKind": "HostList"},
            "versions": [
                version("v1", storage=storage == "v1", properties={"hostPort": {}}),
                version("v2", storage=storage == "v2", properties={"host": {}, "port": {}}),
            ],
            "conversion": {"strategy": "Webhook", "webhook": webhook},
        },
    }


def convert(obj: dict[str, Any], wanted: str) -> dict[str, Any]:
    kept = {key: value for key, value in obj.items() if key not in ("hostPort", "host", "port")}
    if wanted.endswith("v2"):
        host, _, port = obj.get("hostPort", "").partition(":")
        return {**kept, "apiVersion": wanted, "host": host, "port": port}
    return {**kept, "apiVersion": wanted, "hostPort": f"{obj.get('host', '')}:{obj.get('port', '')}"}


def answer(review: Review, **response: Any) -> Review:
    request = review["request"]
    done = [convert(each, request["desiredAPIVersion"]) for each in request["objects"]]
    said = {"uid": request["uid"], "convertedObjects": done, "result": {"status": "Success"}, **response}
    return {"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": said}


async def good(review: Review) -> Review:
    return answer(review)


async def send(cluster: InProcessCluster, method: str, where: str, body: Any = None, content: str = "application/json", **query: str) -> Any:
    sent = b"" if body is None else json.dumps(body).encode()
    got = await cluster.client.raw(method, where, query=list(query.items()), body=sent, headers={"Content-Type": content})
    if got.status >= 400:
        raise StatusError(codec.decode(meta.Status, got.body))
    return json.loads(got.body)


async def refused(call: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        await call
    return caught.value


async def defined(cluster: InProcessCluster, **options: Any) -> None:
    await send(cluster, "POST", DEFINITIONS, definition(**options))

    async def served() -> bool:
        return bool((await cluster.client.raw("GET", path("v2"))).status == 200)

    await cluster.wait_for(served)


async def stored_in(cluster: InProcessCluster, storage: str) -> None:
    """Change the storage version, and wait until the change is served."""
    await send(
        cluster,
        "PATCH",
        f"{DEFINITIONS}/hosts.{GROUP}",
        [
            {"op": "replace", "path": "/spec/versions/0/storage", "value": storage == "v1"},
            {"op": "replace", "path": "/spec/versions/1/storage", "value": storage == "v2"},
        ],
        "application/json-patch+json",
    )
    await cluster.sleep(1)


def served_by(handler: Any) -> InProcessWebhooks:
    webhooks = InProcessWebhooks()
    webhooks.serve(HOST, "/convert", handler)
    return webhooks


def test_an_object_is_written_read_and_changed_in_each_version(knarr_cluster: ClusterRunner) -> None:
    webhooks = served_by(good)

    async def scenario(cluster: InProcessCluster) -> None:
        await defined(cluster)
        first = await send(cluster, "POST", path("v1"), {"apiVersion": f"{GROUP}/v1", "kind": "Host", "metadata": {"name": "a"}, "hostPort": "alpha:1"})
        assert webhooks.calls == []
        read = await send(cluster, "GET", path("v2", "a"))
        assert (read["apiVersion"], read["host"], read["port"]) == (f"{GROUP}/v2", "alpha", "1") and "hostPort" not in read
        assert read["metadata"] == first["metadata"]
        await send(cluster, "GET", path("v2", "a"))
        await send(cluster, "GET", path("v2"))
        assert len(webhooks.calls) == 1, "what was converted stays converted"
        made = await send(cluster, "POST", path("v2"), {"apiVersion": f"{GROUP}/v2", "kind": "Host", "metadata": {"name": "b"}, "host": "beta", "port": "2"})
        assert made["host"] == "beta"
        assert (await send(cluster, "GET", path("v1", "b")))["hostPort"] == "beta:2"
        await send(cluster, "PATCH", path("v2", "a"), {"port": "9"}, "application/merge-patch+json")
        changed = await send(cluster, "GET", path("v1", "a"))
        assert changed["hostPort"] == "alpha:9" and changed["metadata"]["generation"] == 2
        stored = json.loads((await cluster.store.range(f"/registry/{GROUP}/hosts/")).items[1].value)
        assert stored["apiVersion"] == f"{GROUP}/v1" and stored["hostPort"] == "beta:2"
        assert [item["host"] for item in (await send(cluster, "GET", path("v2")))["items"]] == ["alpha", "beta"]
        await send(cluster, "DELETE", path("v2", "a"))
        assert [item["hostPort"] for item in (await send(cluster, "GET", path("v1")))["items"]] == ["beta:2"]

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_a_list_of_many_is_converted_in_one_call_page_by_page_and_by_label(knarr_cluster: ClusterRunner) -> None:
    webhooks = served_by(good)

    async def scenario(cluster: InProcessCluster) -> None:
        await defined(cluster)
        for number in range(6):
            labels = {"even": str(number % 2 == 0).lower()}
            await send(cluster, "POST", path("v1"), {"apiVersion": f"{GROUP}/v1", "kind": "Host", "metadata": {"name": f"h{number}", "labels": labels}, "hostPort": f"h:{number}"})
        first = await send(cluster, "GET", path("v2"), limit="4")
        assert [item["port"] for item in first["items"]] == ["0", "1", "2", "3"] and len(webhooks.calls) == 1
        rest = await send(cluster, "GET", path("v2"), limit="4", **{"continue": first["metadata"]["continue"]})
        assert [item["port"] for item in rest["items"]] == ["4", "5"]
        even = await send(cluster, "GET", path("v2"), labelSelector="even=true")
        assert [item["port"] for item in even["items"]] == ["0", "2", "4"]

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_objects_of_both_versions_in_the_store_are_read_in_either(knarr_cluster: ClusterRunner) -> None:
    webhooks = served_by(good)

    async def scenario(cluster: InProcessCluster) -> None:
        await defined(cluster)
        await send(cluster, "POST", path("v1"), {"apiVersion": f"{GROUP}/v1", "kind": "Host", "metadata": {"name": "a"}, "hostPort": "alpha:1"})
        await stored_in(cluster, "v2")
        await send(cluster, "POST", path("v1"), {"apiVersion": f"{GROUP}/v1", "kind": "Host", "metadata": {"name": "b"}, "hostPort": "beta:2"})
        held = [json.loads(item.value)["apiVersion"] for item in (await cluster.store.range(f"/registry/{GROUP}/hosts/")).items]
        assert held == [f"{GROUP}/v1", f"{GROUP}/v2"]
        assert [each["hostPort"] for each in (await send(cluster, "GET", path("v1")))["items"]] == ["alpha:1", "beta:2"]
        assert [each["port"] for each in (await send(cluster, "GET", path("v2")))["items"]] == ["1", "2"]
        definition_now = await send(cluster, "GET", f"{DEFINITIONS}/hosts.{GROUP}")
        assert definition_now["status"]["storedVersions"] == ["v1", "v2"]

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_a_watch_of_the_other_version_is_told_each_change_in_order(knarr_cluster: ClusterRunner) -> None:
    async def slow(review: Review) -> Review:
        await clock[0].sleep(2)
        return answer(review)

    clock: list[Any] = []
    webhooks = served_by(slow)

    async def scenario(cluster: InProcessCluster) -> None:
        clock.append(cluster.clock)
        await defined(cluster)
        await send(cluster, "POST", path("v1"), {"apiVersion": f"{GROUP}/v1", "kind": "Host", "metadata": {"name": "old", "labels": {"a": "b"}}, "hostPort": "old:0"})
        start = (await send(cluster, "GET", path("v1")))["metadata"]["resourceVersion"]
        told: list[tuple[str, str, str]] = []
        stopped = cluster.clock.monotonic_s() + 60

        async def watch(sink: list[tuple[str, str, str]], **query: str) -> None:
            pairs = [("watch", "true"), ("timeoutSeconds", "40"), *query.items()]
            async with cluster.client.transport.stream("GET", path("v2"), query=pairs, headers={}) as got:
                async for chunk in got.chunks:
                    for line in chunk.splitlines():
                        change = json.loads(line)
                        obj = change["object"]
                        sink.append((change["type"], obj["metadata"].get("name", ""), obj.get("port", "")))

        late: list[tuple[str, str, str]] = []
        selected: list[tuple[str, str, str]] = []
        watches = [asyncio.ensure_future(watch(told, resourceVersion=start)), asyncio.ensure_future(watch(selected, labelSelector="a=b"))]
        await cluster.sleep(3)
        for number in range(3):
            await send(cluster, "POST", path("v1"), {"apiVersion": f"{GROUP}/v1", "kind": "Host", "metadata": {"name": f"n{number}"}, "hostPort": f"n:{number}"})
        # Comes while changes wait for their conversion: it is told each object once.
        watches.append(asyncio.ensure_future(watch(late)))
        await send(cluster, "PATCH", path("v1", "old"), {"metadata": {"labels": {"a": "c"}}}, "application/merge-patch+json")
        await send(cluster, "DELETE", path("v1", "n1"))
        await asyncio.wait(watches)
        assert cluster.clock.monotonic_s() < stopped
        changes = [("ADDED", "n0", "0"), ("ADDED", "n1", "1"), ("ADDED", "n2", "2"), ("MODIFIED", "old", "0"), ("DELETED", "n1", "1")]
        assert told == changes
        assert selected == [("ADDED", "old", "0"), ("DELETED", "old", "0")]
        assert late == [("ADDED", "n0", "0"), ("ADDED", "n2", "2"), ("ADDED", "old", "0")]

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_a_failed_conversion_is_told_to_those_who_read_that_version_and_to_nobody_else(knarr_cluster: ClusterRunner) -> None:
    behaviour: list[Any] = [good]

    async def handler(review: Review) -> Review:
        return await behaviour[0](review)

    webhooks = served_by(handler)

    async def scenario(cluster: InProcessCluster) -> None:
        await defined(cluster)
        await send(cluster, "POST", path("v1"), {"apiVersion": f"{GROUP}/v1", "kind": "Host", "metadata": {"name": "a"}, "hostPort": "alpha:1"})

        async def says_no(review: Review) -> Review:
            return answer(review, convertedObjects=[], result={"status": "Failure", "message": "no such host"})

        async def too_few(review: Review) -> Review:
            return answer(review, convertedObjects=[])

        async def renames(review: Review) -> Review:
            said = answer(review)
            said["response"]["convertedObjects"][0]["metadata"]["name"] = "other"
            return said

        async def wrong_version(review: Review) -> Review:
            said = answer(review)
            said["response"]["convertedObjects"][0]["apiVersion"] = "other/v7"
            return said

        def with_metadata(**metadata: Any) -> Any:
            async def handle(review: Review) -> Review:
                said = answer(review)
                for each in said["response"]["convertedObjects"]:
                    each["metadata"] = {**each["metadata"], **metadata}
                return said

            return handle

        bad_label, no_string = with_metadata(labels={"a": "no label"}), with_metadata(annotations={"a": 1})

        async def no_metadata(review: Review) -> Review:
            said = answer(review)
            for each in said["response"]["convertedObjects"]:
                each["metadata"] = None
            return said

        async def wrong_uid(review: Review) -> Review:
            return answer(review, uid="none")

        what = f"conversion webhook for {GROUP}/v1, Kind=Host"
        for handling, text in (
            (says_no, f"{what} failed: no such host"),
            (too_few, f"{what} returned 0 objects, expected 1"),
            (renames, f"{what} returned invalid object: must have the same name: a != other"),
            (wrong_version, f"{what} returned invalid object at index 0: invalid groupVersion (expected {GROUP}/v2, received other/v7)"),
            (wrong_uid, f"{what} failed: expected response.uid="),
            (bad_label, f'{what} returned invalid metadata: metadata.labels: Invalid value: "no label": '),
            (no_string, f"{what} returned invalid metadata: metadata.annotations[a] must be a string, but is int64 in converted object"),
            (no_metadata, f"{what} returned invalid object: must have the same name: a != "),
        ):
            behaviour[0] = handling
            for call in (send(cluster, "GET", path("v2", "a")), send(cluster, "GET", path("v2")), send(cluster, "GET", path("v2"), watch="true")):
                error = await refused(call)
                assert (error.code, error.reason) == (500, "") and str(error).startswith(text), error
        writing = {"apiVersion": f"{GROUP}/v2", "kind": "Host", "metadata": {"name": "b"}, "host": "b", "port": "1"}
        behaviour[0] = says_no
        error = await refused(send(cluster, "POST", path("v2"), writing))
        assert str(error) == f"conversion webhook for {GROUP}/v2, Kind=Host failed: no such host"
        assert len((await send(cluster, "GET", path("v1")))["items"]) == 1
        behaviour[0] = good
        assert (await send(cluster, "GET", path("v2", "a")))["host"] == "alpha"

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_a_running_watch_is_told_why_it_ends_when_the_webhook_fails(knarr_cluster: ClusterRunner) -> None:
    behaviour: list[Any] = [good]

    async def handler(review: Review) -> Review:
        return await behaviour[0](review)

    webhooks = served_by(handler)

    async def scenario(cluster: InProcessCluster) -> None:
        await defined(cluster)
        told: list[Any] = []

        async def watch() -> None:
            async with cluster.client.transport.stream("GET", path("v2"), query=[("watch", "true")], headers={}) as got:
                async for chunk in got.chunks:
                    told.extend(json.loads(line) for line in chunk.splitlines())

        watching = asyncio.ensure_future(watch())
        await cluster.sleep(1)

        async def says_no(review: Review) -> Review:
            return answer(review, result={"status": "Failure", "message": "out of order"})

        behaviour[0] = says_no
        await send(cluster, "POST", path("v1"), {"apiVersion": f"{GROUP}/v1", "kind": "Host", "metadata": {"name": "a"}, "hostPort": "alpha:1"})
        await asyncio.wait_for(watching, 10)
        assert [change["type"] for change in told] == ["ERROR"]
        assert told[0]["object"]["message"].endswith("failed: out of order")

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_a_webhook_changes_labels_and_annotations_and_nothing_else_of_the_metadata(knarr_cluster: ClusterRunner) -> None:
    async def meddling(review: Review) -> Review:
        said = answer(review)
        for each in said["response"]["convertedObjects"]:
            each["metadata"].update(labels={"seen": "yes"}, finalizers=["mine"], ownerReferences=[])
        return said

    webhooks = served_by(meddling)

    async def scenario(cluster: InProcessCluster) -> None:
        await defined(cluster)
        made = await send(cluster, "POST", path("v1"), {"apiVersion": f"{GROUP}/v1", "kind": "Host", "metadata": {"name": "a", "annotations": {"x": "y"}}, "hostPort": "alpha:1"})
        read = await send(cluster, "GET", path("v2", "a"))
        assert read["metadata"] == {**made["metadata"], "labels": {"seen": "yes"}}
        assert len((await send(cluster, "GET", path("v2"), labelSelector="seen=yes"))["items"]) == 1
        assert (await send(cluster, "GET", path("v1"), labelSelector="seen=yes"))["items"] == []

    knarr_cluster.run(scenario, **API_ONLY, webhooks=webhooks)


def test_a_default_added_later_appears_on_what_was_stored_before(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        body = definition()
        body["spec"]["conversion"] = {"strategy": "None"}
        await send(cluster, "POST", DEFINITIONS, body)

        async def served() -> bool:
            return bool((await cluster.client.raw("GET", path("v1"))).status == 200)

        await cluster.wait_for(served)
        await send(cluster, "POST", path("v1"), {"apiVersion": f"{GROUP}/v1", "kind": "Host", "metadata": {"name": "a"}})
        before = await send(cluster, "GET", path("v1", "a"))
        assert "hostPort" not in before
        schema = "/spec/versions/0/schema/openAPIV3Schema/properties"
        patch = [{"op": "add", "path": f"{schema}/hostPort/default", "value": "here:80"}]
        await send(cluster, "PATCH", f"{DEFINITIONS}/hosts.{GROUP}", patch, "application/json-patch+json")

        statuses: set[int] = set()

        async def defaulted() -> bool:
            got = await cluster.client.raw("GET", path("v1", "a"))
            statuses.add(got.status)
            return json.loads(got.body).get("hostPort") == "here:80"

        await cluster.wait_for(defaulted)
        assert statuses == {200}, "the kind is served all the while"
        after = await send(cluster, "GET", path("v1", "a"))
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        assert (await send(cluster, "GET", path("v1")))["items"][0]["hostPort"] == "here:80"

    knarr_cluster.run(scenario, **API_ONLY)
