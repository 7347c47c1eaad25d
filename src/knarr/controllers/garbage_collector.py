"""The garbage collector: what belongs to something that is gone goes too.

It keeps a graph of every object's owners from the metadata of all kinds. Three things happen on it:

* an object all of whose owners are gone is deleted (after asking the API, for a cache may be behind);
* an object deleted in the *foreground* waits until the dependents that block it are gone;
* an object deleted with *orphan* first has itself struck from its dependents' owners.

Upstream's counterpart is ``pkg/controller/garbagecollector``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from knarr.api import codec, scheme
from knarr.api.apiextensions import v1 as apiextensions
from knarr.api.apiextensions.custom import CustomResource
from knarr.api.conditions import is_true
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.api.meta.tables import PartialObjectMetadata
from knarr.api.scheme import Resource
from knarr.client.client import MERGE_PATCH, raise_refusal
from knarr.controllers.framework import Controller, ControllerContext, Key

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
#: UIDs of owners found absent, remembered so that a thousand dependents cost one question.
ABSENT_LIMIT = 500
_SCOPE = "uid"


@dataclass(slots=True)
class Node:
    """One object in the graph."""

    resource: Resource
    namespace: str
    name: str
    uid: str
    owners: list[meta.OwnerReference] = field(default_factory=list)
    finalizers: list[str] = field(default_factory=list)
    deletion_time: str | None = None
    """When it should have gone; None if it is not being deleted."""

    @property
    def deleting(self) -> bool:
        return self.deletion_time is not None

    @property
    def waits_for_dependents(self) -> bool:
        return self.deleting and FOREGROUND in self.finalizers

    @property
    def orphans_dependents(self) -> bool:
        return self.deleting and ORPHAN in self.finalizers

    @property
    def reference(self) -> core.ObjectReference:
        return core.ObjectReference(
            apiVersion=self.resource.api_version,
            kind=self.resource.kind,
            namespace=self.namespace,
            name=self.name,
            uid=self.uid,
        )


class GarbageCollector(Controller):
    name = "garbage-collector-controller"
    workers = 10

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._nodes: dict[str, Node] = {}
        self.deleting: dict[str, Node] = {}
        """The objects that are being deleted, by UID."""
        #: By owner, in the order in which they were seen: the same run deletes in the same order.
        self._dependents: dict[str, dict[str, None]] = {}
        self._absent: dict[str, None] = {}
        self._custom: dict[str, CustomResource] = {}
        seen: set[str] = set()
        for resource in scheme.all_resources():
            if resource.plural == "events" or not {"delete", "list", "watch"} <= set(resource.verbs):
                continue
            if not resource.storage_prefix or resource.storage_prefix in seen:
                continue
            seen.add(resource.storage_prefix)
            informer = context.factory.metadata_informer(resource)
            informer.add_handler(self._handler(resource))
            self._informers.append(informer)

        definitions = context.factory.informer(apiextensions.CustomResourceDefinition)
        definitions.add_handler(self._definition_changed)

    def _definition_changed(self, event: str, old: Any, new: Any) -> None:
        """Follow the objects of a kind that users have defined, from when it is served."""
        definition = new
        if definition is None:
            gone = self._custom.pop(old.metadata.name, None)
            if gone is not None:
                self.context.factory.forget_metadata(gone)
            return
        if definition.metadata.name in self._custom:
            return
        served = [each for each in definition.spec.versions if each.served]
        if not served or not is_true(definition.status.conditions, "Established"):
            return
        resource = CustomResource(definition, served[0])
        self._custom[definition.metadata.name] = resource
        self.context.factory.metadata_informer(resource).add_handler(self._handler(resource))

    def _find(self, api_version: str, kind: str) -> Resource | None:
        """The resource of a kind, built in or defined by users."""
        found = scheme.by_kind(api_version, kind)
        if found is not None:
            return found
        group = api_version.rpartition("/")[0]
        return next((r for r in self._custom.values() if (r.group, r.kind) == (group, kind)), None)

    def _handler(self, resource: Resource) -> Callable[[str, Any, Any], None]:
        def handle(event: str, old: Any, new: Any) -> None:
            if new is None:
                self._removed(old.metadata.uid)
            else:
                self._seen(resource, new.metadata)

        return handle

    def _seen(self, resource: Resource, metadata: meta.ObjectMeta) -> None:
        held = self._nodes.get(metadata.uid)
        owners = metadata.ownerReferences
        if held is not None:
            for reference in held.owners:
                if all(reference.uid != other.uid for other in owners):
                    self._unlink(reference.uid, metadata.uid)
        node = Node(
            resource,
            metadata.namespace,
            metadata.name,
            metadata.uid,
            owners,
            metadata.finalizers,
            metadata.deletionTimestamp,
        )
        self._nodes[metadata.uid] = node
        if node.deleting:
            self.deleting[metadata.uid] = node
        self._absent.pop(metadata.uid, None)
        for reference in owners:
            self._dependents.setdefault(reference.uid, {})[metadata.uid] = None
        if owners or node.waits_for_dependents or node.orphans_dependents:
            self.queue.add((_SCOPE, metadata.uid))
            # A dependent that no longer blocks may be what an owner waits for.
            for reference in [*owners, *(held.owners if held else ())]:
                owner = self._nodes.get(reference.uid)
                if owner is not None and owner.waits_for_dependents:
                    self.queue.add((_SCOPE, reference.uid))

    def _removed(self, uid: str) -> None:
        node = self._nodes.pop(uid, None)
        if node is None:
            return
        self.deleting.pop(uid, None)
        for reference in node.owners:
            self._unlink(reference.uid, uid)
            owner = self._nodes.get(reference.uid)
            if owner is not None and owner.waits_for_dependents:
                self.queue.add((_SCOPE, reference.uid))
        self._note_absent(uid)
        for dependent in self._dependents.get(uid, ()):
            self.queue.add((_SCOPE, dependent))

    def _unlink(self, owner: str, dependent: str) -> None:
        dependents = self._dependents.get(owner)
        if dependents is not None:
            dependents.pop(dependent, None)
            if not dependents:
                del self._dependents[owner]

    def _note_absent(self, uid: str) -> None:
        self._absent[uid] = None
        while len(self._absent) > ABSENT_LIMIT:
            self._absent.pop(next(iter(self._absent)))

    async def reconcile(self, key: Key) -> None:
        node = self._nodes.get(key[1])
        if node is None:
            return
        if node.orphans_dependents:
            await self._orphan(node)
            return
        if node.waits_for_dependents:
            await self._delete_dependents(node)
            return
        if node.deleting or not node.owners or self._is_held(node):
            return
        await self._collect(node)

    def _is_held(self, node: Node) -> bool:
        """Whether all owners are there and none waits for it: so it is with nearly every new object, and nobody need be asked."""
        owners = [self._nodes.get(reference.uid) for reference in node.owners]
        return all(owner is not None and not owner.waits_for_dependents for owner in owners)

    async def _collect(self, node: Node) -> None:
        """Delete an object whose owners are all gone, or strike the ones that are."""
        live = await self._live(node)
        if live is None:
            self._removed(node.uid)
            return
        solid, dangling, waiting = [], [], []
        for reference in live.ownerReferences:
            if not await self._exists(reference, node):
                dangling.append(reference)
            elif (owner := self._nodes.get(reference.uid)) is not None and owner.waits_for_dependents:
                waiting.append(reference)
            else:
                solid.append(reference)
        if solid:
            if dangling or waiting:
                await self._strike(node, [reference.uid for reference in (*dangling, *waiting)])
        elif live.ownerReferences:
            if waiting and self._in_a_circle(node):
                await self._unblock(node, live)
            await self._delete(node, self._policy(node, live, bool(waiting)))

    def _in_a_circle(self, node: Node) -> bool:
        """Whether a dependent of ``node`` is itself waiting for dependents, of which ``node`` may be one.

        It may also not be: then an owner goes a little early, which is better than two that wait for each other.
        """
        dependents = (self._nodes.get(uid) for uid in self._dependents.get(node.uid, ()))
        return any(each is not None and each.waits_for_dependents for each in dependents)

    async def _unblock(self, node: Node, live: meta.ObjectMeta) -> None:
        """Let the object's owners go without waiting for it."""
        references = [
            {**codec.to_dict(reference), "blockOwnerDeletion": False} for reference in live.ownerReferences
        ]
        await self._patch(node, {"metadata": {"ownerReferences": references, "uid": node.uid}})

    def _policy(self, node: Node, live: meta.ObjectMeta, owner_waits: bool) -> str:
        if owner_waits and self._dependents.get(node.uid):
            return "Foreground"
        if ORPHAN in live.finalizers:
            return "Orphan"
        if FOREGROUND in live.finalizers:
            return "Foreground"
        return "Background"

    async def _exists(self, reference: meta.OwnerReference, node: Node) -> bool:
        """Whether an owner is there, by its UID; asked of the API unless it is known to be gone."""
        if reference.uid in self._nodes:
            return True
        if reference.uid in self._absent:
            return False
        resource = self._find(reference.apiVersion, reference.kind)
        if resource is None:
            # A kind this server does not know: nothing can be said, so nothing is deleted.
            return True
        if resource.namespaced and not node.namespace:
            message = f'ownerRef {codec.encode(reference).decode()} does not exist in namespace ""'
            self.recorder.event_about(node.reference, "Warning", "OwnerRefInvalidNamespace", message)
            return True
        answer = await self.client.raw("GET", resource.path(node.namespace, reference.name))
        if answer.status == 404:
            self._note_absent(reference.uid)
            return False
        raise_refusal(answer)
        found = codec.decode(PartialObjectMetadata, answer.body).metadata
        if found.uid != reference.uid:
            self._note_absent(reference.uid)
            return False
        return True

    async def _live(self, node: Node) -> meta.ObjectMeta | None:
        """The object's metadata now; None if it is gone or another has its name."""
        answer = await self.client.raw("GET", node.resource.path(node.namespace, node.name))
        if answer.status == 404:
            return None
        raise_refusal(answer)
        found = codec.decode(PartialObjectMetadata, answer.body).metadata
        return found if found.uid == node.uid else None

    async def _delete(self, node: Node, policy: str) -> None:
        options = meta.DeleteOptions(propagationPolicy=policy, preconditions=meta.Preconditions(uid=node.uid))
        self.log.debug(
            "collecting", kind=node.resource.kind, object=f"{node.namespace}/{node.name}", policy=policy
        )
        answer = await self.client.raw(
            "DELETE",
            node.resource.path(node.namespace, node.name),
            body=codec.encode(options),
            headers={"Content-Type": "application/json"},
        )
        # Gone already is as good. A conflict is looked at again: another object may have the name, or the
        # write lost a race.
        if answer.status != 404:
            raise_refusal(answer)

    async def _strike(self, node: Node, owners: list[str]) -> None:
        """Remove owners from an object's references."""
        live = await self._live(node)
        if live is None:
            return
        kept = [codec.to_dict(reference) for reference in live.ownerReferences if reference.uid not in owners]
        patch = {"metadata": {"ownerReferences": kept or None, "resourceVersion": live.resourceVersion}}
        await self._patch(node, patch)

    async def _patch(self, node: Node, patch: dict[str, Any]) -> None:
        answer = await self.client.raw(
            "PATCH",
            node.resource.path(node.namespace, node.name),
            body=codec.encode(patch),
            headers={"Content-Type": MERGE_PATCH},
        )
        if answer.status != 404:
            raise_refusal(answer)

    async def _orphan(self, node: Node) -> None:
        """Strike the owner from its dependents, then let it go."""
        for uid in list(self._dependents.get(node.uid, ())):
            dependent = self._nodes.get(uid)
            if dependent is not None:
                await self._strike(dependent, [node.uid])
        await self._drop_finalizer(node, ORPHAN)

    async def _delete_dependents(self, node: Node) -> None:
        """Have dependents deleted; once none blocks, let the owner go."""
        for uid in list(self._dependents.get(node.uid, ())):
            dependent = self._nodes.get(uid)
            if dependent is not None and not dependent.deleting:
                self.queue.add((_SCOPE, uid))
        if not self.blocking(node):
            await self._drop_finalizer(node, FOREGROUND)

    def blocking(self, node: Node) -> list[Node]:
        """The dependents that an object deleted in the foreground waits for."""
        dependents = (self._nodes.get(uid) for uid in self._dependents.get(node.uid, ()))
        return [
            each
            for each in dependents
            if each is not None and any(ref.uid == node.uid and ref.blockOwnerDeletion for ref in each.owners)
        ]

    async def _drop_finalizer(self, node: Node, name: str) -> None:
        live = await self._live(node)
        if live is None or name not in live.finalizers:
            return
        kept = [held for held in live.finalizers if held != name]
        await self._patch(
            node, {"metadata": {"finalizers": kept or None, "resourceVersion": live.resourceVersion}}
        )
