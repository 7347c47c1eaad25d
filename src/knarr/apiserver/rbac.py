"""Role-based access control: may this user do this?

Bindings are gathered once per change into tables by subject, so that a question costs a few look-ups. The
evaluation is additive: nothing is ever
denied by a rule, only not allowed.

Upstream's counterpart is ``plugin/pkg/auth/authorizer/rbac``.

Neighbours: ``server`` asks for every request; ``bootstrap`` writes the default roles; ``reviews`` answers
access reviews from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from knarr.api.rbac import v1 as rbac
from knarr.apiserver.authorization.decision import NO_OPINION, Decision
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.request import RequestInfo, UserInfo

SUPERUSERS = "system:masters"
GROUP = "rbac.authorization.k8s.io"


class Question(msgspec.Struct, frozen=True, gc=False):
    """What is asked. Either a resource or, with ``path`` set, a URL that is none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    version: str = ""
    fields: str = ""
    """The field selector of a list or watch: a node may list its own pods."""

    @classmethod
    def of(cls, info: RequestInfo, path: str) -> Question:
        if not info.is_resource:
            return cls(verb=info.verb, path=path)
        return cls(
            info.verb,
            info.group,
            info.resource,
            info.subresource,
            info.namespace,
            info.name,
            "",
            info.version,
            info.field_selector,
        )


@dataclass(slots=True)
class _Grant:
    """The rules a binding gives to one of its subjects; None where the role it names is not there."""

    rules: Sequence[rbac.PolicyRule] | None
    binding: rbac.ClusterRoleBinding | rbac.RoleBinding
    subject: rbac.Subject
    _decision: Decision | None = None

    @property
    def decision(self) -> Decision:
        """What it comes to, made once: a grant decides many requests."""
        if self._decision is None:
            self._decision = Decision(allowed=True, reason=f"RBAC: allowed by {self}")
        return self._decision

    def __str__(self) -> str:
        """As upstream describes a binding in its reasons."""
        held, about = self.binding, self.subject
        namespace = held.metadata.namespace
        kind, name = ("RoleBinding", f"{held.metadata.name}/{namespace}") if namespace else ("ClusterRoleBinding", held.metadata.name)
        who = f"{about.name}/{about.namespace or namespace}" if about.kind == "ServiceAccount" else about.name
        return f'{kind} "{name}" of {held.roleRef.kind} "{held.roleRef.name}" to {about.kind} "{who}"'


@dataclass(slots=True)
class _Tables:
    """The grants each subject has: everywhere, and by namespace. A subject is ``User:x``, ``Group:x``."""

    everywhere: dict[str, list[_Grant]] = field(default_factory=dict)
    within: dict[tuple[str, str], list[_Grant]] = field(default_factory=dict)


