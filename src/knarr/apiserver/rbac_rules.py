"""How the default roles are written: the verbs in groups, a rule in a line, a role with the labels that mark it as a default.

Upstream's counterpart is ``pkg/apis/rbac/v1``'s builders. Neighbours: ``rbac_user_roles`` and ``rbac_defaults`` write roles with it.
"""

from __future__ import annotations

from knarr.api.meta import v1 as meta
from knarr.api.rbac import v1 as rbac

__all__ = ["AUTOUPDATE", "GROUP", "READ", "READ_UPDATE", "READ_WRITE", "WRITE", "default_meta", "default_role", "events_rule", "flows_to", "rule", "urls"]

AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
GROUP = "rbac.authorization.k8s.io"
READ = ["get", "list", "watch"]
WRITE = ["create", "delete", "deletecollection", "patch", "update"]
READ_WRITE = [*READ, *WRITE]
READ_UPDATE = [*READ, "patch", "update"]
_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}


def rule(verbs: list[str], groups: str, resources: str, names: str = "") -> rbac.PolicyRule:
    """A rule in short: groups, resources and names separated by blanks; ``core`` is the empty group."""
    return rbac.PolicyRule(
        verbs=list(verbs),
        apiGroups=["" if group == "core" else group for group in groups.split()],
        resources=resources.split(),
        resourceNames=names.split(),
    )


def urls(*paths: str) -> rbac.PolicyRule:
    return rbac.PolicyRule(verbs=["get"], nonResourceURLs=list(paths))


def events_rule() -> rbac.PolicyRule:
    return rule(["create", "patch", "update"], "core events.k8s.io", "events")


def default_meta(name: str, namespace: str = "", **labels: str) -> meta.ObjectMeta:
    return meta.ObjectMeta(
        name=name, namespace=namespace, labels={**_LABELS, **labels}, annotations={AUTOUPDATE: "true"}
    )


def default_role(name: str, *rules: rbac.PolicyRule, **labels: str) -> rbac.ClusterRole:
    return rbac.ClusterRole(metadata=default_meta(name, **labels), rules=list(rules))


def flows_to(name: str) -> dict[str, str]:
    return {f"{GROUP}/aggregate-to-{name}": "true"}
