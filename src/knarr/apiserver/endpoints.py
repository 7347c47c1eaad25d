"""The verbs on resources: from a request to a registry call and back to an answer.

Each verb is a method of ``Endpoint``, which stands for one resource in one version. A resource that shares
its storage with another
version (events, autoscalers) converts at this border and nowhere else.

Upstream's counterpart is ``apiserver/pkg/endpoints/handlers``.

Neighbours: ``server`` routes here after authorization; ``registry.generic`` does the work; sub-resources with
ways of their own are in ``subresources``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from knarr.api import codec
from knarr.api.errors import (
    StatusError,
    bad_request,
    invalid,
    method_not_allowed,
    not_supported,
    path_not_found,
)
from knarr.api.meta import v1 as meta
from knarr.api.scheme import Resource
from knarr.apiserver import negotiation, watching
from knarr.apiserver.apply.applying import apply
from knarr.apiserver.apply.managers import manager_name
from knarr.apiserver.cacher import Entry, Hub
from knarr.apiserver.converted_watching import unsettled
from knarr.apiserver.decoding import OPTIONS, decode_object, media_type, to_json
from knarr.apiserver.listing import check_options, integer, parse_list_query, render_list, revision_of, select
from knarr.apiserver.negotiation import JSON, Output
from knarr.apiserver.patching import APPLY_PATCH, apply_patch, read_apply, read_patch
from knarr.apiserver.registry.generic import GenericRegistry, Result
from knarr.apiserver.registry.strategy import Context
from knarr.apiserver.request import Request, Response
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock

__all__ = ["Endpoint", "Environment"]

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
#: A watch is asked to last no longer than a day.
MAX_WATCH_S = 86_400
WATCH_HEADERS = {"Cache-Control": "no-cache, private"}


@dataclass(slots=True)
class Environment:
    """What every endpoint shares."""

    hub: Hub
    clock: Clock
    chance: Chance
    stopping: asyncio.Event


class Endpoint:
    """One resource in one version, with the verbs every kind has."""

    def __init__(self, registry: GenericRegistry, environment: Environment) -> None:
        self.registry = registry
        self.resource: Resource = registry.resource
        self._env = environment
        self._handlers: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "get": self.get,
            "list": self.list,
            "watch": self.watch,
            "create": self.create,
            "update": self.update,
            "patch": self.patch,
            "delete": self.delete,
            "deletecollection": self.delete_collection,
        }

    def context(self, request: Request) -> Context:
        dry_run = request.query.all("dryRun")
        if dry_run and dry_run != ["All"]:
            kind = OPTIONS.get(request.method, "CreateOptions")
            raise invalid("meta.k8s.io", kind, "", [not_supported("dryRun", dry_run, ("All",))])
        context = Context.of(request, self._env.clock, self._env.chance)
        agent = request.headers.get("user-agent", "")
        context.field_manager = manager_name(request.query.get("fieldManager"), agent)
        return context

    async def handle(self, request: Request) -> Response:
        """One of the verbs on the resource itself."""
        verb = request.info.verb
        if verb not in self.resource.verbs:
            raise method_not_allowed(self.resource.group, self.resource.plural, verb)
        if verb in ("update", "patch") and not request.info.name:
            raise no_such_method(self.resource)
        if self.resource.namespaced and not request.info.namespace and verb not in ("list", "watch"):
            # There are no such paths: only lists and watches look into all namespaces.
            raise path_not_found() if request.info.name else no_such_method(self.resource)
        if not self.resource.namespaced and request.info.namespace and self.resource.plural != "namespaces":
            raise path_not_found()
        return await self._handlers[verb](request)

    async def get(self, request: Request) -> Response:
        output = negotiation.choose_for_object(request.headers.get("accept", ""))
        info = request.info
        fresh = request.query.get("resourceVersion") != "0"
        entry = await self.registry.entry(
            info.namespace if self.resource.namespaced else "", info.name, fresh=fresh
        )
        data = self.registry.cache.head + entry.body
        if output is negotiation.PLAIN:
            return Response(body=data)
        return self._answer(request, data, None, output)

    async def list(self, request: Request) -> Response:
        output = negotiation.choose(request.headers.get("accept", ""))
        wanted = parse_list_query(request.query, self.registry.cache.reader)
        check_options(wanted, request.query, watch=False)
        namespace = request.info.namespace if self.resource.namespaced else ""
        selection = await select(self.registry.cache, self._env.hub, wanted, namespace)
        include = request.query.get("includeObject")
        body = render_list(self.registry.cache, selection, output, now=self._env.clock.now(), include=include)
        return Response(body=body, content_type=output.content_type)

    async def watch(self, request: Request) -> Response:
        """The answer's body lives until the watch ends; the watcher is filed before the first byte is sent."""
        output = negotiation.choose(request.headers.get("accept", "").replace(";stream=watch", ""))
        wanted = parse_list_query(request.query, self.registry.cache.reader)
        check_options(wanted, request.query, watch=True)
        timeout_s = float(min(max(integer(request.query, "timeoutSeconds"), 0), MAX_WATCH_S))
        cache, hub = self.registry.cache, self._env.hub
        watcher = watching.Watcher(
            namespace=request.info.namespace if self.resource.namespaced else "",
            name=request.info.name
            or (wanted.fields.required_value("metadata.name") if wanted.fields is not None else None)
            or "",
            labels=wanted.labels,
            fields=wanted.fields,
            render=self._renderer(output, request.query.get("includeObject")),
        )
        initial_flag = request.query.get("sendInitialEvents")
        revision = revision_of(wanted.resource_version)
        if revision > hub.revision:
            await hub.wait_for(revision)
        if not revision:
            await hub.fresh()
        wants_initial = initial_flag == "true" or (not revision and initial_flag != "false")
        if cache.converter is not None:
            while waiting := self._unsettled(watcher.namespace, None if wants_initial else revision):
                await cache.converter.settle(waiting)
        # From here to ``add`` nothing may await: a change in between would be lost or told twice.
        if wants_initial:
            for entry in cache.scan(cache.within(watcher.namespace)):
                if watcher.matches(entry):
                    watcher.frames.append(self._frame("ADDED", entry, watcher.render))
            if initial_flag == "true":
                watcher.frames.append(self._bookmark(hub.revision, output, end_of_initial=True))
        else:
            changes = cache.since(revision) if revision else []
            self.registry.dispatcher.replay(watcher, changes)
        self.registry.dispatcher.add(watcher)
        body = watching.stream(
            watcher,
            self.registry.dispatcher,
            hub=hub,
            clock=self._env.clock,
            chance=self._env.chance,
            timeout_s=timeout_s,
            bookmark=(lambda revision: self._bookmark(revision, output))
            if request.query.flag("allowWatchBookmarks")
            else None,
            stopping=self._env.stopping,
        )
        return Response(body=_guarded(body), content_type=output.content_type, headers=dict(WATCH_HEADERS))

    def _unsettled(self, namespace: str, revision: int | None) -> Sequence[Entry]:
        """What a watch begins with and waits for conversion: the objects there are, or the changes since a revision."""
        cache = self.registry.cache
        if revision is None:
            return [entry for entry in cache.scan(cache.within(namespace)) if entry.stored]
        return unsettled(cache.since(revision)) if revision else []

    def _frame(self, kind: str, entry: Entry, render: watching.Renderer | None) -> bytes:
        return watching.frame(kind, render(entry) if render else self.registry.cache.head + entry.body)

    def _bookmark(self, revision: int, output: Output, *, end_of_initial: bool = False) -> bytes:
        """A bookmark is of the kind the watch's other objects are of: clients decode it like them."""
        annotations = b',"annotations":{"%s":"true"}' % INITIAL_EVENTS_END.encode() if end_of_initial else b""
        obj = self.registry.cache.head + b'"metadata":{"resourceVersion":"%d"%s}}' % (revision, annotations)
        if output.form in (negotiation.PARTIAL, negotiation.PARTIAL_LIST):
            obj = negotiation.partial_object(obj)
        elif output.form == negotiation.TABLE:
            metadata = negotiation.list_meta(revision)
            now = self._env.clock.now()
            obj = negotiation.render_table(
                self.resource, [], [], now=now, metadata=metadata, with_columns=False
            )
        return watching.frame("BOOKMARK", obj)

    def _renderer(self, output: Output, include: str) -> watching.Renderer | None:
        if output.form == JSON:
            return None
        cache = self.registry.cache
        told = False

        def render(entry: Entry) -> bytes:
            nonlocal told
            first, told = not told, True
            return negotiation.render_object(
                self.resource,
                cache.head + entry.body,
                None,
                output,
                now=self._env.clock.now(),
                include=include,
                with_columns=first,
            )

        return render

    async def create(self, request: Request) -> Response:
        output = negotiation.choose_for_object(request.headers.get("accept", ""))
        obj = decode_object(request, self.resource, self.resource.type)
        self._place(request, obj)
        result = await self.registry.create(self.context(request), obj)
        return await self._result(request, result, output)

    def _place(self, request: Request, obj: Any) -> None:
        """The object belongs where the path says. Raises ``StatusError`` 400 where it says otherwise."""
        namespace = request.info.namespace if self.resource.namespaced else ""
        if obj.metadata.namespace and obj.metadata.namespace != namespace:
            if not self.resource.namespaced:
                obj.metadata.namespace = ""
                return
            raise bad_request(
                f"the namespace of the provided object does not match the namespace sent on the request "
                f"({obj.metadata.namespace} != {namespace})"
            )
        obj.metadata.namespace = namespace
        name = request.info.name
        if name:
            if obj.metadata.name and obj.metadata.name != name:
                raise bad_request(
                    f"the name of the object ({obj.metadata.name}) does not match the name on the URL ({name})"
                )
            obj.metadata.name = name

    async def update(self, request: Request, subresource: str = "") -> Response:
        output = negotiation.choose_for_object(request.headers.get("accept", ""))
        wanted = decode_object(request, self.resource, self.resource.type)
        if not wanted.metadata.name:
            raise bad_request("name must be provided")
        self._place(request, wanted)

        async def mutate(current: Any | None) -> Any:
            return codec.copy(wanted)

        result = await self.registry.update(
            self.context(request),
            wanted.metadata.namespace,
            wanted.metadata.name,
            mutate,
            subresource=subresource,
            may_create=self.registry.strategy.create_on_update and not subresource,
        )
        return await self._result(request, result, output)

    async def _apply(self, request: Request, subresource: str) -> Response:
        """A server-side apply: PATCH with ``application/apply-patch+yaml``."""
        output = negotiation.choose_for_object(request.headers.get("accept", ""))
        content, force = read_apply(request, self.resource)
        context = self.context(request)
        context.owners_settled = True
        namespace = request.info.namespace if self.resource.namespaced else ""

        async def mutate(current: Any | None) -> Any:
            return apply(
                self.resource,
                current,
                content,
                manager=context.field_manager,
                force=force,
                subresource=subresource,
                now=self._env.clock.now(),
            )

        result = await self.registry.update(
            context, namespace, request.info.name, mutate, subresource=subresource, may_create=not subresource
        )
        return await self._result(request, result, output)

    async def patch(self, request: Request, subresource: str = "") -> Response:
        if media_type(request) == APPLY_PATCH:
            return await self._apply(request, subresource)
        output = negotiation.choose_for_object(request.headers.get("accept", ""))
        kind, content = read_patch(request)
        namespace = request.info.namespace if self.resource.namespaced else ""

        async def mutate(current: Any | None) -> Any:
            assert current is not None
            patched = apply_patch(request, self.resource, current, kind, content)
            if patched.metadata.name != request.info.name:
                raise bad_request(
                    f"the name of the object ({patched.metadata.name}) does not match the name on the URL ({request.info.name})"
                )
            return patched

        result = await self.registry.update(
            self.context(request), namespace, request.info.name, mutate, subresource=subresource
        )
        return await self._result(request, result, output)

    async def delete(self, request: Request) -> Response:
        output = negotiation.choose_for_object(request.headers.get("accept", ""))
        options = delete_options(request)
        namespace = request.info.namespace if self.resource.namespaced else ""
        result = await self.registry.delete(self.context(request), namespace, request.info.name, options)
        if result.deleted and not self.registry.strategy.returns_deleted:
            return Response(body=codec.encode(_deleted_status(self.resource, result.obj)))
        return await self._result(request, result, output)

    async def delete_collection(self, request: Request) -> Response:
        options = delete_options(request)
        wanted = parse_list_query(request.query, self.registry.cache.reader)
        check_options(wanted, request.query, watch=False)
        namespace = request.info.namespace if self.resource.namespaced else ""
        selection = await select(self.registry.cache, self._env.hub, wanted, namespace)
        objects = await self.registry.delete_collection(self.context(request), selection.entries, options)
        items = [msgspec.Raw(codec.encode(obj)) for obj in objects]
        body = {
            "kind": f"{self.resource.kind}List",
            "apiVersion": self.resource.api_version,
            "metadata": {"resourceVersion": str(self._env.hub.revision)},
            "items": items,
        }
        return Response(body=codec.encode(body))

    async def _result(self, request: Request, result: Result, output: Output) -> Response:
        response = self._answer(request, await self._bytes(result), result.obj, output)
        response.status = 201 if result.created else 200
        return response

    async def _bytes(self, result: Result) -> bytes:
        """The object's bytes: the watch cache's, if it still holds what was written.

        What a webhook converted to be stored is read back through it, as upstream does: its answer is what readers get.
        """
        if result.written:
            metadata = result.obj.metadata
            entry = self.registry.cache.get(self.registry.key(metadata.namespace, metadata.name))
            if entry is not None and str(entry.revision) == metadata.resourceVersion:
                if self.registry.cache.converter is not None:
                    await self.registry.cache.converter.settle([entry])
                return self.registry.cache.head + entry.body
        return codec.encode(result.obj)

    def _answer(self, request: Request, data: bytes, obj: Any | None, output: Output) -> Response:
        body = negotiation.render_object(
            self.resource,
            data,
            obj,
            output,
            now=self._env.clock.now(),
            include=request.query.get("includeObject"),
        )
        return Response(body=body, content_type=output.content_type)


