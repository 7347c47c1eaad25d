"""The policies of one server: what they are found by, and what they are asked with.

Neighbour: ``server`` calls here when the first binding is met.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from knarr.api.scheme import Resource
from knarr.apiserver.admission.matching import Matcher
from knarr.apiserver.admission.versions import Versions
from knarr.apiserver.authorization.chain import AuthorizerChain
from knarr.apiserver.policies import mutating, validating
from knarr.apiserver.policies.source import Params, Policies, namespace_getter
from knarr.apiserver.registry.generic import GenericRegistry

__all__ = ["mutating_policies", "validating_policies"]

GROUP = "admissionregistration.k8s.io"
E = TypeVar("E")


class Server(Protocol):
    """What policies need of the server."""

    authorizer: AuthorizerChain

    def registry(self, group: str, plural: str) -> GenericRegistry: ...

    def find_kind(self, api_version: str, kind: str) -> GenericRegistry | None: ...

    async def convert(self, obj: Any, source: Resource, target: Resource) -> Any: ...


def mutating_policies(server: Server, matcher: Matcher) -> mutating.MutatingPolicies:
    return mutating.MutatingPolicies(
        _source(server, matcher, "mutatingadmissionpolic", mutating.compile_policy),
        versions=Versions(server.convert),
        authorizer=server.authorizer,
        namespace_of=namespace_getter(server.registry("", "namespaces")),
    )


def validating_policies(server: Server, matcher: Matcher) -> validating.ValidatingPolicies:
    return validating.ValidatingPolicies(
        _source(server, matcher, "validatingadmissionpolic", validating.compile_policy),
        versions=Versions(server.convert),
        authorizer=server.authorizer,
        namespace_of=namespace_getter(server.registry("", "namespaces")),
    )


def _source(server: Server, matcher: Matcher, stem: str, compile: Callable[[Any], E]) -> Policies[E]:
    return Policies(
        server.registry(GROUP, f"{stem}ies"),
        server.registry(GROUP, f"{stem}ybindings"),
        matcher=matcher,
        params=Params(server.find_kind),
        compile=compile,
    )
