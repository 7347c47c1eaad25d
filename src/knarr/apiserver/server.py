"""The API server, wired: one registry a kind, and the way of a request through the rooms.

filters (who, when, whose turn) -> authorize -> route -> answer. Whatever a room raises as ``StatusError`` becomes its ``Status``.

Upstream's counterpart is ``pkg/controlplane`` on ``apiserver/pkg/server``.

Neighbours: ``listener`` and ``loopback`` bring requests; ``endpoints`` and ``subresources`` do what they ask.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from knarr.api.apiextensions.custom import CustomResource
from knarr.api.errors import forbidden, method_not_allowed, path_not_found
from knarr.api.metrics import v1beta1 as metrics
from knarr.api.scheme import group_versions
from knarr.apiserver import reviews
from knarr.apiserver.admission.plugins import Plugins
from knarr.apiserver.aggregation.aggregator import Aggregator
from knarr.apiserver.aggregation.backends import Backends
from knarr.apiserver.audit.config import build_auditor
from knarr.apiserver.authentication.config import build_authenticator
from knarr.apiserver.authorization.chain import AuthorizerChain
from knarr.apiserver.authorization.node import NodeAuthorizer
from knarr.apiserver.authorization.node_graph import NodeGraph
from knarr.apiserver.authorization.webhook import AuthorizationWebhook
from knarr.apiserver.bootstrap import bootstrap
from knarr.apiserver.cacher import Hub
from knarr.apiserver.component_statuses import ComponentStatuses
from knarr.apiserver.config import ServerConfig
from knarr.apiserver.custom_resources import CustomResources
from knarr.apiserver.deadlines import Deadlines
from knarr.apiserver.discovery import Discovery
from knarr.apiserver.endpoints import no_such_method
from knarr.apiserver.environment import Environment
from knarr.apiserver.filters import Filters
from knarr.apiserver.flowcontrol.controller import FlowControl
from knarr.apiserver.health import Health, version_document
from knarr.apiserver.kinds import Kinds
from knarr.apiserver.metrics import CONTENT_TYPE, ServerMetrics
from knarr.apiserver.node_metrics.endpoint import NodeMetricsEndpoint
from knarr.apiserver.node_metrics.kubelets import HttpKubelets
from knarr.apiserver.openapi import OpenAPI
from knarr.apiserver.rbac import Question, RbacAuthorizer, refusal
from knarr.apiserver.rbac_defaults import node_rules
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.registry.strategy import Context
from knarr.apiserver.remote import Closed, HttpsEndpoint
from knarr.apiserver.request import Request, Response, UserInfo, no_such_page
from knarr.apiserver.routes import SubresourceRoutes
from knarr.apiserver.subresources.forwarding import Forwarder
from knarr.apiserver.subresources.node_proxy import NodeProxy
from knarr.apiserver.subresources.service_endpoints import ServiceEndpoints
from knarr.apiserver.tokens import ServiceAccountTokens
from knarr.apiserver.webhooks.client import WebhookClient
from knarr.apiserver.webhooks.transport import HttpsTransport
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.store.contract import Store

__all__ = ["APIServer"]

log = get_logger("apiserver")


class APIServer:
    """One API server on one store. ``run`` serves until cancelled; ``handle`` answers once ``ready`` is set."""

    def __init__(self, store: Store, config: ServerConfig, *, clock: Clock, chance: Chance) -> None:
        self.config = config
        self.ready = asyncio.Event()
        #: Set when the server is to end: it is not ready any more, and serves on for a moment.
        self.ending = asyncio.Event()
        self._serving = False
        self._clock = clock
        self._chance = chance
        self.hub = Hub(store)
        self._environment = Environment(self.hub, clock, chance, asyncio.Event())
        plugins = Plugins(config, clock)
        self.kinds = Kinds(
            self.hub,
            self._environment,
            plugins.chain,
            service_cidr=config.service_cidr,
            changed=self._kinds_changed,
        )
        self.metrics = ServerMetrics(lambda: self.kinds.registries)
        plugins.chain.observe = self.metrics.admission_steps.observe
        self._build_access()
        services = ServiceEndpoints(
            services=self.registry("", "services"), slices=self.registry("discovery.k8s.io", "endpointslices")
        )
        self._webhook_client = WebhookClient(config.webhook_transport or HttpsTransport(), services.webhook)
        plugins.use(
            self.kinds,
            rbac=self.rbac,
            authorizer=self.authorizer,
            webhooks=self._webhook_client,
            live=lambda: self._serving,
        )
        self._reviews = reviews.Reviews(
            authenticator=self.authenticator,
            authorizer=self.authorizer,
            admission=plugins.chain,
            clock=clock,
            chance=chance,
        )
        self._components = ComponentStatuses(store, self.registry("coordination.k8s.io", "leases"), clock)
        self._forwarder = Forwarder()
        self._build_roads_to_nodes(services)
        self._aggregator = self._build_aggregator(services)
        self._describe()
        self._custom = CustomResources(
            self.registry("apiextensions.k8s.io", "customresourcedefinitions"),
            self.hub,
            self.kinds,
            clock=clock,
            context=self._own_context,
            webhooks=self._webhook_client,
        )
        self._build_filters()
        self.health = Health(hub=self.hub, ready=self.ready, stopping=self.ending)

    def _build_access(self) -> None:
        """Who is it, and may they."""
        config, clock = self.config, self._clock
        self.tokens = ServiceAccountTokens(
            config.service_account_key_pem, clock=clock, chance=self._chance, lookup=self.kinds.uid_of
        )
        self.authenticator, remote = build_authenticator(
            config.authentication,
            self.tokens,
            self.registry("", "secrets"),
            static=config.static_tokens,
            clock=clock,
        )
        #: Connections to others, to be closed at the end.
        self._asked: list[Closed] = list(remote)
        group = "rbac.authorization.k8s.io"
        self.rbac = RbacAuthorizer(
            roles=self.registry(group, "roles"),
            role_bindings=self.registry(group, "rolebindings"),
            cluster_roles=self.registry(group, "clusterroles"),
            cluster_role_bindings=self.registry(group, "clusterrolebindings"),
        )
        graph = NodeGraph(
            pods=self.registry("", "pods"),
            claims=self.registry("", "persistentvolumeclaims"),
            volumes=self.registry("", "persistentvolumes"),
            attachments=self.registry("storage.k8s.io", "volumeattachments"),
            slices=self.registry("resource.k8s.io", "resourceslices"),
        )
        options, webhook = config.authorization, None
        if options.webhook is not None:
            endpoint = HttpsEndpoint(options.webhook.credentials)
            webhook = AuthorizationWebhook(options.webhook, endpoint, clock)
            self._asked.append(webhook)
        node = NodeAuthorizer(graph, node_rules())
        self.authorizer = AuthorizerChain.of(options, rbac=self.rbac, node=node, webhook=webhook)

    def _build_roads_to_nodes(self, services: ServiceEndpoints) -> None:
        """What is answered by kubelets, or with what they say."""
        config, clock = self.config, self._clock
        pods, nodes = self.registry("", "pods"), self.registry("", "nodes")
        node_proxy = NodeProxy(
            pods=pods,
            nodes=nodes,
            services=services,
            tls=config.kubelet_tls,
            forwarder=self._forwarder,
            may_proxy_to=config.may_proxy_to,
        )
        self._routes = SubresourceRoutes(
            registry=self.registry, tokens=self.tokens, node_proxy=node_proxy, clock=clock, chance=self._chance
        )
        kubelets = config.kubelets or HttpKubelets(node_proxy, self._forwarder)
        self._node_metrics = NodeMetricsEndpoint(kubelets, pods=pods, nodes=nodes, clock=clock)

    def _build_aggregator(self, services: ServiceEndpoints) -> Aggregator:
        config, kinds = self.config, self.kinds
        return Aggregator(
            self.registry("apiregistration.k8s.io", "apiservices"),
            Backends(
                config.backend_sender or self._forwarder,
                services,
                certificate=config.front_proxy.certificate,
                key=config.front_proxy.key,
            ),
            services=self.registry("", "services"),
            slices=self.registry("discovery.k8s.io", "endpointslices"),
            clock=self._clock,
            context=self._own_context,
            served=lambda: dict.fromkeys((group, version) for group, version, _ in kinds.resources),
            is_custom=lambda group: any(
                isinstance(resource, CustomResource)
                for resource in kinds.resources.values()
                if resource.group == group
            ),
            changed=self._describe,
        )

    def _build_filters(self) -> None:
        """What every request passes before it is answered."""
        config = self.config
        self._auditor = build_auditor(config.audit, self._clock)
        self._deadlines = Deadlines(self._clock, config.request_timeout_s)
        self.flow: FlowControl | None = None
        seats = config.max_requests_inflight + config.max_mutating_requests_inflight
        if seats:
            group = "flowcontrol.apiserver.k8s.io"
            self.flow = FlowControl(
                schemas=self.registry(group, "flowschemas"),
                levels=self.registry(group, "prioritylevelconfigurations"),
                total=seats,
                count_objects=self.kinds.count_objects,
                context=self._own_context,
            )
            self.metrics.follow(self.flow)
        self._filters = Filters(
            authenticator=self.authenticator,
            demand=self._demand,
            flow=self.flow,
            auditor=self._auditor,
            metrics=self.metrics,
            deadlines=self._deadlines,
            request_timeout_s=config.request_timeout_s,
            clock=self._clock,
            chance=self._chance,
            answer=self._handle,
        )

    def registry(self, group: str, plural: str, version: str = "v1") -> GenericRegistry:
        """The registry of a resource."""
        return self.kinds.registry(group, plural, version)

    @property
    def _address(self) -> str:
        return f"{self.config.address}:{self.config.port}"

    def _kinds_changed(self) -> None:
        self._describe()
        self._aggregator.wake()

    def _describe(self) -> None:
        """Make discovery and OpenAPI say what is served now."""
        resources = list(self.kinds.resources.values())
        remote = self._aggregator.versions
        self._discovery = Discovery(resources, server_address=self._address, remote=remote)
        self._openapi = OpenAPI(resources, version=version_document()["gitVersion"], remote=remote)

    async def run(self) -> None:
        """Load the caches, create what a cluster must have, and serve until cancelled."""
        hub = asyncio.ensure_future(self.hub.run())
        started = asyncio.ensure_future(self.hub.started.wait())
        working: set[asyncio.Future[Any]] = {hub}
        try:
            await asyncio.wait({hub, started}, return_when=asyncio.FIRST_COMPLETED)
            if hub.done():
                await hub
            await bootstrap(
                self.kinds.registry_of,
                self._own_context(),
                service_cidr=self.config.service_cidr,
                api_address=self.config.address,
                api_port=self.config.port,
                service_address=self.config.service_address,
            )
            if self.flow is not None:
                await self.flow.start()
            await self.config.front_proxy.publish(self.registry("", "configmaps"), self._own_context())
            await self._aggregator.start()
            working |= {
                asyncio.ensure_future(self._custom.run(started=self._serve)),
                asyncio.ensure_future(self._aggregate()),
                asyncio.ensure_future(self._deadlines.run()),
            }
            if self.flow is not None:
                working.add(asyncio.ensure_future(self.flow.run()))
            done, _ = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        finally:
            self.ready.clear()
            self.ending.set()
            self.stop_watches()
            working.add(started)
            for each in working:
                each.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(working)
            await self._node_metrics.close()
            await self._forwarder.close()
            for asked in self._asked:
                await asked.close()
            if self._auditor is not None:
                await self._auditor.close()
            await self._webhook_client.close()

    def _serve(self) -> None:
        """From here on clients are answered."""
        self._serving = True
        self.ready.set()

    async def _aggregate(self) -> None:
        # Custom resources are served from then on; before, their APIServices would seem to have lost them.
        await self.ready.wait()
        await self._aggregator.run()

    def stop_watches(self) -> None:
        """Let every watch end cleanly, so that clients resume elsewhere or later."""
        self._environment.stopping.set()
        for endpoint in self.kinds.endpoints.values():
            endpoint.registry.dispatcher.wake_all()

    async def pause(self, seconds: float) -> None:
        """Wait on the server's own clock."""
        await self._clock.sleep(seconds)

    def _own_context(self) -> Context:
        user = UserInfo("system:apiserver", ("system:masters",))
        return Context(user=user, clock=self._clock, chance=self._chance)

    async def handle(self, request: Request) -> Response:
        """Answer one request; never raises but for cancellation."""
        return await self._filters.handle(request)

    async def _handle(self, request: Request) -> Response:
        question = Question.of(request.info, request.path)
        decision = self.authorizer.decide(request.user, question)
        if decision is None:
            decision = await self.authorizer.authorize(request.user, question)
        if not decision.allowed:
            info = request.info
            told = refusal(request.user, question, decision.reason)
            raise forbidden(info.group, info.resource, info.name, told)
        remote = self._aggregator.find(request.path)
        if remote is not None:
            return await self._aggregator.forward(remote, request)
        if request.info.is_resource:
            return await self._resource(request)
        return await self._other(request)

    async def _demand(self, user: UserInfo, question: Question) -> None:
        decision = await self.authorizer.authorize(user, question)
        if not decision.allowed:
            told = refusal(user, question, decision.reason)
            raise forbidden(question.group, question.resource, question.name, told)

    async def _resource(self, request: Request) -> Response:
        info = request.info
        resource = self.kinds.resources.get((info.group, info.version, info.resource))
        if resource is None:
            if info.api_version in group_versions():
                raise path_not_found()
            return no_such_page()
        if info.group == metrics.GROUP:
            return await self._node_metrics.handle(request, resource)
        if info.resource in reviews.REVIEWS:
            if info.verb != "create":
                raise method_not_allowed(resource.group, resource.plural, info.verb)
            return await self._reviews.handle(request, resource)
        endpoint = self.kinds.endpoints.get((info.group, info.version, info.resource))
        if endpoint is None:
            if info.resource == "componentstatuses":
                return await self._components.handle(request, resource)
            return await self._routes.bindings(request)
        if info.subresource:
            if info.subresource not in resource.subresources:
                raise path_not_found()
            return await self._routes.handle(endpoint, request)
        if info.name and info.verb == "create":
            raise no_such_method(resource)
        return await endpoint.handle(request)

    async def _other(self, request: Request) -> Response:
        """Everything that is no resource: health, discovery, descriptions."""
        answer = self.health.handle(request) or self._metrics_page(request) or self._discovery.handle(request)
        answer = answer or self._openapi.handle(request) or self.tokens.page(request.path, server=self._address)
        if answer is None:
            return no_such_page()
        if request.method not in ("GET", "HEAD"):
            raise no_such_method()
        return answer

    def _metrics_page(self, request: Request) -> Response | None:
        if request.path != "/metrics":
            return None
        return Response(body=self.metrics.metrics.render(), content_type=CONTENT_TYPE)
