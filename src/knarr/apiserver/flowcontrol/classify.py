"""Which flow schema a request belongs to: the first, by precedence and name, whose rules match.

Pure. What was found is remembered, because a cluster's components ask the same few things without end.

Limits: ``MAX_REMEMBERED`` answers; then all are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from knarr.api.flowcontrol import v1 as flowcontrol
from knarr.apiserver.request import RequestInfo, UserInfo

__all__ = ["Classifier", "matches"]

MAX_REMEMBERED = 8192
_ACCOUNT = "system:serviceaccount:"

#: Who asks for what, as far as schemas can tell requests apart.
_Key = tuple[str, tuple[str, ...], str, str, str, str, str]


class Classifier:
    """``schemas`` are those whose priority level exists."""

    def __init__(self, schemas: Iterable[flowcontrol.FlowSchema]) -> None:
        self._schemas = sorted(schemas, key=lambda each: (each.spec.matchingPrecedence, each.metadata.name))
        self._found: dict[_Key, flowcontrol.FlowSchema | None] = {}

    def find(self, user: UserInfo, info: RequestInfo, path: str) -> flowcontrol.FlowSchema | None:
        if info.is_resource:
            key = (user.name, user.groups, info.verb, info.group, info.resource, info.subresource, info.namespace)
        else:
            key = (user.name, user.groups, info.verb, "", "", "", path)
        try:
            return self._found[key]
        except KeyError:
            pass
        found = next((each for each in self._schemas if matches(each, user, info, path)), None)
        if len(self._found) >= MAX_REMEMBERED:
            self._found.clear()
        self._found[key] = found
        return found


def matches(schema: flowcontrol.FlowSchema, user: UserInfo, info: RequestInfo, path: str) -> bool:
    """Whether one of a schema's rules has both the user and what is asked."""
    return any(
        any(_is_subject(subject, user) for subject in rule.subjects)
        and (
            any(_has_resource(each, info) for each in rule.resourceRules)
            if info.is_resource
            else any(_has_url(each, info, path) for each in rule.nonResourceRules)
        )
        for rule in schema.spec.rules
    )


def _is_subject(subject: flowcontrol.Subject, user: UserInfo) -> bool:
    if subject.user is not None and subject.kind == "User":
        return subject.user.name in ("*", user.name)
    if subject.group is not None and subject.kind == "Group":
        return subject.group.name == "*" or subject.group.name in user.groups
    account = subject.serviceAccount
    if account is None:
        return False
    prefix = f"{_ACCOUNT}{account.namespace}:"
    return user.name.startswith(prefix) if account.name == "*" else user.name == prefix + account.name


def _among(allowed: Sequence[str], wanted: str) -> bool:
    return "*" in allowed or wanted in allowed


def _has_resource(rule: flowcontrol.ResourcePolicyRule, info: RequestInfo) -> bool:
    named = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    if not (_among(rule.verbs, info.verb) and _among(rule.apiGroups, info.group) and _among(rule.resources, named)):
        return False
    return _among(rule.namespaces, info.namespace) if info.namespace else rule.clusterScope


def _has_url(rule: flowcontrol.NonResourcePolicyRule, info: RequestInfo, path: str) -> bool:
    return _among(rule.verbs, info.verb) and any(
        url in ("*", path) or (url.endswith("/*") and path.startswith(url[:-1])) for url in rule.nonResourceURLs
    )
