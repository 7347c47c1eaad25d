"""The roles and bindings every cluster has, as upstream publishes them.

Here are those of the components, the nodes and the server itself. Upstream gives each controller an account and a role; here all
controllers share one identity, which has a role of Knarr's own beside upstream's.

Upstream's counterpart is ``plugin/pkg/auth/authorizer/rbac/bootstrappolicy``. Neighbours: ``rbac_reconcile`` brings stored roles up to
these; ``rbac_user_roles`` has people's roles, ``rbac_controllers`` those of controllers; ``authorization.node`` uses the nodes' rules
without any binding.
"""

from __future__ import annotations

from collections.abc import Iterator

from knarr.api.rbac import v1 as rbac
from knarr.apiserver.rbac_controllers import PREFIX, controller_rules
from knarr.apiserver.rbac_rules import (
    GROUP,
    READ,
    READ_UPDATE,
    READ_WRITE,
    default_meta,
    default_role,
    events_rule,
    rule,
)
from knarr.apiserver.rbac_user_roles import information_roles, user_roles

__all__ = ["default_bindings", "default_roles", "node_rules"]


def default_roles() -> Iterator[rbac.ClusterRole | rbac.Role]:
    yield default_role("cluster-admin", rule(["*"], "*", "*"), rbac.PolicyRule(verbs=["*"], nonResourceURLs=["*"]))
    yield from information_roles()
    yield from user_roles()
    yield from _component_roles()
    for name, rules in controller_rules().items():
        yield default_role(PREFIX + name, *(rule(verbs, groups, resources, names) for verbs, groups, resources, names in rules))
    yield from _approver_roles()
    yield from _namespaced_roles()


