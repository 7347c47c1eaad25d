"""The typed client: the API's verbs on the generated structs.

``await client.get(core.Pod, "web", namespace="default")`` sends one request and gives back a ``core.Pod``;
every refusal of the
server arrives as a ``StatusError`` that carries its ``Status``. Upstream's counterpart is client-go's typed
clientset; the
difference is that kinds are arguments instead of method names.

Neighbours: ``api.scheme`` knows each kind's path, ``client.transport`` carries bytes, ``client.informer``
lists and watches.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from knarr.api import codec, scheme
from knarr.api.errors import StatusError, answer_reason
from knarr.api.meta import v1 as meta
from knarr.api.scheme import Resource
from knarr.client.transport import Query, Response, Transport

__all__ = ["JSON_PATCH", "MERGE_PATCH", "STRATEGIC_MERGE_PATCH", "Client", "ObjectList", "WatchEvent"]

T = TypeVar("T", bound=msgspec.Struct)

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"

_JSON = {"Content-Type": "application/json", "Accept": "application/json"}
_ACCEPT = {"Accept": "application/json"}
_ACCEPT_METADATA = {"Accept": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}
_ACCEPT_METADATA_LIST = {"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}


@dataclass(slots=True)
class ObjectList(Generic[T]):
    """One answer to a list: the objects, the revision they stood at, and the token for the next page if any."""

    items: list[T]
    resource_version: str
    continue_token: str = ""

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(slots=True)
class WatchEvent(Generic[T]):
    """One change: ``type`` is ADDED, MODIFIED, DELETED or BOOKMARK (which carries only a resourceVersion)."""

    type: str
    object: T


class _Frame(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _RawList(msgspec.Struct):
    metadata: meta.ListMeta = msgspec.field(default_factory=meta.ListMeta)
    items: list[msgspec.Raw] = []


class Client:
    """One identity talking to one API server. Safe to share between tasks."""

    def __init__(self, transport: Transport, *, user_agent: str = "knarr") -> None:
        self.transport = transport
        self._user_agent = user_agent

    async def get(self, kind: type[T], name: str, *, namespace: str = "") -> T:
        """Raises ``StatusError`` NotFound."""
        return codec.decode(kind, await self._call("GET", object_path(kind, name, namespace=namespace)))

    async def list(
        self,
        kind: type[T],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
        metadata_of: Resource | None = None,
    ) -> ObjectList[T]:
        """All objects of a kind, in one namespace or (empty) in all.

        With ``metadata_of``, the metadata of that resource's objects; ``kind`` is then
        ``PartialObjectMetadata``.
        """
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            limit=str(limit) if limit else "",
            resourceVersion=resource_version,
        ) + _query(**{"continue": continue_token})
        path = metadata_of.path(namespace) if metadata_of else collection_path(kind, namespace=namespace)
        headers = dict(_ACCEPT_METADATA_LIST) if metadata_of else None
        raw = msgspec.json.decode(await self._call("GET", path, query=query, headers=headers), type=_RawList)
        items = [codec.decode(kind, bytes(item)) for item in raw.items]
        return ObjectList(items, raw.metadata.resourceVersion, raw.metadata.continue_)

    async def create(self, obj: T, *, namespace: str = "", dry_run: bool = False) -> T:
        """Create ``obj`` in its namespace; returns it as stored."""
        path = collection_path(type(obj), namespace=namespace or _meta(obj).namespace)
        body = await self._call("POST", path, query=_dry_run(dry_run), body=codec.encode(obj))
        return codec.decode(type(obj), body)

    async def create_subresource(
        self, owner: type[Any], name: str, subresource: str, obj: T, *, namespace: str = ""
    ) -> T:
        """POST ``obj`` to a sub-resource, as for bindings, evictions and token requests."""
        path = object_path(owner, name, namespace=namespace, subresource=subresource)
        body = await self._call("POST", path, body=codec.encode(obj))
        try:
            return codec.decode(type(obj), body)
        except codec.DecodeError:
            # Some answer with a bare Status instead of the posted kind.
            return obj

    async def update(self, obj: T, *, subresource: str = "") -> T:
        """Replace ``obj``; its ``resourceVersion``, if set, must be current, or ``StatusError`` Conflict is
        raised.
        """
        path = object_path(
            type(obj), _meta(obj).name, namespace=_meta(obj).namespace, subresource=subresource
        )
        return codec.decode(type(obj), await self._call("PUT", path, body=codec.encode(obj)))

    async def update_status(self, obj: T) -> T:
        """Replace only ``obj``'s status."""
        return await self.update(obj, subresource="status")

    async def patch(
        self,
        kind: type[T],
        name: str,
        patch: Any,
        *,
        namespace: str = "",
        patch_type: str = STRATEGIC_MERGE_PATCH,
        subresource: str = "",
    ) -> T:
        """Apply ``patch`` (anything JSON can say) to one object."""
        path = object_path(kind, name, namespace=namespace, subresource=subresource)
        headers = {"Content-Type": patch_type, "Accept": "application/json"}
        body = await self._call("PATCH", path, body=codec.encode(patch), headers=headers)
        return codec.decode(kind, body)

    async def delete(
        self,
        kind: type[Any],
        name: str,
        *,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
        propagation_policy: str | None = None,
        grace_period_s: int | None = None,
        missing_ok: bool = False,
    ) -> None:
        """Delete one object; ``uid`` and ``resource_version`` are preconditions. Raises NotFound (not with
        ``missing_ok``) and Conflict.
        """
        options = meta.DeleteOptions(gracePeriodSeconds=grace_period_s, propagationPolicy=propagation_policy)
        if uid or resource_version:
            options.preconditions = meta.Preconditions(
                uid=uid or None, resourceVersion=resource_version or None
            )
        try:
            await self._call("DELETE", object_path(kind, name, namespace=namespace), body=codec.encode(options))
        except StatusError as error:
            if not missing_ok or error.code != 404:
                raise

    async def watch(
        self,
        kind: type[T],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        bookmarks: bool = True,
        timeout_s: int = 0,
        metadata_of: Resource | None = None,
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """Changes after ``resource_version``, until the server ends the watch.

        Raises ``StatusError`` (410 Expired when the revision is too old) and ``TransportError``.
        """
        query = _query(
            watch="true",
            labelSelector=label_selector,
            fieldSelector=field_selector,
            resourceVersion=resource_version,
            allowWatchBookmarks="true" if bookmarks else "",
            timeoutSeconds=str(timeout_s) if timeout_s else "",
        )
        path = metadata_of.path(namespace) if metadata_of else collection_path(kind, namespace=namespace)
        headers = {"User-Agent": self._user_agent, **(_ACCEPT_METADATA if metadata_of else _ACCEPT)}
        async with self.transport.stream("GET", path, query=query, headers=headers) as answer:
            if answer.status != 200:
                body = b"".join([chunk async for chunk in answer.chunks])
                raise _status_error(answer.status, body)
            async for line in _lines(answer.chunks):
                frame = msgspec.json.decode(line, type=_Frame)
                if frame.type == "ERROR":
                    raise StatusError(codec.decode(meta.Status, bytes(frame.object)))
                yield WatchEvent(frame.type, codec.decode(kind, bytes(frame.object)))

    async def raw(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> Response:
        """Any request, as it is; no status is treated as an error."""
        return await self.transport.request(method, path, query=query, body=body, headers=headers)

    async def close(self) -> None:
        await self.transport.close()

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> bytes:
        sent = {"User-Agent": self._user_agent, **(headers or (_JSON if body else _ACCEPT))}
        answer = await self.transport.request(method, path, query=query, headers=sent, body=body)
        raise_refusal(answer)
        return answer.body


def raise_refusal(answer: Response) -> None:
    """Raises the ``StatusError`` of an answer that is one; for what ``Client.raw`` brings."""
    if answer.status >= 400:
        raise _status_error(answer.status, answer.body)


def collection_path(kind: type[Any], *, namespace: str = "") -> str:
    """``/apis/apps/v1/namespaces/default/deployments``."""
    return scheme.by_type(kind).path(quote(namespace, safe=""))


def object_path(kind: type[Any], name: str, *, namespace: str = "", subresource: str = "") -> str:
    """The path of one object, or of one of its sub-resources."""
    assert name, f"a {kind.__name__} needs a name"
    resource = scheme.by_type(kind)
    return resource.path(quote(namespace, safe=""), quote(name, safe=":"), subresource=subresource)


def _meta(obj: Any) -> meta.ObjectMeta:
    metadata: meta.ObjectMeta = obj.metadata
    return metadata


def _query(**pairs: str) -> list[tuple[str, str]]:
    return [(key, value) for key, value in pairs.items() if value]


def _dry_run(dry_run: bool) -> list[tuple[str, str]]:
    return [("dryRun", "All")] if dry_run else []


def _status_error(status: int, body: bytes) -> StatusError:
    try:
        decoded = codec.decode(meta.Status, body)
        if decoded.code:
            return StatusError(decoded)
    except codec.DecodeError:
        pass
    text = body.decode("utf-8", "replace")[:1024]
    return StatusError(meta.Status(status="Failure", code=status, message=text, reason=answer_reason(status)))


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Complete lines from chunks that break anywhere."""
    rest = b""
    async for chunk in chunks:
        lines = (rest + chunk if rest else chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            if line:
                yield line
