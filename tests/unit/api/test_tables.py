"""What ``kubectl get`` prints: the columns people read, and the programs that parse them."""

from datetime import UTC, datetime

import pytest

from knarr.api import codec, scheme, tables
from knarr.api.core import v1 as core
from knarr.api.printing.durations import human_duration, since
from knarr.api.printing.pods import pod_status

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
CREATED = "2026-01-01T11:55:00Z"


def cells(api_version, kind, body):
    resource = scheme.by_kind(api_version, kind)
    obj = codec.from_dict(resource.type, {"metadata": {"name": "x", "creationTimestamp": CREATED}, **body})
    names = [column.name for column in tables.columns_of(resource)]
    return dict(zip(names, tables.cells(resource, obj, now=NOW), strict=True))


@pytest.mark.parametrize("resource", scheme.all_resources(), ids=repr)
def test_every_kind_has_as_many_cells_as_columns(resource):
    obj = resource.type()
    if not hasattr(obj, "metadata"):
        pytest.skip("no object of its own")
    table = tables.table(resource, [obj], now=NOW)
    assert len(table.columnDefinitions) == len(table.rows[0].cells)
    codec.encode(table)


def container(name="a", *, ready=False, restarts=0, started=None, last=None, **state):
    status = {"name": name, "ready": ready, "restartCount": restarts, "state": state, "started": started}
    if last:
        status["lastState"] = {"terminated": {"exitCode": 1, "finishedAt": last}}
    return status


def pod(phase="Pending", *, init=(), containers=(), spec_init=(), deleted=False, reason="", conditions=()):
    body = {
        "metadata": {"name": "x", "creationTimestamp": CREATED},
        "spec": {
            "containers": [{"name": status["name"]} for status in containers] or [{"name": "a"}],
            "initContainers": list(spec_init) or [{"name": status["name"]} for status in init],
        },
        "status": {
            "phase": phase,
            "reason": reason,
            "initContainerStatuses": list(init),
            "containerStatuses": list(containers),
            "conditions": [{"type": kind, "status": value} for kind, value in conditions],
        },
    }
    if deleted:
        body["metadata"]["deletionTimestamp"] = CREATED
    return codec.from_dict(core.Pod, body)


RUNNING = {"running": {}}
DONE = {"terminated": {"exitCode": 0, "reason": "Completed"}}
STATUSES = {
    "Pending": pod(),
    "ContainerCreating": pod(containers=[container(waiting={"reason": "ContainerCreating"})]),
    "CrashLoopBackOff": pod("Running", containers=[container(waiting={"reason": "CrashLoopBackOff"})]),
    "Running": pod("Running", containers=[container(ready=True, **RUNNING)]),
    "Completed": pod("Succeeded", containers=[container(**DONE)]),
    "Error": pod("Failed", containers=[container(terminated={"exitCode": 1, "reason": "Error"})]),
    "ExitCode:3": pod("Failed", containers=[container(terminated={"exitCode": 3})]),
    "Signal:9": pod("Failed", containers=[container(terminated={"exitCode": 137, "signal": 9})]),
    "Evicted": pod("Failed", reason="Evicted"),
    "Terminating": pod("Running", containers=[container(ready=True, **RUNNING)], deleted=True),
    "Unknown": pod("Running", reason="NodeLost", deleted=True),
    "Init:0/2": pod(init=[container("i", **RUNNING), container("j")]),
    "Init:1/2": pod(init=[container("i", **DONE), container("j", **RUNNING)]),
    "Init:CrashLoopBackOff": pod(init=[container("i", waiting={"reason": "CrashLoopBackOff"})]),
    "Init:Error": pod(init=[container("i", terminated={"exitCode": 1, "reason": "Error"})]),
    "Init:ExitCode:2": pod(init=[container("i", terminated={"exitCode": 2})]),
    "NotReady": pod("Running", containers=[container("a", **DONE), container("b", ready=True, **RUNNING)]),
}


@pytest.mark.parametrize(("expected", "obj"), STATUSES.items())
def test_pod_status(expected, obj):
    assert pod_status(obj) == expected


def test_a_gated_pod_says_so():
    body = {
        "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}
    }
    assert pod_status(codec.from_dict(core.Pod, body)) == "SchedulingGated"


def test_a_sidecar_counts_as_a_container():
    obj = pod(
        "Running",
        init=[container("s", ready=True, started=True, **RUNNING)],
        spec_init=[{"name": "s", "restartPolicy": "Always"}],
        containers=[container("a", ready=True, **RUNNING)],
    )
    row = tables.cells(scheme.by_type(core.Pod), obj, now=NOW)
    assert row[1:3] == ["2/2", "Running"]


def test_restarts_say_how_long_ago():
    obj = pod(
        "Running", containers=[container(ready=True, restarts=3, last="2026-01-01T11:54:00Z", **RUNNING)]
    )
    row = tables.cells(scheme.by_type(core.Pod), obj, now=NOW)
    assert row[:5] == ["x", "1/1", "Running", "3 (6m ago)", "5m"]


def test_finished_pods_are_marked_for_clients_that_hide_them():
    row = tables.row(scheme.by_type(core.Pod), STATUSES["Completed"], now=NOW)
    assert [(c.type, c.status, c.reason) for c in row.conditions] == [("Completed", "True", "Succeeded")]


