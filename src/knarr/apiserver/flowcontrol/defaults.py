"""The flow schemas and priority levels every cluster has, as upstream publishes them.

``exempt`` and ``catch-all`` are mandatory: they are always as written here. The others are suggestions: an object whose annotation
``apf.kubernetes.io/autoupdate-spec`` is not ``true`` is the operator's own.

Upstream's counterpart is ``apiserver/pkg/apis/flowcontrol/bootstrap``.
"""

from __future__ import annotations

from collections.abc import Iterator

from knarr.api.flowcontrol import v1 as flowcontrol
from knarr.api.meta import v1 as meta

__all__ = ["AUTOUPDATE", "MANDATORY", "default_levels", "default_schemas"]

AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
MANDATORY = ("exempt", "catch-all")
#: Name: shares, percent it lends, queues, hand size. Queues have room for fifty.
_LEVELS = {
    "system": (30, 33, 64, 6),
    "node-high": (40, 25, 64, 6),
    "leader-election": (10, 0, 16, 4),
    "workload-high": (40, 50, 128, 6),
    "workload-low": (100, 90, 128, 6),
    "global-default": (20, 50, 128, 6),
}
_QUEUE_LENGTH = 50
_KNOWN = ("system:unauthenticated", "system:authenticated")


def _meta(name: str) -> meta.ObjectMeta:
    return meta.ObjectMeta(name=name, annotations={AUTOUPDATE: "true"})


def default_levels() -> Iterator[flowcontrol.PriorityLevelConfiguration]:
    exempt = flowcontrol.ExemptPriorityLevelConfiguration(nominalConcurrencyShares=0, lendablePercent=0)
    yield flowcontrol.PriorityLevelConfiguration(
        metadata=_meta("exempt"), spec=flowcontrol.PriorityLevelConfigurationSpec(type="Exempt", exempt=exempt)
    )
    yield _limited("catch-all", 5, 0, flowcontrol.LimitResponse(type="Reject"))
    for name, (shares, lends, queues, hand) in _LEVELS.items():
        queuing = flowcontrol.QueuingConfiguration(queues=queues, handSize=hand, queueLengthLimit=_QUEUE_LENGTH)
        yield _limited(name, shares, lends, flowcontrol.LimitResponse(type="Queue", queuing=queuing))


def _limited(
    name: str, shares: int, lends: int, response: flowcontrol.LimitResponse
) -> flowcontrol.PriorityLevelConfiguration:
    limited = flowcontrol.LimitedPriorityLevelConfiguration(
        nominalConcurrencyShares=shares, lendablePercent=lends, limitResponse=response
    )
    spec = flowcontrol.PriorityLevelConfigurationSpec(type="Limited", limited=limited)
    return flowcontrol.PriorityLevelConfiguration(metadata=_meta(name), spec=spec)


def _users(*names: str) -> list[flowcontrol.Subject]:
    return [flowcontrol.Subject(kind="User", user=flowcontrol.UserSubject(name=name)) for name in names]


def _groups(*names: str) -> list[flowcontrol.Subject]:
    return [flowcontrol.Subject(kind="Group", group=flowcontrol.GroupSubject(name=name)) for name in names]


def _accounts(*names: str) -> list[flowcontrol.Subject]:
    return [
        flowcontrol.Subject(
            kind="ServiceAccount",
            serviceAccount=flowcontrol.ServiceAccountSubject(name=name, namespace="kube-system"),
        )
        for name in names
    ]


def _resources(
    verbs: list[str], groups: list[str], resources: list[str], *, cluster: bool = False
) -> flowcontrol.ResourcePolicyRule:
    return flowcontrol.ResourcePolicyRule(
        verbs=verbs, apiGroups=groups, resources=resources, namespaces=["*"], clusterScope=cluster
    )


def _urls(verbs: list[str], *urls: str) -> flowcontrol.NonResourcePolicyRule:
    return flowcontrol.NonResourcePolicyRule(verbs=verbs, nonResourceURLs=list(urls))


def _everything(subjects: list[flowcontrol.Subject]) -> flowcontrol.PolicyRulesWithSubjects:
    return flowcontrol.PolicyRulesWithSubjects(
        subjects=subjects,
        resourceRules=[_resources(["*"], ["*"], ["*"], cluster=True)],
        nonResourceRules=[_urls(["*"], "*")],
    )


def _only(
    subjects: list[flowcontrol.Subject], *rules: flowcontrol.ResourcePolicyRule
) -> flowcontrol.PolicyRulesWithSubjects:
    return flowcontrol.PolicyRulesWithSubjects(subjects=subjects, resourceRules=list(rules))


def _schema(
    name: str, level: str, precedence: int, by: str, *rules: flowcontrol.PolicyRulesWithSubjects
) -> flowcontrol.FlowSchema:
    spec = flowcontrol.FlowSchemaSpec(
        matchingPrecedence=precedence,
        priorityLevelConfiguration=flowcontrol.PriorityLevelConfigurationReference(name=level),
        distinguisherMethod=flowcontrol.FlowDistinguisherMethod(type=by) if by else None,
        rules=list(rules),
    )
    return flowcontrol.FlowSchema(metadata=_meta(name), spec=spec)


def default_schemas() -> Iterator[flowcontrol.FlowSchema]:
    manager, scheduler = "system:kube-controller-manager", "system:kube-scheduler"
    leases = _resources(["get", "create", "update"], ["coordination.k8s.io"], ["leases"])
    health = flowcontrol.PolicyRulesWithSubjects(
        subjects=_groups(*_KNOWN), nonResourceRules=[_urls(["get"], "/healthz", "/readyz", "/livez")]
    )
    nodes = _groups("system:nodes")
    yield _schema("exempt", "exempt", 1, "", _everything(_groups("system:masters")))
    yield _schema("catch-all", "catch-all", 10000, "ByUser", _everything(_groups(*_KNOWN)))
    yield _schema("probes", "exempt", 2, "", health)
    leaders = [*_users(manager, scheduler), *_accounts("*")]
    yield _schema("system-leader-election", "leader-election", 100, "ByUser", _only(leaders, leases))
    yield _schema(
        "system-node-high",
        "node-high",
        400,
        "ByUser",
        _only(
            nodes,
            _resources(["*"], [""], ["nodes", "nodes/status"], cluster=True),
            _resources(["*"], ["coordination.k8s.io"], ["leases"]),
        ),
    )
    yield _schema("system-nodes", "system", 500, "ByUser", _everything(nodes))
    yield _schema("kube-controller-manager", "workload-high", 800, "ByNamespace", _everything(_users(manager)))
    yield _schema("kube-scheduler", "workload-high", 800, "ByNamespace", _everything(_users(scheduler)))
    yield _schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", _everything(_accounts("*")))
    yield _schema("service-accounts", "workload-low", 9000, "ByUser", _everything(_groups("system:serviceaccounts")))
    yield _schema("global-default", "global-default", 9900, "ByUser", _everything(_groups(*_KNOWN)))
