"""CronJobs: a Job whenever the clock says so.

The name of a run's Job is made from its scheduled minute, so that no run can happen twice. A run that was
missed (the controller was down) is made up for if ``startingDeadlineSeconds``
allows, but only the last one.

Upstream's counterpart is ``pkg/controller/cronjob``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from knarr.api import codec, conditions
from knarr.api.batch import v1 as batch
from knarr.api.batch.cron import CronError, Schedule
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.owners import controller_of, controller_reference
from knarr.client.events import NORMAL, WARNING, reference_to
from knarr.controllers.framework import Controller, ControllerContext, Key
from knarr.controllers.job.progress import COMPLETE, is_finished
from knarr.controllers.pods import BY_CONTROLLER, file_by_controller
from knarr.kit.clock import parse_rfc3339, rfc3339

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
#: More missed runs than this and the user is warned: a clock or a deadline is wrong.
MISSED_LIMIT = 100


class CronJobController(Controller):
    name = "cronjob-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._crons = self.watch(batch.CronJob)
        self._jobs = self.lister(batch.Job)
        self._jobs.add_index(BY_CONTROLLER, file_by_controller)
        self.informer(batch.Job).add_handler(self._job_changed)

    def _job_changed(self, event: str, old: batch.Job | None, new: batch.Job | None) -> None:
        job = new or old
        assert job is not None
        controller = controller_of(job)
        if controller is not None and controller.kind == "CronJob":
            self.queue.add((job.metadata.namespace, controller.name))

    async def reconcile(self, key: Key) -> None:
        cron = self._crons.get(*key)
        if cron is None or cron.metadata.deletionTimestamp is not None:
            return
        cron = codec.copy(cron)
        before = codec.copy(cron.status)
        jobs = self._jobs.by_index(BY_CONTROLLER, cron.metadata.uid)
        await self._clean_up(cron, jobs)
        self._note_active(cron, jobs)
        wait_s = await self._schedule(cron, jobs) if not cron.spec.suspend else None
        if cron.status != before:
            await self.client.update_status(cron)
        if wait_s is not None:
            self.queue.add_after(key, wait_s)

    def _note_active(self, cron: batch.CronJob, jobs: Sequence[batch.Job]) -> None:
        """The status lists what runs; what has finished is noted and leaves the list."""
        listed = {reference.uid for reference in cron.status.active}
        for job in jobs:
            if job.metadata.uid in listed and is_finished(job):
                kind = next(c.type for c in job.status.conditions if c.type in ("Complete", "Failed"))
                message = f"Saw completed job: {job.metadata.name}, condition: {kind}"
                self.recorder.event(cron, NORMAL, "SawCompletedJob", message)
            done = conditions.get(job.status.conditions, COMPLETE)
            if done is not None and done.status == "True" and job.status.completionTime:
                cron.status.lastSuccessfulTime = max(
                    cron.status.lastSuccessfulTime or "", job.status.completionTime
                )
        running = {job.metadata.uid: job for job in jobs if not is_finished(job)}
        held = {job.metadata.uid for job in jobs}
        kept = [
            r
            for r in cron.status.active
            if r.uid in running or (r.uid not in held and self._is_fresh(cron, r))
        ]
        names = {reference.uid for reference in kept}
        kept += [reference_to(job) for uid, job in running.items() if uid not in names]
        cron.status.active = kept

    def _is_fresh(self, cron: batch.CronJob, reference: core.ObjectReference) -> bool:
        """Just made, and not in the cache yet."""
        last = cron.status.lastScheduleTime
        return last is not None and self.clock.now() - parse_rfc3339(last) < timedelta(seconds=10)

    async def _schedule(self, cron: batch.CronJob, jobs: Sequence[batch.Job]) -> float | None:
        """Start the run that is due, if any; returns in how many seconds to look again."""
        try:
            schedule = Schedule.parse(cron.spec.schedule)
            zone: tzinfo = ZoneInfo(cron.spec.timeZone) if cron.spec.timeZone else UTC
        except (CronError, ZoneInfoNotFoundError, ValueError) as error:
            self.recorder.event(
                cron, WARNING, "UnparseableSchedule", f"unparseable schedule {cron.spec.schedule!r} : {error}"
            )
            return None
        now = self.clock.now()
        due, missed = most_recent(cron, schedule, zone, now)
        if missed > MISSED_LIMIT:
            text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
            self.recorder.event(cron, WARNING, "TooManyMissedTimes", text)
        if due is not None:
            await self._start(cron, jobs, due, now)
        following = schedule.next_after(now, zone)
        return (following - now).total_seconds() + 0.1 if following is not None else None

    async def _start(
        self, cron: batch.CronJob, jobs: Sequence[batch.Job], due: datetime, now: datetime
    ) -> None:
        deadline_s = cron.spec.startingDeadlineSeconds
        if deadline_s is not None and due + timedelta(seconds=deadline_s) < now:
            text = f"Missed scheduled time to start a job: {rfc3339(due)}"
            self.recorder.event(cron, WARNING, "MissSchedule", text)
            return
        job = job_for(cron, due)
        if job.metadata.name in {*(held.metadata.name for held in jobs), *(held.name for held in cron.status.active)}:
            # It is under way, only the schedule we read is from before: replacing it would end what has just begun.
            cron.status.lastScheduleTime = rfc3339(due)
            return
        if cron.spec.concurrencyPolicy == "Forbid" and cron.status.active:
            text = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self.recorder.event(cron, NORMAL, "JobAlreadyActive", text)
            return
        if cron.spec.concurrencyPolicy == "Replace":
            for reference in cron.status.active:
                await self._delete(cron, reference.name)
            cron.status.active = []
        try:
            created = await self.client.create(job)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                self.recorder.event(cron, WARNING, "FailedCreate", f"Error creating job: {error}")
                raise
            cron.status.lastScheduleTime = rfc3339(due)
            return
        self.recorder.event(cron, NORMAL, "SuccessfulCreate", f"Created job {created.metadata.name}")
        cron.status.active = [*cron.status.active, reference_to(created)]
        cron.status.lastScheduleTime = rfc3339(due)

    async def _delete(self, cron: batch.CronJob, name: str) -> None:
        namespace = cron.metadata.namespace
        await self.client.delete(
            batch.Job, name, namespace=namespace, propagation_policy="Background", missing_ok=True
        )
        self.recorder.event(cron, NORMAL, "SuccessfulDelete", f"Deleted job {name}")

    async def _clean_up(self, cron: batch.CronJob, jobs: Sequence[batch.Job]) -> None:
        """Keep only as many finished Jobs as the history limits say."""
        finished = [job for job in jobs if is_finished(job)]
        good = [job for job in finished if conditions.is_true(job.status.conditions, COMPLETE)]
        bad = [job for job in finished if job not in good]
        for group, limit in (
            (good, cron.spec.successfulJobsHistoryLimit),
            (bad, cron.spec.failedJobsHistoryLimit),
        ):
            if limit is None:
                continue
            ordered = sorted(group, key=lambda job: (job.status.startTime or "", job.metadata.name))
            for job in ordered[: max(len(ordered) - limit, 0)]:
                await self._delete(cron, job.metadata.name)


def most_recent(
    cron: batch.CronJob, schedule: Schedule, zone: tzinfo, now: datetime
) -> tuple[datetime | None, int]:
    """The last run that should have started and has not, and how many were missed."""
    earliest = parse_rfc3339(cron.status.lastScheduleTime or cron.metadata.creationTimestamp or rfc3339(now))
    deadline_s = cron.spec.startingDeadlineSeconds
    if deadline_s is not None:
        earliest = max(earliest, now - timedelta(seconds=deadline_s))
    found, count = None, 0
    moment = schedule.next_after(earliest, zone)
    while moment is not None and moment <= now:
        found, count = moment, count + 1
        if count > MISSED_LIMIT:
            # Only the last run matters; look for it in the recent past instead of walking through all of them.
            break
        moment = schedule.next_after(moment, zone)
    else:
        return found, count
    for back in (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=366)):
        moment = schedule.next_after(max(now - back, earliest), zone)
        if moment is None or moment > now:
            continue
        while moment is not None and moment <= now:
            found, moment = moment, schedule.next_after(moment, zone)
        break
    return found, count


def job_for(cron: batch.CronJob, due: datetime) -> batch.Job:
    """The Job of one run."""
    template = cron.spec.jobTemplate
    own = template.metadata or meta.ObjectMeta()
    minute = int(due.timestamp()) // 60
    return batch.Job(
        metadata=meta.ObjectMeta(
            name=f"{cron.metadata.name}-{minute}",
            namespace=cron.metadata.namespace,
            labels=dict(own.labels),
            annotations={**own.annotations, SCHEDULED_AT: rfc3339(due)},
            ownerReferences=[controller_reference(cron)],
        ),
        spec=codec.copy(template.spec) if template.spec is not None else batch.JobSpec(),
    )
