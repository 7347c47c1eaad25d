"""What a kubelet may read and write: what its pods use, and what is its own."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.core import v1 as core
from knarr.api.core.pod_references import references_of, volume_secrets
from knarr.api.meta import v1 as meta
from knarr.apiserver.admission.chain import Attributes
from knarr.apiserver.admission.node_pods import pod_problem, token_problem
from knarr.apiserver.authorization.node import NodeAuthorizer
from knarr.apiserver.rbac import Question
from knarr.apiserver.rbac_defaults import node_rules
from knarr.apiserver.request import Query, UserInfo, parse_request_info

NODE = UserInfo("system:node:n1", ("system:nodes", "system:authenticated"))
UNRELATED = "no relationship found between node 'n1' and this object"


class Graph:
    """Node n1 uses whatever is called "used"."""

    def __getattr__(self, question: str) -> Any:
        return lambda *asked: asked[0] == "n1" and asked[-1] == "used"


def decide(question: Question, user: UserInfo = NODE) -> tuple[bool, str]:
    graph: Any = Graph()
    decision = NodeAuthorizer(graph, node_rules()).decide(user, question)
    return decision.allowed, decision.reason


def q(verb: str, resource: str, name: str = "", *, group: str = "", sub: str = "", ns: str = "default", fields: str = "") -> Question:
    return Question(verb, group, resource, sub, ns, name, "", "v1", fields)


@pytest.mark.parametrize(
    ("question", "allowed", "reason"),
    [
        (q("get", "secrets", "used"), True, ""),
        (q("watch", "configmaps", "used"), True, ""),
        (q("get", "secrets", "other"), False, UNRELATED),
        (q("list", "secrets"), False, "No Object name found"),
        (q("get", "secrets", "used", ns=""), False, "can only read namespaced object of this type"),
        (q("update", "secrets", "used"), False, "can only read resources of this type"),
        (q("get", "persistentvolumeclaims", "used"), True, ""),
        (q("list", "persistentvolumeclaims"), False, "can only get individual resources of this type"),
        (q("patch", "persistentvolumeclaims", "used", sub="status"), True, ""),
        (q("get", "persistentvolumes", "used", ns=""), True, ""),
        (q("get", "persistentvolumes", "other", ns=""), False, UNRELATED),
        (q("create", "serviceaccounts", "used", sub="token"), True, ""),
        (q("create", "serviceaccounts", "other", sub="token"), False, UNRELATED),
        (q("get", "serviceaccounts", "used"), False, "can only create tokens for individual service accounts"),
        (q("update", "leases", "n1", group="coordination.k8s.io", ns="kube-node-lease"), True, ""),
        (
            q("update", "leases", "n2", group="coordination.k8s.io", ns="kube-node-lease"),
            False,
            "can only access node lease with the same name as the requesting node",
        ),
        (
            q("get", "leases", "n1", group="coordination.k8s.io"),
            False,
            'can only access leases in the "kube-node-lease" system namespace',
        ),
        (q("get", "csinodes", "n1", group="storage.k8s.io", ns=""), True, ""),
        (
            q("get", "csinodes", "n2", group="storage.k8s.io", ns=""),
            False,
            "can only access CSINode with the same name as the requesting node",
        ),
        (q("get", "nodes", "n1", ns=""), True, ""),
        (q("watch", "nodes", "n1", ns=""), True, ""),
        (q("get", "nodes", "n2", ns=""), False, "node 'n1' cannot read 'n2', only its own Node object"),
        (q("list", "nodes", ns=""), False, "node 'n1' cannot read all nodes, only its own Node object"),
        (q("delete", "nodes", "n1", ns=""), False, ""),
        (q("patch", "nodes", "n1", sub="status", ns=""), True, ""),
        (q("list", "pods", ns="", fields="spec.nodeName=n1"), True, ""),
        (q("watch", "pods", ns="", fields="status.phase!=Failed,spec.nodeName==n1"), True, ""),
        (
            q("list", "pods", ns="", fields="spec.nodeName=n2"),
            False,
            "can only list/watch pods with spec.nodeName field selector",
        ),
        (q("get", "pods", "other"), False, UNRELATED),
        (q("create", "pods", sub="eviction"), True, ""),
        (q("update", "pods", "used"), False, ""),
        (q("list", "services", ns=""), True, ""),
        (q("list", "endpointslices", group="discovery.k8s.io", ns=""), False, ""),
        (Question("get", path="/metrics"), False, ""),
    ],
)
def test_what_a_kubelet_may(question: Question, allowed: bool, reason: str) -> None:
    assert decide(question) == (allowed, reason)


def test_who_is_no_kubelet_is_not_judged_as_one() -> None:
    asked = q("get", "secrets", "used")
    assert decide(asked, UserInfo("system:node:n1", ("other",))) == (False, "")
    assert decide(asked, UserInfo("alice", ("system:nodes",))) == (False, "")
    nobody = UserInfo("system:node:", ("system:nodes",))
    assert decide(asked, nobody) == (False, 'unknown node for user "system:node:"')


def reference(name: str) -> Any:
    return core.LocalObjectReference(name=name)


def test_everything_a_pod_uses_is_found() -> None:
    env = core.EnvVar(name="A", valueFrom=core.EnvVarSource(secretKeyRef=core.SecretKeySelector(name="s-env", key="k")))
    source = core.EnvFromSource(configMapRef=core.ConfigMapEnvSource(name="c-env"))
    projected = core.ProjectedVolumeSource(
        sources=[
            core.VolumeProjection(secret=core.SecretProjection(name="s-proj")),
            core.VolumeProjection(configMap=core.ConfigMapProjection(name="c-proj")),
        ]
    )
    pod = core.Pod(
        metadata=meta.ObjectMeta(name="p"),
        spec=core.PodSpec(
            serviceAccountName="robot",
            imagePullSecrets=[reference("s-pull")],
            initContainers=[core.Container(name="i", env=[env])],
            containers=[core.Container(name="c", envFrom=[source])],
            volumes=[
                core.Volume(name="a", secret=core.SecretVolumeSource(secretName="s-vol")),
                core.Volume(name="b", configMap=core.ConfigMapVolumeSource(name="c-vol")),
                core.Volume(name="c", projected=projected),
                core.Volume(name="d", csi=core.CSIVolumeSource(driver="x", nodePublishSecretRef=reference("s-csi"))),
                core.Volume(name="e", persistentVolumeClaim=core.PersistentVolumeClaimVolumeSource(claimName="pvc")),
                core.Volume(name="f", ephemeral=core.EphemeralVolumeSource()),
            ],
        ),
    )
    used = references_of(pod)
    assert used.secrets == {"s-env", "s-proj", "s-pull", "s-vol", "s-csi"}
    assert used.config_maps == {"c-env", "c-proj", "c-vol"}
    assert used.claims == {"pvc", "p-f"} and used.account == "robot"
    pod.metadata.annotations = {"kubernetes.io/config.mirror": "x"}
    assert not references_of(pod).secrets


def test_a_volumes_secrets_for_controllers_are_not_for_nodes() -> None:
    def secret(name: str) -> core.SecretReference:
        return core.SecretReference(name=name, namespace="storage")

    csi = core.CSIPersistentVolumeSource(nodeStageSecretRef=secret("stage"), controllerExpandSecretRef=secret("expand"))
    volume = core.PersistentVolume(spec=core.PersistentVolumeSpec(csi=csi))
    assert list(volume_secrets(volume)) == [("storage", "stage")]


@pytest.mark.parametrize(
    ("selector", "name"),
    [
        ("metadata.name=n1", "n1"),
        ("spec.nodeName=x,metadata.name==n1", "n1"),
        ("metadata.name!=n1", ""),
        ("metadata.name=a/b", ""),
        ("metadata.namespace=n1", ""),
    ],
)
def test_a_list_of_one_name_is_a_request_for_that_name(selector: str, name: str) -> None:
    info = parse_request_info("GET", "/api/v1/nodes", Query([("fieldSelector", selector)]))
    assert (info.verb, info.name, info.field_selector) == ("list", name, selector)


def mirror(**changes: Any) -> core.Pod:
    owner = meta.OwnerReference(apiVersion="v1", kind="Node", name="n1", uid="u1", controller=True)
    pod = core.Pod(
        metadata=meta.ObjectMeta(name="m", annotations={"kubernetes.io/config.mirror": "x"}, ownerReferences=[owner]),
        spec=core.PodSpec(nodeName="n1"),
    )
    for key, value in changes.items():
        setattr(pod.spec if hasattr(pod.spec, key) else pod.metadata, key, value)
    return pod


def attributes(operation: str, obj: Any, subresource: str = "") -> Attributes:
    nothing: Any = None
    return Attributes(operation, nothing, nothing, "default", "m", obj=obj, subresource=subresource)


@pytest.mark.parametrize(
    ("pod", "problem"),
    [
        (mirror(), ""),
        (mirror(nodeName="n2"), 'node "n1" can only create pods with spec.nodeName set to itself'),
        (mirror(ownerReferences=[]), 'node "n1" can only create pods with an owner reference set to itself'),
        (mirror(serviceAccountName="x"), 'node "n1" can not create pods that reference a service account'),
        (
            mirror(volumes=[core.Volume(name="a", secret=core.SecretVolumeSource(secretName="s"))]),
            'node "n1" can not create pods that reference secrets',
        ),
        (
            mirror(ownerReferences=[meta.OwnerReference(apiVersion="v1", kind="Node", name="n1", uid="old", controller=True)]),
            "node n1 UID mismatch: expected old got u1",
        ),
    ],
)
def test_a_mirror_pod_gives_its_node_no_rights(pod: core.Pod, problem: str) -> None:
    assert pod_problem(attributes("CREATE", pod), "n1", lambda name: "u1") == problem


def test_a_node_has_tokens_only_for_its_own_pods_and_their_audiences() -> None:
    from knarr.api.authentication import v1 as authentication

    token = core.ServiceAccountTokenProjection(audience="vault", path="t")
    projected = core.ProjectedVolumeSource(sources=[core.VolumeProjection(serviceAccountToken=token)])
    pod = core.Pod(
        metadata=meta.ObjectMeta(name="p", uid="u"),
        spec=core.PodSpec(nodeName="n1", volumes=[core.Volume(name="v", projected=projected)]),
    )

    def problem(audiences: list[str], *, uid: str = "u", node: str = "n1") -> str:
        bound = authentication.BoundObjectReference(apiVersion="v1", kind="Pod", name="p", uid=uid)
        spec = authentication.TokenRequestSpec(audiences=audiences, boundObjectRef=bound)
        wanted = attributes("CREATE", authentication.TokenRequest(spec=spec), "token")
        return token_problem(wanted, node, lambda namespace, name: pod)

    assert problem(["vault"]) == ""
    assert problem([]).startswith('audience "" not found in pod spec volume')
    assert problem(["vault"], uid="old").startswith("the UID in the bound object reference (old) does not match")
    assert problem(["vault"], node="n2") == "node requested token bound to a pod scheduled on a different node"
    assert problem(["a", "b"]) == "node may only request 0 or 1 audiences"
    unbound = attributes("CREATE", authentication.TokenRequest(), "token")
    assert token_problem(unbound, "n1", lambda namespace, name: pod) == "node requested token not bound to a pod"
