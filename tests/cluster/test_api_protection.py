"""Priority and fairness, deadlines, the audit log and metrics of a running server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from cluster_objects import NS, pod

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.flowcontrol import v1 as flowcontrol
from knarr.api.meta import v1 as meta
from knarr.apiserver.audit.config import AuditOptions
from knarr.apiserver.audit.policy import read_policy
from knarr.apiserver.config import ServerConfig
from knarr.client.client import Client
from knarr.testing import InProcessCluster
from knarr.testing.plugin import ClusterRunner

API_ONLY: dict[str, Any] = {"nodes": 0, "controllers": False, "scheduler": False}


def header(answer: Any, name: str) -> str:
    return next((str(value) for key, value in answer.headers.items() if key.lower() == name.lower()), "")


async def account(cluster: InProcessCluster) -> None:
    await cluster.client.create(core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace=NS)))


def test_every_answer_says_how_it_was_classified(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        for client, schema, level in (
            (cluster.client, "exempt", "exempt"),
            (cluster.client_for("bob"), "global-default", "global-default"),
            (cluster.client_for("system:kube-scheduler"), "kube-scheduler", "workload-high"),
        ):
            answer = await client.raw("GET", "/api/v1/pods")
            held = await cluster.client.get(flowcontrol.FlowSchema, schema)
            assert header(answer, "X-Kubernetes-PF-FlowSchema-UID") == held.metadata.uid
            wanted = await cluster.client.get(flowcontrol.PriorityLevelConfiguration, level)
            assert header(answer, "X-Kubernetes-PF-PriorityLevel-UID") == wanted.metadata.uid

    knarr_cluster.run(scenario, **API_ONLY)


def test_defaults_come_back_and_what_is_the_operators_stays(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        await cluster.sleep(5)
        schemas = (await cluster.client.list(flowcontrol.FlowSchema)).items
        assert len(schemas) == 11
        assert all(each.status.conditions[0].reason == "Found" for each in schemas)
        await cluster.client.delete(flowcontrol.FlowSchema, "catch-all")
        changed = await cluster.client.get(flowcontrol.FlowSchema, "service-accounts")
        changed.spec.matchingPrecedence = 1234
        await cluster.client.update(changed)
        own = await cluster.client.get(flowcontrol.FlowSchema, "probes")
        own.spec.matchingPrecedence = 77
        own.metadata.annotations = {"apf.kubernetes.io/autoupdate-spec": "false"}
        await cluster.client.update(own)
        dangling = flowcontrol.FlowSchema(
            metadata=meta.ObjectMeta(name="lost"),
            spec=flowcontrol.FlowSchemaSpec(
                matchingPrecedence=50,
                priorityLevelConfiguration=flowcontrol.PriorityLevelConfigurationReference(name="nowhere"),
            ),
        )
        await cluster.client.create(dangling)
        await cluster.sleep(130)
        assert await cluster.exists(flowcontrol.FlowSchema, "catch-all")
        assert (await cluster.client.get(flowcontrol.FlowSchema, "service-accounts")).spec.matchingPrecedence == 9000
        assert (await cluster.client.get(flowcontrol.FlowSchema, "probes")).spec.matchingPrecedence == 77
        [condition] = (await cluster.client.get(flowcontrol.FlowSchema, "lost")).status.conditions
        assert (condition.type, condition.status, condition.reason) == ("Dangling", "True", "NotFound")

    knarr_cluster.run(scenario, **API_ONLY)


def slow_writes(cluster: InProcessCluster, seconds: float) -> None:
    """The store's disk has become slow."""
    put = cluster.store.put

    async def slowly(*given: Any, **named: Any) -> Any:
        await cluster.sleep(seconds)
        return await put(*given, **named)

    cluster.store.put = slowly  # type: ignore[method-assign]


async def post(client: Client, name: str, **query: str) -> Any:
    body = codec.encode(core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace=NS)))
    headers = {"Content-Type": "application/json"}
    path = f"/api/v1/namespaces/{NS}/configmaps"
    return await client.raw("POST", path, query=list(query.items()), body=body, headers=headers)


