"""Kubelets: each may read what the pods on its node use, and write what is its own.

Whom this is about is a user ``system:node:<name>`` in the group ``system:nodes``. Everybody else, and whatever is not said here, is for the
next authorizer.

Upstream's counterpart is ``plugin/pkg/auth/authorizer/node``. Neighbours: ``node_graph`` knows what is related to a node;
``admission.node_restriction`` decides what only the written object shows; ``rbac_defaults`` has the rules all nodes share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from knarr.api.rbac import v1 as rbac
from knarr.apiserver.authorization.decision import ALLOWED, NO_OPINION, Decision
from knarr.apiserver.authorization.node_graph import NodeGraph
from knarr.apiserver.rbac import Question, covers_question
from knarr.apiserver.request import UserInfo

__all__ = ["NodeAuthorizer", "node_of"]

USER_PREFIX, GROUP = "system:node:", "system:nodes"
LEASE_NAMESPACE = "kube-node-lease"
_OWN_VERBS = ("get", "create", "update", "patch", "delete")


def node_of(user: UserInfo) -> str | None:
    """The node a user is the kubelet of (empty: it does not say which); None for everybody else."""
    if GROUP not in user.groups or not user.name.startswith(USER_PREFIX):
        return None
    return user.name[len(USER_PREFIX) :]


class NodeAuthorizer:
    """``rules`` are what every node may do."""

    def __init__(self, graph: NodeGraph, rules: Sequence[rbac.PolicyRule]) -> None:
        self._graph = graph
        self._rules = tuple(rules)
        self._special: dict[tuple[str, str], Callable[[str, Question], str | None]] = {
            ("", "secrets"): lambda node, q: self._read(node, q, graph.uses_secret),
            ("", "configmaps"): lambda node, q: self._read(node, q, graph.uses_config_map),
            ("", "persistentvolumeclaims"): self._claim,
            ("", "persistentvolumes"): lambda node, q: self._get(node, q, lambda n, _, name: graph.uses_volume(n, name)),
            ("resource.k8s.io", "resourceclaims"): lambda node, q: self._get(node, q, graph.uses_resource_claim),
            ("storage.k8s.io", "volumeattachments"): lambda node, q: self._get(
                node, q, lambda n, _, name: graph.has_attachment(n, name)
            ),
            ("", "serviceaccounts"): self._token,
            ("coordination.k8s.io", "leases"): self._lease,
            ("storage.k8s.io", "csinodes"): self._csi_node,
            ("resource.k8s.io", "resourceslices"): self._slice,
            ("", "nodes"): self._node,
            ("", "pods"): self._pod,
        }

    def decide(self, user: UserInfo, question: Question) -> Decision:
        node = node_of(user)
        if node is None:
            return NO_OPINION
        if not node:
            return Decision(reason=f'unknown node for user "{user.name}"')
        special = None if question.path else self._special.get((question.group, question.resource))
        if special is not None:
            problem = special(node, question)
            return ALLOWED if problem is None else Decision(reason=problem)
        return ALLOWED if any(covers_question(rule, question) for rule in self._rules) else NO_OPINION

    def unknown_rules(self, user: UserInfo) -> str:
        return "" if node_of(user) is None else "node authorizer does not support user rule resolution"

    # Each of these gives None for what is allowed, and otherwise upstream's reason, which may be empty.

    def _related(self, node: str, question: Question, related: Callable[[str, str, str], bool]) -> str | None:
        if not question.name:
            return "No Object name found"
        if related(node, question.namespace, question.name):
            return None
        return f"no relationship found between node '{node}' and this object"

    def _read(self, node: str, question: Question, related: Callable[[str, str, str], bool]) -> str | None:
        if question.verb not in ("get", "list", "watch"):
            return "can only read resources of this type"
        if question.subresource:
            return "cannot read subresource"
        if not question.namespace:
            return "can only read namespaced object of this type"
        return self._related(node, question, related)

    def _get(self, node: str, question: Question, related: Callable[[str, str, str], bool]) -> str | None:
        if question.verb != "get":
            return "can only get individual resources of this type"
        if question.subresource:
            return "cannot get subresource"
        return self._related(node, question, related)

    def _claim(self, node: str, question: Question) -> str | None:
        if question.subresource != "status":
            return self._get(node, question, self._graph.uses_claim)
        if question.verb not in ("update", "patch"):
            return "can only get/update/patch this type"
        return self._related(node, question, self._graph.uses_claim)

    def _token(self, node: str, question: Question) -> str | None:
        if question.verb != "create" or not question.name:
            return "can only create tokens for individual service accounts"
        if question.subresource != "token":
            return "can only create token subresource of serviceaccount"
        return self._related(node, question, self._graph.uses_account)

    def _lease(self, node: str, question: Question) -> str | None:
        if question.verb not in _OWN_VERBS:
            return "can only get, create, update, patch, or delete a node lease"
        if question.namespace != LEASE_NAMESPACE:
            return f'can only access leases in the "{LEASE_NAMESPACE}" system namespace'
        # What is created has no name here yet; admission looks at it.
        if question.verb != "create" and question.name != node:
            return "can only access node lease with the same name as the requesting node"
        return None

    def _csi_node(self, node: str, question: Question) -> str | None:
        if question.verb not in _OWN_VERBS:
            return "can only get, create, update, patch, or delete a CSINode"
        if question.subresource:
            return "cannot authorize CSINode subresources"
        if question.verb != "create" and question.name != node:
            return "can only access CSINode with the same name as the requesting node"
        return None

    def _slice(self, node: str, question: Question) -> str | None:
        if question.subresource:
            return "cannot authorize ResourceSlice subresources"
        if question.verb == "create":
            return None
        if question.verb in ("get", "update", "patch", "delete"):
            return self._related(node, question, lambda n, _, name: self._graph.has_slice(n, name))
        if question.verb in ("watch", "list", "deletecollection"):
            if _selects(question, "spec.nodeName", node):
                return None
            return "can only list/watch/deletecollection resourceslices with nodeName field selector"
        return (
            "only the following verbs are allowed for a ResourceSlice: "
            "get, watch, list, create, update, patch, delete, deletecollection"
        )

    def _node(self, node: str, question: Question) -> str | None:
        verb = question.verb
        if question.subresource == "" and verb in ("get", "list", "watch"):
            if question.name == node:
                return None
            if not question.name:
                return f"node '{node}' cannot read all nodes, only its own Node object"
            return f"node '{node}' cannot read '{question.name}', only its own Node object"
        writes = ("create", "update", "patch") if question.subresource == "" else ("update", "patch")
        return None if question.subresource in ("", "status") and verb in writes else ""

    def _pod(self, node: str, question: Question) -> str | None:
        verb, subresource = question.verb, question.subresource
        if subresource == "" and verb == "get":
            return self._related(node, question, self._graph.has_pod)
        if subresource == "" and verb in ("list", "watch"):
            if _selects(question, "spec.nodeName", node):
                return None
            if question.name:
                return self._related(node, question, self._graph.has_pod)
            return "can only list/watch pods with spec.nodeName field selector"
        allowed = {"": ("create", "delete"), "status": ("update", "patch"), "eviction": ("create",)}
        return None if verb in allowed.get(subresource, ()) else ""


def _selects(question: Question, field: str, value: str) -> bool:
    """Whether the field selector admits only that value."""
    wanted = (f"{field}={value}", f"{field}=={value}")
    return any(part.strip() in wanted for part in question.fields.split(","))