DURATIONS = {
    -5: "<invalid>",
    0: "0s",
    119: "119s",
    120: "2m",
    200: "3m20s",
    600: "10m",
    3 * 3600: "3h",
    3 * 3600 + 120: "3h2m",
    10 * 3600: "10h",
    50 * 3600: "2d2h",
    10 * 86400: "10d",
    800 * 86400: "2y70d",
    3000 * 86400: "8y",
}


@pytest.mark.parametrize(("seconds", "expected"), DURATIONS.items())
def test_durations(seconds, expected):
    assert human_duration(seconds) == expected


def test_no_time_is_an_unknown_age():
    assert since(None, NOW) == "<unknown>"


def test_services():
    row = cells(
        "v1",
        "Service",
        {
            "spec": {
                "type": "NodePort",
                "clusterIP": "10.0.0.1",
                "clusterIPs": ["10.0.0.1"],
                "ports": [
                    {"port": 80, "nodePort": 30080, "protocol": "TCP"},
                    {"port": 53, "protocol": "UDP"},
                ],
                "selector": {"b": "2", "a": "1"},
            }
        },
    )
    assert row == {
        "Name": "x",
        "Type": "NodePort",
        "Cluster-IP": "10.0.0.1",
        "External-IP": "<none>",
        "Port(s)": "80:30080/TCP,53/UDP",
        "Age": "5m",
        "Selector": "a=1,b=2",
    }


def test_a_load_balancer_without_address_is_pending():
    assert cells("v1", "Service", {"spec": {"type": "LoadBalancer"}})["External-IP"] == "<pending>"


def test_nodes():
    row = cells(
        "v1",
        "Node",
        {
            "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}},
            "spec": {"unschedulable": True},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "nodeInfo": {"kubeletVersion": "v1.36.0"},
                "addresses": [{"type": "InternalIP", "address": "10.1.0.1"}],
            },
        },
    )
    assert row["Status"] == "Ready,SchedulingDisabled"
    assert row["Roles"] == "control-plane"
    assert (row["Internal-IP"], row["External-IP"], row["OS-Image"]) == ("10.1.0.1", "<none>", "<unknown>")


def test_deployments():
    row = cells(
        "apps/v1",
        "Deployment",
        {
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"spec": {"containers": [{"name": "a", "image": "i:1"}]}},
            },
            "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1},
        },
    )
    assert list(row.values()) == ["x", "2/3", 3, 1, "5m", "a", "i:1", "app=web"]


def test_jobs():
    body = {
        "spec": {"completions": 2},
        "status": {"succeeded": 1, "startTime": "2026-01-01T11:58:00Z", "conditions": []},
    }
    row = cells("batch/v1", "Job", body)
    assert (row["Status"], row["Completions"], row["Duration"]) == ("Running", "1/2", "2m")
    body["status"]["completionTime"] = "2026-01-01T11:58:30Z"
    body["status"]["conditions"] = [{"type": "Complete", "status": "True"}]
    row = cells("batch/v1", "Job", body)
    assert (row["Status"], row["Duration"]) == ("Complete", "30s")


def test_autoscalers():
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
    }
    body = {
        "spec": {"maxReplicas": 3, "metrics": [metric], "scaleTargetRef": {"kind": "Deployment", "name": "w"}}
    }
    row = cells("autoscaling/v2", "HorizontalPodAutoscaler", body)
    assert (row["Reference"], row["Targets"], row["MinPods"]) == (
        "Deployment/w",
        "cpu: <unknown>/80%",
        "<unset>",
    )


def test_endpoints_name_three_and_count_the_rest():
    addresses = [{"ip": f"10.0.0.{index}"} for index in range(5)]
    body = {"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]}
    row = cells("v1", "Endpoints", body)
    assert row["Endpoints"] == "10.0.0.0:80,10.0.0.1:80,10.0.0.2:80 + 2 more..."


def test_events_of_both_groups():
    old = cells(
        "v1",
        "Event",
        {
            "involvedObject": {"kind": "Pod", "name": "p"},
            "lastTimestamp": "2026-01-01T11:59:00Z",
            "firstTimestamp": CREATED,
            "message": " hello\n",
            "source": {"component": "kubelet", "host": "n1"},
            "count": 4,
        },
    )
    assert old["Last Seen"] == "60s"
    assert (old["Object"], old["Source"], old["Message"], old["Count"]) == (
        "pod/p",
        "kubelet, n1",
        "hello",
        4,
    )
    new = cells(
        "events.k8s.io/v1", "Event", {"regarding": {"kind": "Node", "name": "n"}, "eventTime": CREATED}
    )
    assert (new["Last Seen"], new["Object"], new["Count"]) == ("5m", "node/n", 1)


def test_claims_and_volumes():
    claim = cells(
        "v1",
        "PersistentVolumeClaim",
        {
            "spec": {"volumeName": "v", "storageClassName": "fast"},
            "status": {
                "phase": "Bound",
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
            },
        },
    )
    assert (claim["Capacity"], claim["Access Modes"], claim["VolumeMode"]) == ("1Gi", "RWO,RWX", "<unset>")


def test_the_default_storage_class_is_marked():
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
    row = cells("storage.k8s.io/v1", "StorageClass", {"metadata": {"name": "s", "annotations": annotations}})
    assert row["Name"] == "s (default)"
