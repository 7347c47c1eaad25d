"""Whatever anybody sends, the server answers as Kubernetes does: no 500, no half-written object, no answer out of form, no hang.

Every resource and verb of the API description is walked with seeded requests; a failure prints the request, and the same number makes it again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import msgspec
import pytest
import yaml
from fuzz_objects import DEFINITION, name_for, to_bytes, valid
from fuzz_requests import JSON, Sent, requests

from knarr.api import codec, scheme, strict
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apiextensions.custom import CustomResource, resources_of
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.api.scheme import Resource
from knarr.apiserver.loopback import LoopbackTransport
from knarr.client.transport import Response
from knarr.testing import InProcessCluster
from knarr.testing.cluster import ADMIN
from knarr.testing.plugin import ClusterRunner

BARE: dict[str, Any] = {"nodes": 0, "controllers": False, "scheduler": False}
PER_RESOURCE = 100
FOR_CUSTOM = 600
SEED = 1
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
#: Virtual: a watch ends by itself within an hour, so whatever takes longer than this never ends.
PATIENCE_S = 2 * 86_400

REASONS = {
    400: {"BadRequest"},
    403: {"Forbidden"},
    404: {"NotFound"},
    405: {"MethodNotAllowed"},
    406: {"NotAcceptable"},
    409: {"Conflict", "AlreadyExists"},
    410: {"Expired", "Gone"},
    413: {"RequestEntityTooLarge"},
    415: {"UnsupportedMediaType"},
    422: {"Invalid"},
    429: {"TooManyRequests"},
    503: {"ServiceUnavailable"},
    504: {"Timeout"},
}
#: Kinds the server itself follows up on.
WATCHED = ("customresourcedefinitions", "apiservices", "flowschemas", "prioritylevelconfigurations")
#: Long enough for the server to have written what it writes by itself after a change.
SETTLE_S = 1.0
#: What a proxied request to a node without addresses gets, also upstream.
UNFIT = "failed to create typed patch object ("
UNREACHABLE = "Internal error occurred: no preferred addresses found; known addresses: "
#: An unknown component is an internal error, also upstream.
SERVED = [each for each in scheme.all_resources() if each.plural != "componentstatuses"]


class Session:
    """Sends requests to one cluster and judges every answer."""

    def __init__(self, cluster: InProcessCluster, seed: int) -> None:
        self.cluster = cluster
        self.seed = seed
        self._transport = LoopbackTransport(cluster.server, ADMIN)
        self.codes: dict[int, int] = {}

    async def send(self, sent: Sent) -> Response:
        answer = self._transport.request(sent.method, sent.path, query=sent.query, headers=sent.headers, body=sent.body)
        return await asyncio.wait_for(answer, PATIENCE_S)

    async def revision(self) -> int:
        return (await self.cluster.store.range("/registry/", limit=1)).revision

    async def contents(self) -> dict[str, int]:
        return {item.key: item.mod_revision for item in (await self.cluster.store.range("/")).items}

    async def ensure(self, resource: Resource) -> None:
        """The object that most requests are about exists."""
        if "list" not in resource.verbs:
            return
        path = resource.path("default", name_for(resource))
        held = await self.send(Sent("GET", path))
        if held.status == 200 and b'"deletionTimestamp"' not in held.body:
            return
        if held.status == 200:
            await self.erase(resource, json.loads(held.body))
        made = await self.send(Sent("POST", resource.path("default"), [], {"Content-Type": JSON}, to_bytes(valid(resource))))
        assert made.status == 201, f"{resource}: {made.body!r}"

    async def erase(self, resource: Resource, obj: dict[str, Any]) -> None:
        """Straight in the store: what waits for finalizers or a kubelet would wait for ever here."""
        key = resource.key(obj["metadata"].get("namespace"), obj["metadata"]["name"])
        await self.cluster.store.delete(key, expected=None)
        await self.cluster.server.hub.fresh()

    async def clear(self, resource: Resource) -> None:
        """What is left of one kind must not govern the next: a limit range, a quota."""
        if resource.storage_prefix:
            for item in (await self.cluster.store.range(resource.storage_prefix + "/default/")).items:
                if not item.key.endswith("/default/default"):
                    await self.cluster.store.delete(item.key, expected=None)

    async def judge(self, resource: Resource, sent: Sent) -> None:
        if resource.plural in WATCHED:
            await self.cluster.sleep(SETTLE_S)
        before = await self.revision()
        # An address is taken before the service is judged, and given back, as upstream does.
        held = await self.contents() if resource.plural == "services" else {}
        answer = await self.send(sent)
        after = await self.revision()
        self.codes[answer.status] = self.codes.get(answer.status, 0) + 1
        where = f"seed {self.seed}: {sent}\n-> {answer.status} {answer.headers} {answer.body[:900]!r}"
        try:
            if answer.status >= 400:
                check_refusal(answer)
                if before != after and held:
                    assert held == await self.contents(), "a refused request left something"
                elif answer.status != 504:
                    # Who waited for a revision may have been overtaken by what the server itself writes.
                    assert before == after, "a refused request wrote something"
            else:
                check_answer(resource, sent, answer)
                if sent.watches:
                    # Long enough for an event to expire meanwhile.
                    return
                if held and sent.dry:
                    assert held == await self.contents(), "a dry run left something"
                elif sent.method in ("GET", "HEAD", "OPTIONS") or sent.dry:
                    assert before == after, "a request that only reads wrote something"
                elif sent.method in ("PUT", "PATCH", "POST"):
                    await self.check_held(resource, sent, answer)
        except Exception as error:
            error.add_note(where)
            raise

    async def check_held(self, resource: Resource, sent: Sent, answer: Response) -> None:
        """What was answered is what is there now."""
        obj = json.loads(answer.body) if answer.headers["Content-Type"] == JSON else {}
        if obj.get("kind") != resource.kind or "list" not in resource.verbs:
            return
        metadata = obj["metadata"]
        held = await self.send(Sent("GET", resource.path(metadata.get("namespace"), metadata["name"])))
        if held.status == 404:
            # A change that takes the last finalizer of what is being deleted deletes it.
            assert "deletionTimestamp" in metadata, "what was written is not there"
            return
        now = json.loads(held.body)
        if resource.plural in WATCHED and now["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            # The server itself has written its status meanwhile.
            for part in (now, obj):
                part["metadata"] = {**part["metadata"], "resourceVersion": "", "managedFields": []}
                part["status"] = {}
        assert now == obj, f"held: {held.body!r}"


def check_refusal(answer: Response) -> None:
    status = parsed(answer)
    if answer.status == 500 and status["message"].startswith(UNFIT):
        # As upstream: what is applied and fits no schema.
        assert "reason" not in status
        return
    if answer.status == 500 and status["message"].startswith(UNREACHABLE):
        return
    assert answer.status in REASONS, "no refusal of upstream's"
    assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure")
    assert status["code"] == answer.status and status["reason"] in REASONS[answer.status]
    assert status["message"], "a refusal that does not say why"
    assert strict.unknown_fields(meta.Status, status) == []


def parsed(answer: Response) -> Any:
    kind = answer.headers["Content-Type"].split(";")[0]
    assert kind in ("application/json", "application/yaml"), f"an answer nobody asked for: {kind}"
    return json.loads(answer.body.decode()) if kind == "application/json" else yaml.safe_load(answer.body)


def check_answer(resource: Resource, sent: Sent, answer: Response) -> None:
    """The answer's form is the kind's, or one of the forms kinds can be asked for in."""
    if sent.watches:
        for line in answer.body.splitlines():
            check_event(resource, line)
        return
    kind = answer.headers["Content-Type"]
    if kind.startswith("text/plain"):
        return
    check_object(resource, parsed(answer))


def check_event(resource: Resource, line: bytes) -> None:
    if not line.startswith(b"{"):
        return
    event = json.loads(line)
    assert event["type"] in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR")
    check_object(resource, event["object"])


def check_object(resource: Resource, obj: dict[str, Any]) -> None:
    version, kind = obj["apiVersion"], obj["kind"]
    if kind == "Table":
        for row in obj["rows"]:
            assert obj["columnDefinitions"] is None or len(row["cells"]) == len(obj["columnDefinitions"])
        return
    if kind.startswith("PartialObjectMetadata"):
        return
    if isinstance(resource, CustomResource):
        for each in obj["items"] if kind == f"{resource.kind}List" else [obj] if kind == resource.kind else []:
            check_custom(resource, each)
        return
    expected = resource.list_type if kind.endswith("List") else scheme.type_of(version, kind)
    assert expected is not None, f"no kind {kind} in {version}"
    codec.settle_moments(codec.decode(expected, msgspec.json.encode(obj)))
    assert strict.unknown_fields(expected, obj) == []


def check_custom(resource: CustomResource, obj: dict[str, Any]) -> None:
    held = codec.decode(resource.type, msgspec.json.encode(obj))
    assert strict.unknown_fields(resource.type, obj) == [] and resource.check(held) == []


@pytest.mark.parametrize("group_version", scheme.group_versions())
def test_nothing_anybody_sends_trips_the_server(knarr_cluster: ClusterRunner, group_version: str, caplog: pytest.LogCaptureFixture) -> None:
    codes: dict[int, int] = {}

    async def scenario(cluster: InProcessCluster) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: logging.error("in the loop: %s", context))
        await cluster.client.create(core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace="default")))
        session = Session(cluster, SEED)
        for resource in SERVED:
            if resource.api_version == group_version:
                for sent in requests(resource, SEED, PER_RESOURCE):
                    await session.ensure(resource)
                    await session.judge(resource, sent)
                await session.clear(resource)
        codes.update(session.codes)

    with caplog.at_level(logging.ERROR):
        knarr_cluster.run(scenario, **BARE)
    assert [record.getMessage() for record in caplog.records] == []
    assert codes.get(200, 0) + codes.get(201, 0) > 10 and codes.get(400, 0) > 10, f"the requests reach nothing: {codes}"


def test_nothing_anybody_sends_trips_a_custom_resource(knarr_cluster: ClusterRunner, caplog: pytest.LogCaptureFixture) -> None:
    (resource,) = resources_of(codec.from_dict(apiextensions.CustomResourceDefinition, DEFINITION))

    async def scenario(cluster: InProcessCluster) -> None:
        session = Session(cluster, SEED)
        made = await session.send(Sent("POST", DEFINITIONS, [], {"Content-Type": JSON}, to_bytes(DEFINITION)))
        assert made.status == 201

        async def served() -> bool:
            return (await session.send(Sent("GET", resource.path("default")))).status == 200

        await cluster.wait_for(served)
        for sent in requests(resource, SEED, FOR_CUSTOM):
            await session.ensure(resource)
            await session.judge(resource, sent)
        codes = session.codes
        assert codes.get(200, 0) > 50 and codes.get(201, 0) and codes.get(400, 0) > 50, f"the requests reach nothing: {codes}"

    with caplog.at_level(logging.ERROR):
        knarr_cluster.run(scenario, **BARE)
    assert [record.getMessage() for record in caplog.records] == []
