"""A node's kubelet changes its own node, its own lease and the pods on it, and nothing else.

What a kubelet may do is given to all of them by one role; whose objects it may do it to is decided here, so
that one stolen machine is not the whole cluster.

Upstream's counterpart is the ``NodeRestriction`` plug-in. Neighbours: ``bootstrap`` has the role. Which
secrets a node may *read* is for an authorizer to say, as reads pass no admission.
"""

from __future__ import annotations

from knarr.api.core import v1 as core
from knarr.api.errors import forbidden, not_found, quote
from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.request import UserInfo

__all__ = ["NodeRestriction", "node_of"]

USER_PREFIX, GROUP = "system:node:", "system:nodes"
MIRROR = "kubernetes.io/config.mirror"
LEASE_NAMESPACE = "kube-node-lease"
#: Labels by which administrators keep workloads apart: a node must not give them to itself.
RESTRICTED_LABELS = "node-restriction.kubernetes.io"


def node_of(user: UserInfo) -> str | None:
    """The node a user is the kubelet of; None for everybody else."""
    if GROUP not in user.groups or not user.name.startswith(USER_PREFIX):
        return None
    return user.name[len(USER_PREFIX) :]


class NodeRestriction(Plugin):
    name = "NodeRestriction"

    def __init__(self) -> None:
        self._pods: GenericRegistry | None = None

    def use(self, pods: GenericRegistry) -> None:
        self._pods = pods

    async def validate(self, attributes: Attributes) -> None:
        node = node_of(attributes.ctx.user)
        if node is None or attributes.operation == "CONNECT":
            return
        problem = ""
        if attributes.is_("", "nodes"):
            problem = _node_problem(attributes, node)
        elif attributes.is_("", "pods"):
            problem = self._eviction_problem(attributes, node) or _pod_problem(attributes, node)
        elif attributes.is_("coordination.k8s.io", "leases"):
            problem = _lease_problem(attributes, node)
        if problem:
            raise forbidden(attributes.resource.group, attributes.resource.plural, attributes.name, problem)


    def _eviction_problem(self, attributes: Attributes, node: str) -> str:
        if attributes.subresource != "eviction":
            return ""
        assert self._pods is not None, "use comes first"
        entry = self._pods.cache.get(self._pods.key(attributes.namespace, attributes.name))
        if entry is None:
            raise not_found("", "pods", attributes.name)
        if entry.fields.get("spec.nodeName") != node:
            return f"node {quote(node)} can only evict pods with spec.nodeName set to itself"
        return ""


def _node_problem(attributes: Attributes, node: str) -> str:
    if attributes.name != node:
        return f"node {quote(node)} is not allowed to modify node {quote(attributes.name)}"
    if attributes.operation == "DELETE":
        return ""
    new, old = attributes.obj, attributes.old
    before = old.metadata.labels if old is not None else {}
    changed = sorted(
        key
        for key in before.keys() | new.metadata.labels.keys()
        if before.get(key) != new.metadata.labels.get(key) and _is_restricted(key)
    )
    if changed and old is None:
        return f"node {quote(node)} is not allowed to set the following labels: {', '.join(changed)}"
    if changed:
        return f"node {quote(node)} is not allowed to modify labels: {', '.join(changed)}"
    if old is not None and not attributes.subresource and new.spec.taints != old.spec.taints:
        return f"node {quote(node)} is not allowed to modify taints"
    return ""


def _is_restricted(label: str) -> bool:
    domain = label.partition("/")[0]
    return domain == RESTRICTED_LABELS or domain.endswith("." + RESTRICTED_LABELS)


def _pod_problem(attributes: Attributes, node: str) -> str:
    quoted = quote(node)
    if attributes.operation == "CREATE":
        if attributes.subresource == "eviction":
            return ""
        if attributes.subresource:
            return f"unexpected pod subresource {quote(attributes.subresource)}"
        pod: core.Pod = attributes.obj
        if MIRROR not in pod.metadata.annotations:
            return f"pod does not have {quote(MIRROR)} annotation, node {quoted} can only create mirror pods"
        if pod.spec.nodeName != node:
            return f"node {quoted} can only create pods with spec.nodeName set to itself"
        return ""
    held: core.Pod = attributes.old
    mine = held.spec.nodeName == node
    if attributes.operation == "DELETE":
        return "" if mine else f"node {quoted} can only delete pods with spec.nodeName set to itself"
    if attributes.subresource != "status":
        return f'unexpected operation "UPDATE", node {quoted} can only create and delete mirror pods'
    if not mine:
        return f"node {quoted} can only update pod status for pods with spec.nodeName set to itself"
    if attributes.obj.metadata.labels != held.metadata.labels:
        return f"node {quoted} cannot update labels through pod status"
    return ""


def _lease_problem(attributes: Attributes, node: str) -> str:
    if attributes.namespace != LEASE_NAMESPACE:
        return f"can only access leases in the {quote(LEASE_NAMESPACE)} system namespace"
    if attributes.name != node:
        return "can only access node lease with the same name as the requesting node"
    return ""
