"""The Deployment controller: reads the Deployment's ReplicaSets, asks ``rolling`` for their sizes, writes
them.

Upstream's counterpart is ``pkg/controller/deployment``.
"""

from __future__ import annotations

from collections.abc import Sequence

from knarr.api import codec, conditions
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.owners import controller_of
from knarr.api.selectors import from_label_selector
from knarr.client.events import NORMAL, WARNING
from knarr.controllers.deployment import progress, revisions, rolling
from knarr.controllers.framework import Controller, ControllerContext, Key, key_of
from knarr.controllers.pods import BY_CONTROLLER, RefManager, candidates, file_by_controller


class DeploymentController(Controller):
    name = "deployment-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._deployments = self.watch(apps.Deployment)
        self._sets = self.lister(apps.ReplicaSet)
        self._sets.add_index(BY_CONTROLLER, file_by_controller)
        self._pods = self.lister(core.Pod)
        self._pods.add_index(BY_CONTROLLER, file_by_controller)
        self.informer(apps.ReplicaSet).add_handler(self._set_changed)
        self.informer(core.Pod).add_handler(self._pod_changed)

    def _set_changed(self, event: str, old: apps.ReplicaSet | None, new: apps.ReplicaSet | None) -> None:
        for replica_set in (old, new):
            if replica_set is None:
                continue
            controller = controller_of(replica_set)
            if controller is not None:
                if controller.kind == "Deployment":
                    self.queue.add((replica_set.metadata.namespace, controller.name))
                continue
            for deployment in self._deployments.list(replica_set.metadata.namespace):
                if from_label_selector(deployment.spec.selector).matches(replica_set.metadata.labels):
                    self.queue.add(key_of(deployment))

    def _pod_changed(self, event: str, old: core.Pod | None, new: core.Pod | None) -> None:
        """The last old pod of a Recreate rollout going is what its new pods wait for."""
        if new is not None or old is None:
            return
        controller = controller_of(old)
        if controller is None or controller.kind != "ReplicaSet":
            return
        replica_set = self._sets.get(old.metadata.namespace, controller.name)
        owner = controller_of(replica_set) if replica_set is not None else None
        if owner is not None:
            deployment = self._deployments.get(old.metadata.namespace, owner.name)
            if deployment is not None and deployment.spec.strategy.type == rolling.RECREATE:
                self.queue.add(key_of(deployment))

    async def reconcile(self, key: Key) -> None:
        cached = self._deployments.get(*key)
        if cached is None:
            return
        deployment = codec.copy(cached)
        sets = await self._claim(deployment)
        if deployment.metadata.deletionTimestamp is not None:
            await self._write_status(deployment, sets, revisions.find_new(deployment, sets))
        elif deployment.spec.paused:
            await self._paused(deployment, sets)
        elif self._is_resized(deployment, sets):
            await self._resize(deployment, sets)
        elif deployment.spec.strategy.type == rolling.RECREATE:
            await self._recreate(deployment, sets)
        else:
            await self._roll(deployment, sets)

    async def _claim(self, deployment: apps.Deployment) -> list[apps.ReplicaSet]:
        manager = RefManager(
            self.client, apps.ReplicaSet, deployment, from_label_selector(deployment.spec.selector)
        )
        return await manager.claim(candidates(self._sets, deployment))

    async def _paused(self, deployment: apps.Deployment, sets: list[apps.ReplicaSet]) -> None:
        """No rollout, but a resize and the status go on."""
        if progress.has_deadline(deployment):
            paused = progress.condition(
                "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", self.clock.now()
            )
            progress.put(deployment.status, paused)
        new, _ = self._split(deployment, sets)
        await self._scale_all(deployment, sets, new)
        fresh = [self._sets.get(each.metadata.namespace, each.metadata.name) or each for each in sets]
        await self._write_status(deployment, fresh, new)

    def _is_resized(self, deployment: apps.Deployment, sets: Sequence[apps.ReplicaSet]) -> bool:
        for each in sets:
            told = each.metadata.annotations.get(rolling.DESIRED, "")
            if rolling.size(each) > 0 and told.isdecimal() and int(told) != rolling.wanted(deployment):
                return True
        return False

    async def _resize(self, deployment: apps.Deployment, sets: list[apps.ReplicaSet]) -> None:
        new, _ = self._split(deployment, sets)
        await self._scale_all(deployment, sets, new)
        await self._write_status(deployment, sets, new)

    async def _scale_all(
        self, deployment: apps.Deployment, sets: list[apps.ReplicaSet], new: apps.ReplicaSet | None
    ) -> None:
        """Share the Deployment's size among its ReplicaSets: to the one that is active, or in proportion."""
        active = [each for each in sets if rolling.size(each) > 0]
        if len(active) <= 1:
            target = active[0] if active else new
            if target is not None:
                await self._scale(deployment, target, rolling.wanted(deployment))
            return
        if new is not None and self._is_saturated(deployment, new):
            for each in active:
                if each is not new:
                    await self._scale(deployment, each, 0)
            return
        if deployment.spec.strategy.type == rolling.ROLLING:
            sizes = rolling.proportional_sizes(deployment, active)
            for each in active:
                await self._scale(deployment, each, sizes[each.metadata.name])

    def _is_saturated(self, deployment: apps.Deployment, replica_set: apps.ReplicaSet) -> bool:
        count = rolling.wanted(deployment)
        told = replica_set.metadata.annotations.get(rolling.DESIRED, "")
        return (
            rolling.size(replica_set) == count
            and told == str(count)
            and replica_set.status.availableReplicas == count
        )

    async def _roll(self, deployment: apps.Deployment, sets: list[apps.ReplicaSet]) -> None:
        new = await self._ensure_new(deployment, sets)
        if new is None:
            return
        everything = self._with(sets, new)
        old = [each for each in everything if each.metadata.uid != new.metadata.uid]
        grown = await self._scale(deployment, new, self._new_target(deployment, everything, new))
        if grown is None:
            sizes = rolling.scale_down_old(deployment, everything, old, new)
            for each in old:
                if each.metadata.name in sizes:
                    await self._scale(deployment, each, sizes[each.metadata.name])
        await self._finish(deployment, everything, old, new)

    def _new_target(
        self, deployment: apps.Deployment, sets: Sequence[apps.ReplicaSet], new: apps.ReplicaSet
    ) -> int:
        if rolling.size(new) >= rolling.wanted(deployment):
            return rolling.wanted(deployment)
        return rolling.new_size(deployment, sets, new)

    async def _recreate(self, deployment: apps.Deployment, sets: list[apps.ReplicaSet]) -> None:
        new, old = self._split(deployment, sets)
        shrinking = [each for each in old if rolling.size(each) > 0]
        for each in shrinking:
            await self._scale(deployment, each, 0)
        if shrinking or self._old_pods_run(old):
            await self._write_status(deployment, sets, new)
            return
        new = await self._ensure_new(deployment, sets)
        if new is None:
            return
        await self._scale(deployment, new, rolling.wanted(deployment))
        await self._finish(deployment, self._with(sets, new), old, new)

    def _old_pods_run(self, old: Sequence[apps.ReplicaSet]) -> bool:
        return any(
            pod.status.phase not in ("Succeeded", "Failed")
            for each in old
            for pod in self._pods.by_index(BY_CONTROLLER, each.metadata.uid)
        )

    async def _finish(
        self,
        deployment: apps.Deployment,
        sets: list[apps.ReplicaSet],
        old: list[apps.ReplicaSet],
        new: apps.ReplicaSet,
    ) -> None:
        status = progress.compute_status(deployment, sets, new, now=self.clock.now())
        if progress.is_complete(deployment, status):
            for each in revisions.surplus(deployment, old):
                await self._delete_set(each)
        await self._write_status(deployment, sets, new)

    async def _delete_set(self, replica_set: apps.ReplicaSet) -> None:
        namespace, name = key_of(replica_set)
        await self.client.delete(apps.ReplicaSet, name, namespace=namespace, missing_ok=True)

    def _split(
        self, deployment: apps.Deployment, sets: Sequence[apps.ReplicaSet]
    ) -> tuple[apps.ReplicaSet | None, list[apps.ReplicaSet]]:
        new = revisions.find_new(deployment, sets)
        return new, [each for each in sets if new is None or each.metadata.uid != new.metadata.uid]

    def _with(self, sets: list[apps.ReplicaSet], new: apps.ReplicaSet) -> list[apps.ReplicaSet]:
        return [*(each for each in sets if each.metadata.uid != new.metadata.uid), new]

    async def _ensure_new(
        self, deployment: apps.Deployment, sets: list[apps.ReplicaSet]
    ) -> apps.ReplicaSet | None:
        """The ReplicaSet of the current template: found and renumbered, or made. None when a collision has to
        be resolved first.
        """
        new, old = self._split(deployment, sets)
        number = revisions.next_revision(old)
        if new is None:
            return await self._create_new(deployment, number)
        if deployment.metadata.annotations.get(revisions.REVISION) != str(
            max(number, revisions.revision(new))
        ):
            await self._number(deployment, max(number, revisions.revision(new)))
        changed = codec.copy(new)
        touched = revisions.annotate(deployment, changed, number, exists=True)
        if touched or changed.spec.minReadySeconds != deployment.spec.minReadySeconds:
            changed.spec.minReadySeconds = deployment.spec.minReadySeconds
            return await self.client.update(changed)
        self._note_found(deployment, new)
        return new

    def _note_found(self, deployment: apps.Deployment, new: apps.ReplicaSet) -> None:
        if (
            progress.has_deadline(deployment)
            and conditions.get(deployment.status.conditions, "Progressing") is None
        ):
            message = f'Found new replica set "{new.metadata.name}"'
            progress.put(
                deployment.status,
                progress.condition("Progressing", "True", "FoundNewReplicaSet", message, self.clock.now()),
            )

    async def _create_new(self, deployment: apps.Deployment, number: int) -> apps.ReplicaSet | None:
        built = revisions.build_new(deployment, number)
        built.spec.replicas = rolling.new_size(deployment, [*self._owned(deployment), built], built)
        try:
            created = await self.client.create(built)
        except StatusError as error:
            if error.reason == "AlreadyExists":
                return await self._collision(deployment, built)
            await self._creation_failed(deployment, error)
            raise
        message = f"Scaled up replica set {created.metadata.name} from 0 to {rolling.size(created)}"
        if rolling.size(created) > 0:
            self.recorder.event(deployment, NORMAL, "ScalingReplicaSet", message)
        if progress.has_deadline(deployment):
            text = f'Created new replica set "{created.metadata.name}"'
            made = progress.condition("Progressing", "True", "NewReplicaSetCreated", text, self.clock.now())
            _replace(deployment.status, made)
        await self._number(deployment, number)
        return created

    def _owned(self, deployment: apps.Deployment) -> list[apps.ReplicaSet]:
        return self._sets.by_index(BY_CONTROLLER, deployment.metadata.uid)

    async def _collision(self, deployment: apps.Deployment, built: apps.ReplicaSet) -> apps.ReplicaSet | None:
        """Another ReplicaSet has the name: ours, if the cache was behind; else count the collision and hash
        again.
        """
        held = await self.client.get(apps.ReplicaSet, built.metadata.name, namespace=built.metadata.namespace)
        owner = controller_of(held)
        if (
            owner is not None
            and owner.uid == deployment.metadata.uid
            and rolling.same_template(held.spec.template, deployment.spec.template)
        ):
            return held
        changed = codec.copy(deployment)
        changed.status.collisionCount = (changed.status.collisionCount or 0) + 1
        await self.client.update_status(changed)
        return None

    async def _creation_failed(self, deployment: apps.Deployment, error: StatusError) -> None:
        text = f'Failed to create new replica set "{deployment.metadata.name}": {error}'
        self.recorder.event(deployment, WARNING, "ReplicaSetCreateError", text)
        if progress.has_deadline(deployment):
            failed = progress.condition(
                "Progressing", "False", "ReplicaSetCreateError", text, self.clock.now()
            )
            progress.put(deployment.status, failed)
            await self.client.update_status(deployment)

    async def _number(self, deployment: apps.Deployment, number: int) -> None:
        """Write the current revision on the Deployment itself."""
        if deployment.metadata.annotations.get(revisions.REVISION) == str(number):
            return
        kept = deployment.status
        patch = {"metadata": {"annotations": {revisions.REVISION: str(number)}}}
        fresh = await self.client.patch(
            apps.Deployment, deployment.metadata.name, patch, namespace=deployment.metadata.namespace
        )
        deployment.metadata = fresh.metadata
        deployment.status = kept

    async def _scale(
        self, deployment: apps.Deployment, replica_set: apps.ReplicaSet, count: int
    ) -> apps.ReplicaSet | None:
        """Set a ReplicaSet's size and what it is told of the whole; None if nothing changed."""
        before = rolling.size(replica_set)
        annotations = {**replica_set.metadata.annotations, **rolling.desired_annotations(deployment)}
        if before == count and annotations == replica_set.metadata.annotations:
            return None
        changed = codec.copy(replica_set)
        changed.spec.replicas = count
        changed.metadata.annotations = annotations
        updated = await self.client.update(changed)
        if before != count:
            direction = "up" if count > before else "down"
            message = f"Scaled {direction} replica set {replica_set.metadata.name} from {before} to {count}"
            self.recorder.event(deployment, NORMAL, "ScalingReplicaSet", message)
            return updated
        return None

    async def _write_status(
        self, deployment: apps.Deployment, sets: Sequence[apps.ReplicaSet], new: apps.ReplicaSet | None
    ) -> None:
        now = self.clock.now()
        status = progress.compute_status(deployment, sets, new, now=now)
        if deployment.metadata.deletionTimestamp is None and not deployment.spec.paused:
            progress.describe_progress(deployment, status, sets, new, now=now)
        self._wake_at_deadline(deployment, status)
        current = self._deployments.get(*key_of(deployment))
        if current is not None and status == current.status:
            return
        changed = codec.copy(deployment)
        changed.status = status
        await self.client.update_status(changed)

    def _wake_at_deadline(self, deployment: apps.Deployment, status: apps.DeploymentStatus) -> None:
        """Nothing may happen any more; the deadline has to be noticed all the same."""
        if not progress.has_deadline(deployment) or progress.is_complete(deployment, status):
            return
        if not progress.is_timed_out(deployment, status, self.clock.now()):
            self.queue.add_after(key_of(deployment), (deployment.spec.progressDeadlineSeconds or 0) + 1)


def _replace(status: apps.DeploymentStatus, made: apps.DeploymentCondition) -> None:
    """A new ReplicaSet begins a new count of the deadline, whatever was said before."""
    status.conditions[:] = [held for held in status.conditions if held.type != made.type] + [made]