def node_rules() -> list[rbac.PolicyRule]:
    """What every kubelet may do, where the Node authorizer does not look closer."""
    return [
        rule(["create"], "authentication.k8s.io", "tokenreviews"),
        rule(["create"], "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
        rule(READ, "core", "services"),
        rule(["create", "get", "list", "watch"], "core", "nodes"),
        rule(["patch", "update"], "core", "nodes/status"),
        rule(["patch", "update"], "core", "nodes"),
        events_rule(),
        rule(["get"], "core", "serviceaccounts"),
        rule(READ, "core", "pods"),
        rule(["create", "delete"], "core", "pods"),
        rule(["patch", "update"], "core", "pods/status"),
        rule(["create"], "core", "pods/eviction"),
        rule(READ, "core", "configmaps secrets"),
        rule(["get"], "core", "persistentvolumeclaims persistentvolumes"),
        rule(["get"], "core", "endpoints"),
        rule(["create", *READ], "certificates.k8s.io", "certificatesigningrequests"),
        rule(["create", "delete", "get", "patch", "update"], "coordination.k8s.io", "leases"),
        rule(["get"], "storage.k8s.io", "volumeattachments"),
        rule(["create"], "core", "serviceaccounts/token"),
        rule(["get", "patch", "update"], "core", "persistentvolumeclaims/status"),
        rule(READ, "storage.k8s.io", "csidrivers"),
        rule(["create", "delete", "get", "patch", "update"], "storage.k8s.io", "csinodes"),
        rule(READ, "node.k8s.io", "runtimeclasses"),
        rule(["get"], "resource.k8s.io", "resourceclaims"),
        rule(["deletecollection"], "resource.k8s.io", "resourceslices"),
        rule([*READ, "create", "delete", "patch", "update"], "resource.k8s.io", "resourceslices"),
    ]


def _component_roles() -> Iterator[rbac.ClusterRole]:
    reviews = (
        rule(["create"], "authentication.k8s.io", "tokenreviews"),
        rule(["create"], "authorization.k8s.io", "subjectaccessreviews"),
    )
    yield default_role(
        "system:heapster",
        rule(READ, "core", "events namespaces nodes pods"),
        rule(READ, "extensions", "deployments"),
    )
    yield default_role("system:node", *node_rules())
    yield default_role(
        "system:node-problem-detector",
        rule(["get"], "core", "nodes"),
        rule(["patch"], "core", "nodes/status"),
        events_rule(),
    )
    yield default_role(
        "system:kubelet-api-admin",
        rule(READ, "core", "nodes"),
        rule(["proxy"], "core", "nodes"),
        rule(
            ["*"],
            "core",
            "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats",
        ),
    )
    yield default_role(
        "system:node-bootstrapper",
        rule(["create", *READ], "certificates.k8s.io", "certificatesigningrequests"),
    )
    yield default_role("system:auth-delegator", *reviews)
    yield default_role("system:kube-aggregator", rule(READ, "core", "endpoints services"))
    yield default_role(
        "system:kube-controller-manager",
        events_rule(),
        rule(["create"], "coordination.k8s.io", "leases"),
        rule(["get", "update"], "coordination.k8s.io", "leases", "kube-controller-manager"),
        rule(["create"], "core", "secrets serviceaccounts"),
        rule(["delete"], "core", "secrets"),
        rule(["get"], "core", "configmaps namespaces secrets serviceaccounts"),
        rule(["update"], "core", "secrets serviceaccounts"),
        *reviews,
        rule(["list", "watch"], "*", "*"),
        rule(["create"], "core", "serviceaccounts/token"),
    )
    yield default_role("system:kube-dns", rule(["list", "watch"], "core", "endpoints services"))
    yield default_role(
        "system:persistent-volume-provisioner",
        rule(["create", "delete", *READ], "core", "persistentvolumes"),
        rule([*READ, "update"], "core", "persistentvolumeclaims"),
        rule(READ, "storage.k8s.io", "storageclasses"),
        rule(["watch"], "core", "events"),
        events_rule(),
    )
    yield default_role(
        "system:volume-scheduler",
        rule(READ_UPDATE, "core", "persistentvolumes"),
        rule(READ, "storage.k8s.io", "storageclasses"),
        rule(READ_UPDATE, "core", "persistentvolumeclaims"),
    )
    yield default_role(
        "system:node-proxier",
        rule(["list", "watch"], "core", "endpoints services"),
        rule(READ, "core", "nodes"),
        events_rule(),
        rule(["list", "watch"], "networking.k8s.io", "servicecidrs"),
        rule(["list", "watch"], "discovery.k8s.io", "endpointslices"),
    )
    yield _scheduler_role(*reviews)
    yield from _own_roles(*reviews)


def _scheduler_role(*reviews: rbac.PolicyRule) -> rbac.ClusterRole:
    return default_role(
        "system:kube-scheduler",
        events_rule(),
        rule(["create"], "coordination.k8s.io", "leases"),
        rule([*READ, "update"], "coordination.k8s.io", "leases", "kube-scheduler"),
        rule(READ_WRITE, "coordination.k8s.io", "leasecandidates"),
        rule(READ, "core", "nodes"),
        rule([*READ, "delete"], "core", "pods"),
        rule(["create"], "core", "bindings pods/binding"),
        rule(["patch", "update"], "core", "pods/status"),
        rule(READ, "core", "replicationcontrollers services"),
        rule(READ, "apps extensions", "replicasets"),
        rule(READ, "apps", "statefulsets"),
        rule(READ, "policy", "poddisruptionbudgets"),
        rule(READ, "core", "persistentvolumeclaims persistentvolumes"),
        *reviews,
        rule(READ, "storage.k8s.io", "csinodes"),
        rule(READ, "core", "namespaces"),
        rule(READ, "storage.k8s.io", "csidrivers"),
        rule(READ, "storage.k8s.io", "csistoragecapacities"),
        rule(READ, "storage.k8s.io", "volumeattachments"),
        rule(READ, "resource.k8s.io", "deviceclasses resourceclaims resourceslices"),
        rule(READ_UPDATE, "resource.k8s.io", "resourceclaims/status"),
        rule(["create", "delete", "patch", "update"], "resource.k8s.io", "resourceclaims"),
        rule(["patch", "update"], "resource.k8s.io", "resourceclaims/binding"),
        rule(["update"], "core", "pods/finalizers"),
    )


def _own_roles(*reviews: rbac.PolicyRule) -> Iterator[rbac.ClusterRole]:
    """What upstream has no part for."""
    # All controllers are one user; upstream's are a service account each, and have the roles of ``rbac_controllers``.
    yield default_role("system:knarr:controllers", rule(["*"], "*", "*"), rbac.PolicyRule(verbs=["get"], nonResourceURLs=["*"]))
    # Beside the kubelet: service proxy, DNS, pod network and local volumes of a node, in one process.
    yield default_role(
        "system:knarr:node-agent",
        rule(READ, "core", "namespaces nodes services"),
        rule([*READ, "create", "patch", "update"], "discovery.k8s.io", "endpointslices"),
        rule(READ, "networking.k8s.io", "networkpolicies servicecidrs"),
        rule([*READ, "delete"], "core", "persistentvolumes"),
        events_rule(),
    )
    # One process is many kubelets, and so can be held to none.
    yield default_role(
        "system:knarr:simulated-nodes",
        *node_rules(),
        rule(READ, "core", "namespaces persistentvolumeclaims persistentvolumes serviceaccounts"),
        *reviews,
    )


def _approver_roles() -> Iterator[rbac.ClusterRole]:
    prefix, group = "system:certificates.k8s.io", "certificates.k8s.io"
    for part in ("nodeclient", "selfnodeclient"):
        yield default_role(
            f"{prefix}:certificatesigningrequests:{part}",
            rule(["create"], group, f"certificatesigningrequests/{part}"),
        )
    for signer in ("legacy-unknown", "kubelet-serving", "kube-apiserver-client", "kube-apiserver-client-kubelet"):
        yield default_role(f"{prefix}:{signer}-approver", rule(["approve"], group, "signers", f"kubernetes.io/{signer}"))
    yield default_role("system:cluster-trust-bundle-discovery", rule(READ, group, "clustertrustbundles"))


def _namespaced_roles() -> Iterator[rbac.Role]:
    def made(namespace: str, name: str, *rules: rbac.PolicyRule) -> rbac.Role:
        return rbac.Role(metadata=default_meta(name, namespace), rules=list(rules))

    system, public = "kube-system", "kube-public"
    authentication = "extension-apiserver-authentication"
    yield made(system, f"{authentication}-reader", rule(READ, "core", "configmaps", authentication))
    yield made(system, "system:controller:bootstrap-signer", rule(READ, "core", "secrets"))
    yield made(
        system, "system:controller:cloud-provider", rule(["create", *READ], "core", "configmaps")
    )
    yield made(
        system, "system:controller:token-cleaner", rule(["delete", *READ], "core", "secrets"), events_rule()
    )
    for component in ("kube-controller-manager", "kube-scheduler"):
        yield made(
            system,
            f"system::leader-locking-{component}",
            rule(["create", *READ, "update"], "coordination.k8s.io", "leases"),
            rule(["create", *READ, "update"], "coordination.k8s.io", "leasecandidates"),
        )
    yield made(
        public,
        "system:controller:bootstrap-signer",
        rule(READ, "core", "configmaps"),
        rule(["update"], "core", "configmaps", "cluster-info"),
        events_rule(),
    )


#: Role, then who has it: ``Group:x``, ``User:x``, ``ServiceAccount:namespace/x``.
_CLUSTER_BINDINGS = {
    "cluster-admin": "Group:system:masters",
    "system:monitoring": "Group:system:monitoring",
    "system:discovery": "Group:system:authenticated",
    "system:basic-user": "Group:system:authenticated",
    "system:public-info-viewer": "Group:system:authenticated Group:system:unauthenticated",
    "system:node-proxier": "User:system:kube-proxy",
    "system:kube-controller-manager": "User:system:kube-controller-manager",
    "system:kube-dns": "ServiceAccount:kube-system/kube-dns",
    "system:kube-scheduler": "User:system:kube-scheduler",
    "system:volume-scheduler": "User:system:kube-scheduler",
    # Kubelets have their rights from the Node authorizer.
    "system:node": "",
    "system:service-account-issuer-discovery": "Group:system:serviceaccounts",
    "system:cluster-trust-bundle-discovery": "Group:system:serviceaccounts",
    "system:knarr:controllers": "User:system:kube-controller-manager",
    "system:knarr:node-agent": "Group:system:knarr:node-agents",
    "system:knarr:simulated-nodes": "User:system:knarr:simulated-nodes",
}
#: Namespace and binding, then role and who has it.
_BINDINGS = {
    ("kube-system", "system::extension-apiserver-authentication-reader"): (
        "extension-apiserver-authentication-reader",
        "User:system:kube-controller-manager User:system:kube-scheduler",
    ),
    ("kube-system", "system::leader-locking-kube-controller-manager"): (
        "system::leader-locking-kube-controller-manager",
        "User:system:kube-controller-manager ServiceAccount:kube-system/kube-controller-manager "
        "ServiceAccount:kube-system/leader-election-controller",
    ),
    ("kube-system", "system::leader-locking-kube-scheduler"): (
        "system::leader-locking-kube-scheduler",
        "User:system:kube-scheduler ServiceAccount:kube-system/kube-scheduler",
    ),
    **{
        (namespace, f"system:controller:{name}"): (
            f"system:controller:{name}",
            f"ServiceAccount:kube-system/{name}",
        )
        for namespace, name in (
            ("kube-system", "bootstrap-signer"),
            ("kube-system", "cloud-provider"),
            ("kube-system", "token-cleaner"),
            ("kube-public", "bootstrap-signer"),
        )
    },
}


def default_bindings() -> Iterator[rbac.ClusterRoleBinding | rbac.RoleBinding]:
    accounts = {f"{PREFIX}{name}": f"ServiceAccount:kube-system/{name}" for name in controller_rules()}
    for name, subjects in {**_CLUSTER_BINDINGS, **accounts}.items():
        reference = rbac.RoleRef(apiGroup=GROUP, kind="ClusterRole", name=name)
        yield rbac.ClusterRoleBinding(metadata=default_meta(name), roleRef=reference, subjects=_subjects(subjects))
    for (namespace, name), (role, subjects) in _BINDINGS.items():
        reference = rbac.RoleRef(apiGroup=GROUP, kind="Role", name=role)
        yield rbac.RoleBinding(
            metadata=default_meta(name, namespace), roleRef=reference, subjects=_subjects(subjects)
        )


def _subjects(text: str) -> list[rbac.Subject]:
    subjects: list[rbac.Subject] = []
    for each in text.split():
        kind, _, name = each.partition(":")
        if kind == "ServiceAccount":
            namespace, _, account = name.partition("/")
            subjects.append(rbac.Subject(kind=kind, name=account, namespace=namespace))
        else:
            subjects.append(rbac.Subject(kind=kind, name=name, apiGroup=GROUP))
    return subjects
