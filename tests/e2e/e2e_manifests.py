"""Manifests that several end-to-end tests share; all run on the busybox image every cluster has."""

from __future__ import annotations

IMAGE = "busybox:1.36"

#: Ends at once when asked to, as a well-behaved server does after its grace.
SERVE = """\
mkdir -p /www; echo "$POD_NAME $VERSION" > /www/index.html
trap 'kill $!; exit 0' TERM
httpd -f -p 8080 -h /www & wait $!"""


def web(name: str, *, replicas: int = 1, version: str = "v1", prestop_s: int = 0) -> str:
    """A Deployment whose pods answer with their own name, and a Service before it."""
    prestop = f"lifecycle: {{preStop: {{sleep: {{seconds: {prestop_s}}}}}}}" if prestop_s else ""
    command = SERVE.replace("\n", "\n          ")
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: web
        image: {IMAGE}
        command:
        - sh
        - -c
        - |
          {command}
        env:
        - {{name: VERSION, value: {version}}}
        - {{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}
        {prestop}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: http}}]
"""


def pod(name: str, script: str, *, extra: str = "", container: str = "") -> str:
    """A pod that runs a shell script; ``extra`` are further lines of its spec, ``container`` of its container."""
    return f"""\
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 1
{_indented(extra, 2)}  containers:
  - name: main
    image: {IMAGE}
    command: [sh, -c, {script!r}]
{_indented(container, 4)}"""


def _indented(text: str, width: int) -> str:
    return "".join(f"{' ' * width}{line}\n" for line in text.splitlines())
