"""The status of validating admission policies: which generation was looked at, and what in its expressions is suspicious.

Upstream's counterpart is ``pkg/controller/validatingadmissionpolicystatus``. Neighbour: ``api.admissionregistration.type_checking`` checks;
the API server enforces policies whether or not they have been looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr.api import codec, scheme
from knarr.api.admissionregistration import v1 as registration
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.errors import StatusError
from knarr.controllers.framework import Controller, ControllerContext, Key

if TYPE_CHECKING:
    from knarr.api.admissionregistration.type_checking import Kind
    from knarr.api.cel.types import Type

__all__ = ["PolicyStatusController"]


class PolicyStatusController(Controller):
    name = "validatingadmissionpolicy-status-controller"
    workers = 1

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._policies = self.watch(registration.ValidatingAdmissionPolicy)

    async def reconcile(self, key: Key) -> None:
        policy = self._policies.get(*key)
        if policy is None or (policy.metadata.generation or 0) <= policy.status.observedGeneration:
            return
        # What compiles expressions is loaded when there is a policy.
        from knarr.api.admissionregistration.type_checking import check, named_resources

        kinds = {}
        for group, version, plural in named_resources(policy):
            found = await self._by_resource(group, version, plural)
            if found is not None:
                kinds[found[0]] = found[1]
        changed = codec.copy(policy)
        changed.status.observedGeneration = policy.metadata.generation or 0
        warnings = check(policy, list(kinds.items()), await self._params(policy.spec.paramKind))
        changed.status.typeChecking = registration.TypeChecking(expressionWarnings=warnings)
        await self.client.update(changed, subresource="status")

    async def _by_resource(self, group: str, version: str, plural: str) -> tuple[Kind, Type] | None:
        from knarr.api.admissionregistration.type_checking import type_of_struct
        from knarr.api.apiextensions.declared import declared_type

        resource = scheme.by_resource(group, version, plural)
        if resource is not None:
            return (group, version, resource.kind), type_of_struct(resource.type)
        if not group:
            return None
        try:
            definition = await self.client.get(apiextensions.CustomResourceDefinition, f"{plural}.{group}")
        except StatusError as error:
            if error.code != 404:
                raise
            return None
        for each in definition.spec.versions:
            schema = each.schema.openAPIV3Schema if each.schema is not None else None
            kind = declared_type(schema, root=True) if schema is not None and each.name == version else None
            if kind is not None:
                return (group, version, definition.spec.names.kind), kind
        return None

    async def _params(self, kind: registration.ParamKind | None) -> Type | None:
        from knarr.api.admissionregistration.type_checking import type_of_struct

        resource = scheme.by_kind(kind.apiVersion, kind.kind) if kind is not None else None
        return type_of_struct(resource.type) if resource is not None else None
