"""The other kinds of workload, on real containers: Job, CronJob, DaemonSet, StatefulSet."""

from __future__ import annotations

import pytest
from e2e_cluster import Space, eventually

pytestmark = pytest.mark.e2e

JOB = """\
apiVersion: batch/v1
kind: Job
metadata: {name: counted}
spec:
  completions: 3
  parallelism: 2
  backoffLimit: 1
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: "busybox:1.36", command: [sh, -c, "echo done $HOSTNAME"]}]
"""

DAEMON = """\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  template:
    metadata: {labels: {app: everywhere}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: "busybox:1.36", command: [sleep, "1000"]}]
"""

STATEFUL = """\
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: busybox:1.36
        command: [sh, -c, "mkdir /w; hostname > /w/index.html; httpd -f -p 80 -h /w"]
        readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 1}
"""


def test_a_job_runs_to_its_end(space: Space) -> None:
    space.apply(JOB)
    space.kubectl("wait", "--for=condition=Complete", "job/counted", "--timeout=60s")
    assert space.get("job", "counted")["status"]["succeeded"] == 3
    pods = space.pods("job-name=counted")
    assert sorted(each["status"]["phase"] for each in pods) == ["Succeeded"] * 3
    assert "done counted-" in space.kubectl("logs", "job/counted")
    space.kubectl("delete", "job", "counted")
    eventually(lambda: space.pods("job-name=counted") == [], 30)


def test_a_job_that_fails_says_so(space: Space) -> None:
    space.apply(JOB.replace("echo done $HOSTNAME", "exit 4").replace("backoffLimit: 1", "backoffLimit: 0"))
    space.kubectl("wait", "--for=condition=Failed", "job/counted", "--timeout=60s")
    assert "BackoffLimitExceeded" in space.kubectl("get", "job", "counted", "-o", "yaml")


def test_a_cron_job_started_by_hand(space: Space) -> None:
    space.kubectl("create", "cronjob", "nightly", "--image=busybox:1.36", "--schedule=0 3 * * *", "--", "echo", "night")
    space.kubectl("create", "job", "now", "--from=cronjob/nightly")
    space.kubectl("wait", "--for=condition=Complete", "job/now", "--timeout=60s")
    assert space.kubectl("logs", "job/now") == "night\n"


def test_a_daemon_set_runs_on_every_node(wide: Space) -> None:
    wide.apply(DAEMON)
    wide.kubectl("rollout", "status", "daemonset/everywhere", "--timeout=60s")
    nodes = sorted(each["spec"]["nodeName"] for each in wide.ready_pods("app=everywhere"))
    assert nodes == [f"{wide.cluster.name}-{number}" for number in (1, 2, 3)]


def test_a_stateful_set_s_pods_keep_their_names(space: Space) -> None:
    space.apply(STATEFUL)
    space.kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
    ask = ("exec", "db-0", "--", "wget", "-qO-", f"http://db-1.db.{space.name}.svc.cluster.local/")
    eventually(lambda: space.kubectl(*ask) == "db-1\n", 15)
    first = space.get("pod", "db-1")["metadata"]["uid"]
    space.kubectl("delete", "pod", "db-1")
    eventually(lambda: space.get("pod", "db-1")["metadata"]["uid"] != first, 30)
    space.kubectl("wait", "--for=condition=Ready", "pod/db-1", "--timeout=60s")
    eventually(lambda: space.kubectl(*ask) == "db-1\n", 15)
