"""A node's kubelet changes its own node, its own lease and the pods on it, and nothing else.

The Node authorizer lets a kubelet write objects of certain kinds; whose objects they are shows only what is written, and so is decided
here, so that one stolen machine is not the whole cluster.

Upstream's counterpart is the ``NodeRestriction`` plug-in. Neighbours: ``authorization.node`` decides what a kubelet may read;
``admission.node_pods`` holds what is said of pods and tokens.
"""

from __future__ import annotations

from typing import Any

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import forbidden, not_found, quote
from knarr.apiserver.admission import node_pods
from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.apiserver.authorization.node import LEASE_NAMESPACE, node_of
from knarr.apiserver.registry.generic import GenericRegistry

__all__ = ["NodeRestriction", "node_of"]

#: Labels by which administrators keep workloads apart: a node must not give them to itself.
RESTRICTED_LABELS = "node-restriction.kubernetes.io"
#: Of Kubernetes' own labels these are the kubelet's to set.
KUBELET_LABELS = {
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
}
KUBELET_LABEL_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")


class NodeRestriction(Plugin):
    name = "NodeRestriction"
    concerns = frozenset(
        (
            "csinodes.storage.k8s.io",
            "leases.coordination.k8s.io",
            "nodes",
            "persistentvolumeclaims",
            "pods",
            "resourceslices.resource.k8s.io",
            "serviceaccounts",
        )
    )

    def __init__(self) -> None:
        self._pods: GenericRegistry | None = None
        self._nodes: GenericRegistry | None = None

    def use(self, pods: GenericRegistry, nodes: GenericRegistry) -> None:
        self._pods, self._nodes = pods, nodes

    async def validate(self, attributes: Attributes) -> None:
        node = node_of(attributes.ctx.user)
        if node is None or attributes.operation == "CONNECT":
            return
        problem = self._problem(attributes, node)
        if problem:
            raise forbidden(attributes.resource.group, attributes.resource.plural, attributes.name, problem)

    def _problem(self, attributes: Attributes, node: str) -> str:
        """What is wrong; empty if nothing is. Raises ``StatusError`` 404 where what is written about is gone."""
        if not node:
            return f"could not determine node from user {quote(attributes.ctx.user.name)}"
        resource = attributes.resource
        kind = (resource.group, resource.plural)
        if kind == ("", "pods"):
            return self._pod_problem(attributes, node)
        if kind == ("", "nodes"):
            return _node_problem(attributes, node)
        if kind == ("", "persistentvolumeclaims"):
            return _claim_problem(attributes, node)
        if kind == ("", "serviceaccounts"):
            return self._token_problem(attributes, node)
        if kind == ("coordination.k8s.io", "leases"):
            return _lease_problem(attributes, node)
        if kind == ("storage.k8s.io", "csinodes") and attributes.name != node:
            return "can only access CSINode with the same name as the requesting node"
        if kind == ("resource.k8s.io", "resourceslices"):
            return _slice_problem(attributes, node)
        return ""

    def _pod_problem(self, attributes: Attributes, node: str) -> str:
        if attributes.subresource == "":
            return node_pods.pod_problem(attributes, node, self._node_uid)
        if attributes.subresource == "status":
            return node_pods.status_problem(attributes, node)
        if attributes.subresource == "eviction":
            held = self._pod(attributes.namespace, attributes.name)
            return "" if held.spec.nodeName == node else f"node {node} can only evict pods with spec.nodeName set to itself"
        return f"unexpected pod subresource {quote(attributes.subresource)}, only 'status' and 'eviction' are allowed"

    def _token_problem(self, attributes: Attributes, node: str) -> str:
        if attributes.operation != "CREATE" or attributes.subresource != "token":
            return ""
        return node_pods.token_problem(attributes, node, self._pod)

    def _pod(self, namespace: str, name: str) -> core.Pod:
        assert self._pods is not None, "use comes first"
        found: core.Pod = _held(self._pods, namespace, name)
        return found

    def _node_uid(self, name: str) -> str:
        assert self._nodes is not None, "use comes first"
        uid: str = _held(self._nodes, "", name).metadata.uid
        return uid


def _held(registry: GenericRegistry, namespace: str, name: str) -> Any:
    entry = registry.cache.get(registry.key(namespace, name))
    if entry is None:
        raise not_found(registry.resource.group, registry.resource.plural, name)
    return registry.cache.object(entry)


def _node_problem(attributes: Attributes, node: str) -> str:
    quoted = quote(node)
    if attributes.name != node:
        return f"node {quoted} is not allowed to modify node {quote(attributes.name)}"
    if attributes.operation == "DELETE":
        return ""
    new: core.Node = attributes.obj
    old: core.Node | None = attributes.old
    if old is None:
        labels = _forbidden_labels(new.metadata.labels, {})
        return f"node {quoted} is not allowed to set the following labels: {labels}" if labels else ""
    if new.metadata.ownerReferences != old.metadata.ownerReferences:
        # An owner that is not there would have the node collected as garbage, and made anew with other labels.
        return f"node {quoted} is not allowed to modify ownerReferences"
    if new.spec.taints != old.spec.taints:
        return f"node {quoted} is not allowed to modify taints"
    labels = _forbidden_labels(new.metadata.labels, old.metadata.labels)
    return f"is not allowed to modify labels: {labels}" if labels else ""


def _forbidden_labels(new: dict[str, str], old: dict[str, str]) -> str:
    changed = (key for key in new.keys() | old.keys() if new.get(key) != old.get(key))
    return ", ".join(sorted(key for key in changed if _is_forbidden(key)))


def _is_forbidden(label: str) -> bool:
    domain = label.rpartition("/")[0]
    if _within(domain, RESTRICTED_LABELS):
        return True
    if not (_within(domain, "kubernetes.io") or _within(domain, "k8s.io")):
        return False
    return label not in KUBELET_LABELS and not any(_within(domain, each) for each in KUBELET_LABEL_DOMAINS)


def _within(domain: str, parent: str) -> bool:
    return domain == parent or domain.endswith("." + parent)


def _claim_problem(attributes: Attributes, node: str) -> str:
    if attributes.subresource != "status":
        return "may only update PVC status"
    if attributes.operation != "UPDATE":
        return f"unexpected operation {quote(attributes.operation)}"
    compared = []
    for each in (attributes.old, attributes.obj):
        claim: core.PersistentVolumeClaim = codec.copy(each)
        claim.metadata.resourceVersion, claim.metadata.managedFields = "", []
        status = claim.status
        status.capacity, status.conditions = {}, []
        status.allocatedResources, status.allocatedResourceStatuses = {}, {}
        compared.append(claim)
    if compared[0] != compared[1]:
        return f"node {quote(node)} is not allowed to update fields other than status.capacity and status.conditions"
    return ""


def _lease_problem(attributes: Attributes, node: str) -> str:
    if attributes.namespace != LEASE_NAMESPACE:
        return f"can only access leases in the {quote(LEASE_NAMESPACE)} system namespace"
    if attributes.name != node:
        return "can only access node lease with the same name as the requesting node"
    return ""


def _slice_problem(attributes: Attributes, node: str) -> str:
    if attributes.operation == "CREATE" and attributes.obj.spec.nodeName != node:
        return "can only create ResourceSlice with the same NodeName as the requesting node"
    if attributes.operation == "DELETE" and attributes.old.spec.nodeName != node:
        return "can only delete ResourceSlice with the same NodeName as the requesting node"
    return ""
