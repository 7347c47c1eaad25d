"""RBAC: what a rule allows, and that nobody passes on what he does not have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.rbac import v1 as rbac
from knarr.apiserver.admission.escalation import covers, missing
from knarr.apiserver.rbac import Question, RbacAuthorizer, refusal
from knarr.apiserver.request import UserInfo

GROUP = "rbac.authorization.k8s.io"
BOB = UserInfo("bob", ("staff",))


class Registry:
    """What the authorizer needs of one: its objects, and word of changes."""

    def __init__(self, *objects: Any) -> None:
        self._objects = objects
        self.cache = self
        self.subscribers: list[Any] = []

    def objects(self) -> list[Any]:
        return list(self._objects)


def rule(verbs: str, resources: str = "", *, groups: str = "", names: str = "", urls: str = "") -> rbac.PolicyRule:
    return rbac.PolicyRule(
        verbs=verbs.split(),
        apiGroups=["" if group == "core" else group for group in (groups or "core").split()] if resources else [],
        resources=resources.split(),
        resourceNames=names.split(),
        nonResourceURLs=urls.split(),
    )


def may(rules: list[rbac.PolicyRule], question: Question, *, user: UserInfo = BOB) -> bool:
    role = rbac.ClusterRole(rules=rules)
    role.metadata.name = "r"
    binding = rbac.ClusterRoleBinding(
        roleRef=rbac.RoleRef(apiGroup=GROUP, kind="ClusterRole", name="r"),
        subjects=[rbac.Subject(kind="Group", name="staff", apiGroup=GROUP)],
    )
    empty: Any = Registry()
    authorizer = RbacAuthorizer(
        roles=empty,
        role_bindings=empty,
        cluster_roles=Registry(role),  # type: ignore[arg-type]
        cluster_role_bindings=Registry(binding),  # type: ignore[arg-type]
    )
    return authorizer.allowed(user, question)


@pytest.mark.parametrize(
    ("held", "question", "allowed"),
    [
        (rule("get list", "pods"), Question("get", resource="pods"), True),
        (rule("get list", "pods"), Question("delete", resource="pods"), False),
        (rule("get", "pods"), Question("get", resource="pods", subresource="log"), False),
        (rule("get", "pods/log"), Question("get", resource="pods", subresource="log"), True),
        (rule("get", "pods/log"), Question("get", resource="pods"), False),
        (rule("update", "*/scale", groups="apps"), Question("update", "apps", "deployments", "scale"), True),
        (rule("update", "*/scale", groups="apps"), Question("update", "apps", "deployments"), False),
        (rule("*", "*", groups="*"), Question("escalate", "any", "thing", "part", "ns", "x"), True),
        (rule("get", "pods", groups="apps"), Question("get", resource="pods"), False),
        (rule("get", "secrets", names="a b"), Question("get", resource="secrets", name="b"), True),
        (rule("get", "secrets", names="a b"), Question("get", resource="secrets", name="c"), False),
        (rule("list", "secrets", names="a"), Question("list", resource="secrets"), False),
        (rule("get", urls="/healthz /api/*"), Question("get", path="/api/v1"), True),
        (rule("get", urls="/healthz /api/*"), Question("get", path="/healthz/etcd"), False),
        (rule("get", urls="*"), Question("get", path="/metrics"), True),
        (rule("*", "*", groups="*"), Question("get", path="/metrics"), False),
        (rule("get", urls="*"), Question("get", resource="pods"), False),
    ],
)
def test_what_a_rule_allows(held: rbac.PolicyRule, question: Question, allowed: bool) -> None:
    assert may([held], question) is allowed


def test_masters_may_everything_and_strangers_nothing() -> None:
    question = Question("delete", resource="nodes")
    assert may([], question, user=UserInfo("x", ("system:masters",)))
    assert not may([rule("*", "*", groups="*")], question, user=UserInfo("x", ("other",)))


@pytest.mark.parametrize(
    ("question", "text"),
    [
        (Question("get", path="/metrics"), 'User "bob" cannot get path "/metrics"'),
        (
            Question("get", "apps", "deployments", "scale", "ns"),
            'User "bob" cannot get resource "deployments/scale" in API group "apps" in the namespace "ns"',
        ),
        (Question("list", "", "nodes"), 'User "bob" cannot list resource "nodes" in API group "" at the cluster scope'),
    ],
)
def test_a_refusal_says_who_what_and_where(question: Question, text: str) -> None:
    assert refusal(UserInfo("bob"), question) == text


@pytest.mark.parametrize(
    ("held", "wanted", "lacking"),
    [
        ([rule("get list", "pods")], rule("get", "pods"), 0),
        ([rule("get", "pods"), rule("list", "pods")], rule("get list", "pods"), 0),
        ([rule("get", "pods")], rule("get list", "pods nodes"), 3),
        ([rule("*", "*", groups="*")], rule("*", "*", groups="*"), 0),
        ([rule("get", "pods")], rule("*", "pods"), 1),
        ([rule("get", "secrets", names="a")], rule("get", "secrets"), 1),
        ([rule("get", "secrets")], rule("get", "secrets", names="a b"), 0),
        ([rule("get", "secrets", names="a")], rule("get", "secrets", names="a b"), 1),
        ([rule("get", "*/status")], rule("get", "pods/status"), 0),
        ([rule("get", urls="/api/*")], rule("get", urls="/api/v1 /metrics"), 1),
    ],
)
def test_what_is_lacking_for_passing_rights_on(
    held: list[rbac.PolicyRule], wanted: rbac.PolicyRule, lacking: int
) -> None:
    assert len(missing(held, [wanted])) == lacking


WORDS = st.lists(st.sampled_from(["get", "list", "*"]), min_size=1, max_size=2)
RESOURCES = st.lists(st.sampled_from(["pods", "nodes", "pods/log", "*"]), min_size=1, max_size=2)


@given(st.lists(st.builds(lambda verbs, res: rule(" ".join(verbs), " ".join(res)), WORDS, RESOURCES), max_size=3))
def test_everybody_may_pass_on_exactly_what_he_has(rules: list[rbac.PolicyRule]) -> None:
    assert missing(rules, rules) == []
    for each in rules:
        single = missing([], [each])
        assert all(covers(each, right) for right in single)
