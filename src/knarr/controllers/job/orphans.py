"""Pods whose Job is gone: nobody is going to count them, so what keeps them for being counted goes.

A pod can lose its Job while it still runs, when the Job is deleted in the background or its dependents are orphaned; the Job controller,
which reconciles Jobs, never hears of it.

Upstream's counterpart is ``syncOrphanPod`` of ``pkg/controller/job/job_controller.go``.
"""

from __future__ import annotations

from knarr.api.batch import v1 as batch
from knarr.api.core import v1 as core
from knarr.api.owners import controller_of
from knarr.controllers.framework import Controller, ControllerContext, Key, key_of
from knarr.controllers.job.progress import FINALIZER, tracked
from knarr.controllers.pods import BY_CONTROLLER, file_by_controller


class OrphanPodController(Controller):
    name = "job-orphan-pods-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._jobs = self.lister(batch.Job)
        self._pods = self.lister(core.Pod)
        self._pods.add_index(BY_CONTROLLER, file_by_controller)
        self.informer(batch.Job).add_handler(self._job_changed)
        self.informer(core.Pod).add_handler(self._pod_changed)

    def _job_changed(self, event: str, old: batch.Job | None, new: batch.Job | None) -> None:
        if new is None and old is not None:
            for pod in self._pods.by_index(BY_CONTROLLER, old.metadata.uid):
                self.queue.add(key_of(pod))

    def _pod_changed(self, event: str, old: core.Pod | None, new: core.Pod | None) -> None:
        if new is not None and tracked(new) and not self._has_job(new):
            self.queue.add(key_of(new))

    def _has_job(self, pod: core.Pod) -> bool:
        controller = controller_of(pod)
        if controller is None or controller.kind != "Job":
            return False
        job = self._jobs.get(pod.metadata.namespace, controller.name)
        return job is not None and job.metadata.uid == controller.uid

    async def reconcile(self, key: Key) -> None:
        pod = self._pods.get(*key)
        if pod is None or not tracked(pod) or self._has_job(pod):
            return
        await self.drop_finalizer(core.Pod, pod, FINALIZER, missing_ok=True)
