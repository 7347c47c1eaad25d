"""Jobs and CronJobs: every pod is counted once, failures are judged, runs come by the clock."""

from __future__ import annotations

from typing import Any

import pytest
from cluster_objects import NS, pod_spec

from knarr.api import conditions
from knarr.api.batch import v1 as batch
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner


def job_template(*, run_s: float = 1, exit_code: int = 0, **spec: Any) -> batch.JobSpec:
    annotations = {
        "knarr.dev/simulate-run-seconds": str(run_s),
        "knarr.dev/simulate-exit-code": str(exit_code),
    }
    template = core.PodTemplateSpec(
        metadata=meta.ObjectMeta(annotations=annotations), spec=pod_spec(restartPolicy="Never")
    )
    return batch.JobSpec(template=template, **spec)


def job(name: str = "work", **spec: Any) -> batch.Job:
    return batch.Job(metadata=meta.ObjectMeta(name=name, namespace=NS), spec=job_template(**spec))


async def finished(cluster: InProcessCluster, kind: str = "Complete", name: str = "work") -> batch.Job:
    async def reached() -> batch.Job | None:
        obj = await cluster.client.get(batch.Job, name, namespace=NS)
        return obj if conditions.is_true(obj.status.conditions, kind) else None

    found: batch.Job = await cluster.wait_for(reached, 3600)
    return found


