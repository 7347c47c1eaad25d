"""Nobody gives away rights they do not have.

Whoever writes a role, or binds one to somebody, must hold every right in it already, or the verbs
``escalate`` and ``bind``. Otherwise the right to write roles would be
the right to everything.

Upstream's counterpart is ``policybased`` storage in ``pkg/registry/rbac``. Neighbours: ``rbac`` knows who
holds what.

Invariant: an update that changes only metadata asks for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from knarr.api.errors import forbidden, not_found, quote
from knarr.api.rbac import v1 as rbac
from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.apiserver.rbac import SUPERUSERS, Question, RbacAuthorizer, resource_matches, url_matches

__all__ = ["Escalation", "covers", "missing"]

GROUP = "rbac.authorization.k8s.io"
ROLES = ("roles", "clusterroles")
BINDINGS = ("rolebindings", "clusterrolebindings")
_FULL = (
    rbac.PolicyRule(verbs=["*"], apiGroups=["*"], resources=["*"]),
    rbac.PolicyRule(verbs=["*"], nonResourceURLs=["*"]),
)


class Escalation(Plugin):
    name = "RBACEscalation"
    concerns = frozenset(f"{plural}.{GROUP}" for plural in (*ROLES, *BINDINGS))

    def __init__(self) -> None:
        self._authorizer: RbacAuthorizer | None = None

    def use(self, authorizer: RbacAuthorizer) -> None:
        self._authorizer = authorizer

    async def validate(self, attributes: Attributes) -> None:
        resource, user = attributes.resource, attributes.ctx.user
        if (
            resource.group != GROUP
            or attributes.operation not in ("CREATE", "UPDATE")
            or SUPERUSERS in user.groups
        ):
            return
        if resource.plural in ROLES:
            self._check_role(attributes)
        elif resource.plural in BINDINGS:
            self._check_binding(attributes)

    def _check_role(self, attributes: Attributes) -> None:
        obj, old = attributes.obj, attributes.old
        aggregation = getattr(obj, "aggregationRule", None)
        if (
            old is not None
            and old.rules == obj.rules
            and getattr(old, "aggregationRule", None) == aggregation
        ):
            return
        if self._may(attributes, "escalate", attributes.resource.plural, attributes.name):
            return
        # What an aggregated role will hold is not known yet, so it takes everything to write one.
        self._confirm(attributes, [*obj.rules, *(_FULL if aggregation is not None else ())])

    def _check_binding(self, attributes: Attributes) -> None:
        obj, old = attributes.obj, attributes.old
        if old is not None and old.roleRef == obj.roleRef and old.subjects == obj.subjects:
            return
        assert self._authorizer is not None, "use comes first"
        plural = "clusterroles" if obj.roleRef.kind == "ClusterRole" else "roles"
        if self._may(attributes, "bind", plural, obj.roleRef.name):
            return
        rules = self._authorizer.rules_of(obj.roleRef, attributes.namespace)
        if rules is None:
            raise not_found(GROUP, plural, obj.roleRef.name)
        self._confirm(attributes, rules)

    def _may(self, attributes: Attributes, verb: str, plural: str, name: str) -> bool:
        assert self._authorizer is not None, "use comes first"
        question = Question(verb, GROUP, plural, "", attributes.namespace, name)
        return self._authorizer.allowed(attributes.ctx.user, question)

    def _confirm(self, attributes: Attributes, wanted: Sequence[rbac.PolicyRule]) -> None:
        assert self._authorizer is not None, "use comes first"
        user = attributes.ctx.user
        lacking = missing(list(self._authorizer.rules_for(user, attributes.namespace)), wanted)
        if not lacking:
            return
        groups = " ".join(quote(group) for group in user.groups)
        listed = "\n".join(sorted({_compact(rule) for rule in _merged(lacking)}))
        detail = f"user {quote(user.name)} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{listed}"
        raise forbidden(GROUP, attributes.resource.plural, attributes.name, detail)


def missing(held: Sequence[rbac.PolicyRule], wanted: Iterable[rbac.PolicyRule]) -> list[rbac.PolicyRule]:
    """The single rights in ``wanted`` that ``held`` does not cover."""
    return [
        right for rule in wanted for right in _single(rule) if not any(covers(own, right) for own in held)
    ]


def covers(own: rbac.PolicyRule, right: rbac.PolicyRule) -> bool:
    """Whether a rule grants a right (a rule with one verb on one thing)."""
    if not _all_among(own.verbs, right.verbs):
        return False
    if right.nonResourceURLs:
        return all(
            any(url_matches(pattern, url) for pattern in own.nonResourceURLs) for url in right.nonResourceURLs
        )
    if not _all_among(own.apiGroups, right.apiGroups):
        return False
    if not all(resource_matches(own.resources, wanted) for wanted in right.resources):
        return False
    if not own.resourceNames:
        return True
    return bool(right.resourceNames) and set(right.resourceNames) <= set(own.resourceNames)


def _all_among(allowed: Sequence[str], wanted: Sequence[str]) -> bool:
    return "*" in allowed or set(wanted) <= set(allowed)


def _single(rule: rbac.PolicyRule) -> Iterable[rbac.PolicyRule]:
    for verb in rule.verbs:
        for url in rule.nonResourceURLs:
            yield rbac.PolicyRule(verbs=[verb], nonResourceURLs=[url])
        for group, resource in product(rule.apiGroups, rule.resources):
            for names in [[name] for name in rule.resourceNames] or [[]]:
                yield rbac.PolicyRule(
                    verbs=[verb], apiGroups=[group], resources=[resource], resourceNames=names
                )


def _merged(rights: Sequence[rbac.PolicyRule]) -> list[rbac.PolicyRule]:
    """Rights on the same whole resource as one rule with several verbs, so that the text stays short."""
    merged: list[rbac.PolicyRule] = []
    by_resource: dict[tuple[str, str], rbac.PolicyRule] = {}
    for right in rights:
        if right.nonResourceURLs or right.resourceNames:
            merged.append(right)
            continue
        key = (right.apiGroups[0], right.resources[0])
        held = by_resource.get(key)
        if held is None:
            held = by_resource[key] = rbac.PolicyRule(apiGroups=[key[0]], resources=[key[1]])
            merged.append(held)
        if right.verbs[0] not in held.verbs:
            held.verbs = [*held.verbs, right.verbs[0]]
    return merged


def _compact(rule: rbac.PolicyRule) -> str:
    parts = (
        ("APIGroups", rule.apiGroups),
        ("Resources", rule.resources),
        ("NonResourceURLs", rule.nonResourceURLs),
        ("ResourceNames", rule.resourceNames),
        ("Verbs", rule.verbs),
    )
    return (
        "{" + ", ".join(f"{name}:[{' '.join(map(quote, values))}]" for name, values in parts if values) + "}"
    )
