"""Whether rules that users wrote concern a request: of webhook configurations, and of admission policies and their bindings.

A request concerns a ``Criteria`` if its namespace's labels match, and its object's or old object's, and a rule names its
operation, resource and scope. Under ``matchPolicy: Equivalent`` a rule that names the resource in another version, or by another group,
concerns it too; what is found then says in which version the webhook or policy wants to see the object. The kinds that
configure admission are concerned by nothing: nobody can lock themselves out of mending a rule.

Upstream's counterpart is ``admission/plugin/webhook/predicates`` and ``plugin/policy/matching``; the two agree but for exclusions
and names, which only policies have.

Neighbours: ``webhooks`` and the policies ask here; ``server`` says which resources are equivalent.

Invariant: pure but for the look at a namespace's labels; a request that no rule names costs no such look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knarr.api.admissionregistration import v1 as registration
from knarr.api.errors import not_found
from knarr.api.meta import v1 as meta
from knarr.api.scheme import Resource
from knarr.api.selectors import LabelSelector, from_label_selector
from knarr.apiserver.admission.chain import Attributes

__all__ = ["Criteria", "Match", "Matcher", "is_exempt", "rule_concerns"]

Rule = registration.RuleWithOperations | registration.NamedRuleWithOperations

_CONFIGURES_ADMISSION = frozenset(
    (
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "validatingwebhookconfigurations",
    )
)

#: The labels of a namespace; None if there is none of that name.
NamespaceLabels = Callable[[str], Mapping[str, str] | None]
#: Every served resource, in order, that is kept where the given one is and has the sub-resource; itself included.
Equivalents = Callable[[Resource, str], Sequence[Resource]]


@dataclass(frozen=True, slots=True)
class Match:
    """A request is concerned; it wants to be seen as one to ``resource``, which is the request's own or an equivalent."""

    resource: Resource


class Criteria:
    """What a webhook, a policy or a binding says of the requests it is for; its selectors compiled once.

    Raises ``SelectorError`` for a selector that is none (validation lets none be stored).
    """

    __slots__ = ("equivalent", "excluded", "namespaces", "objects", "rules")

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        excluded: Sequence[Rule] = (),
        match_policy: str | None,
        namespaces: meta.LabelSelector | None,
        objects: meta.LabelSelector | None,
    ) -> None:
        self.rules = rules
        self.excluded = excluded
        self.equivalent = match_policy == "Equivalent"
        self.namespaces = _compiled(namespaces)
        self.objects = _compiled(objects)

    @classmethod
    def of_webhook(cls, webhook: registration.MutatingWebhook | registration.ValidatingWebhook) -> Criteria:
        return cls(
            webhook.rules,
            match_policy=webhook.matchPolicy,
            namespaces=webhook.namespaceSelector,
            objects=webhook.objectSelector,
        )

    @classmethod
    def of_resources(cls, match: registration.MatchResources | None) -> Criteria:
        """Of a policy's ``matchConstraints`` or a binding's ``matchResources``; what says nothing concerns everything."""
        if match is None:
            match = registration.MatchResources()
        return cls(
            # Rules left out leave out nothing.
            match.resourceRules or [_ANYTHING],
            excluded=match.excludeResourceRules,
            match_policy=match.matchPolicy,
            namespaces=match.namespaceSelector,
            objects=match.objectSelector,
        )


_ANYTHING = registration.RuleWithOperations(
    operations=["*"], apiGroups=["*"], apiVersions=["*"], resources=["*/*"], scope="*"
)


def _compiled(selector: meta.LabelSelector | None) -> LabelSelector:
    # What is left out selects everything here: stored objects have it filled in, static ones need not.
    return LabelSelector() if selector is None else from_label_selector(selector)


