"""Emptying namespaces that are being deleted.

Pods go first, and nothing else is touched before the last of them is gone: what they use outlives them. Then everything is
deleted kind by kind; when nothing is left, the ``kubernetes`` finalizer goes, and the namespace with it. Until then conditions
say what still stands in the way.

Upstream's counterpart is ``pkg/controller/namespace``.
"""

from __future__ import annotations

from collections import Counter

from knarr.api import codec, conditions, scheme
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apiextensions.custom import CustomResource
from knarr.api.conditions import is_true
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta.tables import PartialObjectMetadata
from knarr.api.scheme import Resource
from knarr.client.client import raise_refusal
from knarr.controllers.framework import Controller, ControllerContext, Key
from knarr.kit.clock import rfc3339

FINALIZER = "kubernetes"
#: How long to wait before looking again at what has not gone yet.
AGAIN_S = 1.0


class NamespaceController(Controller):
    name = "namespace-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._namespaces = self.watch(core.Namespace)
        self._resources = _deletable()
        self._definitions = self.lister(apiextensions.CustomResourceDefinition)

    async def reconcile(self, key: Key) -> None:
        _, name = key
        namespace = self._namespaces.get("", name)
        if namespace is None or namespace.metadata.deletionTimestamp is None:
            return
        if FINALIZER not in namespace.spec.finalizers:
            return
        remaining: Counter[str] = Counter()
        finalizers: Counter[str] = Counter()
        failures: list[str] = []
        for resource in (*self._resources, *self._custom()):
            try:
                await self._empty(name, resource, remaining, finalizers)
            except StatusError as error:
                if error.code not in (404, 405):
                    failures.append(f"{resource.group_resource}: {error}")
            if resource.group_resource == "pods" and (remaining or failures):
                break
        if remaining or failures:
            await self._explain(namespace, remaining, finalizers, failures)
            self.queue.add_after(key, AGAIN_S)
            return
        await self._finalize(namespace)

    def _custom(self) -> list[Resource]:
        """The namespaced kinds that users have defined, in their storage version's place."""
        found: list[Resource] = []
        for definition in self._definitions.list():
            served = [each for each in definition.spec.versions if each.served]
            if (
                definition.spec.scope == "Namespaced"
                and served
                and is_true(definition.status.conditions, "Established")
            ):
                found.append(CustomResource(definition, served[0]))
        return found

    async def _empty(
        self, name: str, resource: Resource, remaining: Counter[str], finalizers: Counter[str]
    ) -> None:
        """Delete everything of one kind, and count what does not go at once."""
        if not await self._left(name, resource):
            return
        query = [("propagationPolicy", "Background")]
        raise_refusal(await self.client.raw("DELETE", resource.path(name), query=query))
        left = await self._left(name, resource)
        if left:
            # Upstream's texts keep the dot also where the group is empty.
            remaining[f"{resource.plural}.{resource.group}"] += len(left)
            for item in left:
                finalizers.update(item.metadata.finalizers)

    async def _left(self, name: str, resource: Resource) -> list[PartialObjectMetadata]:
        found = await self.client.list(PartialObjectMetadata, namespace=name, metadata_of=resource)
        return found.items

    async def _finalize(self, namespace: core.Namespace) -> None:
        changed = codec.copy(namespace)
        changed.spec.finalizers = [held for held in changed.spec.finalizers if held != FINALIZER]
        try:
            await self.client.update(changed, subresource="finalize")
        except StatusError as error:
            if error.code != 404:
                raise

    async def _explain(
        self,
        namespace: core.Namespace,
        remaining: Counter[str],
        finalizers: Counter[str],
        failures: list[str],
    ) -> None:
        """Say in conditions, as upstream does, what blocks the deletion."""
        changed = codec.copy(namespace)
        content = ", ".join(
            f"{kind} has {count} resource instances" for kind, count in sorted(remaining.items())
        )
        held = ", ".join(
            f"{name} in {count} resource instances" for name, count in sorted(finalizers.items())
        )
        facts = [
            (
                "NamespaceDeletionDiscoveryFailure",
                False,
                "ResourcesDiscovered",
                "All resources successfully discovered",
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                False,
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            (
                "NamespaceDeletionContentFailure",
                bool(failures),
                "ContentDeletionFailed" if failures else "ContentDeleted",
                f"Failed to delete all resource types, {len(failures)} remaining: {'; '.join(failures)}"
                if failures
                else "All content successfully deleted, may be waiting on finalization",
            ),
            (
                "NamespaceContentRemaining",
                bool(remaining),
                "SomeResourcesRemain" if remaining else "ContentRemoved",
                f"Some resources are remaining: {content}"
                if remaining
                else "All content successfully removed",
            ),
            (
                "NamespaceFinalizersRemaining",
                bool(finalizers),
                "SomeFinalizersRemain" if finalizers else "ContentHasNoFinalizers",
                f"Some content in the namespace has finalizers remaining: {held}"
                if finalizers
                else "All content-preserving finalizers finished",
            ),
        ]
        moved = False
        for kind, true, reason, message in facts:
            condition = core.NamespaceCondition(
                type=kind,
                status="True" if true else "False",
                reason=reason,
                message=message,
                lastTransitionTime=rfc3339(self.clock.now()),
            )
            moved = conditions.put(changed.status.conditions, condition) or moved
        if moved:
            await self.client.update_status(changed)


def _deletable() -> list[Resource]:
    """Every namespaced kind that can be listed and deleted as a whole; a kind in two versions counts once."""
    seen: set[str] = set()
    found = []
    for resource in scheme.all_resources():
        if not resource.namespaced or not {"list", "deletecollection"} <= set(resource.verbs):
            continue
        if resource.storage_prefix in seen:
            continue
        seen.add(resource.storage_prefix)
        found.append(resource)
    # Pods first.
    return sorted(found, key=lambda resource: (resource.plural != "pods", resource.plural))
