"""Finished Jobs go after ``ttlSecondsAfterFinished``.

Upstream's counterpart is ``pkg/controller/ttlafterfinished``.
"""

from __future__ import annotations

from datetime import timedelta

from knarr.api import conditions
from knarr.api.batch import v1 as batch
from knarr.controllers.framework import Controller, ControllerContext, Key
from knarr.controllers.job.progress import COMPLETE, FAILED, is_finished
from knarr.kit.clock import parse_rfc3339


class TTLAfterFinishedController(Controller):
    name = "ttl-after-finished-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._jobs = self.watch(batch.Job)

    async def reconcile(self, key: Key) -> None:
        job = self._jobs.get(*key)
        if job is None or job.metadata.deletionTimestamp is not None or not is_finished(job):
            return
        if job.spec.ttlSecondsAfterFinished is None:
            return
        end = next(
            c for kind in (COMPLETE, FAILED) if (c := conditions.get(job.status.conditions, kind)) is not None
        )
        due = parse_rfc3339(end.lastTransitionTime or "") + timedelta(
            seconds=job.spec.ttlSecondsAfterFinished
        )
        left_s = (due - self.clock.now()).total_seconds()
        if left_s > 0:
            self.queue.add_after(key, left_s)
            return
        await self.client.delete(
            batch.Job,
            job.metadata.name,
            namespace=job.metadata.namespace,
            uid=job.metadata.uid,
            resource_version=job.metadata.resourceVersion,
            propagation_policy="Foreground",
            missing_ok=True,
        )
