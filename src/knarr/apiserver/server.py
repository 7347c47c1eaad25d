"""The API server, wired: one registry a kind, and the way of a request through the rooms.

filters (who, when, whose turn) -> authorize -> route -> answer. Whatever a room raises as ``StatusError`` becomes its ``Status``.

Upstream's counterpart is ``pkg/controlplane`` on ``apiserver/pkg/server``.

Neighbours: ``listener`` and ``loopback`` bring requests; ``endpoints`` and ``subresources`` do what they ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from knarr.api import codec, scheme
from knarr.api.apiextensions.custom import CustomResource
from knarr.api.errors import (
    bad_request,
    forbidden,
    method_not_allowed,
    path_not_found,
)
from knarr.api.scheme import Resource
from knarr.apiserver import reviews
from knarr.apiserver.admission.certificates import CertificateRequests
from knarr.apiserver.admission.chain import Admission, Plugin
from knarr.apiserver.admission.escalation import Escalation
from knarr.apiserver.admission.ingresses import DefaultIngressClass
from knarr.apiserver.admission.limits import LimitRanger
from knarr.apiserver.admission.match_conditions import WebhookConditions
from knarr.apiserver.admission.matching import Matcher
from knarr.apiserver.admission.namespaces import NamespaceLifecycle
from knarr.apiserver.admission.node_restriction import NodeRestriction
from knarr.apiserver.admission.nodes import TaintNodesByCondition
from knarr.apiserver.admission.optional import EventLimit, EventRateLimit, ExtendedResourceToleration
from knarr.apiserver.admission.pod_security import PodSecurity, PodSecurityOptions
from knarr.apiserver.admission.pods import DefaultTolerationSeconds, PinnedImages, Priority
from knarr.apiserver.admission.policies import MutatingAdmissionPolicies, ValidatingAdmissionPolicies
from knarr.apiserver.admission.quota import ResourceQuota
from knarr.apiserver.admission.runtime_classes import RuntimeClasses
from knarr.apiserver.admission.service_accounts import ServiceAccountAdmission
from knarr.apiserver.admission.volumes import (
    DefaultStorageClass,
    PersistentVolumeClaimResize,
    StorageObjectInUseProtection,
)
from knarr.apiserver.aggregation.aggregator import Aggregator
from knarr.apiserver.aggregation.backends import Backends, Sender
from knarr.apiserver.aggregation.front_proxy import FrontProxy
from knarr.apiserver.audit.config import AuditOptions, build_auditor
from knarr.apiserver.authentication.config import AuthenticationOptions, build_authenticator
from knarr.apiserver.authorization.chain import AuthorizationOptions, AuthorizerChain
from knarr.apiserver.authorization.node import NodeAuthorizer
from knarr.apiserver.authorization.node_graph import NodeGraph
from knarr.apiserver.authorization.webhook import AuthorizationWebhook
from knarr.apiserver.bootstrap import bootstrap
from knarr.apiserver.cacher import Cache, Hub
from knarr.apiserver.conversion import CONVERSIONS
from knarr.apiserver.custom_resources import CustomResources, Definitions
from knarr.apiserver.deadlines import Deadlines
from knarr.apiserver.discovery import Discovery
from knarr.apiserver.endpoints import Endpoint, Environment, no_such_method
from knarr.apiserver.filters import Filters
from knarr.apiserver.flowcontrol.controller import FlowControl
from knarr.apiserver.health import Health, version_document
from knarr.apiserver.metrics import CONTENT_TYPE, ServerMetrics
from knarr.apiserver.openapi import OpenAPI
from knarr.apiserver.rbac import Question, RbacAuthorizer, refusal
from knarr.apiserver.rbac_defaults import node_rules
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.registry.kinds import BY_KIND
from knarr.apiserver.registry.namespaces import NamespaceRegistry, Namespaces
from knarr.apiserver.registry.pods import Pods, grace_period_s
from knarr.apiserver.registry.services import AddressPool, NodePortPool, Services
from knarr.apiserver.registry.strategy import Context, Strategy, facts_for
from knarr.apiserver.remote import Closed, HttpsEndpoint
from knarr.apiserver.request import Request, Response, UserInfo
from knarr.apiserver.routes import SubresourceRoutes
from knarr.apiserver.subresources.forwarding import Forwarder
from knarr.apiserver.subresources.node_proxy import NodeProxy
from knarr.apiserver.subresources.service_endpoints import ServiceEndpoints
from knarr.apiserver.tokens import ISSUER, ServiceAccountTokens
from knarr.apiserver.webhooks.client import WebhookClient
from knarr.apiserver.webhooks.hooks import Calls, Hooks
from knarr.apiserver.webhooks.mutating import MutatingWebhooks
from knarr.apiserver.webhooks.transport import HttpsTransport, WebhookTransport
from knarr.apiserver.webhooks.validating import ValidatingWebhooks
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.store.contract import Store

if TYPE_CHECKING:
    from knarr.apiserver.policies.mutating import MutatingPolicies
    from knarr.apiserver.policies.validating import ValidatingPolicies

__all__ = ["APIServer", "ServerConfig"]

log = get_logger("apiserver")

#: Events live this long, as upstream's --event-ttl.
EVENT_TTL_S = 3600


@dataclass(slots=True)
class ServerConfig:
    """What differs between one cluster's server and another's."""

    service_account_key_pem: bytes
    address: str = "10.96.255.1"
    port: int = 6443
    service_cidr: str = "10.96.0.0/16"
    service_address: str = "10.96.0.1"
    static_tokens: Mapping[str, UserInfo] = field(default_factory=dict)
    authentication: AuthenticationOptions = field(default_factory=AuthenticationOptions)
    authorization: AuthorizationOptions = field(default_factory=AuthorizationOptions)
    pod_security: PodSecurityOptions = field(default_factory=PodSecurityOptions)
    more_admission: frozenset[str] = frozenset()
    """Plug-ins that are not on by themselves."""
    event_limits: tuple[EventLimit, ...] = ()
    audit: AuditOptions | None = None
    max_requests_inflight: int = 400
    max_mutating_requests_inflight: int = 200
    """Together the seats that priority and fairness shares out; with 0 and 0 it is off."""
    request_timeout_s: float = 60.0
    kubelet_tls: ssl.SSLContext | None = None
    """TLS towards kubelets, with the server's client certificate."""
    webhook_transport: WebhookTransport | None = None
    """How webhooks are reached; None: over TLS."""
    backend_sender: Sender | None = None
    """How the servers behind APIServices are reached; None: over TLS."""
    front_proxy: FrontProxy = field(default_factory=FrontProxy)


