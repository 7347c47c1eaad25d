"""What is related to a node: through its pods to secrets, config maps, claims, volumes and accounts.

Upstream keeps all relations as a graph and updates it with every change. Here only which pods a node has is kept; what a pod uses is read
when a kubelet asks and remembered until the pod changes, so that a write of a pod costs one dictionary entry and a cluster whose nodes
ask for nothing costs nothing.

Upstream's counterpart is ``plugin/pkg/auth/authorizer/node/graph.go``. Neighbours: ``node`` asks; ``api.core.pod_references`` reads one pod.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from knarr.api.core.pod_references import References, references_of, volume_secrets
from knarr.apiserver.cacher import Change
from knarr.apiserver.registry.generic import GenericRegistry

__all__ = ["NodeGraph"]


class NodeGraph:
    """Answers from the registries."""

    def __init__(
        self,
        *,
        pods: GenericRegistry,
        claims: GenericRegistry,
        volumes: GenericRegistry,
        attachments: GenericRegistry,
        slices: GenericRegistry | None = None,
    ) -> None:
        self._pods = pods
        self._claims = claims
        self._volumes = volumes
        self._attachments = attachments
        self._slices = slices
        #: The keys of each node's pods; None until somebody asks.
        self._by_node: dict[str, set[str]] | None = None
        self._references: dict[str, tuple[int, References]] = {}
        pods.cache.subscribers.append(self._pod_changed)

    def _pod_changed(self, change: Change) -> None:
        if self._by_node is None:
            return
        entry = change.entry
        node = entry.fields.get("spec.nodeName")
        if change.deleted:
            self._references.pop(entry.key, None)
            if node:
                pods = self._by_node.get(node, set())
                pods.discard(entry.key)
                if not pods:
                    self._by_node.pop(node, None)
        elif node:
            self._by_node.setdefault(node, set()).add(entry.key)

    def _keys(self, node: str) -> set[str]:
        if self._by_node is None:
            self._by_node = {}
            for entry in self._pods.cache.scan(self._pods.cache.prefix):
                bound = entry.fields.get("spec.nodeName")
                if bound:
                    self._by_node.setdefault(bound, set()).add(entry.key)
        return self._by_node.get(node, set())

    def _used(self, node: str, namespace: str = "") -> Iterator[tuple[str, References]]:
        """Namespace and references of each pod on the node."""
        cache = self._pods.cache
        for key in self._keys(node):
            entry = cache.get(key)
            if entry is None or (namespace and entry.namespace != namespace):
                continue
            known = self._references.get(key)
            if known is None or known[0] != entry.revision:
                known = self._references[key] = (entry.revision, references_of(cache.object(entry)))
            yield entry.namespace, known[1]

    def has_pod(self, node: str, namespace: str, name: str) -> bool:
        return self._pods.key(namespace, name) in self._keys(node)

    def uses_config_map(self, node: str, namespace: str, name: str) -> bool:
        return any(name in used.config_maps for _, used in self._used(node, namespace))

    def uses_secret(self, node: str, namespace: str, name: str) -> bool:
        if any(name in used.secrets for _, used in self._used(node, namespace)):
            return True
        return any((namespace, name) in volume_secrets(volume) for volume in self._volumes_of(node))

    def uses_account(self, node: str, namespace: str, name: str) -> bool:
        return any(name == used.account for _, used in self._used(node, namespace))

    def uses_claim(self, node: str, namespace: str, name: str) -> bool:
        return any(name in used.claims for _, used in self._used(node, namespace))

    def uses_resource_claim(self, node: str, namespace: str, name: str) -> bool:
        return any(name in used.resource_claims for _, used in self._used(node, namespace))

    def uses_volume(self, node: str, name: str) -> bool:
        volume = self._object(self._volumes, "", name)
        claim = volume.spec.claimRef if volume is not None else None
        return claim is not None and self.uses_claim(node, claim.namespace, claim.name)

    def _volumes_of(self, node: str) -> Iterator[Any]:
        """The volumes that are bound to claims of the node's pods."""
        for namespace, used in self._used(node):
            for name in used.claims:
                claim = self._object(self._claims, namespace, name)
                volume = self._object(self._volumes, "", claim.spec.volumeName) if claim is not None else None
                bound = volume.spec.claimRef if volume is not None else None
                if bound is not None and (bound.namespace, bound.name) == (namespace, name):
                    yield volume

    def has_attachment(self, node: str, name: str) -> bool:
        attachment = self._object(self._attachments, "", name)
        return attachment is not None and attachment.spec.nodeName == node

    def has_slice(self, node: str, name: str) -> bool:
        held = self._object(self._slices, "", name) if self._slices is not None else None
        return held is not None and held.spec.nodeName == node

    def _object(self, registry: GenericRegistry, namespace: str, name: str) -> Any:
        entry = registry.cache.get(registry.key(namespace, name)) if name else None
        return registry.cache.object(entry) if entry is not None else None