class Matcher:
    """Decides for one server: it knows the namespaces' labels, and which resources are the same objects."""

    def __init__(self, *, namespace_labels: NamespaceLabels, equivalents: Equivalents) -> None:
        self._namespace_labels = namespace_labels
        self._equivalents = equivalents

    def match(self, criteria: Criteria, attributes: Attributes) -> Match | None:
        """How ``criteria`` concern the request, or None. Raises ``StatusError`` 404 for a namespace that is not there."""
        if is_exempt(attributes):
            return None
        if criteria.excluded and self._by_rules(criteria.excluded, criteria, attributes) is not None:
            return None
        found = self._by_rules(criteria.rules, criteria, attributes)
        # The rules come first only because they need no look at anything; the outcome is the same in any order.
        if found is None or not _object_matches(criteria.objects, attributes):
            return None
        return found if self._namespace_matches(criteria.namespaces, attributes) else None

    def _by_rules(self, rules: Sequence[Rule], criteria: Criteria, attributes: Attributes) -> Match | None:
        resource = attributes.resource
        if any(rule_concerns(rule, resource, attributes) for rule in rules):
            return Match(resource)
        if not criteria.equivalent:
            return None
        for other in self._equivalents(resource, attributes.subresource):
            if other is not resource and any(rule_concerns(rule, other, attributes) for rule in rules):
                return Match(other)
        return None

    def _namespace_matches(self, selector: LabelSelector, attributes: Attributes) -> bool:
        if selector.empty:
            return True
        is_namespace = attributes.is_("", "namespaces")
        namespace = attributes.request_namespace
        if not namespace and not is_namespace:
            return True
        if is_namespace and not attributes.subresource and attributes.operation in ("CREATE", "UPDATE"):
            return selector.matches(_labels(attributes.obj))
        labels = self._namespace_labels(namespace)
        if labels is None:
            raise not_found("", "namespaces", namespace)
        return selector.matches(labels)


def is_exempt(attributes: Attributes) -> bool:
    """Whether the request is about the configuration of admission itself."""
    return (
        attributes.resource.group == "admissionregistration.k8s.io"
        and attributes.resource.plural in _CONFIGURES_ADMISSION
    )


def rule_concerns(rule: Rule, resource: Resource, attributes: Attributes) -> bool:
    """Whether a rule names the request, taken as one to ``resource``."""
    return (
        _among(rule.operations, attributes.operation)
        and _among(rule.apiGroups, resource.group)
        and _among(rule.apiVersions, resource.version)
        and any(_names(wanted, resource.plural, attributes.subresource) for wanted in rule.resources)
        and _in_scope(rule.scope, attributes)
        and _is_named(rule, attributes.name)
    )


def _among(allowed: Sequence[str], wanted: str) -> bool:
    return "*" in allowed or wanted in allowed


def _names(wanted: str, plural: str, subresource: str) -> bool:
    """``pods``, ``pods/log``, ``pods/*``, ``*/scale``; ``*`` is every resource and no sub-resource, ``*/*`` is everything."""
    resource, _, sub = wanted.partition("/")
    return resource in ("*", plural) and sub in ("*", subresource)


def _in_scope(scope: str | None, attributes: Attributes) -> bool:
    if scope is None or scope == "*":
        return True
    # A namespace is in no namespace, although requests to it carry one.
    namespaced = bool(attributes.namespace) and not attributes.is_("", "namespaces")
    return namespaced == (scope == "Namespaced")


def _is_named(rule: Rule, name: str) -> bool:
    names = rule.resourceNames if isinstance(rule, registration.NamedRuleWithOperations) else []
    return not names or name in names


def _object_matches(selector: LabelSelector, attributes: Attributes) -> bool:
    """An object without metadata (the options of an exec) has no labels; one that is not there matches nothing."""
    if selector.empty:
        return True
    return any(
        hasattr(each, "metadata") and selector.matches(_labels(each))
        for each in (attributes.obj, attributes.old)
        if each is not None
    )


def _labels(obj: Any) -> Mapping[str, str]:
    return obj.metadata.labels or {}
