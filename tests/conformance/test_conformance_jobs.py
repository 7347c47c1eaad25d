"""[sig-apps] Job and CronJob."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_api import NS, STRATEGIC, Api, Object, api_operations, discovered, has_condition
from conformance_objects import alive, job, meta, ready
from test_conformance_replicas import controller_of

from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

JOBS, CRON_JOBS = ("batch/v1", "jobs"), ("batch/v1", "cronjobs")
RUNS = "knarr.dev/simulate-run-seconds"
ENDS = "knarr.dev/simulate-exit-code"


class Jobs:
    """The APIs these tests speak to."""

    def __init__(self, cluster: InProcessCluster) -> None:
        self.jobs = Api(cluster, *JOBS, NS)
        self.cron = Api(cluster, *CRON_JOBS, NS)
        self.pods = Api(cluster, "v1", "pods", NS)

    async def active(self, name: str, count: int) -> list[Object]:
        """So many pods of the job run."""
        selector = f"batch.kubernetes.io/job-name={name}"
        return await self.pods.wait_items(lambda found: len([each for each in alive(found) if ready(each)]) == count, selector)


def complete(obj: Object) -> bool:
    return has_condition(obj, "Complete")


@pytest.mark.conformance("[sig-apps] Job should adopt matching orphans and release non-matching pods [Conformance]")
def test_a_job_adopts_orphans_and_releases_strangers(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        jobs = Jobs(cluster)
        made = await jobs.jobs.create(job("adopt-release", parallelism=2, completions=2, restartPolicy="OnFailure"))
        uid = made["metadata"]["uid"]
        name = (await jobs.active("adopt-release", 2))[0]["metadata"]["name"]
        await jobs.pods.patch(name, {"metadata": {"ownerReferences": None}})
        await jobs.pods.wait(name, lambda each: controller_of(each) == uid)
        await jobs.pods.change(name, lambda obj: obj["metadata"].update(labels={}))
        await jobs.pods.wait(name, lambda each: controller_of(each) == "")

    knarr_cluster.run(scenario)


def failure_policy(*rules: Object) -> Object:
    return {"rules": list(rules)}


@pytest.mark.conformance(
    "[sig-apps] Job should allow to use the pod failure policy on exit code to fail the job early [Conformance]"
)
def test_an_exit_code_can_end_a_job(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        jobs = Jobs(cluster)
        codes = {"containerName": "main", "operator": "In", "values": [1]}
        policy = failure_policy({"action": "FailJob", "onExitCodes": codes})
        fails = {RUNS: "1", ENDS: "1"}
        body = job("fail-early", annotations=fails, backoffLimit=999, parallelism=1, completions=1, podFailurePolicy=policy)
        await jobs.jobs.create(body)
        held = await jobs.jobs.wait("fail-early", lambda each: has_condition(each, "Failed"))
        assert has_condition(held, "Failed", reason="PodFailurePolicy")
        assert held["status"]["failed"] == 1

    knarr_cluster.run(scenario)


@pytest.mark.conformance(
    "[sig-apps] Job should allow to use a pod failure policy to ignore failure matching on DisruptionTarget condition [Conformance]"
)
def test_an_eviction_does_not_count_as_a_failure(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        jobs = Jobs(cluster)
        policy = failure_policy({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]})
        body = job("ignore", backoffLimit=0, parallelism=1, completions=1, podFailurePolicy=policy, annotations={RUNS: "60"})
        await jobs.jobs.create(body)
        name = (await jobs.active("ignore", 1))[0]["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta(name)}
        async with jobs.pods.watch() as watch:
            await jobs.pods.call("POST", jobs.pods.path(name, "eviction"), eviction)
            await watch.until("MODIFIED", lambda each: has_condition(each, "DisruptionTarget", reason="EvictionByEvictionAPI"))
        await jobs.pods.wait_gone(name)
        held = await jobs.jobs.wait("ignore", complete, timeout_s=300)
        assert held["status"]["succeeded"] == 1 and held["status"].get("failed", 0) == 0

    knarr_cluster.run(scenario)


@pytest.mark.conformance(
    "[sig-apps] Job should create pods for an Indexed job with completion indexes and specified hostname [Conformance]"
)
def test_an_indexed_job_numbers_its_pods(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        jobs = Jobs(cluster)
        body = job("indexed", parallelism=2, completions=4, completionMode="Indexed", annotations={RUNS: "1"})
        await jobs.jobs.create(body)
        held = await jobs.jobs.wait("indexed", complete)
        assert held["status"]["completedIndexes"] == "0-3"
        found = [each for each in await jobs.pods.items() if each["status"]["phase"] == "Succeeded"]
        key = "batch.kubernetes.io/job-completion-index"
        indexes = sorted(each["metadata"]["annotations"][key] for each in found)
        assert indexes == ["0", "1", "2", "3"]
        for each in found:
            index = each["metadata"]["annotations"][key]
            assert each["spec"]["hostname"] == f"indexed-{index}" and each["metadata"]["labels"][key] == index
            names = [variable["name"] for variable in each["spec"]["containers"][0]["env"]]
            assert names == ["JOB_COMPLETION_INDEX"]

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] Job should delete a job [Conformance]")
def test_a_deleted_job_takes_its_pods(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        jobs = Jobs(cluster)
        await jobs.jobs.create(job("foo", parallelism=2, completions=2))
        await jobs.active("foo", 2)
        await jobs.jobs.delete("foo", propagationPolicy="Foreground")
        await jobs.jobs.wait_gone("foo")
        assert await jobs.pods.items("job-name=foo") == []

    knarr_cluster.run(scenario)


@pytest.mark.conformance(
    "[sig-apps] Job should run a job to completion when tasks sometimes fail and are locally restarted [Conformance]"
)
def test_a_job_completes_though_its_containers_fail_at_first(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        jobs = Jobs(cluster)
        fails = {RUNS: "1", ENDS: "1"}
        body = job("fail-once", parallelism=2, completions=4, restartPolicy="OnFailure", annotations=fails)
        await jobs.jobs.create(body)
        mended: set[str] = set()

        async def mend() -> bool:
            """Whoever has failed once succeeds the next time."""
            for each in await jobs.pods.items():
                name = each["metadata"]["name"]
                statuses = each["status"].get("containerStatuses", [])
                if name not in mended and statuses and statuses[0]["restartCount"]:
                    await jobs.pods.patch(name, {"metadata": {"annotations": {ENDS: "0"}}})
                    mended.add(name)
            return complete(await jobs.jobs.get("fail-once"))

        await cluster.wait_for(mend, 600)
        held = await jobs.jobs.get("fail-once")
        assert held["status"]["succeeded"] == 4 and held["status"].get("failed", 0) == 0
        found = await jobs.pods.items()
        assert len(found) == 4 and len(mended) == 4
        assert all(each["status"]["phase"] == "Succeeded" for each in found)

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] Job should apply changes to a job status [Conformance]")
def test_the_status_of_a_job_can_be_changed(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        jobs = Jobs(cluster)
        await jobs.jobs.create(job("status", parallelism=2, completions=2))
        await jobs.active("status", 2)
        start = "2021-10-04T12:00:00Z"
        held = await jobs.jobs.get("status", "status")
        assert held["status"]["active"] == 2
        patched = await jobs.jobs.patch("status", {"metadata": {"annotations": {"patchedstatus": "true"}}}, "status")
        assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
        condition = {"type": "CustomConditionType", "status": "True", "reason": "E2E", "lastTransitionTime": start}
        async with jobs.jobs.watch() as watch:
            await jobs.jobs.change("status", lambda obj: obj["status"].setdefault("conditions", []).append(condition), "status")
            await watch.until("MODIFIED", lambda each: has_condition(each, "CustomConditionType"))
        assert has_condition(await jobs.jobs.get("status", "status"), "CustomConditionType")

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] Job should manage the lifecycle of a job [Conformance]")
def test_a_job_is_suspended_patched_and_deleted(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        api, pods = Jobs(cluster).jobs, Jobs(cluster).pods
        body = job("life", parallelism=1, completions=1, suspend=True, backoffLimit=0, annotations={RUNS: "1"})
        body["metadata"]["labels"] = {"e2e-job-label": "life"}
        await api.create(body)
        async with api.watch(labelSelector="e2e-job-label=life") as watch:
            await api.wait("life", lambda each: has_condition(each, "Suspended"))
            assert await pods.items() == []
            patched = await api.patch("life", {"metadata": {"labels": {"life": "patched"}}}, kind=STRATEGIC)
            assert patched["metadata"]["labels"]["life"] == "patched"
            updated = await api.change("life", lambda obj: obj["metadata"].setdefault("annotations", {}).update(updated="true"))
            assert updated["metadata"]["annotations"]["updated"] == "true"
            await watch.until("MODIFIED", lambda each: each["metadata"].get("annotations", {}).get("updated") == "true")
            await api.change("life", lambda obj: obj["spec"].update(suspend=False))
            await api.wait("life", complete)
            assert len((await api.list("e2e-job-label=life", everywhere=True))["items"]) == 1
            await api.delete_collection("e2e-job-label=life", propagationPolicy="Background")
            await watch.until("DELETED", lambda each: each["metadata"]["name"] == "life")
        assert (await api.list("e2e-job-label=life", everywhere=True))["items"] == []
        await pods.wait_items(lambda found: not found)

    knarr_cluster.run(scenario)


def cron_job(name: str, policy: str, *, run_s: int = 300, **spec: Any) -> Object:
    template = job("unused", annotations={RUNS: str(run_s)}, restartPolicy="OnFailure")["spec"]
    body = {"schedule": "*/1 * * * *", "concurrencyPolicy": policy, "jobTemplate": {"spec": template}, **spec}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta(name), "spec": body}


def running(obj: Object) -> int:
    return len(obj["status"].get("active", []))


@pytest.mark.conformance("[sig-apps] CronJob should schedule multiple jobs concurrently [Conformance]")
def test_jobs_of_one_schedule_run_side_by_side(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        jobs = Jobs(cluster)
        await jobs.cron.create(cron_job("concurrent", "Allow"))
        await jobs.cron.wait("concurrent", lambda each: running(each) >= 2, timeout_s=180)
        assert len([each for each in await jobs.jobs.items() if not complete(each)]) >= 2

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] CronJob should not schedule jobs when suspended [Slow] [Conformance]")
def test_a_suspended_schedule_makes_no_jobs(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        jobs = Jobs(cluster)
        await jobs.cron.create(cron_job("suspended", "Allow", suspend=True))
        await cluster.sleep(300)
        assert running(await jobs.cron.get("suspended")) == 0 and await jobs.jobs.items() == []

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] CronJob should not schedule new jobs when ForbidConcurrent [Slow] [Conformance]")
def test_a_forbidding_schedule_waits_for_its_job(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        jobs = Jobs(cluster)
        await jobs.cron.create(cron_job("forbid", "Forbid", run_s=3000))
        await jobs.cron.wait("forbid", lambda each: running(each) == 1)
        await cluster.sleep(300)
        assert running(await jobs.cron.get("forbid")) == 1 and len(await jobs.jobs.items()) == 1

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] CronJob should replace jobs when ReplaceConcurrent [Conformance]")
def test_a_replacing_schedule_ends_the_older_job(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        jobs = Jobs(cluster)
        await jobs.cron.create(cron_job("replace", "Replace", run_s=3000))
        held = await jobs.cron.wait("replace", lambda each: running(each) == 1)
        first = held["status"]["active"][0]["name"]
        await jobs.jobs.wait_gone(first, 120)
        held = await jobs.cron.wait("replace", lambda each: running(each) == 1)
        assert held["status"]["active"][0]["name"] != first
        assert len(await jobs.jobs.items()) == 1

    knarr_cluster.run(scenario)


@pytest.mark.conformance("[sig-apps] CronJob should support CronJob API operations [Conformance]")
def test_cron_jobs_can_be_kept(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await discovered(cluster, "batch", "v1", {"cronjobs", "cronjobs/status"})
        status = {"lastScheduleTime": "2020-01-01T00:00:00Z"}
        await api_operations(Jobs(cluster).cron, cron_job("x", "Allow", suspend=True), status=status)

    knarr_cluster.run(scenario, nodes=0)