def test_too_much_at_once_is_refused_and_the_rest_is_done(knarr_cluster: ClusterRunner) -> None:
    def configure(config: ServerConfig) -> None:
        config.max_requests_inflight, config.max_mutating_requests_inflight = 10, 5

    async def scenario(cluster: InProcessCluster) -> None:
        only = {"spec": {"limited": {"limitResponse": {"type": "Reject", "queuing": None}}}, "metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}}
        await cluster.client.patch(
            flowcontrol.PriorityLevelConfiguration, "workload-high", only, patch_type="application/merge-patch+json"
        )
        slow_writes(cluster, 1.0)
        manager = cluster.client_for("system:kube-controller-manager")
        answers = await asyncio.gather(*(post(manager, f"c{number}") for number in range(40)))
        codes = [answer.status for answer in answers]
        assert 1 <= codes.count(201) <= 15 and codes.count(429) == 40 - codes.count(201)
        refused = next(answer for answer in answers if answer.status == 429)
        assert header(refused, "Retry-After") == "1" and refused.body == b"Too many requests, please try again later.\n"
        metrics = (await cluster.client.raw("GET", "/metrics")).body.decode()
        assert 'apiserver_flowcontrol_rejected_requests_total{flow_schema="kube-controller-manager",priority_level="workload-high",reason="concurrency-limit"}' in metrics
        # What waits is done later, and those who must not wait do not.
        bob = cluster.client_for("bob", ("system:masters",))
        waiting = asyncio.gather(*(post(cluster.client_for("system:kube-scheduler"), f"d{number}") for number in range(3)))
        assert (await bob.raw("GET", "/api/v1/pods")).status == 200
        await waiting

    knarr_cluster.run(scenario, configure=configure, **API_ONLY)


def test_a_request_that_takes_too_long_is_ended(knarr_cluster: ClusterRunner) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        slow_writes(cluster, 300.0)
        began_s = cluster.clock.monotonic_s()
        answer = await post(cluster.client, "a", timeout="5s")
        assert answer.status == 504 and cluster.clock.monotonic_s() - began_s == 5
        status = codec.decode(meta.Status, answer.body)
        assert (status.reason, status.message) == ("Timeout", "Timeout: request did not complete within the allotted timeout")
        answer = await post(cluster.client, "b")
        assert answer.status == 504 and 60 <= cluster.clock.monotonic_s() - began_s - 5 <= 62
        answer = await post(cluster.client, "c", timeout="soon")
        assert answer.status == 400 and b'time: invalid duration \\"soon\\"' in answer.body
        # Who was ended can go on.
        assert (await cluster.client.raw("GET", "/api/v1/pods")).status == 200

    knarr_cluster.run(scenario, **API_ONLY)


def audited(path: Path, *rules: dict[str, Any]) -> Any:
    policy = read_policy({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": list(rules)})

    def configure(config: ServerConfig) -> None:
        config.audit = AuditOptions(policy, log_path=str(path))

    return configure


def test_the_audit_log_says_who_did_what(knarr_cluster: ClusterRunner, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"

    async def scenario(cluster: InProcessCluster) -> None:
        await account(cluster)
        path.write_text("")
        headers = {"Content-Type": "application/json", "Impersonate-User": "jane", "Audit-Id": "my-id", "User-Agent": "curl"}
        answer = await cluster.client.raw("GET", "/api/v1/pods", headers=headers)
        assert answer.status == 403 and header(answer, "Audit-Id") == "my-id"
        await cluster.client.create(core.Secret(metadata=meta.ObjectMeta(name="s", namespace=NS), stringData={"k": "hidden"}))
        await cluster.client.create(pod("p"))
        await cluster.client_with_token("wrong.to.ken").raw("GET", "/api/v1/pods")

    configure = audited(
        path,
        {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets"]}]},
        {"level": "RequestResponse", "omitManagedFields": True},
    )
    knarr_cluster.run(scenario, configure=configure, **API_ONLY)
    text = path.read_text()
    assert "hidden" not in text
    forbidden, secret, created, unknown = (json.loads(line) for line in text.splitlines())
    assert forbidden["auditID"] == "my-id" and forbidden["stage"] == "ResponseComplete"
    assert forbidden["user"]["username"] == "kubernetes-admin"
    assert forbidden["impersonatedUser"] == {"username": "jane", "groups": ["system:authenticated"]}
    assert forbidden["verb"] == "list" and forbidden["userAgent"] == "curl"
    assert forbidden["objectRef"] == {"resource": "pods", "apiVersion": "v1"}
    assert forbidden["responseStatus"]["code"] == 403 and forbidden["responseStatus"]["reason"] == "Forbidden"
    assert secret["level"] == "Metadata" and secret["objectRef"]["name"] == "s" and "requestObject" not in secret
    assert created["requestObject"]["metadata"]["name"] == "p" and created["responseObject"]["kind"] == "Pod"
    assert created["annotations"]["pod-security.kubernetes.io/enforce-policy"] == "privileged:latest" if "annotations" in created else True
    assert unknown["responseStatus"]["code"] == 401


def test_a_watch_is_told_of_when_it_begins_and_ends(knarr_cluster: ClusterRunner, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"

    async def scenario(cluster: InProcessCluster) -> None:
        path.write_text("")
        async for _ in cluster.client.watch(core.Pod, timeout_s=5):
            pass

    knarr_cluster.run(scenario, configure=audited(path, {"level": "Metadata"}), **API_ONLY)
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(each["verb"], each["stage"]) for each in events] == [("watch", "ResponseStarted"), ("watch", "ResponseComplete")]
    assert events[0]["auditID"] == events[1]["auditID"]


def test_metrics_are_there_under_upstreams_names(knarr_cluster: ClusterRunner) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    async def scenario(cluster: InProcessCluster) -> None:
        await account(cluster)
        await cluster.client.create(pod("p"))
        await cluster.client.raw("GET", "/api/v1/namespaces/default/pods/none")
        watching = asyncio.ensure_future(anext(aiter(cluster.client.watch(core.Pod, namespace=NS))))
        await watching
        await cluster.client_with_token("wrong.to.ken").raw("GET", "/api")
        answer = await cluster.client.raw("GET", "/metrics")
        assert header(answer, "Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
        samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
        }

        def value(name: str, **labels: str) -> float:
            found = [
                count
                for (sample, held), count in samples.items()
                if sample == name and all(dict(held).get(key) == text for key, text in labels.items())
            ]
            assert found, name
            return sum(found)

        assert value("apiserver_request_total", verb="POST", resource="pods", code="201", scope="resource") == 1
        assert value("apiserver_request_total", verb="GET", resource="pods", code="404") == 1
        assert value("apiserver_request_duration_seconds_count", verb="POST", resource="pods") == 1
        assert value("apiserver_storage_objects", resource="pods") == 1
        assert value("apiserver_resource_objects", group="rbac.authorization.k8s.io", resource="clusterroles") > 30
        assert value("apiserver_watch_events_total", kind="Pod") >= 1
        assert value("apiserver_current_inflight_requests", request_kind="readOnly") == 1
        assert 'authentication_attempts{result="failure"} 1\n' in answer.body.decode()
        assert value("apiserver_admission_step_admission_duration_seconds_count", operation="CREATE", type="validate") > 0
        assert value("apiserver_flowcontrol_nominal_limit_seats", priority_level="workload-low") == 245
        assert value("kubernetes_build_info", major="1", minor="36") == 1
        assert value("process_cpu_seconds_total") > 0

    knarr_cluster.run(scenario, **API_ONLY)


@pytest.mark.parametrize("user", ["bob", "system:anonymous"])
def test_metrics_are_not_for_everybody(knarr_cluster: ClusterRunner, user: str) -> None:
    async def scenario(cluster: InProcessCluster) -> None:
        assert (await cluster.client_for(user).raw("GET", "/metrics")).status == 403
        assert (await cluster.client_for("scraper", ("system:monitoring",)).raw("GET", "/metrics")).status == 200

    knarr_cluster.run(scenario, **API_ONLY)
