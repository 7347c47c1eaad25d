"""The kinds a server serves: a registry and an endpoint for each, the built-in ones from the start, custom ones as their definitions
come and go.

Upstream's counterpart is ``pkg/controlplane/instance.go`` and the API group installers.

Neighbours: ``custom_resources`` installs and uninstalls; ``server`` routes requests here; ``registry`` holds what a kind does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from knarr.api import scheme
from knarr.api.metrics import v1beta1 as metrics
from knarr.api.scheme import Resource
from knarr.apiserver.admission.chain import Admission
from knarr.apiserver.cacher import Cache, Hub
from knarr.apiserver.conversion import CONVERSIONS
from knarr.apiserver.custom_resources import Definitions
from knarr.apiserver.endpoints import Endpoint
from knarr.apiserver.environment import Environment
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.registry.kinds import BY_KIND
from knarr.apiserver.registry.namespaces import NamespaceRegistry, Namespaces
from knarr.apiserver.registry.pods import Pods, grace_period_s
from knarr.apiserver.registry.services import AddressPool, NodePortPool, Services
from knarr.apiserver.registry.strategy import Strategy, facts_for
from knarr.apiserver.request import Request
from knarr.apiserver.reviews import REVIEWS

__all__ = ["Key", "Kinds", "key_of"]

#: Events live this long, as upstream's --event-ttl.
EVENT_TTL_S = 3600

#: Group, version, plural.
Key = tuple[str, str, str]


def key_of(resource: Resource) -> Key:
    return (resource.group, resource.version, resource.plural)


class Kinds:
    """``resources`` are all that are served, those without storage of their own (reviews, bindings, metrics) included; ``endpoints`` those that
    have a registry. ``changed`` is called when the set has changed.
    """

    def __init__(
        self,
        hub: Hub,
        environment: Environment,
        admission: Admission,
        *,
        service_cidr: str,
        changed: Callable[[], None],
    ) -> None:
        self._hub = hub
        self._environment = environment
        self._admission = admission
        self._changed = changed
        self._addresses = AddressPool(hub.store, service_cidr)
        self._node_ports = NodePortPool(hub.store)
        self.endpoints: dict[Key, Endpoint] = {}
        for resource in scheme.all_resources():
            if resource.storage_prefix:
                self._file(self._built_in(resource))
        self.resources: dict[Key, Resource] = {
            key_of(resource): resource
            for resource in (*filter(_served, scheme.all_resources()), metrics.NODES, metrics.PODS)
        }

    def _built_in(self, resource: Resource) -> GenericRegistry:
        cache = Cache(resource, conversion=CONVERSIONS.get(key_of(resource)))
        self._hub.add(cache)
        kind = NamespaceRegistry if resource.group_resource == "namespaces" else GenericRegistry
        return kind(
            resource,
            self._strategy(resource),
            cache=cache,
            hub=self._hub,
            admission=self._admission,
            event_ttl_s=EVENT_TTL_S if resource.plural == "events" else 0,
        )

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

    def _file(self, registry: GenericRegistry) -> None:
        self.endpoints[key_of(registry.resource)] = Endpoint(registry, self._environment)

    # Finding.

    def registry(self, group: str, plural: str, version: str = "v1") -> GenericRegistry:
        """The registry of a resource."""
        return self.endpoints[(group, version, plural)].registry

    def registry_of(self, kind: type[Any]) -> GenericRegistry:
        """The registry of a struct."""
        resource = scheme.by_type(kind)
        return self.endpoints[key_of(resource)].registry

    @property
    def registries(self) -> list[GenericRegistry]:
        return [endpoint.registry for endpoint in self.endpoints.values()]

    def find_kind(self, api_version: str, kind: str) -> GenericRegistry | None:
        """The registry that serves a kind now, custom ones included."""
        for key, resource in self.resources.items():
            if (resource.api_version, resource.kind) == (api_version, kind) and key in self.endpoints:
                return self.endpoints[key].registry
        return None

    def equivalents(self, resource: Resource, subresource: str) -> list[Resource]:
        """The served resources that are the same objects, in any version and group."""
        if not resource.storage_prefix:
            return []
        return [
            each
            for each in self.resources.values()
            if each.storage_prefix == resource.storage_prefix
            and (not subresource or subresource in each.subresources)
        ]

    async def convert(self, obj: Any, source: Resource, target: Resource) -> Any:
        """An object of one resource as one of an equivalent resource."""
        registry = self.endpoints[key_of(source)].registry
        return await registry.converted(obj, self.endpoints[key_of(target)].registry)

    def count_objects(self, request: Request) -> int:
        """How many objects there are of what a request is about."""
        info = request.info
        endpoint = self.endpoints.get((info.group, info.version, info.resource))
        return len(endpoint.registry.cache) if endpoint is not None else 0

    def uid_of(self, kind: str, namespace: str, name: str) -> str | None:
        """The UID of what a token may be bound to; None if it is not there."""
        entry_of = self.registry("", _BINDABLE[kind])
        entry = entry_of.cache.get(entry_of.key(namespace, name))
        if entry is None:
            return None
        uid: str = entry_of.cache.object(entry).metadata.uid
        return uid

    # What ``custom_resources`` does.

    def taken(self, resource: Resource) -> bool:
        """Whether the resource's group and plural are served already."""
        return any(
            (held.group, held.plural) == (resource.group, resource.plural)
            for held in self.resources.values()
        )

    def make_registry(self, resource: Resource, strategy: Strategy, cache: Cache) -> GenericRegistry:
        """A registry on the generic path, with this server's admission."""
        return GenericRegistry(resource, strategy, cache=cache, hub=self._hub, admission=self._admission)

    def install(self, registries: list[GenericRegistry]) -> None:
        """Serve new kinds."""
        for registry in registries:
            self._file(registry)
            self.resources[key_of(registry.resource)] = registry.resource
        self._changed()

    def uninstall(self, resources: list[Resource]) -> None:
        """Serve kinds no more; their watches end."""
        for resource in resources:
            self.resources.pop(key_of(resource), None)
            endpoint = self.endpoints.pop(key_of(resource), None)
            if endpoint is not None:
                endpoint.registry.dispatcher.end_all()
        self._changed()


def _served(resource: Resource) -> bool:
    return bool(resource.storage_prefix) or resource.plural in (*REVIEWS, "bindings", "componentstatuses")


_BINDABLE = {"ServiceAccount": "serviceaccounts", "Pod": "pods", "Secret": "secrets", "Node": "nodes"}
