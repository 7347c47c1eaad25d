"""What a new cluster holds: system namespaces, default roles and bindings, priority classes, the
``kubernetes`` service.

Everything is created if it is missing, at every start of a server. Default roles and bindings also get what a
newer version
adds, unless their ``autoupdate`` annotation says otherwise; all else is left as it is.

Upstream's counterpart is ``plugin/pkg/auth/authorizer/rbac/bootstrappolicy`` and ``pkg/controlplane``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import Any

from knarr.api.core import v1 as core
from knarr.api.discovery import v1 as discovery
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.networking import v1 as networking
from knarr.api.rbac import v1 as rbac
from knarr.api.scheduling import v1 as scheduling
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.registry.strategy import Context
from knarr.kit.log import get_logger

log = get_logger("bootstrap")

SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
READ = ["get", "list", "watch"]
WRITE = ["create", "delete", "deletecollection", "patch", "update"]
_BOOTSTRAP_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_AUTOUPDATE = {AUTOUPDATE: "true"}

#: Finds the registry of a type.
Registries = Callable[[type[Any]], GenericRegistry]


async def bootstrap(
    registries: Registries,
    ctx: Context,
    *,
    service_cidr: str,
    api_address: str,
    api_port: int,
    service_address: str,
) -> None:
    """Create what is missing."""
    for obj in _objects(service_cidr):
        await _ensure(registries, ctx, obj)
    await _ensure(registries, ctx, _kubernetes_service(service_address))
    if ipaddress.ip_address(api_address).is_loopback:
        # No pod could reach it there, and an endpoint may not be a loopback address.
        return
    for obj in _kubernetes_endpoints(api_address, api_port):
        await _replace(registries, ctx, obj)


async def _ensure(registries: Registries, ctx: Context, obj: Any) -> None:
    registry = registries(type(obj))
    entry = registry.cache.get(registry.key(obj.metadata.namespace, obj.metadata.name))
    if entry is not None:
        held = registry.cache.object(entry)
        if held.metadata.annotations.get(AUTOUPDATE) == "true":
            await _complete(registry, ctx, obj)
        return
    try:
        await registry.create(ctx, obj)
    except StatusError as error:
        # Another server that starts at the same time may have been faster.
        if error.reason != "AlreadyExists":
            log.error(
                "default object not created", kind=type(obj).__name__, name=obj.metadata.name, error=error
            )
            raise


async def _complete(registry: GenericRegistry, ctx: Context, wanted: Any) -> None:
    """Give a default role or binding what a newer version adds; what users have added stays."""

    async def mutate(current: Any | None) -> Any:
        assert current is not None
        for name in ("rules", "subjects"):
            for item in getattr(wanted, name, ()):
                held = getattr(current, name)
                if item not in held:
                    held.append(item)
        return current

    await registry.update(ctx, wanted.metadata.namespace, wanted.metadata.name, mutate)


async def _replace(registries: Registries, ctx: Context, obj: Any) -> None:
    """The server's own address may have changed since the last start."""
    registry = registries(type(obj))

    async def mutate(current: Any | None) -> Any:
        return obj

    await registry.update(ctx, obj.metadata.namespace, obj.metadata.name, mutate, may_create=True)


def _objects(service_cidr: str) -> Iterator[Any]:
    for name in SYSTEM_NAMESPACES:
        yield core.Namespace(metadata=meta.ObjectMeta(name=name))
    yield networking.ServiceCIDR(
        metadata=meta.ObjectMeta(name="kubernetes"), spec=networking.ServiceCIDRSpec(cidrs=[service_cidr])
    )
    for name, value, text in (
        (
            "system-node-critical",
            2000001000,
            "For pods the node itself depends on; they stay where they are.",
        ),
        (
            "system-cluster-critical",
            2000000000,
            "For pods the cluster depends on; they may move to another node.",
        ),
    ):
        yield scheduling.PriorityClass(metadata=meta.ObjectMeta(name=name), value=value, description=text)
    yield from _roles()
    yield from _bindings()


def rule(verbs: list[str], groups: str, resources: str) -> rbac.PolicyRule:
    """A rule in short: groups and resources separated by blanks; ``core`` is the empty group."""
    return rbac.PolicyRule(
        verbs=verbs,
        apiGroups=["" if group == "core" else group for group in groups.split()],
        resources=resources.split(),
    )


def _urls(*paths: str) -> rbac.PolicyRule:
    return rbac.PolicyRule(verbs=["get"], nonResourceURLs=list(paths))


def _role(name: str, *rules: rbac.PolicyRule) -> rbac.ClusterRole:
    metadata = meta.ObjectMeta(name=name, labels=dict(_BOOTSTRAP_LABELS), annotations=dict(_AUTOUPDATE))
    return rbac.ClusterRole(metadata=metadata, rules=list(rules))