def no_such_method(resource: Resource | None = None) -> StatusError:
    """There is no such method at this path, whatever the resource can do elsewhere."""
    text = "the server does not allow this method on the requested resource"
    details = meta.StatusDetails(group=resource.group, kind=resource.plural) if resource else meta.StatusDetails()
    return StatusError(
        meta.Status(status="Failure", message=text, reason="MethodNotAllowed", details=details, code=405)
    )


def delete_options(request: Request) -> meta.DeleteOptions:
    """Options from the body, or else from the query. Raises ``StatusError`` 400."""
    options = meta.DeleteOptions()
    if request.body.strip():
        try:
            options = codec.decode(meta.DeleteOptions, to_json(request))
        except codec.DecodeError as error:
            raise bad_request(f"error decoding DeleteOptions: {error}") from None
    query = request.query
    if query.get("gracePeriodSeconds"):
        options.gracePeriodSeconds = integer(query, "gracePeriodSeconds")
    if policy := query.get("propagationPolicy"):
        options.propagationPolicy = policy
    if "orphanDependents" in query:
        options.orphanDependents = query.flag("orphanDependents")
    if options.dryRun and not query.all("dryRun"):
        # The body may ask for a dry run as well as the query.
        request.query = type(query)([*query.pairs(), *(("dryRun", value) for value in options.dryRun)])
    return options


def _deleted_status(resource: Resource, obj: Any) -> meta.Status:
    details = meta.StatusDetails(
        name=obj.metadata.name, group=resource.group, kind=resource.plural, uid=obj.metadata.uid
    )
    return meta.Status(status="Success", details=details)


async def _guarded(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A refusal after the first byte can only be told inside the stream."""
    try:
        async for chunk in body:
            yield chunk
    except StatusError as error:
        yield watching.frame("ERROR", codec.encode(error.status))
