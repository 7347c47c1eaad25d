"""What distinguishes one kind from another on the generic path.

``Strategy`` holds the facts (does it have a generation, may PUT create it, what does deletion leave) and the
hooks (what is set
when an object is created or changed). Most kinds need only facts; the few with hooks have a module beside
this one.

Upstream's counterpart is ``rest.RESTCreateStrategy`` and its siblings.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from knarr.api import codec
from knarr.api.errors import FieldError
from knarr.api.scheme import Resource
from knarr.apiserver.request import Query, Request, UserInfo
from knarr.kit.chance import Chance
from knarr.kit.clock import Clock

#: Of all warnings of one answer together; beyond that they are cut short, then left out.
MAX_WARNING_LETTERS = 4096
MAX_LATE_WARNING_LETTERS = 256

__all__ = ["Context", "Strategy", "facts_for"]


@dataclass(slots=True)
class Context:
    """What a hook may know of the request it serves."""

    user: UserInfo
    clock: Clock
    chance: Chance
    namespace: str = ""
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    field_manager: str = "unknown"
    """Whom changed fields belong to."""
    owners_settled: bool = False
    """Whose its fields are stands in the object already: it was applied, or changed through its scale."""
    query: Query | None = None
    """The request's query; None for what the server does by itself."""
    audit_annotations: dict[str, str] = field(default_factory=dict)
    """What admission has to say in the audit log."""

    @classmethod
    def of(cls, request: Request, clock: Clock, chance: Chance) -> Context:
        """What a request brings; its warnings and annotations are the request's own lists."""
        return cls(
            user=request.user,
            clock=clock,
            chance=chance,
            namespace=request.info.namespace,
            dry_run="All" in request.query.all("dryRun"),
            warnings=request.warnings,
            audit_annotations=request.audit_annotations,
            query=request.query,
        )

    def warn(self, text: str) -> None:
        """Tell the client, once, in an answer's header; what no header can carry is not told, as upstream."""
        if text.isprintable() and text not in self.warnings:
            told = sum(map(len, self.warnings))
            if told + len(text) > MAX_WARNING_LETTERS:
                text = text[:MAX_LATE_WARNING_LETTERS]
            if told + len(text) <= MAX_WARNING_LETTERS:
                self.warnings.append(text)


#: Takes back what ``reserve`` took, if the write then fails.
Release = Callable[[], Awaitable[None]]


async def _no_release() -> None:
    return None


@dataclass(slots=True)
class Strategy:
    """The rules of one kind."""

    resource: Resource
    has_status: bool = False
    has_generation: bool = False
    create_on_update: bool = False
    returns_deleted: bool = False
    default_orphan: bool = False
    graceful: Callable[[Any], int | None] | None = None
    """The grace period in seconds an object asks for by itself, None for one that gets none; no function where deletion is always
    immediate.
    """

    def prepare_create(self, ctx: Context, obj: Any) -> None:
        """Before validation: drop what a creator may not set, add what the server sets."""
        if self.has_status:
            obj.status = type(obj.status)() if obj.status is not None else None
        if self.has_generation:
            obj.metadata.generation = 1

    def prepare_update(self, ctx: Context, obj: Any, old: Any) -> None:
        """Before validation: what a change of the main resource may not touch stays as it was."""
        if self.has_status:
            obj.status = old.status
        if self.has_generation:
            obj.metadata.generation = old.metadata.generation
            if self._desired(obj) != self._desired(old):
                obj.metadata.generation = (old.metadata.generation or 0) + 1

    def prepare_status(self, ctx: Context, obj: Any, old: Any) -> Any:
        """A change of the status sub-resource: the old object with the new status (and, as upstream,
        finalizers kept).
        """
        changed = codec.copy(old)
        changed.status = obj.status
        changed.metadata.resourceVersion = obj.metadata.resourceVersion
        changed.metadata.managedFields = obj.metadata.managedFields
        # Labels and annotations go with a status update as upstream allows it for most kinds.
        changed.metadata.labels = obj.metadata.labels
        changed.metadata.annotations = obj.metadata.annotations
        return changed

    def prepare_approval(self, ctx: Context, obj: Any, old: Any) -> Any:
        """A change of the approval sub-resource."""
        return self.prepare_status(ctx, obj, old)

    def _desired(self, obj: Any) -> Any:
        """What a user wants of the object: everything but metadata and status."""
        return [
            getattr(obj, name)
            for name in obj.__struct_fields__
            if name not in ("metadata", "status", "apiVersion", "kind")
        ]

    async def judge(self, ctx: Context, obj: Any, old: Any | None, faults: list[FieldError]) -> list[FieldError]:
        """What is wrong with the object, given the faults found so far; ``old`` is None on creation."""
        return faults

    async def reserve(self, ctx: Context, obj: Any, old: Any | None) -> Release:
        """Take what the object needs from a shared pool (a service's address); ``old`` is None on creation."""
        return _no_release

    async def released(self, obj: Any) -> None:
        """The object is gone: give back what it held."""


_GENERATION = {
    "deployments.apps",
    "replicasets.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "jobs.batch",
    "cronjobs.batch",
    "replicationcontrollers",
    "pods",
    "poddisruptionbudgets.policy",
    "ingresses.networking.k8s.io",
    "networkpolicies.networking.k8s.io",
    "endpointslices.discovery.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
    "mutatingadmissionpolicies.admissionregistration.k8s.io",
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    "flowschemas.flowcontrol.apiserver.k8s.io",
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
    "priorityclasses.scheduling.k8s.io",
    "resourceclaims.resource.k8s.io",
}
_CREATE_ON_UPDATE = {
    "endpoints",
    "events",
    "services",
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "leases.coordination.k8s.io",
    "limitranges",
}
_RETURNS_DELETED = {
    "pods",
    "services",
    "serviceaccounts",
    "persistentvolumes",
    "persistentvolumeclaims",
    "podtemplates",
    "resourcequotas",
}


def facts_for(resource: Resource) -> dict[str, Any]:
    """The facts of a kind, for a Strategy's constructor."""
    key = resource.group_resource
    return {
        "has_status": "status" in resource.subresources,
        "has_generation": key in _GENERATION,
        "create_on_update": key in _CREATE_ON_UPDATE,
        "returns_deleted": key in _RETURNS_DELETED,
        "default_orphan": key == "replicationcontrollers",
    }
