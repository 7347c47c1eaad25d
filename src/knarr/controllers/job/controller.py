"""The Job controller: does what ``progress`` decides.

Upstream's counterpart is ``pkg/controller/job``.
"""

from __future__ import annotations

from collections.abc import Sequence

from knarr.api import codec
from knarr.api.batch import v1 as batch
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.controllers.framework import Key
from knarr.controllers.job import indexes, progress
from knarr.controllers.pod_owner import PodOwnerController
from knarr.kit.tasks import all_done

MANAGER = "kubernetes.io/job-controller"
BURST = 500
FAILURES_ANNOTATION = "batch.kubernetes.io/job-index-failure-count"


class JobController(PodOwnerController):
    name = "job-controller"
    owner_type = batch.Job

    async def reconcile(self, key: Key) -> None:
        job = self.owners.get(*key)
        if job is None:
            self.expectations.forget(key)
            return
        if job.spec.managedBy not in (None, MANAGER):
            return
        pods = await self.claim(job)
        if progress.is_finished(job) or job.metadata.deletionTimestamp is not None:
            await self._release([pod for pod in pods if progress.tracked(pod)])
            return
        verdict = progress.assess(job, pods, now=self.clock.now())
        if not self.is_settled(key):
            verdict.create, verdict.delete = [], []
        if verdict.status != job.status:
            changed = codec.copy(job)
            changed.status = verdict.status
            job = await self.client.update_status(changed)
        if verdict.event is not None:
            self.recorder.event(job, *verdict.event)
        await self._release(verdict.release)
        await self.delete_pods(key, job, verdict.delete)
        wanted = verdict.create[:BURST]
        templates = (pod_template(job, index, _failures(pods, index)) for index in wanted)
        await self.create_pods(key, job, len(wanted), templates)
        if verdict.wait_s is not None:
            self.queue.add_after(key, verdict.wait_s)

    async def _release(self, pods: Sequence[core.Pod]) -> None:
        """Remove the finalizer from pods that are written down."""
        await all_done(
            self.drop_finalizer(core.Pod, pod, progress.FINALIZER, missing_ok=True)
            for pod in pods
            if progress.tracked(pod)
        )


def _failures(pods: Sequence[core.Pod], index: int) -> int:
    """How often an index has failed so far, from its latest failed pod."""
    counts = [
        int(pod.metadata.annotations.get(FAILURES_ANNOTATION, "0")) + 1
        for pod in pods
        if index >= 0 and indexes.index_of(pod) == index and pod.status.phase == "Failed"
    ]
    return max(counts, default=0)


def pod_template(job: batch.Job, index: int, failures: int) -> core.PodTemplateSpec:
    """The Job's template with the tracking finalizer and, if it has one, the completion index."""
    template = codec.copy(job.spec.template)
    metadata = template.metadata or meta.ObjectMeta()
    metadata.finalizers = [*metadata.finalizers, progress.FINALIZER]
    template.metadata = metadata
    if index < 0 or template.spec is None:
        return template
    metadata.annotations = {**metadata.annotations, indexes.ANNOTATION: str(index)}
    metadata.labels = {**metadata.labels, indexes.ANNOTATION: str(index)}
    if job.spec.backoffLimitPerIndex is not None:
        metadata.annotations[FAILURES_ANNOTATION] = str(failures)
    reference = core.ObjectFieldSelector(
        apiVersion="v1", fieldPath=f"metadata.labels['{indexes.ANNOTATION}']"
    )
    variable = core.EnvVar(name="JOB_COMPLETION_INDEX", valueFrom=core.EnvVarSource(fieldRef=reference))
    for container in (*template.spec.initContainers, *template.spec.containers):
        if all(held.name != variable.name for held in container.env):
            container.env = [*container.env, variable]
    template.spec.hostname = f"{job.metadata.name}-{index}"
    return template
