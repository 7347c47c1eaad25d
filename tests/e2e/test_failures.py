"""What breaks is mended: a killed process, a deleted pod, a lost node, a killed component."""

from __future__ import annotations

import os
import signal

import pytest
from e2e_cluster import Cluster, Space, eventually, fetch, is_ready, kill_container
from e2e_manifests import pod, web

pytestmark = pytest.mark.e2e


def container_status(space: Space, name: str) -> dict[str, object]:
    status: dict[str, object] = space.get("pod", name)["status"]["containerStatuses"][0]
    return status


def test_a_killed_container_is_started_again_and_then_backs_off(space: Space) -> None:
    space.apply(pod("victim", "sleep 1000"))
    space.kubectl("wait", "--for=condition=Ready", "pod/victim", "--timeout=60s")
    first = container_status(space, "victim")["containerID"]
    kill_container(space.get("pod", "victim"))

    def again() -> bool:
        status = container_status(space, "victim")
        return status["restartCount"] == 1 and status["ready"] is True

    eventually(again, 20)
    status = space.get("pod", "victim")["status"]["containerStatuses"][0]
    assert status["containerID"] != first
    assert status["lastState"]["terminated"]["exitCode"] == 137
    assert status["lastState"]["terminated"]["reason"] in ("Error", "OOMKilled")
    eventually(lambda: sum(each.get("count", 1) for each in space.events("victim") if each["reason"] == "Started") == 2, 10)
    kill_container(space.get("pod", "victim"))

    def backing_off() -> bool:
        waiting = space.get("pod", "victim")["status"]["containerStatuses"][0]["state"].get("waiting", {})
        return waiting.get("reason") == "CrashLoopBackOff" and "back-off 10s restarting" in waiting["message"]

    eventually(backing_off, 20)
    assert "CrashLoopBackOff" in space.kubectl("get", "pod", "victim")
    eventually(lambda: any(each["reason"] == "BackOff" for each in space.events("victim")), 10)


def test_a_deleted_pod_is_replaced(space: Space) -> None:
    space.apply(web("replaced"))
    space.kubectl("rollout", "status", "deployment/replaced", "--timeout=60s")
    first = space.ready_pods("app=replaced")[0]["metadata"]["name"]
    space.kubectl("delete", "pod", first)
    assert space.run("get", "pod", first).returncode == 1
    eventually(lambda: [each["metadata"]["name"] for each in space.ready_pods("app=replaced")] not in ([], [first]), 30)
    assert fetch(space.service_url("replaced")).startswith("replaced-")


def test_an_image_that_cannot_be_pulled_is_said_to_be_so(space: Space) -> None:
    space.kubectl("run", "nowhere", "--image=registry.invalid/none:1")

    def told() -> bool:
        waiting = space.get("pod", "nowhere")["status"]["containerStatuses"][0]["state"].get("waiting", {})
        return waiting.get("reason") in ("ErrImagePull", "ImagePullBackOff")

    eventually(told, 30)
    eventually(lambda: any(each["reason"] == "Failed" for each in space.events("nowhere")), 10)


def test_a_failing_liveness_probe_restarts_the_container(space: Space) -> None:
    probe = "livenessProbe: {exec: {command: [test, -e, /tmp/alive]}, periodSeconds: 1, failureThreshold: 1}"
    space.apply(pod("probed", "touch /tmp/alive; sleep 3; rm /tmp/alive; sleep 1000", container=probe))
    eventually(lambda: container_status(space, "probed")["restartCount"] == 1, 30)
    reasons = {each["reason"] for each in space.events("probed")}
    assert {"Unhealthy", "Killing"} <= reasons


def test_a_container_over_its_memory_limit_is_ended_as_such(space: Space) -> None:
    hungry = "head -c 64m /dev/zero | tail > /dev/null"
    space.apply(pod("hungry", hungry, extra="restartPolicy: Never", container="resources: {limits: {memory: 16Mi}}"))

    def ended() -> bool:
        state = space.get("pod", "hungry")["status"]["containerStatuses"][0]["state"]
        return "terminated" in state

    eventually(ended, 30)
    terminated = space.get("pod", "hungry")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert terminated["reason"] in ("OOMKilled", "Error") and terminated["exitCode"] != 0


