"""Which requests the rules of webhooks and policies concern: what a user would lose is a check that does not happen, or one that
happens to what it was not written for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from knarr.api import scheme
from knarr.api.admissionregistration import v1 as registration
from knarr.api.core import v1 as core
from knarr.api.core.connect import PodExecOptions
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.scheme import Resource
from knarr.apiserver.admission.chain import Attributes
from knarr.apiserver.admission.matching import Criteria, Matcher
from knarr.apiserver.registry.strategy import Context
from knarr.apiserver.request import UserInfo
from knarr.kit.chance import Chance
from knarr.kit.clock import VirtualClock

NAMESPACES: Mapping[str, Mapping[str, str]] = {"team": {"env": "prod"}, "lab": {}}


def served(group: str, version: str, plural: str) -> Resource:
    found = scheme.by_resource(group, version, plural)
    assert found is not None
    return found


PODS = served("", "v1", "pods")
NODES = served("", "v1", "nodes")
SPACES = served("", "v1", "namespaces")
DEPLOYMENTS = served("apps", "v1", "deployments")
OLD_HPAS, HPAS = (served("autoscaling", version, "horizontalpodautoscalers") for version in ("v1", "v2"))


def equivalents(resource: Resource, subresource: str) -> Sequence[Resource]:
    return [
        each
        for each in scheme.all_resources()
        if each.storage_prefix == resource.storage_prefix and (not subresource or subresource in each.subresources)
    ]


MATCHER = Matcher(namespace_labels=NAMESPACES.get, equivalents=equivalents)


def request(resource: Resource = PODS, operation: str = "CREATE", **more: Any) -> Attributes:
    context = Context(user=UserInfo("alice"), clock=VirtualClock(), chance=Chance(0))
    given = {"namespace": "team" if resource.namespaced else "", "name": "web", **more}
    return Attributes(operation, resource, context, **given)


def rule(resources: list[str], operations: Sequence[str] = ("*",), groups: Sequence[str] = ("*",), versions: Sequence[str] = ("*",), **more: Any) -> Any:
    kind = registration.NamedRuleWithOperations if "resourceNames" in more else registration.RuleWithOperations
    return kind(resources=resources, operations=list(operations), apiGroups=list(groups), apiVersions=list(versions), **more)


def criteria(*rules: Any, match_policy: str | None = None, namespaces: Any = None, objects: Any = None, excluded: Sequence[Any] = ()) -> Criteria:
    return Criteria(rules, excluded=excluded, match_policy=match_policy, namespaces=namespaces, objects=objects)


def concerns(wanted: Criteria, asked: Attributes) -> bool:
    return MATCHER.match(wanted, asked) is not None


@pytest.mark.parametrize(
    ("resources", "subresource", "expected"),
    [
        (["pods"], "", True),
        (["pods"], "status", False),
        (["pods/status"], "status", True),
        (["pods/status"], "", False),
        (["pods/*"], "exec", True),
        (["pods/*"], "", True),
        (["*"], "", True),
        (["*"], "status", False),
        (["*/status"], "status", True),
        (["*/scale"], "status", False),
        (["*/*"], "exec", True),
        (["*/*"], "", True),
        (["services", "pods"], "", True),
        (["services"], "", False),
    ],
)
def test_a_rule_names_resources_and_sub_resources(resources: list[str], subresource: str, expected: bool) -> None:
    assert concerns(criteria(rule(resources)), request(subresource=subresource)) is expected


def test_a_rule_names_operation_group_and_version() -> None:
    wanted = criteria(rule(["*"], ["CREATE", "DELETE"], ["apps"], ["v1"]))
    assert concerns(wanted, request(DEPLOYMENTS))
    assert concerns(wanted, request(DEPLOYMENTS, "DELETE"))
    assert not concerns(wanted, request(DEPLOYMENTS, "UPDATE"))
    assert not concerns(wanted, request(PODS))
    assert not concerns(criteria(rule(["*"], versions=["v2"])), request(DEPLOYMENTS))


def test_scope_separates_what_is_in_a_namespace_from_what_is_not_and_a_namespace_is_in_none() -> None:
    cluster, inside = criteria(rule(["*"], scope="Cluster")), criteria(rule(["*"], scope="Namespaced"))
    assert concerns(inside, request(PODS)) and not concerns(cluster, request(PODS))
    assert concerns(cluster, request(NODES)) and not concerns(inside, request(NODES))
    assert concerns(cluster, request(SPACES, name="team")) and not concerns(inside, request(SPACES, name="team"))


def test_equivalent_finds_the_object_in_another_version_and_exact_does_not() -> None:
    only_v2 = rule(["horizontalpodautoscalers"], versions=["v2"])
    found = MATCHER.match(criteria(only_v2, match_policy="Equivalent"), request(OLD_HPAS))
    assert found is not None and found.resource is HPAS
    own = MATCHER.match(criteria(rule(["*"]), match_policy="Equivalent"), request(OLD_HPAS))
    assert own is not None and own.resource is OLD_HPAS
    assert not concerns(criteria(only_v2, match_policy="Exact"), request(OLD_HPAS))
    assert concerns(criteria(only_v2, match_policy="Equivalent"), request(OLD_HPAS, subresource="")) is True
    assert not concerns(criteria(only_v2, match_policy="Equivalent"), request(OLD_HPAS, subresource="status"))


def test_the_namespaces_labels_decide_and_cluster_scoped_objects_always_match() -> None:
    prod = meta.LabelSelector(matchLabels={"env": "prod"})
    wanted = criteria(rule(["*"]), namespaces=prod)
    assert concerns(wanted, request(PODS))
    assert not concerns(wanted, request(PODS, namespace="lab"))
    assert concerns(wanted, request(NODES))
    with pytest.raises(StatusError) as caught:
        concerns(wanted, request(PODS, namespace="nowhere"))
    assert (caught.value.code, str(caught.value)) == (404, 'namespaces "nowhere" not found')


def test_a_namespace_matches_by_its_own_labels_new_ones_when_written_and_held_ones_when_deleted() -> None:
    wanted = criteria(rule(["*"]), namespaces=meta.LabelSelector(matchLabels={"env": "prod"}))
    fresh = core.Namespace(metadata=meta.ObjectMeta(name="lab", labels={"env": "prod"}))
    assert concerns(wanted, request(SPACES, name="lab", obj=fresh))
    assert not concerns(wanted, request(SPACES, "UPDATE", name="team", obj=core.Namespace()))
    assert concerns(wanted, request(SPACES, "DELETE", name="team"))
    assert not concerns(wanted, request(SPACES, "DELETE", name="lab"))


def test_the_object_or_the_old_one_must_carry_the_labels() -> None:
    wanted = criteria(rule(["*", "*/*"]), objects=meta.LabelSelector(matchLabels={"app": "web"}))
    with_label = core.Pod(metadata=meta.ObjectMeta(labels={"app": "web"}))
    assert concerns(wanted, request(obj=with_label))
    assert concerns(wanted, request(operation="UPDATE", obj=core.Pod(), old=with_label))
    assert not concerns(wanted, request(obj=core.Pod()))
    assert not concerns(wanted, request(operation="CONNECT", subresource="exec", obj=PodExecOptions()))


def test_names_and_exclusions_narrow_a_policy_down() -> None:
    assert concerns(criteria(rule(["pods"], resourceNames=["web", "db"])), request())
    assert not concerns(criteria(rule(["pods"], resourceNames=["db"])), request())
    but_web = criteria(rule(["*"]), excluded=[rule(["pods"], resourceNames=["web"])])
    assert not concerns(but_web, request()) and concerns(but_web, request(name="db"))


def test_a_binding_without_rules_concerns_everything_its_policy_does() -> None:
    assert concerns(Criteria.of_resources(None), request(operation="CONNECT", subresource="exec"))
    narrow = registration.MatchResources(namespaceSelector=meta.LabelSelector(matchLabels={"env": "test"}))
    assert not concerns(Criteria.of_resources(narrow), request())


@pytest.mark.parametrize(
    "plural",
    [
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "validatingwebhookconfigurations",
    ],
)
def test_no_rule_can_lock_its_own_repair_out(plural: str) -> None:
    resource = served("admissionregistration.k8s.io", "v1", plural)
    assert not concerns(criteria(rule(["*/*"])), request(resource, "UPDATE"))
