"""The StatefulSet controller: takes one step at a time, as ``plan`` says.

Upstream's counterpart is ``pkg/controller/statefulset``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from knarr.api import codec
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.client.events import NORMAL, WARNING
from knarr.client.transport import TransportError
from knarr.controllers.failed_pods import FailedPodBackoff
from knarr.controllers.framework import ControllerContext, Key
from knarr.controllers.history import HASH_LABEL, RevisionHistory, revision_hash, template_at
from knarr.controllers.pod_owner import PodOwnerController
from knarr.controllers.statefulset import identity, plan


class StatefulSetController(PodOwnerController):
    name = "statefulset-controller"
    owner_type = apps.StatefulSet

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._claims = self.lister(core.PersistentVolumeClaim)
        self._failed = FailedPodBackoff(context.clock)
        self._history = RevisionHistory(context.client, self.lister(apps.ControllerRevision))

    async def reconcile(self, key: Key) -> None:
        owner = self.owners.get(*key)
        if owner is None:
            self.expectations.forget(key)
            return
        if owner.metadata.deletionTimestamp is not None or not self.is_settled(key):
            return
        selector = self.selector_of(owner)
        pods = [pod for pod in await self.claim(owner) if identity.is_member(owner, pod)]
        revisions = await self._history.of(owner, selector)
        update, collisions = await self._history.current(owner, revisions, owner.status.collisionCount)
        known = {each.metadata.name: each for each in (*revisions, update)}
        current = known.get(owner.status.currentRevision, update)
        names = {"current": current.metadata.name, "update": update.metadata.name}
        now = self.clock.now()
        step = plan.next_step(owner, pods, **names, now=now)
        failure: StatusError | TransportError | None = None
        try:
            await self._take(key, owner, step, known)
        except (StatusError, TransportError) as error:
            failure = error
        # Not in a ``finally``: whoever is cancelled writes nothing more, and must not end with another error than that.
        await self._write_status(owner, pods, current, update, collisions, now=now)
        if failure is not None:
            raise failure
        live_names = {pod.metadata.labels.get(HASH_LABEL, "") for pod in pods} | set(names.values())
        live = {revision_hash(known[name]) for name in live_names if name in known}
        await self._history.truncate(revisions, live=live, limit=owner.spec.revisionHistoryLimit)
        self.wake_when_available(key, owner, pods, now)

    async def _take(
        self,
        key: Key,
        owner: apps.StatefulSet,
        step: plan.Step,
        templates: dict[str, apps.ControllerRevision],
    ) -> None:
        for ordinal in step.check_claims:
            await self._ensure_claims(owner, ordinal)
        for ordinal, name in step.create.items():
            revision = templates.get(name)
            template = template_at(owner, revision) if revision is not None else owner.spec.template
            await self._ensure_claims(owner, ordinal)
            await self._create(key, owner, identity.build_pod(owner, template, ordinal, name))
        for pod in step.replace:
            await self._replace(key, owner, pod)
        for pod in step.delete:
            await self._delete(key, owner, pod)

    async def _replace(self, key: Key, owner: apps.StatefulSet, pod: core.Pod) -> None:
        """Make room for a new pod of the name; one that fails at once each time is made less and less often."""
        failed = pod.status.phase == "Failed"
        wait_s = self._failed.wait_s((owner.metadata.uid, pod.metadata.name)) if failed else 0.0
        if wait_s:
            self.queue.add_after(key, wait_s)
            return
        word, kind = ("failed", WARNING) if failed else ("terminated", NORMAL)
        text = f"StatefulSet {'/'.join(key)} is recreating {word} Pod {pod.metadata.name}"
        self.recorder.event(owner, kind, f"Recreating{word.capitalize()}Pod", text)
        await self._delete(key, owner, pod)

    async def _create(self, key: Key, owner: apps.StatefulSet, pod: core.Pod) -> None:
        name = pod.metadata.name
        self.expectations.expect_creations(key, 1)
        try:
            await self.client.create(pod)
        except StatusError as error:
            self.expectations.created(key)
            if error.reason == "AlreadyExists":
                return
            message = f"create Pod {name} in StatefulSet {owner.metadata.name} failed error: {error}"
            self.recorder.event(owner, WARNING, "FailedCreate", message)
            raise
        except TransportError:
            self.expectations.created(key)
            raise
        message = f"create Pod {name} in StatefulSet {owner.metadata.name} successful"
        self.recorder.event(owner, NORMAL, "SuccessfulCreate", message)

    async def _delete(self, key: Key, owner: apps.StatefulSet, pod: core.Pod) -> None:
        name = pod.metadata.name
        try:
            await self.client.delete(core.Pod, name, namespace=pod.metadata.namespace, uid=pod.metadata.uid)
        except StatusError as error:
            if error.code == 404:
                return
            message = f"delete Pod {name} in StatefulSet {owner.metadata.name} failed error: {error}"
            self.recorder.event(owner, WARNING, "FailedDelete", message)
            raise
        message = f"delete Pod {name} in StatefulSet {owner.metadata.name} successful"
        self.recorder.event(owner, NORMAL, "SuccessfulDelete", message)

    async def _ensure_claims(self, owner: apps.StatefulSet, ordinal: int) -> None:
        """Claims are made before the pod that needs them, and outlive it."""
        for claim in identity.build_claims(owner, ordinal):
            if self._claims.get(claim.metadata.namespace, claim.metadata.name) is not None:
                continue
            try:
                await self.client.create(claim)
            except StatusError as error:
                if error.reason == "AlreadyExists":
                    continue
                message = (
                    f"create Claim {claim.metadata.name} Pod {identity.pod_name(owner, ordinal)} in "
                    f"StatefulSet {owner.metadata.name} failed error: {error}"
                )
                self.recorder.event(owner, WARNING, "FailedCreate", message)
                raise
            message = (
                f"create Claim {claim.metadata.name} Pod {identity.pod_name(owner, ordinal)} in "
                f"StatefulSet {owner.metadata.name} success"
            )
            self.recorder.event(owner, NORMAL, "SuccessfulCreate", message)

    async def _write_status(
        self,
        owner: apps.StatefulSet,
        pods: Sequence[core.Pod],
        current: apps.ControllerRevision,
        update: apps.ControllerRevision,
        collisions: int | None,
        *,
        now: datetime,
    ) -> None:
        status = plan.compute_status(
            owner,
            pods,
            current=current.metadata.name,
            update=update.metadata.name,
            now=now,
        )
        status.collisionCount = collisions
        if plan.rollout_complete(owner, status):
            status.currentRevision = status.updateRevision
            status.currentReplicas = status.updatedReplicas
        if status != owner.status:
            changed = codec.copy(owner)
            changed.status = status
            await self.client.update_status(changed)
