"""ControllerRevisions: the pod templates a StatefulSet or DaemonSet has had, by number.

A revision holds the template as a patch, so that ``kubectl rollout undo`` can apply it. Two templates that
are equal share one revision; going back to an
old template gives its revision the newest number.

Upstream's counterpart is ``pkg/controller/history``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from knarr.api import codec
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.owners import controller_reference
from knarr.api.selectors import LabelSelector
from knarr.api.strategic import strategic_merge
from knarr.client.client import Client
from knarr.client.informer import Lister
from knarr.controllers.deployment.rolling import template_hash
from knarr.controllers.pods import BY_CONTROLLER, RefManager, candidates, file_by_controller

__all__ = ["HASH_LABEL", "RevisionHistory"]

HASH_LABEL = "controller-revision-hash"


class RevisionHistory:
    """The revisions of one kind of owner."""

    def __init__(self, client: Client, revisions: Lister[apps.ControllerRevision]) -> None:
        self._client = client
        self._revisions = revisions
        revisions.add_index(BY_CONTROLLER, file_by_controller)

    async def of(self, owner: Any, selector: LabelSelector) -> list[apps.ControllerRevision]:
        """The owner's revisions, oldest first; orphans that match are adopted."""
        manager = RefManager(self._client, apps.ControllerRevision, owner, selector)
        found = await manager.claim(candidates(self._revisions, owner))
        return sorted(
            found, key=lambda each: (each.revision, each.metadata.creationTimestamp or "", each.metadata.name)
        )

    async def current(
        self, owner: Any, revisions: Sequence[apps.ControllerRevision], collisions: int | None
    ) -> tuple[apps.ControllerRevision, int | None]:
        """The revision of the owner's template, made or renumbered if need be, and the number of collisions."""
        wanted = template_patch(owner.spec.template)
        newest = revisions[-1].revision if revisions else 0
        equal = [each for each in revisions if each.data == wanted]
        if equal:
            found = equal[-1]
            if found.revision < newest:
                renumbered = codec.copy(found)
                renumbered.revision = newest + 1
                found = await self._client.update(renumbered)
            return found, collisions
        return await self._create(owner, wanted, newest + 1, collisions)

    async def _create(
        self, owner: Any, data: dict[str, Any], number: int, collisions: int | None
    ) -> tuple[apps.ControllerRevision, int | None]:
        while True:
            digest = template_hash(owner.spec.template, collisions)
            labels = dict(owner.spec.template.metadata.labels) if owner.spec.template.metadata else {}
            built = apps.ControllerRevision(
                metadata=meta.ObjectMeta(
                    name=f"{owner.metadata.name}-{digest}",
                    namespace=owner.metadata.namespace,
                    labels={**labels, HASH_LABEL: digest},
                    annotations=dict(owner.metadata.annotations),
                    ownerReferences=[controller_reference(owner)],
                ),
                data=data,
                revision=number,
            )
            try:
                return await self._client.create(built), collisions
            except StatusError as error:
                if error.reason != "AlreadyExists":
                    raise
            held = await self._client.get(
                apps.ControllerRevision, built.metadata.name, namespace=built.metadata.namespace
            )
            if held.data == data:
                return held, collisions
            collisions = (collisions or 0) + 1

    async def truncate(
        self, revisions: Sequence[apps.ControllerRevision], *, live: set[str], limit: int | None
    ) -> None:
        """Delete the oldest revisions beyond ``limit`` that no pod (by hash in ``live``) is of."""
        unused = [each for each in revisions if revision_hash(each) not in live]
        for each in unused[: max(len(unused) - (10 if limit is None else limit), 0)]:
            namespace, name = each.metadata.namespace, each.metadata.name
            await self._client.delete(apps.ControllerRevision, name, namespace=namespace, missing_ok=True)


def template_patch(template: core.PodTemplateSpec) -> dict[str, Any]:
    """A template as the patch that restores it, its fields in the order of the alphabet: clients compare it byte by byte with what
    Go's encoder makes of the owner.
    """
    restoring = {"spec": {"template": {**codec.to_dict(template), "$patch": "replace"}}}
    patch: dict[str, Any] = msgspec.to_builtins(restoring, order="sorted")
    return patch


def template_at(owner: Any, revision: apps.ControllerRevision) -> core.PodTemplateSpec:
    """The template a revision holds."""
    restored = strategic_merge(codec.to_dict(owner), revision.data, type(owner))
    template: core.PodTemplateSpec = codec.decode(type(owner), restored).spec.template
    return template


def revision_hash(revision: apps.ControllerRevision) -> str:
    return revision.metadata.labels.get(HASH_LABEL, "")
