"""What a kubelet may write about pods: mirror pods of its own, the status of pods on its node, tokens for them.

Pure but for looking up the pod a token is for. Neighbour: ``node_restriction`` turns a problem into a refusal.
"""

from __future__ import annotations

from collections.abc import Callable

from knarr.api.authentication import v1 as authentication
from knarr.api.core import v1 as core
from knarr.api.core.pod_references import MIRROR, config_map_names, secret_names
from knarr.api.errors import quote
from knarr.apiserver.admission.chain import Attributes

__all__ = ["pod_problem", "status_problem", "token_problem"]


def pod_problem(attributes: Attributes, node: str, node_uid: Callable[[str], str]) -> str:
    """``node_uid`` raises ``StatusError`` 404 for a node that is not there."""
    if attributes.operation == "CREATE":
        pod: core.Pod = attributes.obj
        return _mirror_problem(pod, node) or _owner_problem(pod, node, node_uid) or _reference_problem(pod, node)
    if attributes.operation == "DELETE":
        mine = attributes.old.spec.nodeName == node
        return "" if mine else f"node {quote(node)} can only delete pods with spec.nodeName set to itself"
    return (
        f"unexpected operation {quote(attributes.operation)}, node {quote(node)} can only create and delete mirror pods"
    )


def _mirror_problem(pod: core.Pod, node: str) -> str:
    if MIRROR not in pod.metadata.annotations:
        return f"pod does not have {quote(MIRROR)} annotation, node {quote(node)} can only create mirror pods"
    if pod.spec.nodeName != node:
        return f"node {quote(node)} can only create pods with spec.nodeName set to itself"
    return ""


def _owner_problem(pod: core.Pod, node: str, node_uid: Callable[[str], str]) -> str:
    """The node owns its mirror pods, so that they go with it."""
    quoted = quote(node)
    owners = pod.metadata.ownerReferences
    if len(owners) > 1:
        return f"node {quoted} can only create pods with a single owner reference set to itself"
    if not owners or (owners[0].apiVersion, owners[0].kind, owners[0].name) != ("v1", "Node", node):
        return f"node {quoted} can only create pods with an owner reference set to itself"
    [owner] = owners
    if not owner.controller:
        return f"node {quoted} can only create pods with a controller owner reference set to itself"
    if owner.blockOwnerDeletion:
        return f"node {quoted} must not set blockOwnerDeletion on an owner reference"
    uid = node_uid(node)
    return "" if owner.uid == uid else f"node {node} UID mismatch: expected {owner.uid} got {uid}"


def _reference_problem(pod: core.Pod, node: str) -> str:
    """A pod that a node makes gives the node no right to anything."""
    projected = [
        source
        for volume in pod.spec.volumes
        if volume.projected is not None
        for source in volume.projected.sources
    ]
    used = (
        ("a service account", bool(pod.spec.serviceAccountName)),
        ("secrets", any(True for _ in secret_names(pod))),
        ("configmaps", any(True for _ in config_map_names(pod))),
        ("clustertrustbundles", any(source.clusterTrustBundle is not None for source in projected)),
        ("persistentvolumeclaims", any(volume.persistentVolumeClaim is not None for volume in pod.spec.volumes)),
        ("resourceclaims", bool(pod.spec.resourceClaims)),
    )
    for what, found in used:
        if found:
            return f"node {quote(node)} can not create pods that reference {what}"
    return ""


def status_problem(attributes: Attributes, node: str) -> str:
    if attributes.operation != "UPDATE":
        return f"unexpected operation {quote(attributes.operation)}"
    held: core.Pod = attributes.old
    if held.spec.nodeName != node:
        return f"node {quote(node)} can only update pod status for pods with spec.nodeName set to itself"
    if attributes.obj.metadata.labels != held.metadata.labels:
        return f"node {quote(node)} cannot update labels through pod status"
    if attributes.obj.status.resourceClaimStatuses != held.status.resourceClaimStatuses:
        return f"node {quote(node)} cannot update resource claim statues"
    return ""


def token_problem(attributes: Attributes, node: str, find_pod: Callable[[str, str], core.Pod]) -> str:
    """``find_pod`` raises ``StatusError`` 404 for a pod that is not there."""
    wanted: authentication.TokenRequest = attributes.obj
    bound = wanted.spec.boundObjectRef
    if bound is None or bound.apiVersion != "v1" or bound.kind != "Pod" or not bound.name:
        return "node requested token not bound to a pod"
    if not bound.uid:
        return "node requested token with a pod binding without a uid"
    pod = find_pod(attributes.namespace, bound.name)
    if bound.uid != pod.metadata.uid:
        return (
            f"the UID in the bound object reference ({bound.uid}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
    if pod.spec.nodeName != node:
        return "node requested token bound to a pod scheduled on a different node"
    if len(wanted.spec.audiences) > 1:
        return "node may only request 0 or 1 audiences"
    audience = wanted.spec.audiences[0] if wanted.spec.audiences else ""
    if audience not in _audiences(pod):
        return (
            f"audience {quote(audience)} not found in pod spec volume, "
            f"system:node:{node} is not authorized to request tokens for this audience"
        )
    return ""


def _audiences(pod: core.Pod) -> set[str]:
    """Whom the pod's own volumes want tokens for; empty is the API server."""
    return {
        source.serviceAccountToken.audience
        for volume in pod.spec.volumes
        if volume.projected is not None
        for source in volume.projected.sources
        if source.serviceAccountToken is not None
    }
