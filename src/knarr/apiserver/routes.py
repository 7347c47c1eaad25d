"""Which sub-resource goes where.

``status`` is an update through the generic path; the others have modules in ``subresources``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import bad_request, method_not_allowed, path_not_found
from knarr.api.meta import v1 as meta
from knarr.api.policy import v1 as policy
from knarr.api.scheme import by_resource
from knarr.apiserver.admission.chain import Attributes
from knarr.apiserver.decoding import decode_object, to_json
from knarr.apiserver.endpoints import Endpoint
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.registry.namespaces import NamespaceRegistry
from knarr.apiserver.registry.pods import bind
from knarr.apiserver.registry.strategy import Context
from knarr.apiserver.request import Request, Response
from knarr.apiserver.subresources import eviction, scale, token
from knarr.apiserver.subresources.connecting import CONNECTING, connect_options
from knarr.apiserver.subresources.node_proxy import NodeProxy
from knarr.apiserver.tokens import ServiceAccountTokens
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock

FindRegistry = Callable[..., GenericRegistry]


class SubresourceRoutes:
    """Answers requests to sub-resources."""

    def __init__(
        self,
        *,
        registry: FindRegistry,
        tokens: ServiceAccountTokens,
        node_proxy: NodeProxy,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._registry = registry
        self._tokens = tokens
        self._node_proxy = node_proxy
        self._clock = clock
        self._chance = chance

    async def handle(self, endpoint: Endpoint, request: Request) -> Response:
        """One request to a sub-resource that the resource has. Raises ``StatusError``."""
        info = request.info
        name = info.subresource
        if name == "log":
            return await self._node_proxy.log(request)
        if name in CONNECTING:
            options = await connect_options(endpoint, request)
            return await self._node_proxy.connect(request, options)
        if info.verb not in endpoint.resource.subresources[name].verbs:
            raise method_not_allowed(endpoint.resource.group, endpoint.resource.plural, info.verb)
        if name == "scale":
            return await scale.handle(endpoint, request)
        if name == "token":
            bindable = {kind: self._registry("", plural) for kind, plural in _BINDABLE.items()}
            return await token.handle(endpoint, request, tokens=self._tokens, bindable=bindable)
        if name == "binding":
            return await self._bind(endpoint, request, info.name)
        if name == "eviction":
            return await self._evict(endpoint, request)
        if name == "finalize":
            return await self._finalize(endpoint, request)
        if name in ("status", "resize", "ephemeralcontainers", "approval"):
            return await self._plain(endpoint, request)
        raise path_not_found()

    async def _plain(self, endpoint: Endpoint, request: Request) -> Response:
        """Sub-resources that read and write the object itself."""
        name = request.info.subresource
        if request.info.verb == "get":
            return await endpoint.get(request)
        if request.info.verb == "update":
            return await endpoint.update(request, name)
        return await endpoint.patch(request, name)

    async def bindings(self, request: Request) -> Response:
        """The old way to bind: POST to ``bindings``, the pod's name in the body."""
        if request.info.resource != "bindings" or request.info.verb != "create":
            raise method_not_allowed(request.info.group, request.info.resource, request.info.verb)
        registry = self._registry("", "pods")
        binding = self._read(request, core.Binding)
        context, namespace = self._context(request), request.info.namespace
        binding.metadata.namespace = namespace
        resource = by_resource("", "v1", "bindings")
        assert resource is not None, "bindings are built in"
        attributes = Attributes("CREATE", resource, context, namespace, binding.metadata.name, obj=binding)
        await registry.admission.admit(attributes)
        await bind(registry, context, namespace, attributes.obj.metadata.name, attributes.obj)
        return Response(201, codec.encode(meta.Status(status="Success", code=201)))

    async def _bind(self, endpoint: Endpoint, request: Request, name: str) -> Response:
        binding = self._read(request, core.Binding)
        if binding.metadata.name and binding.metadata.name != name:
            raise bad_request(
                f"name in URL does not match name in Binding object ({name} != {binding.metadata.name})"
            )
        context = self._context(request)
        binding = await self._admit(endpoint, request, context, binding)
        await bind(endpoint.registry, context, request.info.namespace, name, binding)
        return Response(201, codec.encode(meta.Status(status="Success", code=201)))

    async def _evict(self, endpoint: Endpoint, request: Request) -> Response:
        wanted = self._read(request, policy.Eviction)
        budgets = self._registry("policy", "poddisruptionbudgets")
        info = request.info
        if wanted.metadata.name and wanted.metadata.name != info.name:
            raise bad_request("name in URL does not match name in Eviction object")
        context = self._context(request)
        wanted = await self._admit(endpoint, request, context, wanted)
        status = await eviction.evict(
            endpoint.registry, budgets, context, info.namespace, info.name, wanted
        )
        return Response(201, codec.encode(status))

    async def _finalize(self, endpoint: Endpoint, request: Request) -> Response:
        registry = endpoint.registry
        assert isinstance(registry, NamespaceRegistry), "only namespaces are finalized"
        wanted = decode_object(request, endpoint.resource, core.Namespace)
        result = await registry.finalize(self._context(request), request.info.name, wanted)
        return Response(200, codec.encode(result.obj))

    async def _admit(self, endpoint: Endpoint, request: Request, context: Context, posted: Any) -> Any:
        """What admission makes of an object posted to a sub-resource."""
        info = request.info
        posted.metadata.namespace, posted.metadata.name = info.namespace, info.name
        attributes = Attributes(
            "CREATE",
            endpoint.resource,
            context,
            info.namespace,
            info.name,
            obj=posted,
            subresource=info.subresource,
        )
        return await endpoint.registry.admission.admit(attributes)

    def _context(self, request: Request) -> Context:
        return Context.of(request, self._clock, self._chance)

    def _read(self, request: Request, kind: type[Any]) -> Any:
        try:
            return codec.decode(kind, to_json(request))
        except codec.DecodeError as error:
            raise bad_request(f"{kind.__name__} cannot be read: {error}") from None


_BINDABLE = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}