def _key(resource: Resource) -> tuple[str, str, str]:
    return (resource.group, resource.version, resource.plural)


class APIServer:
    """One API server on one store. ``run`` serves until cancelled; ``handle`` answers once ``ready`` is set."""

    def __init__(self, store: Store, config: ServerConfig, *, clock: Clock, chance: Chance) -> None:
        self.config = config
        self.ready = asyncio.Event()
        self._serving = False
        self._clock = clock
        self._chance = chance
        self._store = store
        self.hub = Hub(store)
        self._environment = Environment(self.hub, clock, chance, asyncio.Event())
        self._addresses = AddressPool(store, config.service_cidr)
        self._node_ports = NodePortPool(store)
        self._lifecycle = NamespaceLifecycle()
        self._accounts = ServiceAccountAdmission()
        self._priority = Priority()
        self._runtime_classes = RuntimeClasses()
        self._storage_class = DefaultStorageClass()
        self._limits = LimitRanger()
        self._quota = ResourceQuota()
        self._escalation = Escalation()
        self._node_restriction = NodeRestriction()
        self._pod_security = PodSecurity(config.pod_security)
        self._certificate_requests = CertificateRequests()
        self._ingress_class = DefaultIngressClass()
        self._claim_resize = PersistentVolumeClaimResize()
        self._mutating_policies = MutatingAdmissionPolicies()
        self._validating_policies = ValidatingAdmissionPolicies()
        self._mutating_webhooks = MutatingWebhooks()
        self._validating_webhooks = ValidatingWebhooks()
        self._endpoints: dict[tuple[str, str, str], Endpoint] = {}
        self._build_registries()
        self.metrics = ServerMetrics(lambda: [endpoint.registry for endpoint in self._endpoints.values()])
        self._admission.observe = self.metrics.admission_steps.observe
        self._auditor = build_auditor(config.audit, clock)
        self._deadlines = Deadlines(clock, config.request_timeout_s)
        self.flow = self._build_flow_control()
        self._lifecycle.use(self.registry("", "namespaces"))
        self._node_restriction.use(self.registry("", "pods"), self.registry("", "nodes"))
        self._pod_security.use(self.registry("", "namespaces"), self.registry("", "pods"))
        self._accounts.use(self.registry("", "serviceaccounts"))
        self._storage_class.use(self.registry("storage.k8s.io", "storageclasses"))
        self._limits.use(self.registry("", "limitranges"))
        self._quota.use(self.registry("", "resourcequotas"))
        self._runtime_classes.use(self.registry("node.k8s.io", "runtimeclasses"))
        self._priority.use(self.registry("scheduling.k8s.io", "priorityclasses"))
        self.tokens = ServiceAccountTokens(
            config.service_account_key_pem, clock=clock, chance=chance, lookup=self._uid_of
        )
        self.authenticator, remote = build_authenticator(
            config.authentication,
            self.tokens,
            self.registry("", "secrets"),
            static=config.static_tokens,
            clock=clock,
        )
        self._asked: list[Closed] = list(remote)
        self.rbac = RbacAuthorizer(
            roles=self.registry("rbac.authorization.k8s.io", "roles"),
            role_bindings=self.registry("rbac.authorization.k8s.io", "rolebindings"),
            cluster_roles=self.registry("rbac.authorization.k8s.io", "clusterroles"),
            cluster_role_bindings=self.registry("rbac.authorization.k8s.io", "clusterrolebindings"),
        )
        self.authorizer = self._build_authorizer(config.authorization)
        self._escalation.use(self.rbac)
        self._certificate_requests.use(self.authorizer)
        self._ingress_class.use(self.registry("networking.k8s.io", "ingressclasses"))
        self._claim_resize.use(self.registry("storage.k8s.io", "storageclasses"))
        self._reviews = reviews.Reviews(
            authenticator=self.authenticator,
            authorizer=self.authorizer,
            admission=self._admission,
            clock=clock,
            chance=chance,
        )
        services = ServiceEndpoints(
            services=self.registry("", "services"), slices=self.registry("discovery.k8s.io", "endpointslices")
        )
        self._webhook_client = WebhookClient(config.webhook_transport or HttpsTransport(), services.webhook)
        self._use_webhooks()
        self._forwarder = Forwarder()
        self._node_proxy = NodeProxy(
            pods=self.registry("", "pods"),
            nodes=self.registry("", "nodes"),
            services=services,
            tls=config.kubelet_tls,
            forwarder=self._forwarder,
        )
        self._routes = SubresourceRoutes(
            registry=self.registry,
            tokens=self.tokens,
            node_proxy=self._node_proxy,
            clock=clock,
            chance=chance,
        )
        self._resources: dict[tuple[str, str, str], Resource] = {
            _key(resource): resource
            for resource in scheme.all_resources()
            if self._served(resource)
        }
        self._aggregator = Aggregator(
            self.registry("apiregistration.k8s.io", "apiservices"),
            Backends(
                config.backend_sender or self._forwarder,
                services,
                certificate=config.front_proxy.certificate,
                key=config.front_proxy.key,
            ),
            services=self.registry("", "services"),
            slices=self.registry("discovery.k8s.io", "endpointslices"),
            clock=clock,
            context=self._own_context,
            served=lambda: dict.fromkeys((group, version) for group, version, _ in self._resources),
            is_custom=lambda group: any(
                isinstance(resource, CustomResource)
                for resource in self._resources.values()
                if resource.group == group
            ),
            changed=self._describe,
        )
        self._describe()
        self._custom = CustomResources(
            self.registry("apiextensions.k8s.io", "customresourcedefinitions"),
            self.hub,
            self,
            clock=clock,
            context=self._own_context,
            webhooks=self._webhook_client,
        )
        self._filters = Filters(
            authenticator=self.authenticator,
            demand=self._demand,
            flow=self.flow,
            auditor=self._auditor,
            metrics=self.metrics,
            deadlines=self._deadlines,
            request_timeout_s=config.request_timeout_s,
            clock=clock,
            chance=chance,
            answer=self._handle,
        )
        #: Set when the server is to end: it is not ready any more, and serves on for a moment.
        self.ending = asyncio.Event()
        self.health = Health(hub=self.hub, ready=self.ready, stopping=self.ending)

    def _build_flow_control(self) -> FlowControl | None:
        config = self.config
        total = config.max_requests_inflight + config.max_mutating_requests_inflight
        if not total:
            return None
        group = "flowcontrol.apiserver.k8s.io"
        flow = FlowControl(
            schemas=self.registry(group, "flowschemas"),
            levels=self.registry(group, "prioritylevelconfigurations"),
            total=total,
            count_objects=self._count_objects,
            context=self._own_context,
        )
        self.metrics.follow(flow)
        return flow

    def _count_objects(self, request: Request) -> int:
        info = request.info
        endpoint = self._endpoints.get((info.group, info.version, info.resource))
        return len(endpoint.registry.cache) if endpoint is not None else 0

    def _build_authorizer(self, options: AuthorizationOptions) -> AuthorizerChain:
        graph = NodeGraph(
            pods=self.registry("", "pods"),
            claims=self.registry("", "persistentvolumeclaims"),
            volumes=self.registry("", "persistentvolumes"),
            attachments=self.registry("storage.k8s.io", "volumeattachments"),
            slices=self.registry("resource.k8s.io", "resourceslices"),
        )
        webhook = None
        if options.webhook is not None:
            endpoint = HttpsEndpoint(options.webhook.credentials)
            webhook = AuthorizationWebhook(options.webhook, endpoint, self._clock)
            self._asked.append(webhook)
        node = NodeAuthorizer(graph, node_rules())
        return AuthorizerChain.of(options, rbac=self.rbac, node=node, webhook=webhook)

    def _use_webhooks(self) -> None:
        """Give the admission plug-ins for webhooks what they go by."""
        namespaces = self.registry("", "namespaces")

        def namespace_labels(name: str) -> Mapping[str, str] | None:
            entry = namespaces.cache.get(namespaces.key("", name))
            return None if entry is None else entry.labels

        matcher = Matcher(namespace_labels=namespace_labels, equivalents=self._equivalents)
        conditions = WebhookConditions(self.authorizer)
        calls = Calls(self._webhook_client, matcher, convert=self.convert, conditions=conditions)
        group = "admissionregistration.k8s.io"
        mutating, validating = [
            Hooks(self.registry(group, f"{kind}webhookconfigurations"), live=lambda: self._serving)
            for kind in ("mutating", "validating")
        ]
        self._mutating_webhooks.use(mutating, calls)
        self._validating_webhooks.use(validating, calls)
        self._use_policies(matcher)

    def _use_policies(self, matcher: Matcher) -> None:
        """Give the admission plug-ins for policies what they go by, when there is something to go by."""
        group = "admissionregistration.k8s.io"

        def live() -> bool:
            return self._serving

        def mutating() -> MutatingPolicies:
            from knarr.apiserver.policies.wiring import mutating_policies

            return mutating_policies(self, matcher)

        def validating() -> ValidatingPolicies:
            from knarr.apiserver.policies.wiring import validating_policies

            return validating_policies(self, matcher)

        self._mutating_policies.use(self.registry(group, "mutatingadmissionpolicybindings"), mutating, live=live)
        self._validating_policies.use(self.registry(group, "validatingadmissionpolicybindings"), validating, live=live)

    def find_kind(self, api_version: str, kind: str) -> GenericRegistry | None:
        """The registry that serves a kind now, custom ones included."""
        for key, resource in self._resources.items():
            if (resource.api_version, resource.kind) == (api_version, kind) and key in self._endpoints:
                return self._endpoints[key].registry
        return None

    def _equivalents(self, resource: Resource, subresource: str) -> list[Resource]:
        """The served resources that are the same objects, in any version and group."""
        if not resource.storage_prefix:
            return []
        return [
            each
            for each in self._resources.values()
            if each.storage_prefix == resource.storage_prefix
            and (not subresource or subresource in each.subresources)
        ]

    async def convert(self, obj: Any, source: Resource, target: Resource) -> Any:
        """An object of one resource as one of an equivalent resource."""
        registry = self._endpoints[_key(source)].registry
        return await registry.converted(obj, self._endpoints[_key(target)].registry)

    def _served(self, resource: Resource) -> bool:
        return (
            bool(resource.storage_prefix)
            or resource.plural in reviews.REVIEWS
            or resource.plural == "bindings"
        )

    def _describe(self) -> None:
        """Make discovery and OpenAPI say what is served now."""
        resources = list(self._resources.values())
        address = f"{self.config.address}:{self.config.port}"
        remote = self._aggregator.versions
        self._discovery = Discovery(resources, server_address=address, remote=remote)
        self._openapi = OpenAPI(resources, version=version_document()["gitVersion"], remote=remote)

    def taken(self, resource: Resource) -> bool:
        """Whether the resource's group and plural are served already."""
        return any(
            (held.group, held.plural) == (resource.group, resource.plural)
            for held in self._resources.values()
        )

    def make_registry(self, resource: Resource, strategy: Strategy, cache: Cache) -> GenericRegistry:
        """A registry on the generic path, with this server's admission."""
        return GenericRegistry(resource, strategy, cache=cache, hub=self.hub, admission=self._admission)

    def install(self, registries: list[GenericRegistry]) -> None:
        """Serve new kinds."""
        for registry in registries:
            self._file(registry)
            self._resources[_key(registry.resource)] = registry.resource
        self._describe()
        self._aggregator.wake()

    def uninstall(self, resources: list[Resource]) -> None:
        """Serve kinds no more; their watches end."""
        for resource in resources:
            self._resources.pop(_key(resource), None)
            endpoint = self._endpoints.pop(_key(resource), None)
            if endpoint is not None:
                endpoint.registry.dispatcher.end_all()
        self._describe()
        self._aggregator.wake()

    def _file(self, registry: GenericRegistry) -> None:
        self._endpoints[_key(registry.resource)] = Endpoint(registry, self._environment)

    def _build_registries(self) -> None:
        plugins: list[Plugin] = [
            self._lifecycle,
            self._accounts,
            TaintNodesByCondition(),
            self._priority,
            self._runtime_classes,
            DefaultTolerationSeconds(),
            self._limits,
            self._storage_class,
            StorageObjectInUseProtection(),
            self._ingress_class,
            PinnedImages(),
            self._escalation,
            self._node_restriction,
            self._pod_security,
            self._certificate_requests,
            self._claim_resize,
            *self._optional_plugins(),
            self._mutating_policies,
            self._mutating_webhooks,
            self._validating_policies,
            self._validating_webhooks,
            # Last: what it takes it keeps.
            self._quota,
        ]
        admission = self._admission = Admission(plugins)
        for resource in scheme.all_resources():
            if not resource.storage_prefix:
                continue
            cache = Cache(resource, conversion=CONVERSIONS.get(_key(resource)))
            self.hub.add(cache)
            kind = NamespaceRegistry if resource.group_resource == "namespaces" else GenericRegistry
            registry = kind(
                resource,
                self._strategy(resource),
                cache=cache,
                hub=self.hub,
                admission=admission,
                event_ttl_s=EVENT_TTL_S if resource.plural == "events" else 0,
            )
            self._file(registry)

    def _optional_plugins(self) -> list[Plugin]:
        wanted = self.config.more_admission
        plugins: list[Plugin] = []
        if "ExtendedResourceToleration" in wanted:
            plugins.append(ExtendedResourceToleration())
        if "EventRateLimit" in wanted:
            plugins.append(EventRateLimit(self.config.event_limits, self._clock))
        return plugins

    def _strategy(self, resource: Resource) -> Strategy:
        name = resource.group_resource
        if name == "services":
            return Services(resource, addresses=self._addresses, node_ports=self._node_ports)
        if name == "pods":
            return Pods(resource, **facts_for(resource), graceful=grace_period_s)
        if name == "customresourcedefinitions.apiextensions.k8s.io":
            return Definitions(resource, **facts_for(resource))
        if name == "namespaces":
            return Namespaces(resource, **facts_for(resource))
        return BY_KIND.get(name, Strategy)(resource, **facts_for(resource))

    def registry(self, group: str, plural: str, version: str = "v1") -> GenericRegistry:
        """The registry of a resource."""
        return self._endpoints[(group, version, plural)].registry

    def registry_of(self, kind: type[Any]) -> GenericRegistry:
        """The registry of a struct."""
        resource = scheme.by_type(kind)
        return self._endpoints[_key(resource)].registry

    def _uid_of(self, kind: str, namespace: str, name: str) -> str | None:
        plural = {"ServiceAccount": "serviceaccounts", "Pod": "pods", "Secret": "secrets", "Node": "nodes"}[
            kind
        ]
        registry = self.registry("", plural)
        entry = registry.cache.get(registry.key(namespace, name))
        if entry is None:
            return None
        uid: str = registry.cache.object(entry).metadata.uid
        return uid

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
                self.registry_of,
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
        for endpoint in self._endpoints.values():
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
        resource = self._resources.get((info.group, info.version, info.resource))
        if resource is None:
            raise path_not_found()
        if info.resource in reviews.REVIEWS:
            if info.verb != "create":
                raise method_not_allowed(resource.group, resource.plural, info.verb)
            return await self._reviews.handle(request, resource)
        endpoint = self._endpoints.get((info.group, info.version, info.resource))
        if endpoint is None:
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
        if request.method not in ("GET", "HEAD"):
            raise bad_request(f"{request.method} is not supported on {request.path}")
        answer = (
            self.health.handle(request)
            or self._metrics_page(request)
            or self._discovery.handle(request)
            or self._openapi.handle(request)
            or self._issuer(request)
        )
        if answer is None:
            raise path_not_found()
        return answer

    def _metrics_page(self, request: Request) -> Response | None:
        if request.path != "/metrics":
            return None
        return Response(body=self.metrics.metrics.render(), content_type=CONTENT_TYPE)

    def _issuer(self, request: Request) -> Response | None:
        if request.path == "/openid/v1/jwks":
            return Response(
                body=codec.encode(self.tokens.public_jwks()), content_type="application/jwk-set+json"
            )
        if request.path == "/.well-known/openid-configuration":
            document = {
                "issuer": ISSUER,
                "jwks_uri": f"https://{self.config.address}:{self.config.port}/openid/v1/jwks",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
            return Response(body=codec.encode(document))
        return None
