"""The audit policy: the first rule that matches a request says how much of it is written.

A file of kind ``Policy`` in ``audit.k8s.io/v1``. A request no rule matches is not written.

Upstream's counterpart is ``apiserver/pkg/audit/policy``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from knarr.apiserver.request import RequestInfo, UserInfo

__all__ = ["LEVELS", "Policy", "Rule", "decide", "read_policy"]

#: By how much they tell.
LEVELS = ("None", "Metadata", "Request", "RequestResponse")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")


class GroupResources(msgspec.Struct, forbid_unknown_fields=True):
    group: str = ""
    resources: list[str] = []
    resourceNames: list[str] = []


class Rule(msgspec.Struct, forbid_unknown_fields=True):
    """Empty lists match everything."""

    level: str
    users: list[str] = []
    userGroups: list[str] = []
    verbs: list[str] = []
    resources: list[GroupResources] = []
    namespaces: list[str] = []
    nonResourceURLs: list[str] = []
    omitStages: list[str] = []
    omitManagedFields: bool | None = None


class Policy(msgspec.Struct, forbid_unknown_fields=True):
    apiVersion: str = ""
    kind: str = ""
    metadata: dict[str, Any] = {}
    rules: list[Rule] = []
    omitStages: list[str] = []
    omitManagedFields: bool = False


def read_policy(document: Any) -> Policy:
    """Raises ``ValueError``."""
    try:
        policy = msgspec.convert(document, Policy)
    except msgspec.ValidationError as error:
        raise ValueError(f"audit policy: {error}") from None
    if (policy.apiVersion, policy.kind) != ("audit.k8s.io/v1", "Policy"):
        raise ValueError(f"audit policy: expected a Policy of audit.k8s.io/v1, got {policy.kind!r} of {policy.apiVersion!r}")
    if not policy.rules:
        raise ValueError("audit policy: loaded illegal policy with 0 rules")
    for number, rule in enumerate(policy.rules):
        _check(f"rules[{number}]", rule)
    _check_stages("omitStages", policy.omitStages)
    return policy


def _check(field: str, rule: Rule) -> None:
    if rule.level not in LEVELS:
        raise ValueError(f"audit policy: {field}.level: {rule.level!r} is not one of {', '.join(LEVELS)}")
    if rule.nonResourceURLs and (rule.resources or rule.namespaces):
        raise ValueError(f"audit policy: {field}.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs")
    for url in rule.nonResourceURLs:
        if url != "*" and (not url.startswith("/") or "*" in url[:-1]):
            raise ValueError(f"audit policy: {field}.nonResourceURLs: {url!r} must begin with / and may end with *")
    for entry in rule.resources:
        if "/" in entry.group or entry.group == "v1":
            raise ValueError(f"audit policy: {field}.resources.group: {entry.group!r} is a group without its version")
    _check_stages(f"{field}.omitStages", rule.omitStages)


def _check_stages(field: str, stages: Sequence[str]) -> None:
    for stage in stages:
        if stage not in STAGES:
            raise ValueError(f"audit policy: {field}: {stage!r} is not one of {', '.join(STAGES)}")


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of a request's events."""

    level: str
    omit_stages: frozenset[str] = frozenset()
    omit_managed_fields: bool = False


NOTHING = Verdict("None")


def decide(policy: Policy, user: UserInfo, info: RequestInfo, path: str) -> Verdict:
    for rule in policy.rules:
        if _matches(rule, user, info, path):
            managed = policy.omitManagedFields if rule.omitManagedFields is None else rule.omitManagedFields
            return Verdict(rule.level, frozenset((*policy.omitStages, *rule.omitStages)), managed)
    return NOTHING


def _matches(rule: Rule, user: UserInfo, info: RequestInfo, path: str) -> bool:
    if rule.users and user.name not in rule.users:
        return False
    if rule.userGroups and not any(group in rule.userGroups for group in user.groups):
        return False
    if rule.verbs and info.verb not in rule.verbs:
        return False
    if rule.namespaces or rule.resources:
        return info.is_resource and _names_resource(rule, info)
    if rule.nonResourceURLs:
        return not info.is_resource and any(_url(url, path) for url in rule.nonResourceURLs)
    return True


def _names_resource(rule: Rule, info: RequestInfo) -> bool:
    if rule.namespaces and info.namespace not in rule.namespaces:
        return False
    return not rule.resources or any(_in_group(entry, info) for entry in rule.resources)


def _in_group(entry: GroupResources, info: RequestInfo) -> bool:
    if entry.group != info.group:
        return False
    if not entry.resources:
        return True
    named = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    for resource in entry.resources:
        if entry.resourceNames and info.name not in entry.resourceNames:
            continue
        if resource in (named, "*"):
            return True
        if info.subresource and resource in (f"*/{info.subresource}", f"{info.resource}/*"):
            return True
    return False


def _url(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern[:-1]))
