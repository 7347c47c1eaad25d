"""The policies of one server: what they are found by, and what they are asked with.

Neighbour: ``admission.plugins`` calls here when the first binding is met.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from knarr.apiserver.admission.matching import Matcher
from knarr.apiserver.admission.versions import Versions
from knarr.apiserver.authorization.chain import AuthorizerChain
from knarr.apiserver.kinds import Kinds
from knarr.apiserver.policies import mutating, validating
from knarr.apiserver.policies.source import Params, Policies, namespace_getter

__all__ = ["mutating_policies", "validating_policies"]

GROUP = "admissionregistration.k8s.io"
E = TypeVar("E")


def mutating_policies(kinds: Kinds, matcher: Matcher, authorizer: AuthorizerChain) -> mutating.MutatingPolicies:
    return mutating.MutatingPolicies(
        _source(kinds, matcher, "mutatingadmissionpolic", mutating.compile_policy),
        versions=Versions(kinds.convert),
        authorizer=authorizer,
        namespace_of=namespace_getter(kinds.registry("", "namespaces")),
    )


def validating_policies(kinds: Kinds, matcher: Matcher, authorizer: AuthorizerChain) -> validating.ValidatingPolicies:
    return validating.ValidatingPolicies(
        _source(kinds, matcher, "validatingadmissionpolic", validating.compile_policy),
        versions=Versions(kinds.convert),
        authorizer=authorizer,
        namespace_of=namespace_getter(kinds.registry("", "namespaces")),
    )


def _source(kinds: Kinds, matcher: Matcher, stem: str, compile: Callable[[Any], E]) -> Policies[E]:
    return Policies(
        kinds.registry(GROUP, f"{stem}ies"),
        kinds.registry(GROUP, f"{stem}ybindings"),
        matcher=matcher,
        params=Params(kinds.find_kind),
        compile=compile,
    )
