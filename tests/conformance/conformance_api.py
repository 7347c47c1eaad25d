"""The API as a conformance test speaks to it: JSON in, JSON out, one resource at a time.

The objects are dicts, not Knarr's own types, so that what is checked is what a client of any other make is sent. ``Api`` has the
verbs, ``Watching`` is one watch in the background, and ``api_operations`` is what the list asks of every kind that is only kept:
created, read, listed, watched, changed each way there is, and deleted alone and as a collection.

Neighbours: ``conformance_objects`` says what is created; ``conftest`` counts the rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from knarr.api import codec
from knarr.api.errors import StatusError, path_not_found
from knarr.api.meta import v1 as meta
from knarr.client.client import Client
from knarr.testing import InProcessCluster

Object = dict[str, Any]

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"

#: A cluster of which only the API is asked.
API_ONLY: dict[str, Any] = {"nodes": 0, "controllers": False, "scheduler": False}
NS = "default"


def refused(answer_status: int, body: bytes) -> StatusError:
    """The refusal; where nothing is served at all it is no Status, and every client makes one of it."""
    if body == b"404 page not found\n":
        return path_not_found()
    return StatusError(codec.decode(meta.Status, body))


class Api:
    """One resource, in one namespace or (empty) in none. Every refusal is a ``StatusError``."""

    def __init__(
        self, cluster: InProcessCluster, group_version: str, plural: str, namespace: str = "", *, client: Client | None = None
    ) -> None:
        self.cluster = cluster
        self.group_version = group_version
        self.plural = plural
        self._client = client or cluster.client
        self._namespace = namespace
        self._root = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"

    def path(self, name: str = "", subresource: str = "", *, everywhere: bool = False) -> str:
        scope = f"/namespaces/{self._namespace}" if self._namespace and not everywhere else ""
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{self._root}{scope}/{self.plural}{tail}"

    async def call(self, method: str, path: str, body: Any = None, *, content: str = "application/json", **query: str) -> Any:
        headers = {"Accept": "application/json", **({"Content-Type": content} if body is not None else {})}
        sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        pairs = [(key.rstrip("_"), value) for key, value in query.items()]
        answer = await self._client.raw(method, path, query=pairs, body=sent, headers=headers)
        if answer.status >= 400:
            raise refused(answer.status, answer.body)
        return json.loads(answer.body)

    async def create(self, obj: Object, **query: str) -> Object:
        return await self.call("POST", self.path(), obj, **query)

    async def get(self, name: str, subresource: str = "") -> Object:
        return await self.call("GET", self.path(name, subresource))

    async def list(self, labelSelector: str = "", *, everywhere: bool = False, **query: str) -> Object:
        if labelSelector:
            query["labelSelector"] = labelSelector
        return await self.call("GET", self.path(everywhere=everywhere), **query)

    async def items(self, labelSelector: str = "", *, everywhere: bool = False) -> list[Object]:
        return (await self.list(labelSelector, everywhere=everywhere))["items"]

    async def update(self, obj: Object, subresource: str = "", **query: str) -> Object:
        return await self.call("PUT", self.path(obj["metadata"]["name"], subresource), obj, **query)

    async def change(self, name: str, do: Callable[[Object], Any], subresource: str = "") -> Object:
        """Read, change and write back, again whenever somebody else was faster."""
        for _ in range(10):
            obj = await self.get(name, subresource)
            do(obj)
            try:
                return await self.update(obj, subresource)
            except StatusError as error:
                if error.code != 409:
                    raise
        raise AssertionError(f"{self.plural} {name} changed ten times while it was written")

    async def patch(self, name: str, patch: Any, subresource: str = "", *, kind: str = MERGE, **query: str) -> Object:
        return await self.call("PATCH", self.path(name, subresource), patch, content=kind, **query)

    async def delete(self, name: str, **options: Any) -> Object:
        return await self.call("DELETE", self.path(name), {"kind": "DeleteOptions", "apiVersion": "v1", **options})

    async def delete_collection(self, labelSelector: str = "", **options: Any) -> Object:
        query = {"labelSelector": labelSelector} if labelSelector else {}
        return await self.call("DELETE", self.path(), {"kind": "DeleteOptions", "apiVersion": "v1", **options}, **query)

    async def exists(self, name: str) -> bool:
        try:
            await self.get(name)
        except StatusError as error:
            if error.code != 404:
                raise
            return False
        return True

    async def wait_gone(self, name: str, timeout_s: float = 60) -> None:
        async def gone() -> bool:
            return not await self.exists(name)

        await self.cluster.wait_for(gone, timeout_s)

    async def wait(self, name: str, check: Callable[[Object], Any], timeout_s: float = 120) -> Object:
        """The object, once ``check(object)``."""

        async def reached() -> Object | None:
            obj = await self.get(name)
            return obj if check(obj) else None

        return await self.cluster.wait_for(reached, timeout_s)

    async def wait_items(self, check: Callable[[list[Object]], Any], labelSelector: str = "", timeout_s: float = 120) -> list[Object]:
        """All objects a selector selects, once ``check(objects)``."""
        found: list[Object] = []

        async def reached() -> bool:
            found[:] = await self.items(labelSelector)
            return bool(check(found))

        await self.cluster.wait_for(reached, timeout_s)
        return found

    @contextlib.asynccontextmanager
    async def watch(self, *, everywhere: bool = False, **query: str) -> AsyncIterator[Watching]:
        watch = Watching(self, self.path(everywhere=everywhere), query)
        task = asyncio.ensure_future(watch.run())
        try:
            await self.cluster.sleep(0.05)
            yield watch
        finally:
            task.cancel()
            await asyncio.wait([task])


class Watching:
    """One watch; ``told`` is what it was told and nobody has asked for yet."""

    def __init__(self, api: Api, path: str, query: dict[str, str]) -> None:
        self.told: list[Object] = []
        self._api = api
        self._path = path
        self._query = [("watch", "true"), *query.items()]

    async def run(self) -> None:
        transport = self._api._client.transport
        async with transport.stream("GET", self._path, query=self._query, headers={"Accept": "application/json"}) as answer:
            assert answer.status == 200, answer.status
            async for chunk in answer.chunks:
                self.told.extend(json.loads(line) for line in chunk.splitlines())

    async def until(self, kind: str, check: Callable[[Object], Any] = bool, timeout_s: float = 60) -> Object:
        """The object of the first change of that kind which passes; it and all before it are then forgotten."""

        def reached() -> Object | None:
            for position, change in enumerate(self.told):
                if change["type"] == kind and check(change["object"]):
                    del self.told[: position + 1]
                    return change["object"]
            return None

        return await self._api.cluster.wait_for(reached, timeout_s)

    async def quiet(self, seconds: float = 10) -> None:
        """Nothing is told for that long."""
        await self._api.cluster.sleep(seconds)
        assert self.told == []


async def fails(call: Any, code: int, reason: str = "") -> StatusError:
    """The refusal that ``call`` must meet."""
    with pytest.raises(StatusError) as caught:
        await call
    assert caught.value.code == code, caught.value
    if reason:
        assert caught.value.status.reason == reason
    return caught.value


async def namespace(cluster: InProcessCluster, name: str, **labels: str) -> str:
    """A namespace of its own; returns its name."""
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    await Api(cluster, "v1", "namespaces").create(body)
    return name


async def discovered(cluster: InProcessCluster, group: str, version: str, plurals: set[str]) -> None:
    """The group, its version and its resources are found the way a client finds them."""
    api = Api(cluster, f"{group}/{version}", "")
    groups = (await api.call("GET", "/apis"))["groups"]
    found = next(each for each in groups if each["name"] == group)
    assert f"{group}/{version}" in [each["groupVersion"] for each in found["versions"]]
    one = await api.call("GET", f"/apis/{group}")
    assert f"{group}/{version}" in [each["groupVersion"] for each in one["versions"]]
    resources = await api.call("GET", f"/apis/{group}/{version}")
    assert plurals <= {each["name"] for each in resources["resources"]}


def labelled(obj: Object, name: str, label: str) -> Object:
    """A copy of ``obj`` under another name and with the label that selects this test's objects."""
    made = copy.deepcopy(obj)
    made["metadata"] = {**made.get("metadata", {}), "name": name}
    made["metadata"]["labels"] = {**made["metadata"].get("labels", {}), "special-uid": label}
    return made


