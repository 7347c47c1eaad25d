"""What the conformance tests create, as a client would write it.

Neighbours: ``conformance_api`` sends it.
"""

from __future__ import annotations

from typing import Any

from conformance_api import Object

IMAGE = "registry.k8s.io/e2e-test-images/agnhost:2.53"


def meta(name: str, labels: dict[str, str] | None = None, **more: Any) -> Object:
    return {"name": name, **({"labels": labels} if labels else {}), **more}


def pod_spec(image: str = IMAGE, **more: Any) -> Object:
    container = {"name": "main", "image": image, **more.pop("container", {})}
    return {"containers": [container], **more}


def pod(name: str, labels: dict[str, str] | None = None, *, annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    metadata = meta(name, labels, **({"annotations": annotations} if annotations else {}))
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec(**spec)}


def template(labels: dict[str, str], *, annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    metadata: Object = {"labels": labels, **({"annotations": annotations} if annotations else {})}
    return {"metadata": metadata, "spec": pod_spec(**spec)}


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(name, labels), "data": data}


def workload(kind: str, name: str, labels: dict[str, str], *, replicas: int | None = 1, image: str = IMAGE, **spec: Any) -> Object:
    """A Deployment, ReplicaSet, StatefulSet or DaemonSet whose selector is its labels."""
    pods = spec.pop("pods", {})
    body: Object = {"selector": {"matchLabels": labels}, "template": template(labels, image=image, **pods), **spec}
    if replicas is not None:
        body["replicas"] = replicas
    if kind == "StatefulSet":
        body.setdefault("serviceName", "headless")
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": meta(name, labels), "spec": body}


def replication_controller(name: str, labels: dict[str, str], replicas: int = 1, **pods: Any) -> Object:
    spec = {"replicas": replicas, "selector": labels, "template": template(labels, **pods)}
    return {"apiVersion": "v1", "kind": "ReplicationController", "metadata": meta(name, labels), "spec": spec}


def job(name: str, *, annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    restart = spec.pop("restartPolicy", "Never")
    container = spec.pop("container", {})
    made = template({"job": name}, annotations=annotations, restartPolicy=restart, container=container)
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta(name), "spec": {**spec, "template": made}}


def service(name: str, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    spec.setdefault("ports", [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 80}])
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta(name, labels), "spec": spec}


def owner(obj: Object, **more: Any) -> Object:
    """The reference by which another object names ``obj`` as its owner."""
    metadata = obj["metadata"]
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "name": metadata["name"], "uid": metadata["uid"], **more}


def ready(obj: Object) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in obj.get("status", {}).get("conditions") or [])


def phase(obj: Object) -> str:
    return str(obj.get("status", {}).get("phase", ""))


def alive(pods: list[Object]) -> list[Object]:
    """The pods that are neither finished nor being deleted."""
    return [each for each in pods if "deletionTimestamp" not in each["metadata"] and phase(each) not in ("Succeeded", "Failed")]