_WORKLOADS = "deployments deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale daemonsets controllerrevisions"
_CORE_OBJECTS = (
    "configmaps endpoints persistentvolumeclaims pods replicationcontrollers replicationcontrollers/scale "
    "serviceaccounts services"
)
_EVERYTHING = "*"


def _view_rules() -> list[rbac.PolicyRule]:
    return [
        rule(
            READ,
            "core",
            _CORE_OBJECTS + " persistentvolumeclaims/status pods/status pods/log services/status "
            "bindings events limitranges namespaces namespaces/status resourcequotas resourcequotas/status",
        ),
        rule(READ, "discovery.k8s.io", "endpointslices"),
        rule(
            READ,
            "apps",
            _WORKLOADS + " deployments/status replicasets/status statefulsets/status daemonsets/status",
        ),
        rule(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
        rule(READ, "batch", "jobs cronjobs jobs/status cronjobs/status"),
        rule(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
        rule(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
    ]


def _edit_rules() -> list[rbac.PolicyRule]:
    return [
        *_view_rules(),
        rule(READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
        rule(["impersonate"], "core", "serviceaccounts"),
        rule(["create"], "core", "pods/eviction serviceaccounts/token"),
        rule(["get", "create"], "core", "pods/attach pods/exec pods/portforward"),
        rule(WRITE, "core", _CORE_OBJECTS + " secrets services/proxy pods/proxy events"),
        rule(WRITE, "apps", _WORKLOADS + " deployments/rollback"),
        rule(WRITE, "autoscaling", "horizontalpodautoscalers"),
        rule(WRITE, "batch", "jobs cronjobs"),
        rule(WRITE, "policy", "poddisruptionbudgets"),
        rule(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
        rule([*READ, *WRITE], "coordination.k8s.io", "leases"),
    ]


def _roles() -> Iterator[rbac.ClusterRole]:
    yield _role(
        "cluster-admin",
        rule(["*"], _EVERYTHING, "*"),
        rbac.PolicyRule(verbs=["*"], nonResourceURLs=["*"]),
    )
    yield _role(
        "system:discovery",
        _urls(
            "/api",
            "/api/*",
            "/apis",
            "/apis/*",
            "/healthz",
            "/livez",
            "/openapi",
            "/openapi/*",
            "/readyz",
            "/version",
            "/version/",
        ),
    )
    yield _role("system:public-info-viewer", _urls("/healthz", "/livez", "/readyz", "/version", "/version/"))
    yield _role(
        "system:service-account-issuer-discovery",
        _urls("/.well-known/openid-configuration", "/openid/v1/jwks"),
    )
    yield _role(
        "system:monitoring",
        _urls(
            "/metrics",
            "/metrics/slis",
            "/livez",
            "/readyz",
            "/healthz",
            "/livez/*",
            "/readyz/*",
            "/healthz/*",
        ),
    )
    yield _role(
        "system:basic-user",
        rule(["create"], "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
        rule(["create"], "authentication.k8s.io", "selfsubjectreviews"),
    )
    yield _role("view", *_view_rules())
    yield _role("edit", *_edit_rules())
    yield _role(
        "admin",
        *_edit_rules(),
        rule([*READ, *WRITE], "rbac.authorization.k8s.io", "roles rolebindings"),
        rule(["create"], "authorization.k8s.io", "localsubjectaccessreviews"),
    )
    yield from _component_roles()


def _component_roles() -> Iterator[rbac.ClusterRole]:
    yield _role(
        "system:node",
        rule(
            READ,
            "core",
            "services endpoints nodes pods configmaps secrets persistentvolumeclaims persistentvolumes serviceaccounts",
        ),
        rule(["create", "get", "list", "watch", "update", "patch", "delete"], "core", "nodes"),
        rule(["update", "patch"], "core", "nodes/status pods/status"),
        rule(["create", "delete"], "core", "pods"),
        rule(["create"], "core", "serviceaccounts/token pods/eviction"),
        rule(["create", "update", "patch"], "core events.k8s.io", "events"),
        rule(["create", "get", "update", "patch", "delete"], "coordination.k8s.io", "leases"),
        rule(["create"], "authentication.k8s.io", "tokenreviews"),
        rule(["create"], "authorization.k8s.io", "subjectaccessreviews localsubjectaccessreviews"),
        rule([*READ, "create"], "certificates.k8s.io", "certificatesigningrequests"),
        rule(READ, "node.k8s.io", "runtimeclasses"),
        rule(READ, "storage.k8s.io", "csidrivers csinodes volumeattachments"),
        rule([*READ, "create", "update", "patch", "delete"], "discovery.k8s.io", "endpointslices"),
        rule(READ, "networking.k8s.io", "networkpolicies servicecidrs"),
        rule(READ, "core", "namespaces"),
        rule(["delete"], "core", "persistentvolumes"),
    )
    yield _role(
        "system:node-proxier",
        rule(READ, "core", "services endpoints nodes"),
        rule(READ, "discovery.k8s.io", "endpointslices"),
        rule(["create", "update", "patch"], "core events.k8s.io", "events"),
    )
    yield _role(
        "system:kube-scheduler",
        rule(["create", "update", "patch"], "core events.k8s.io", "events"),
        rule(
            ["create", "get", "list", "watch", "update", "patch", "delete"], "coordination.k8s.io", "leases"
        ),
        rule(
            READ,
            "core",
            "nodes namespaces pods replicationcontrollers services persistentvolumeclaims persistentvolumes",
        ),
        rule(["delete"], "core", "pods"),
        rule(["create"], "core", "bindings pods/binding"),
        rule(["update", "patch"], "core", "pods/status persistentvolumeclaims persistentvolumes"),
        rule(READ, "apps", "replicasets statefulsets"),
        rule(READ, "policy", "poddisruptionbudgets"),
        rule(
            READ,
            "storage.k8s.io",
            "csinodes csidrivers csistoragecapacities storageclasses volumeattachments",
        ),
        rule(READ, "scheduling.k8s.io", "priorityclasses"),
        rule(["create"], "authentication.k8s.io", "tokenreviews"),
        rule(["create"], "authorization.k8s.io", "subjectaccessreviews"),
    )
    # Upstream gives each controller an account of its own; here they share the process's identity.
    yield _role(
        "system:kube-controller-manager",
        rule(["*"], _EVERYTHING, "*"),
        rbac.PolicyRule(verbs=["get"], nonResourceURLs=["*"]),
    )


_BINDINGS = {
    "cluster-admin": [("Group", "system:masters")],
    "system:basic-user": [("Group", "system:authenticated")],
    "system:discovery": [("Group", "system:authenticated")],
    "system:public-info-viewer": [("Group", "system:authenticated"), ("Group", "system:unauthenticated")],
    "system:monitoring": [("Group", "system:monitoring")],
    "system:service-account-issuer-discovery": [("Group", "system:serviceaccounts")],
    "system:kube-scheduler": [("User", "system:kube-scheduler")],
    "system:kube-controller-manager": [("User", "system:kube-controller-manager")],
    "system:node-proxier": [("User", "system:kube-proxy")],
    "system:node": [("Group", "system:nodes")],
}


def _bindings() -> Iterator[rbac.ClusterRoleBinding]:
    for name, subjects in _BINDINGS.items():
        yield rbac.ClusterRoleBinding(
            metadata=meta.ObjectMeta(
                name=name, labels=dict(_BOOTSTRAP_LABELS), annotations=dict(_AUTOUPDATE)
            ),
            roleRef=rbac.RoleRef(apiGroup="rbac.authorization.k8s.io", kind="ClusterRole", name=name),
            subjects=[
                rbac.Subject(kind=kind, name=subject, apiGroup="rbac.authorization.k8s.io")
                for kind, subject in subjects
            ],
        )


def _kubernetes_service(address: str) -> core.Service:
    return core.Service(
        metadata=meta.ObjectMeta(
            name="kubernetes",
            namespace="default",
            labels={"component": "apiserver", "provider": "kubernetes"},
        ),
        spec=core.ServiceSpec(
            type="ClusterIP",
            clusterIP=address,
            ports=[core.ServicePort(name="https", port=443, protocol="TCP", targetPort=6443)],
            sessionAffinity="None",
        ),
    )


def _kubernetes_endpoints(address: str, port: int) -> Iterator[Any]:
    labels = {"kubernetes.io/service-name": "kubernetes"}
    yield discovery.EndpointSlice(
        metadata=meta.ObjectMeta(name="kubernetes", namespace="default", labels=labels),
        addressType="IPv4",
        endpoints=[
            discovery.Endpoint(addresses=[address], conditions=discovery.EndpointConditions(ready=True))
        ],
        ports=[discovery.EndpointPort(name="https", port=port, protocol="TCP")],
    )
    yield core.Endpoints(
        metadata=meta.ObjectMeta(
            name="kubernetes", namespace="default", labels={"endpointslice.kubernetes.io/skip-mirror": "true"}
        ),
        subsets=[
            core.EndpointSubset(
                addresses=[core.EndpointAddress(ip=address)],
                ports=[core.EndpointPort(name="https", port=port, protocol="TCP")],
            )
        ],
    )