class RbacAuthorizer:
    """Answers from the four RBAC registries."""

    def __init__(
        self,
        *,
        roles: GenericRegistry,
        role_bindings: GenericRegistry,
        cluster_roles: GenericRegistry,
        cluster_role_bindings: GenericRegistry,
    ) -> None:
        self._roles = roles
        self._role_bindings = role_bindings
        self._cluster_roles = cluster_roles
        self._cluster_role_bindings = cluster_role_bindings
        self._tables: _Tables | None = None
        for registry in (roles, role_bindings, cluster_roles, cluster_role_bindings):
            registry.cache.subscribers.append(lambda _change: self._forget())

    def _forget(self) -> None:
        self._tables = None

    def allowed(self, user: UserInfo, question: Question) -> bool:
        if SUPERUSERS in user.groups:
            return True
        return self._granting(user, question) is not None

    def decide(self, user: UserInfo, question: Question) -> Decision:
        """As ``allowed``, and why; of a refusal only which roles were named and are missing."""
        grant = self._granting(user, question)
        if grant is not None:
            return grant.decision
        problems = [_missing(each) for each in self._grants(user, question.namespace) if each.rules is None]
        if not problems:
            return NO_OPINION
        text = problems[0] if len(problems) == 1 else f"[{', '.join(dict.fromkeys(problems))}]"
        return Decision(reason=f"RBAC: {text}")

    def unknown_rules(self, user: UserInfo) -> str:
        return ""

    def _granting(self, user: UserInfo, question: Question) -> _Grant | None:
        for grant in self._grants(user, question.namespace):
            for rule in grant.rules or ():
                if covers_question(rule, question):
                    return grant
        return None

    def rules_for(self, user: UserInfo, namespace: str) -> Iterable[rbac.PolicyRule]:
        """Every rule that speaks for ``user``, everywhere and in ``namespace``."""
        for grant in self._grants(user, namespace):
            yield from grant.rules or ()

    def _grants(self, user: UserInfo, namespace: str) -> Iterator[_Grant]:
        if self._tables is None:
            self._tables = self._gather()
        tables = self._tables
        for subject in (f"User:{user.name}", *(f"Group:{group}" for group in user.groups)):
            yield from tables.everywhere.get(subject, ())
            if namespace:
                yield from tables.within.get((namespace, subject), ())

    def rules_of(self, reference: rbac.RoleRef, namespace: str) -> list[rbac.PolicyRule] | None:
        """The rules of the role a binding names; None if there is no such role."""
        cluster = reference.kind == "ClusterRole"
        registry = self._cluster_roles if cluster else self._roles
        entry = registry.cache.get(registry.key("" if cluster else namespace, reference.name))
        if entry is None:
            return None
        rules: list[rbac.PolicyRule] = registry.cache.object(entry).rules
        return rules

    def _gather(self) -> _Tables:
        tables = _Tables()
        cluster_roles = {role.metadata.name: role.rules for role in self._cluster_roles.objects()}
        roles = {(role.metadata.namespace, role.metadata.name): role.rules for role in self._roles.objects()}
        for binding in self._cluster_role_bindings.objects():
            rules = cluster_roles.get(binding.roleRef.name)
            for subject in binding.subjects:
                grant = _Grant(rules, binding, subject)
                tables.everywhere.setdefault(_subject(subject, ""), []).append(grant)
        for binding in self._role_bindings.objects():
            namespace = binding.metadata.namespace
            if binding.roleRef.kind == "ClusterRole":
                rules = cluster_roles.get(binding.roleRef.name)
            else:
                rules = roles.get((namespace, binding.roleRef.name))
            for subject in binding.subjects:
                grant = _Grant(rules, binding, subject)
                tables.within.setdefault((namespace, _subject(subject, namespace)), []).append(grant)
        return tables


def _subject(subject: rbac.Subject, namespace: str) -> str:
    if subject.kind == "ServiceAccount":
        return f"User:system:serviceaccount:{subject.namespace or namespace}:{subject.name}"
    return f"{subject.kind}:{subject.name}"


def _missing(grant: _Grant) -> str:
    reference = grant.binding.roleRef
    return f'{reference.kind.lower()}.{GROUP} "{reference.name}" not found'


def covers_question(rule: rbac.PolicyRule, question: Question) -> bool:
    """Whether a rule allows what is asked."""
    if not _among(rule.verbs, question.verb):
        return False
    if question.path:
        return any(url_matches(pattern, question.path) for pattern in rule.nonResourceURLs)
    if not _among(rule.apiGroups, question.group):
        return False
    wanted = f"{question.resource}/{question.subresource}" if question.subresource else question.resource
    if not resource_matches(rule.resources, wanted):
        return False
    return not rule.resourceNames or question.name in rule.resourceNames


def _among(allowed: Sequence[str], wanted: str) -> bool:
    return wanted in allowed or "*" in allowed


def resource_matches(allowed: Sequence[str], wanted: str) -> bool:
    """Whether a rule's resources have ``pods`` or ``pods/log`` among them."""
    _, slash, subresource = wanted.partition("/")
    return _among(allowed, wanted) or (bool(slash) and f"*/{subresource}" in allowed)


def url_matches(pattern: str, path: str) -> bool:
    """Whether a rule's URL, which may end with a star, has the path in it."""
    return pattern == path or (pattern.endswith("*") and path.startswith(pattern[:-1]))


def refusal(user: UserInfo, question: Question, reason: str = "") -> str:
    """Upstream's sentence for what was not allowed, and why if somebody said so."""
    text = _refusal(user, question)
    return f"{text}: {reason}" if reason else text


def _refusal(user: UserInfo, question: Question) -> str:
    if question.path:
        return f'User "{user.name}" cannot {question.verb} path "{question.path}"'
    resource = f"{question.resource}/{question.subresource}" if question.subresource else question.resource
    text = f'User "{user.name}" cannot {question.verb} resource "{resource}" in API group "{question.group}"'
    if question.namespace:
        return f'{text} in the namespace "{question.namespace}"'
    return f"{text} at the cluster scope"
