"""The roles that people are given, and what anybody may look up: ``view``, ``edit``, ``admin``, discovery, health.

``view``, ``edit`` and ``admin`` are aggregated: labels say which roles flow into which, so that a custom resource's author can add his
own.

Upstream's counterpart is the first half of ``bootstrappolicy/policy.go``. Neighbour: ``rbac_defaults`` has the components' roles, and all
bindings.
"""

from __future__ import annotations

from collections.abc import Iterator

from knarr.api.meta import v1 as meta
from knarr.api.rbac import v1 as rbac
from knarr.apiserver.rbac_rules import GROUP, READ, READ_WRITE, WRITE, default_role, flows_to, rule, urls

__all__ = ["information_roles", "user_roles"]

_APPS = (
    "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale "
    "statefulsets statefulsets/scale"
)
_EXTENSIONS = (
    "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets "
    "replicasets/scale replicationcontrollers/scale"
)


def _aggregated(name: str, rules: list[rbac.PolicyRule], **labels: str) -> rbac.ClusterRole:
    """A role made of others. Its rules are the controller's to write; it starts with what they will be, so that it is good at once."""
    selector = meta.LabelSelector(matchLabels=flows_to(name))
    made = default_role(name, *rules, **labels)
    made.aggregationRule = rbac.AggregationRule(clusterRoleSelectors=[selector])
    return made


def information_roles() -> Iterator[rbac.ClusterRole]:
    groups = ("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz")
    yield default_role("system:discovery", urls(*groups, "/version", "/version/"))
    yield default_role("system:public-info-viewer", urls("/healthz", "/livez", "/readyz", "/version", "/version/"))
    yield default_role(
        "system:monitoring",
        urls(
            "/flagz",
            "/healthz",
            "/healthz/*",
            "/livez",
            "/livez/*",
            "/metrics",
            "/metrics/slis",
            "/readyz",
            "/readyz/*",
            "/statusz",
        ),
        rule(["get"], "core", "nodes/metrics"),
    )
    issuer, keys = "/.well-known/openid-configuration", "/openid/v1/jwks"
    yield default_role("system:service-account-issuer-discovery", urls(issuer, issuer + "/", keys, keys + "/"))
    yield default_role(
        "system:basic-user",
        rule(["create"], "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
        rule(["create"], "authentication.k8s.io", "selfsubjectreviews"),
    )


def user_roles() -> Iterator[rbac.ClusterRole]:
    view, edit, admin = _view_rules(), _edit_rules(), _admin_rules()
    # As metrics-server brings it.
    metrics = rule(READ, "metrics.k8s.io", "nodes pods")
    yield _aggregated("admin", [*edit, *view, metrics, *admin])
    yield _aggregated("edit", [*edit, *view, metrics], **flows_to("admin"))
    yield _aggregated("view", [*view, metrics], **flows_to("edit"))
    everybody = {**flows_to("admin"), **flows_to("edit"), **flows_to("view")}
    yield default_role("system:aggregated-metrics-reader", metrics, **everybody)
    yield default_role("system:aggregate-to-admin", *admin, **flows_to("admin"))
    yield default_role("system:aggregate-to-edit", *edit, **flows_to("edit"))
    yield default_role("system:aggregate-to-view", *view, **flows_to("view"))


def _admin_rules() -> list[rbac.PolicyRule]:
    return [
        rule(["create"], "authorization.k8s.io", "localsubjectaccessreviews"),
        rule(READ_WRITE, GROUP, "rolebindings roles"),
    ]


def _edit_rules() -> list[rbac.PolicyRule]:
    return [
        rule(READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
        rule(["impersonate"], "core", "serviceaccounts"),
        rule(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
        rule(["create"], "core", "pods/eviction"),
        rule(
            WRITE,
            "core",
            "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
            "serviceaccounts services services/proxy",
        ),
        rule(WRITE, "events.k8s.io", "events"),
        rule(["create"], "core", "serviceaccounts/token"),
        rule(WRITE, "apps", _APPS),
        rule(WRITE, "autoscaling", "horizontalpodautoscalers"),
        rule(WRITE, "batch", "cronjobs jobs"),
        rule(WRITE, "extensions", _EXTENSIONS),
        rule(WRITE, "policy", "poddisruptionbudgets"),
        rule(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
        rule(READ_WRITE, "coordination.k8s.io", "leases"),
        rule(WRITE, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
    ]


def _view_rules() -> list[rbac.PolicyRule]:
    return [
        rule(
            READ,
            "core",
            "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods "
            "replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status",
        ),
        rule(
            READ,
            "core",
            "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
            "resourcequotas resourcequotas/status",
        ),
        rule(READ, "events.k8s.io", "events"),
        rule(READ, "core", "namespaces"),
        rule(READ, "discovery.k8s.io", "endpointslices"),
        rule(
            READ,
            "apps",
            "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
            "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
        ),
        rule(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
        rule(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
        rule(
            READ,
            "extensions",
            "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses "
            "ingresses/status networkpolicies replicasets replicasets/scale replicasets/status "
            "replicationcontrollers/scale",
        ),
        rule(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
        rule(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
        rule(READ, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
    ]
