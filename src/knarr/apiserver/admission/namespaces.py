"""Nothing is created in a namespace that does not exist or is being emptied; the default namespaces cannot be
deleted.

Upstream's counterpart is the ``NamespaceLifecycle`` plug-in.
"""

from __future__ import annotations

from knarr.api.errors import StatusError, forbidden, not_found
from knarr.api.meta import v1 as meta
from knarr.apiserver.admission.chain import Attributes, Plugin
from knarr.apiserver.registry.generic import GenericRegistry

IMMORTAL = ("default", "kube-system", "kube-public")


class NamespaceLifecycle(Plugin):
    name = "NamespaceLifecycle"

    def __init__(self) -> None:
        self._namespaces: GenericRegistry | None = None

    def use(self, namespaces: GenericRegistry) -> None:
        """The registry exists only after the chain it is part of."""
        self._namespaces = namespaces

    async def mutate(self, attributes: Attributes) -> None:
        # Before any other plug-in: nobody should wait for an account in a namespace that is not there.
        self._check(attributes)

    async def validate(self, attributes: Attributes) -> None:
        # And after them: the namespace may have begun to go while they took their time.
        self._check(attributes)

    def _check(self, attributes: Attributes) -> None:
        if (
            attributes.operation == "DELETE"
            and attributes.is_("", "namespaces")
            and attributes.name in IMMORTAL
        ):
            raise forbidden("", "namespaces", attributes.name, "this namespace may not be deleted")
        if attributes.operation != "CREATE" or not attributes.resource.namespaced:
            return
        if attributes.is_("authorization.k8s.io", "localsubjectaccessreviews"):
            # Whether a namespace is there is no secret to be told through a question about rights.
            return
        assert self._namespaces is not None
        registry = self._namespaces
        entry = registry.cache.get(registry.key("", attributes.namespace))
        if entry is None:
            raise not_found("", "namespaces", attributes.namespace)
        if entry.fields.get("status.phase") == "Terminating":
            raise self._terminating(attributes)

    def _terminating(self, attributes: Attributes) -> StatusError:
        text = (
            f"unable to create new content in namespace {attributes.namespace} because it is being terminated"
        )
        error = forbidden(attributes.resource.group, attributes.resource.plural, attributes.name, text)
        assert error.status.details is not None
        error.status.details.causes.append(
            meta.StatusCause(
                reason="NamespaceTerminating",
                message=f"namespace {attributes.namespace} is being terminated",
                field="metadata.namespace",
            )
        )
        return error
