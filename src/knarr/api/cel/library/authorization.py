"""May the sender of a request, or a service account, do something: ``authorizer.group('apps').resource('deployments').check('create').allowed()``.

The functions only gather the question; who answers is given to ``Authorizer`` by the API server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from knarr.api import names
from knarr.api.cel.errors import EvaluationError
from knarr.api.cel.signatures import function
from knarr.api.cel.values import Opaque

__all__ = ["FUNCTIONS", "AccessQuestion", "Authorizer", "Decision", "ResourceCheck"]

#: What one check costs, as upstream counts it: a policy cannot ask more than two.
CHECK_COST = 350_000


@dataclass(frozen=True, slots=True)
class AccessQuestion:
    """A verb on a path, or on a resource. ``service_account`` is namespace and name, where it is asked for one."""

    verb: str
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    fields: str = ""
    """A field selector, as it is written."""
    service_account: tuple[str, str] | None = None


#: Says whether it is allowed, why, and what went wrong in finding out.
Answer = Callable[[AccessQuestion], "Decision"]


class Authorizer(Opaque):
    """Asks for one subject."""

    __slots__ = ("answer", "service_account")
    kind = "kubernetes.authorization.Authorizer"

    def __init__(self, answer: Answer, service_account: tuple[str, str] | None = None) -> None:
        self.answer = answer
        self.service_account = service_account


@dataclass(frozen=True, slots=True, eq=False)
class PathCheck(Opaque):
    authorizer: Authorizer
    path: str
    kind = "kubernetes.authorization.PathCheck"


@dataclass(frozen=True, slots=True, eq=False)
class GroupCheck(Opaque):
    authorizer: Authorizer
    group: str
    kind = "kubernetes.authorization.GroupCheck"


@dataclass(frozen=True, slots=True, eq=False)
class ResourceCheck(Opaque):
    authorizer: Authorizer
    asked: AccessQuestion = field(default_factory=lambda: AccessQuestion(""))
    kind = "kubernetes.authorization.ResourceCheck"

    def with_(self, **changes: str) -> ResourceCheck:
        return ResourceCheck(self.authorizer, replace(self.asked, **changes))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, eq=False)
class Decision(Opaque):
    allowed: bool
    reason: str = ""
    error: str = ""
    kind = "kubernetes.authorization.Decision"


def _path(authorizer: Authorizer, path: str) -> PathCheck:
    if not path.strip():
        raise EvaluationError("path must not be empty")
    return PathCheck(authorizer, path)


def _service_account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    if names.dns1123_subdomain(name):
        raise EvaluationError("Invalid service account name")
    if names.dns1123_label(namespace):
        raise EvaluationError("Invalid service account namespace")
    return Authorizer(authorizer.answer, (namespace, name))


def _resource(group: GroupCheck, resource: str) -> ResourceCheck:
    if not resource.strip():
        raise EvaluationError("resource must not be empty")
    return ResourceCheck(group.authorizer, AccessQuestion("", group=group.group, resource=resource))


def _check(check: Any, verb: str) -> Decision:
    authorizer: Authorizer = check.authorizer
    asked = AccessQuestion("", path=check.path) if isinstance(check, PathCheck) else check.asked
    return authorizer.answer(replace(asked, verb=verb, service_account=authorizer.service_account))


_A = "kubernetes.authorization."
_R = f"{_A}ResourceCheck"

FUNCTIONS = [
    function(_path, f"<{_A}Authorizer>.path(string): {_A}PathCheck"),
    function(GroupCheck, f"<{_A}Authorizer>.group(string): {_A}GroupCheck"),
    function(_service_account, f"<{_A}Authorizer>.serviceAccount(string, string): {_A}Authorizer"),
    function(_resource, f"<{_A}GroupCheck>.resource(string): {_R}"),
    function(lambda check, name: check.with_(subresource=name), f"<{_R}>.subresource(string): {_R}"),
    function(lambda check, name: check.with_(namespace=name), f"<{_R}>.namespace(string): {_R}"),
    function(lambda check, name: check.with_(name=name), f"<{_R}>.name(string): {_R}"),
    function(lambda check, selector: check.with_(fields=selector), f"<{_R}>.fieldSelector(string): {_R}"),
    # No authorizer here goes by labels: a question about some is answered as one about all.
    function(lambda check, selector: check, f"<{_R}>.labelSelector(string): {_R}"),
    function(
        _check,
        f"<{_A}PathCheck>.check(string): {_A}Decision",
        f"<{_R}>.check(string): {_A}Decision",
        cost=lambda check, verb: CHECK_COST,
    ),
    function(lambda decision: decision.allowed, f"<{_A}Decision>.allowed(): bool"),
    function(lambda decision: decision.reason, f"<{_A}Decision>.reason(): string"),
    function(lambda decision: bool(decision.error), f"<{_A}Decision>.errored(): bool"),
    function(lambda decision: decision.error, f"<{_A}Decision>.error(): string"),
]
