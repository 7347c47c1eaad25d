"""What kubectl shows of a cluster that somebody has just started."""

from __future__ import annotations

import json
import re

import pytest
from e2e_cluster import Cluster, Space, eventually
from e2e_manifests import pod, web

pytestmark = pytest.mark.e2e


def test_nodes_are_ready_and_say_what_they_are(cluster: Cluster) -> None:
    node = cluster.get("node", f"{cluster.name}-1")
    info = node["status"]["nodeInfo"]
    assert re.fullmatch(r"v1\.36\.\d+.*", info["kubeletVersion"])
    assert info["containerRuntimeVersion"].startswith("containerd://")
    assert {"cpu", "memory", "pods", "ephemeral-storage"} <= set(node["status"]["capacity"])
    assert {"cpu", "memory", "pods", "ephemeral-storage"} <= set(node["status"]["allocatable"])
    assert [each["type"] for each in node["status"]["addresses"]] == ["InternalIP", "Hostname"]
    lines = cluster.kubectl("get", "nodes", "-o", "wide").splitlines()
    assert lines[0].split() == [
        *("NAME", "STATUS", "ROLES", "AGE", "VERSION", "INTERNAL-IP", "EXTERNAL-IP"),
        *("OS-IMAGE", "KERNEL-VERSION", "CONTAINER-RUNTIME"),
    ]
    assert lines[1].split()[:3] == [f"{cluster.name}-1", "Ready", "<none>"]


def test_version_tells_the_server_s(cluster: Cluster) -> None:
    version = json.loads(cluster.kubectl("version", "-o", "json"))["serverVersion"]
    assert (version["major"], version["minor"]) == ("1", "36")


def test_cluster_info_names_the_control_plane(cluster: Cluster) -> None:
    said = re.sub(r"\x1b\[[0-9;]*m", "", cluster.kubectl("cluster-info"))
    assert re.search(r"Kubernetes control plane is running at https://[\d.]+:6443", said)


def test_api_resources_lists_what_there_is(cluster: Cluster) -> None:
    lines = [line.split() for line in cluster.kubectl("api-resources", "--no-headers").splitlines()]
    # Pods and nodes are also what metrics are told of.
    rows = {words[0]: words for words in lines if not any(word.startswith("metrics.k8s.io/") for word in words)}
    assert rows["pods"] == ["pods", "po", "v1", "true", "Pod"]
    assert rows["deployments"] == ["deployments", "deploy", "apps/v1", "true", "Deployment"]
    assert rows["nodes"] == ["nodes", "no", "v1", "false", "Node"]
    assert {"customresourcedefinitions", "leases", "cronjobs", "ingresses", "roles"} <= set(rows)


def test_explain_describes_fields(cluster: Cluster) -> None:
    said = cluster.kubectl("explain", "pod.spec")
    assert "KIND:       Pod" in said
    assert re.search(r"containers\s+<\[\]Container> -required-", said)
    assert "DESCRIPTION:" in said
    assert "<string>" in cluster.kubectl("explain", "deployment.spec.strategy.type")


def test_get_shows_pods_as_a_table(space: Space) -> None:
    space.apply(web("shown"))
    space.kubectl("rollout", "status", "deployment/shown", "--timeout=60s")
    lines = [
        line.split()
        for line in space.cluster.kubectl("get", "pods", "-A", "-o", "wide").splitlines()
        if line.startswith(("NAMESPACE", space.name))
    ]
    assert lines[0][:6] == ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert lines[1][2:5] == ["1/1", "Running", "0"]
    assert re.fullmatch(r"10(\.\d+){3}", lines[1][6])
    everything = space.kubectl("get", "all")
    for wanted in ("pod/shown-", "service/shown", "deployment.apps/shown", "replicaset.apps/shown-"):
        assert wanted in everything


def test_describe_tells_the_story_with_events(space: Space) -> None:
    space.apply(web("told"))
    space.kubectl("rollout", "status", "deployment/told", "--timeout=60s")
    name = space.ready_pods("app=told")[0]["metadata"]["name"]

    def pod_told() -> bool:
        said = space.kubectl("describe", "pod", name)
        reasons = ("Scheduled", "Pulled", "Created", "Started")
        return all(re.search(rf"Normal\s+{reason}\s", said) for reason in reasons)

    eventually(pod_told, 10)
    said = space.kubectl("describe", "pod", name)
    assert "Successfully assigned" in said and "default-scheduler" in said
    assert re.search(r"Node:\s+\S+/10\.", said) and "QoS Class:" in said
    assert re.search(r"ContainersReady\s+True", said)
    assert "ScalingReplicaSet" in space.kubectl("describe", "deployment", "told")
    assert re.search(r"Endpoints:\s+10\.\S+:8080", space.kubectl("describe", "service", "told"))
    node = space.cluster.kubectl("describe", "node", f"{space.cluster.name}-1")
    assert name in node and "KubeletReady" in node and "Allocated resources:" in node


def test_output_formats_and_selectors(space: Space) -> None:
    space.apply(pod("chosen", "sleep 1000"))
    space.kubectl("wait", "--for=condition=Ready", "pod/chosen", "--timeout=60s")
    assert space.kubectl("get", "pod", "chosen", "-o", "jsonpath={.status.phase}") == "Running"
    assert space.kubectl("get", "pods", "-l", "app=chosen", "-o", "name") == "pod/chosen\n"
    assert space.kubectl("get", "pods", "-l", "app!=chosen", "-o", "name") == ""
    assert space.kubectl("get", "pods", "--field-selector=status.phase=Running", "-o", "name") == "pod/chosen\n"
    assert space.kubectl("get", "pods", "-o", "custom-columns=N:.metadata.name", "--no-headers") == "chosen\n"
    missing = space.run("get", "pod", "nobody")
    assert missing.returncode == 1
    assert missing.stderr == 'Error from server (NotFound): pods "nobody" not found\n'
