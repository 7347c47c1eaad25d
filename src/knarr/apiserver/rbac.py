"""Role-based access control: may this user do this?

Bindings are gathered once per change into tables by subject, so that a question costs a few look-ups. The
evaluation is additive: nothing is ever
denied by a rule, only not allowed.

Upstream's counterpart is ``plugin/pkg/auth/authorizer/rbac``.

Neighbours: ``server`` asks for every request; ``bootstrap`` writes the default roles; ``reviews`` answers
access reviews from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from knarr.api.rbac import v1 as rbac
from knarr.apiserver.registry.generic import GenericRegistry
from knarr.apiserver.request import RequestInfo, UserInfo

SUPERUSERS = "system:masters"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. Either a resource or, with ``path`` set, a URL that is none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @classmethod
    def of(cls, info: RequestInfo, path: str) -> Question:
        if not info.is_resource:
            return cls(verb=info.verb, path=path)
        return cls(info.verb, info.group, info.resource, info.subresource, info.namespace, info.name)


@dataclass(slots=True)
class _Tables:
    """The rules each subject has: everywhere, and by namespace. A subject is ``User:x``, ``Group:x``."""

    everywhere: dict[str, list[rbac.PolicyRule]] = field(default_factory=dict)
    within: dict[tuple[str, str], list[rbac.PolicyRule]] = field(default_factory=dict)


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
        return any(_covers(rule, question) for rule in self.rules_for(user, question.namespace))

    def rules_for(self, user: UserInfo, namespace: str) -> Iterable[rbac.PolicyRule]:
        """Every rule that speaks for ``user``, everywhere and in ``namespace``."""
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
            rules = cluster_roles.get(binding.roleRef.name, [])
            for subject in binding.subjects:
                tables.everywhere.setdefault(_subject(subject, ""), []).extend(rules)
        for binding in self._role_bindings.objects():
            namespace = binding.metadata.namespace
            if binding.roleRef.kind == "ClusterRole":
                rules = cluster_roles.get(binding.roleRef.name, [])
            else:
                rules = roles.get((namespace, binding.roleRef.name), [])
            for subject in binding.subjects:
                tables.within.setdefault((namespace, _subject(subject, namespace)), []).extend(rules)
        return tables


def _subject(subject: rbac.Subject, namespace: str) -> str:
    if subject.kind == "ServiceAccount":
        return f"User:system:serviceaccount:{subject.namespace or namespace}:{subject.name}"
    return f"{subject.kind}:{subject.name}"


def _covers(rule: rbac.PolicyRule, question: Question) -> bool:
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


def refusal(user: UserInfo, question: Question) -> str:
    """Upstream's sentence for what was not allowed."""
    if question.path:
        return f'User "{user.name}" cannot {question.verb} path "{question.path}"'
    resource = f"{question.resource}/{question.subresource}" if question.subresource else question.resource
    text = f'User "{user.name}" cannot {question.verb} resource "{resource}" in API group "{question.group}"'
    if question.namespace:
        return f'{text} in the namespace "{question.namespace}"'
    return f"{text} at the cluster scope"