def test_a_job_completes_and_no_pod_keeps_its_finalizer(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(job(completions=5, parallelism=2))
        obj = await finished(cluster)
        assert (obj.status.succeeded, obj.status.failed, obj.status.active) == (5, 0, 0)
        assert obj.status.completionTime is not None
        await cluster.sleep(5)
        pods = await cluster.pods("job-name=work")
        assert len(pods) == 5 and all(pod.metadata.finalizers == [] for pod in pods)

    knarr_cluster.run(scenario)


def test_never_more_pods_than_the_parallelism_run(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(job(completions=6, parallelism=2))
        most = 0

        async def done() -> bool:
            nonlocal most
            pods = await cluster.pods("job-name=work")
            most = max(most, sum(1 for pod in pods if pod.status.phase in ("Pending", "Running")))
            obj = await cluster.client.get(batch.Job, "work", namespace=NS)
            return conditions.is_true(obj.status.conditions, "Complete")

        await cluster.wait_for(done, 600)
        assert most <= 2

    knarr_cluster.run(scenario)


def test_failures_back_off_and_then_fail_the_job(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(job(exit_code=1, backoffLimit=2))
        start_s = cluster.clock.monotonic_s()
        obj = await finished(cluster, "Failed")
        failed = conditions.get(obj.status.conditions, "Failed")
        assert failed is not None and failed.reason == "BackoffLimitExceeded"
        assert failed.message == "Job has reached the specified backoff limit"
        assert obj.status.failed == 3
        assert cluster.clock.monotonic_s() - start_s >= 30, "ten and twenty seconds between the tries"

    knarr_cluster.run(scenario)


def test_an_indexed_job_runs_each_index_once(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(job(completions=4, parallelism=3, completionMode="Indexed"))
        obj = await finished(cluster)
        assert obj.status.completedIndexes == "0-3" and obj.status.succeeded == 4
        pods = await cluster.pods("job-name=work")
        key = "batch.kubernetes.io/job-completion-index"
        assert sorted(pod.metadata.annotations[key] for pod in pods) == ["0", "1", "2", "3"]

    knarr_cluster.run(scenario)


def test_a_pod_failure_policy_fails_the_job_at_once(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        rule = batch.PodFailurePolicyRule(
            action="FailJob",
            onExitCodes=batch.PodFailurePolicyOnExitCodesRequirement(operator="In", values=[42]),
        )
        policy = batch.PodFailurePolicy(rules=[rule])
        await cluster.client.create(job(exit_code=42, podFailurePolicy=policy, backoffLimit=5))
        obj = await finished(cluster, "Failed")
        failed = conditions.get(obj.status.conditions, "Failed")
        assert failed is not None and failed.reason == "PodFailurePolicy"
        assert "failed with exit code 42 matching FailJob rule at index 0" in failed.message
        assert obj.status.failed == 1

    knarr_cluster.run(scenario)


def test_suspending_takes_the_pods_away_and_resuming_brings_them_back(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(job(run_s=100, parallelism=2, completions=2))
        await cluster.sleep(5)
        assert len(await cluster.pods("job-name=work")) == 2
        await cluster.client.patch(batch.Job, "work", {"spec": {"suspend": True}}, namespace=NS)
        await cluster.sleep(60)
        obj = await cluster.client.get(batch.Job, "work", namespace=NS)
        assert obj.status.active == 0 and conditions.is_true(obj.status.conditions, "Suspended")
        await cluster.client.patch(batch.Job, "work", {"spec": {"suspend": False}}, namespace=NS)
        await finished(cluster)

    knarr_cluster.run(scenario)


def test_a_deadline_ends_a_job_that_takes_too_long(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(job(run_s=10_000, activeDeadlineSeconds=30))
        obj = await finished(cluster, "Failed")
        failed = conditions.get(obj.status.conditions, "Failed")
        assert failed is not None and failed.reason == "DeadlineExceeded"

    knarr_cluster.run(scenario)


def test_a_finished_job_goes_after_its_time_to_live(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(job(ttlSecondsAfterFinished=60))
        await finished(cluster)
        await cluster.sleep(50)
        assert await cluster.exists(batch.Job, "work")
        await cluster.sleep(40)
        assert not await cluster.exists(batch.Job, "work")
        assert await cluster.pods("job-name=work") == []

    knarr_cluster.run(scenario)


def cron(schedule: str = "*/5 * * * *", **more: Any) -> batch.CronJob:
    run_s = more.pop("run_s", 1)
    return batch.CronJob(
        metadata=meta.ObjectMeta(name="tick", namespace=NS),
        spec=batch.CronJobSpec(
            schedule=schedule, jobTemplate=batch.JobTemplateSpec(spec=job_template(run_s=run_s)), **more
        ),
    )


def test_a_cron_job_runs_on_its_minutes_and_keeps_three(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(cron())
        await cluster.sleep(31 * 60)
        jobs = await cluster.client.list(batch.Job, namespace=NS)
        assert len(jobs) == 3, "successfulJobsHistoryLimit"
        obj = await cluster.client.get(batch.CronJob, "tick", namespace=NS)
        assert obj.status.lastScheduleTime == "2026-01-01T00:30:00Z" and obj.status.active == []
        assert obj.status.lastSuccessfulTime is not None

    knarr_cluster.run(scenario)


def test_forbid_waits_for_the_run_before(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(cron(concurrencyPolicy="Forbid", run_s=420))
        await cluster.sleep(11 * 60)
        jobs = await cluster.client.list(batch.Job, namespace=NS)
        assert len(jobs) == 1
        events = [event.reason for event in await cluster.events(namespace=NS)]
        assert "JobAlreadyActive" in events

    knarr_cluster.run(scenario)


def test_replace_ends_the_run_before_and_never_its_own(knarr_cluster: ClusterRunner) -> None:
    """The controller learns of the new Job before it sees the schedule it has just written itself."""

    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(cron(concurrencyPolicy="Replace", run_s=900))
        first: str | None = None
        await cluster.sleep(30)
        for _ in range(4):
            await cluster.sleep(5 * 60)
            events = [event for event in await cluster.events(namespace=NS) if event.reason == "SuccessfulCreate"]
            jobs = [job for job in await cluster.client.list(batch.Job, namespace=NS) if job.metadata.deletionTimestamp is None]
            assert len(jobs) == 1 and jobs[0].metadata.uid != first
            first = jobs[0].metadata.uid
            obj = await cluster.client.get(batch.CronJob, "tick", namespace=NS)
            assert [each.uid for each in obj.status.active] == [first]
            made = [event.message for event in events if event.involvedObject.kind == "CronJob"]
            assert len(made) == len(set(made))

    knarr_cluster.run(scenario)


@pytest.mark.parametrize("policy", ["Background", "Orphan"])
def test_a_job_deleted_while_it_runs_leaves_no_pod_that_cannot_go(knarr_cluster: ClusterRunner, policy: str) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.client.create(job(run_s=600, parallelism=2, completions=2))
        await cluster.wait_for(lambda: _running(cluster, 2))
        await cluster.client.delete(batch.Job, "work", namespace=NS, propagation_policy=policy)
        await cluster.wait_for_deletion(batch.Job, "work")
        await cluster.sleep(60)
        pods = await cluster.pods()
        assert len(pods) == (2 if policy == "Orphan" else 0)
        for pod in pods:
            await cluster.client.delete(core.Pod, pod.metadata.name, namespace=NS)
        await cluster.sleep(60)
        assert await cluster.pods() == []

    knarr_cluster.run(scenario)


async def _running(cluster: InProcessCluster, count: int) -> bool:
    return [pod.status.phase for pod in await cluster.pods()] == ["Running"] * count
