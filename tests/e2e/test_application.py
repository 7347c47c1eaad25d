"""A real application: configuration as variables and files, volumes, and its page from everywhere it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e_cluster import Space, eventually, fetch
from e2e_manifests import pod, web

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "examples" / "hello" / "hello.yaml"

CONFIGURED = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {COLOUR: green, page.html: "<h1>from a file</h1>"}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {password: hunter2}
---
apiVersion: v1
kind: Pod
metadata: {name: configured, labels: {tier: front}, annotations: {note: kept}}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - name: prepare
    image: busybox:1.36
    command: [sh, -c, "echo prepared > /data/made"]
    volumeMounts: [{name: data, mountPath: /data}]
  containers:
  - name: main
    image: busybox:1.36
    command: [sh, -c, "sleep 1000"]
    envFrom: [{configMapRef: {name: settings}, prefix: CFG_}]
    env:
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: keys, key: password}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    resources: {requests: {cpu: 10m, memory: 8Mi}, limits: {memory: 32Mi}}
    volumeMounts:
    - {name: config, mountPath: /config}
    - {name: secret, mountPath: /secret, readOnly: true}
    - {name: data, mountPath: /data}
    - {name: info, mountPath: /info}
    - {name: config, mountPath: /one/page, subPath: page.html}
  volumes:
  - {name: config, configMap: {name: settings}}
  - {name: secret, secret: {secretName: keys, defaultMode: 0400}}
  - {name: data, emptyDir: {}}
  - name: info
    downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
"""


def test_the_example_answers_from_the_host_and_by_name_from_a_pod(space: Space) -> None:
    space.kubectl("apply", "-f", str(EXAMPLE))
    space.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
    assert "Hello from pod hello-" in eventually(lambda: fetch(space.service_url("hello")), 10)
    said = space.kubectl(
        *("run", "visitor", "--rm", "-i", "--image=busybox:1.36", "--restart=Never", "--quiet", "--"),
        # What it says before kubectl has attached is not said again.
        *("sh", "-c", f"sleep 1; wget -qO- http://hello.{space.name}.svc.cluster.local"),
    )
    assert "Hello from pod hello-" in said


def test_a_pod_finds_services_by_every_form_of_their_names(space: Space) -> None:
    space.apply(web("named"))
    space.apply(pod("asker", "sleep 1000"))
    space.kubectl("rollout", "status", "deployment/named", "--timeout=60s")
    space.kubectl("wait", "--for=condition=Ready", "pod/asker", "--timeout=60s")
    for name in ("named", f"named.{space.name}", f"named.{space.name}.svc.cluster.local"):
        said = space.kubectl("exec", "asker", "--", "wget", "-qO-", f"http://{name}/")
        assert said.startswith("named-"), name
    found = space.kubectl("exec", "asker", "--", "nslookup", "kubernetes.default.svc.cluster.local")
    assert space.cluster.get("service", "kubernetes", namespace="default")["spec"]["clusterIP"] in found
    assert "NAMED_SERVICE_HOST" in space.kubectl("exec", "asker", "--", "env")


def test_configuration_reaches_the_container_as_variables_and_files(space: Space) -> None:
    space.apply(CONFIGURED)
    space.kubectl("wait", "--for=condition=Ready", "pod/configured", "--timeout=60s")

    def inside(script: str) -> str:
        return space.kubectl("exec", "configured", "-c", "main", "--", "sh", "-c", script).strip()

    assert inside("echo $CFG_COLOUR $PASSWORD $LIMIT") == "green hunter2 32"
    assert inside("echo $IP") == space.get("pod", "configured")["status"]["podIP"]
    assert inside("cat /config/page.html; cat /one/page") == "<h1>from a file</h1><h1>from a file</h1>"
    assert inside("cat /secret/password; stat -Lc %a /secret/password") == "hunter2400"
    assert inside("cat /data/made") == "prepared"
    assert 'tier="front"' in inside("cat /info/labels")
    assert inside("ls /var/run/secrets/kubernetes.io/serviceaccount").split() == ["ca.crt", "namespace", "token"]
    assert inside("cat /var/run/secrets/kubernetes.io/serviceaccount/namespace") == space.name
    assert inside("cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max") == (
        str(32 << 20)
    )


def test_a_changed_configmap_reaches_the_file_of_a_running_pod(space: Space) -> None:
    space.apply(CONFIGURED)
    space.kubectl("wait", "--for=condition=Ready", "pod/configured", "--timeout=60s")
    space.kubectl("patch", "configmap", "settings", "-p", '{"data": {"page.html": "new"}}')
    read = ("exec", "configured", "-c", "main", "--", "cat", "/config/page.html")
    eventually(lambda: space.kubectl(*read) == "new", 90)


def test_a_pod_reaches_the_api_and_its_token_opens_it(space: Space) -> None:
    space.kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
    space.kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={space.name}:default")
    space.apply(pod("inner", "sleep 1000"))
    space.kubectl("wait", "--for=condition=Ready", "pod/inner", "--timeout=60s")
    space.kubectl("exec", "inner", "--", "sh", "-c", "echo | nc -w 3 kubernetes.default.svc 443")
    token = space.kubectl("exec", "inner", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
    allowed = space.run("get", "pods", "-o", "name", "--kubeconfig=/dev/null", *_as(space, token))
    assert allowed.stdout == "pod/inner\n", allowed.stderr
    refused = space.run("get", "secrets", "--kubeconfig=/dev/null", *_as(space, token))
    assert f'User "system:serviceaccount:{space.name}:default" cannot list resource "secrets"' in refused.stderr


def _as(space: Space, token: str) -> list[str]:
    server = space.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
    return [f"--server={server}", f"--token={token}", "--insecure-skip-tls-verify"]