IMPATIENT = [
    {"key": f"node.kubernetes.io/{why}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}
    for why in ("not-ready", "unreachable")
]


def test_a_stopped_node_s_pods_run_elsewhere_and_it_comes_back(wide: Space) -> None:
    three = wide.cluster
    manifest = web("moving", replicas=3).replace(
        "      containers:",
        "      tolerations:\n"
        + "".join(
            f"      - {{key: {each['key']}, operator: Exists, effect: NoExecute, tolerationSeconds: 3}}\n"
            for each in IMPATIENT
        )
        + "      containers:",
    )
    wide.apply(manifest)
    wide.kubectl("rollout", "status", "deployment/moving", "--timeout=60s")
    nodes = {each["spec"]["nodeName"] for each in wide.ready_pods("app=moving")}
    assert len(nodes) == 3, "the scheduler spreads a deployment over its nodes"
    url = wide.service_url("moving")
    eventually(lambda: len({fetch(url) for _ in range(3)}) == 3, 20)

    gone = f"{three.name}-3"
    three.knarr("node", "stop", gone, "--cluster", three.name)
    eventually(lambda: not is_ready(three.get("node", gone)), 70, 0.5)
    conditions = {each["type"]: each for each in three.get("node", gone)["status"]["conditions"]}
    assert conditions["Ready"]["status"] == "Unknown" and conditions["Ready"]["reason"] == "NodeStatusUnknown"
    assert "NotReady" in three.kubectl("get", "node", gone)

    def moved() -> bool:
        alive = wide.ready_pods("app=moving")
        return len(alive) == 3 and all(each["spec"]["nodeName"] != gone for each in alive)

    eventually(moved, 60, 0.5)
    eventually(lambda: all(fetch(url) for _ in range(9)), 20)
    three.knarr("node", "start", gone, "--cluster", three.name)
    eventually(lambda: is_ready(three.get("node", gone)), 40, 0.5)
    eventually(lambda: "taints" not in three.get("node", gone)["spec"], 20)
    eventually(lambda: len(wide.pods("app=moving")) == 3, 60, 0.5)


def test_pods_on_different_nodes_reach_each_other(wide: Space) -> None:
    names = [f"{wide.cluster.name}-{number}" for number in (1, 2)]
    for number, node in enumerate(names):
        wide.apply(pod(f"p{number}", "mkdir /w; echo $HOSTNAME > /w/index.html; httpd -f -p 80 -h /w", extra=f"nodeName: {node}"))
    wide.kubectl("wait", "--for=condition=Ready", "pod/p0", "pod/p1", "--timeout=60s")
    address = wide.get("pod", "p1")["status"]["podIP"]
    assert wide.kubectl("exec", "p0", "--", "wget", "-qO-", f"http://{address}/") == "p1\n"


def test_a_cordoned_and_drained_node_runs_nothing(wide: Space) -> None:
    three, node = wide.cluster, f"{wide.cluster.name}-2"
    wide.apply(web("drained", replicas=3))
    wide.kubectl("rollout", "status", "deployment/drained", "--timeout=60s")
    try:
        three.kubectl("drain", node, "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=60s")
        assert "SchedulingDisabled" in three.kubectl("get", "node", node)
        wide.kubectl("rollout", "status", "deployment/drained", "--timeout=60s")
        assert all(each["spec"]["nodeName"] != node for each in wide.ready_pods("app=drained"))
    finally:
        three.kubectl("uncordon", node)


@pytest.mark.parametrize("component", ["apiserver", "controller-manager", "containerd@{}-1", "node@{}-1"])
def test_a_killed_component_is_started_again(wide: Space, component: str) -> None:
    three, name = wide.cluster, component.format(wide.cluster.name)
    wide.apply(web("steady", replicas=2))
    wide.kubectl("rollout", "status", "deployment/steady", "--timeout=60s")
    before = {each["metadata"]["name"] for each in wide.ready_pods("app=steady")}
    held = statuses(three)[name]
    os.kill(held[0], signal.SIGKILL)
    eventually(lambda: statuses(three)[name][0] not in (0, held[0]), 20)
    assert statuses(three)[name][1] == held[1] + 1
    eventually(lambda: three.run("get", "--raw", "/readyz").stdout == "ok", 20)
    wide.kubectl("scale", "deployment/steady", "--replicas=4")
    wide.kubectl("rollout", "status", "deployment/steady", "--timeout=60s")
    alive = {each["metadata"]["name"]: each for each in wide.ready_pods("app=steady")}
    assert before <= set(alive), "pods outlive what manages them"
    assert all(alive[each]["status"]["containerStatuses"][0]["restartCount"] == 0 for each in before)


def statuses(cluster: Cluster) -> dict[str, tuple[int, int]]:
    """Component -> its process id (0: none) and how often it was started again."""
    rows = [line.split("\t") for line in cluster.knarr("status", cluster.name).stdout.splitlines()]
    return {
        row[0]: (int(row[1].removeprefix("pid ")) if row[1].startswith("pid") else 0, int(row[2].split()[1]))
        for row in rows
    }
