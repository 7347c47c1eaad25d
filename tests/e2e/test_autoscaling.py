"""Real load on real containers: ``kubectl top`` shows it, where it is, and an autoscaler answers it.

Containers that burn are held to a fifth of a core, so that the machine has something left for everybody else.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from e2e_cluster import Space, eventually, running

pytestmark = pytest.mark.e2e

#: Burns until somebody makes the file /rest.
BUSY = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy}
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: busybox:1.36
        command: [sh, -c, "while :; do if [ -e /rest ]; then sleep 1; fi; done"]
        resources: {requests: {cpu: 100m}, limits: {cpu: 200m}}
"""
PODS = """\
apiVersion: v1
kind: Pod
metadata: {name: burns, labels: {load: much}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox:1.36
    command: [sh, -c, "while :; do :; done"]
    resources: {limits: {cpu: 200m}}
  - name: side
    image: busybox:1.36
    command: [sleep, "1000"]
---
apiVersion: v1
kind: Pod
metadata: {name: holds, labels: {load: little}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox:1.36
    command: [sh, -c, "dd if=/dev/zero of=/dev/shm/held bs=1M count=40 2>/dev/null; sleep 1000"]
"""


def rows(text: str) -> dict[str, list[str]]:
    """The lines of a table without its head, by their first word."""
    return {words[0]: words[1:] for words in (line.split() for line in text.splitlines()[1:]) if words}


def millis(text: str) -> int:
    assert text.endswith("m"), text
    return int(text[:-1])


def measured(space: Space) -> bool:
    shown = space.run("top", "pods")
    return shown.returncode == 0 and {"burns", "holds"} <= set(rows(shown.stdout))


def test_top_shows_what_containers_use_and_where(wide: Space) -> None:
    wide.apply(PODS)
    wide.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    eventually(lambda: measured(wide), 30)

    def steady() -> bool:
        return 150 <= millis(rows(wide.kubectl("top", "pods"))["burns"][0]) <= 260

    eventually(steady, 60, pause_s=2.0)
    shown = rows(wide.kubectl("top", "pods", "--sort-by=cpu"))
    assert list(shown) == ["burns", "holds"]
    assert millis(shown["holds"][0]) <= 20
    assert re.fullmatch(r"(3[89]|4\d|5\d)Mi", shown["holds"][1]), shown
    assert list(rows(wide.kubectl("top", "pods", "--sort-by=memory"))) == ["holds", "burns"]
    assert list(rows(wide.kubectl("top", "pods", "-l", "load=much"))) == ["burns"]
    containers = wide.kubectl("top", "pods", "burns", "--containers")
    assert sorted(line.split()[1] for line in containers.splitlines()[1:]) == ["main", "side"]
    summed = wide.kubectl("top", "pods", "--sum")
    assert summed.splitlines()[-1].split()[0].endswith("m")
    everywhere = wide.cluster.kubectl("top", "pods", "-A", "--no-headers")
    assert any(line.split()[:2] == [wide.name, "burns"] for line in everywhere.splitlines())

    place = wide.get("pod", "burns")["spec"]["nodeName"]
    nodes = rows(wide.cluster.kubectl("top", "nodes"))
    assert len(nodes) == 3 and millis(nodes[place][0]) >= 150
    others = [millis(used[0]) for name, used in nodes.items() if name != place]
    assert max(others) < 150, "a node shows what is its own"
    (only,) = rows(wide.cluster.kubectl("top", "node", place))
    assert only == place
    window = json.loads(wide.kubectl("get", "--raw", f"/apis/metrics.k8s.io/v1beta1/namespaces/{wide.name}/pods/burns"))["window"]
    assert re.fullmatch(r"(\d+m)?[\d.]+s", window)
    assert wide.kubectl("get", "pods.metrics.k8s.io", "burns").split()[:4] == ["NAME", "CPU", "MEMORY", "WINDOW"]
    assert "KIND:       PodMetrics" in wide.kubectl("explain", "pods", "--api-version=metrics.k8s.io/v1beta1")


def test_an_autoscaler_follows_the_load_of_real_containers(space: Space) -> None:
    space.apply(BUSY)
    space.kubectl("wait", "--for=condition=Available", "deployment/busy", "--timeout=60s")
    space.kubectl("autoscale", "deployment", "busy", "--cpu-percent=80", "--min=1", "--max=3")
    behavior = {"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}}
    space.kubectl("patch", "hpa.v2.autoscaling", "busy", "--type=merge", "-p", json.dumps(behavior))

    def replicas() -> int:
        size: int = space.get("deployment", "busy")["spec"]["replicas"]
        return size

    eventually(lambda: replicas() == 3, 180, pause_s=2.0)
    shown = space.kubectl("get", "hpa", "busy")
    assert re.search(r"Deployment/busy +cpu: 1\d\d%/80% +1 +3 +\d", shown) or re.search(r"cpu: 2\d\d%/80%", shown), shown
    described = space.kubectl("describe", "hpa", "busy")
    assert re.search(r"resource cpu on pods +\(as a percentage of request\): +[12]\d\d% \(\d+m\) / 80%", described), described
    assert "SuccessfulRescale" in described and "cpu resource utilization (percentage of request) above target" in described
    assert "ScalingActive   True    ValidMetricFound" in described

    def rests() -> bool:
        for pod in space.pods("app=busy"):
            space.run("exec", pod["metadata"]["name"], "--", "touch", "/rest")
        return replicas() == 1

    eventually(rests, 120, pause_s=3.0)
    assert "All metrics below target" in space.kubectl("describe", "hpa", "busy")


FLEET = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: pretends}
spec:
  replicas: 2
  selector: {matchLabels: {app: pretends}}
  template:
    metadata: {labels: {app: pretends}, annotations: {knarr.dev/simulate-cpu: 300m, knarr.dev/simulate-memory: 64Mi}}
    spec:
      nodeSelector: {node.kubernetes.io/instance-type: knarr-simulated}
      containers: [{name: main, image: "anything:1", resources: {requests: {cpu: 100m}}}]
"""


def test_simulated_nodes_tell_what_they_pretend_to_use(tmp_path: Path) -> None:
    with running(tmp_path, "--simulated-nodes", "4") as cluster:
        cluster.kubectl("apply", "-f", "-", stdin=FLEET)
        cluster.kubectl("wait", "--for=condition=Available", "deployment/pretends", "--timeout=60s")
        cluster.kubectl("autoscale", "deployment", "pretends", "--cpu-percent=100", "--min=1", "--max=6")

        def shown() -> bool:
            used = [words[:2] for words in rows(cluster.kubectl("top", "pods")).values()]
            return len(used) >= 2 and all(300 <= millis(cpu) <= 305 and memory == "64Mi" for cpu, memory in used)

        eventually(shown, 30, pause_s=1.0)
        assert len(rows(cluster.kubectl("top", "nodes"))) == 5
        eventually(lambda: cluster.get("deployment", "pretends")["spec"]["replicas"] == 6, 60, pause_s=1.0)
