"""The verbs on resources: from a request to a registry call and back to an answer.

Each verb is a method of ``Endpoint``, which stands for one resource in one version. A resource that shares
its storage with another
version (events, autoscalers) converts at this border and nowhere else.

Upstream's counterpart is ``apiserver/pkg/endpoints/handlers``.

Neighbours: ``server`` routes here after authorization; ``registry.generic`` does the work; sub-resources with
ways of their own are in ``subresources``, watches in ``watch_requests``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
from knarr.apiserver import negotiation
from knarr.apiserver.apply.applying import apply
from knarr.apiserver.apply.managers import manager_name
from knarr.apiserver.decoding import OPTIONS, decode_object, media_type, to_json
from knarr.apiserver.environment import Environment
from knarr.apiserver.listing import check_options, integer, parse_list_query, render_list, select
from knarr.apiserver.negotiation import Output
from knarr.apiserver.patching import APPLY_PATCH, apply_patch, read_apply, read_patch
from knarr.apiserver.registry.generic import GenericRegistry, Result
from knarr.apiserver.registry.strategy import Context
from knarr.apiserver.request import Request, Response
from knarr.apiserver.watch_requests import WatchRequests

__all__ = ["Endpoint"]


class Endpoint:
    """One resource in one version, with the verbs every kind has."""

    def __init__(self, registry: GenericRegistry, environment: Environment) -> None:
        self.registry = registry
        self.resource: Resource = registry.resource
        self._env = environment
        self._watches = WatchRequests(registry, environment)
        self._handlers: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "get": self.get,
            "list": self.list,
            "watch": self._watches.open,
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