async def api_operations(api: Api, obj: Object, *, status: Object | None = None, label: str = "conformance") -> None:
    """Create, get, list (in the namespace and in all), watch, patch, update, status, delete, delete the collection.

    ``status`` is what the status sub-resource is patched with; then it is read, patched and updated as well.
    """
    selector = f"special-uid={label}"
    first = await api.create(labelled(obj, "op-1", label))
    assert first["metadata"]["name"] == "op-1" and first["metadata"]["uid"]
    await api.create(labelled(obj, "op-2", label))
    await api.create(labelled(obj, "op-3", label))
    await fails(api.create(labelled(obj, "op-1", label)), 409, "AlreadyExists")
    assert (await api.get("op-1"))["metadata"]["uid"] == first["metadata"]["uid"]
    assert len(await api.items(selector)) == 3
    everywhere = await api.list(selector, everywhere=True)
    assert len(everywhere["items"]) == 3

    async with api.watch(labelSelector=selector, resourceVersion=everywhere["metadata"]["resourceVersion"]) as watch:
        patched = await api.patch("op-1", {"metadata": {"annotations": {"patched": "true"}}})
        assert patched["metadata"]["annotations"]["patched"] == "true"
        await watch.until("MODIFIED", lambda each: each["metadata"].get("annotations", {}).get("patched") == "true")
        patched["metadata"]["annotations"]["updated"] = "true"
        updated = await api.update(patched)
        assert updated["metadata"]["annotations"] == patched["metadata"]["annotations"]
        await watch.until("MODIFIED", lambda each: each["metadata"].get("annotations", {}).get("updated") == "true")
        if status is not None:
            await _status_operations(api, "op-1", status)
        await api.delete("op-1")
        await fails(api.get("op-1"), 404, "NotFound")
        await watch.until("DELETED", lambda each: each["metadata"]["name"] == "op-1")
        assert len(await api.items(selector)) == 2
        await api.delete_collection(selector)
        assert await api.items(selector) == []
        await watch.until("DELETED", lambda each: each["metadata"]["name"] == "op-3")


async def _status_operations(api: Api, name: str, status: Object) -> None:
    patch = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": status}
    patched = await api.patch(name, patch, "status")
    held = await api.get(name, "status")
    assert patched["status"] == held["status"]
    assert contains(held["status"], status), held["status"]
    assert held["metadata"]["annotations"]["patchedstatus"] == "true"
    held["metadata"]["annotations"]["updatedstatus"] = "true"
    updated = await api.update(held, "status")
    assert updated["metadata"]["annotations"]["updatedstatus"] == "true" and updated["status"] == held["status"]


def contains(whole: Any, part: Any) -> bool:
    """``whole`` says everything that ``part`` says, and maybe more."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) == len(part) and all(map(contains, whole, part))
    return bool(whole == part)


def has_condition(obj: Object, kind: str, status: str | None = "True", **more: str) -> bool:
    """The object's status has a condition of that kind, with that status (None: any) and what else is named."""
    wanted = {"type": kind, **({"status": status} if status is not None else {}), **more}
    return any(contains(each, wanted) for each in obj.get("status", {}).get("conditions") or [])
