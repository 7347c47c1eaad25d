"""What lives in a cluster under chaos, as plain manifests: a workload of every kind, by name, size and image."""

from __future__ import annotations

from typing import Any

JOB_PODS, JOBS_ROOM, VOLUMES = 4, 200, 6
Manifest = dict[str, Any]


def deployment(name: str, *, replicas: int, image: str) -> Manifest:
    made = _workload("apps/v1", "Deployment", name, _set(name, image) | {"replicas": replicas})
    if name == "api":
        claims = [{"name": "device", "resourceClaimTemplateName": "device"}]
        made["spec"]["template"]["spec"]["resourceClaims"] = claims
    return made


def stateful_set(name: str, *, replicas: int, image: str) -> Manifest:
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "by-hand",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    spec = _set(name, image) | {"replicas": replicas, "serviceName": name, "volumeClaimTemplates": [claim]}
    return _workload("apps/v1", "StatefulSet", name, spec)


def daemon_set(name: str, *, replicas: int, image: str) -> Manifest:
    """``replicas`` is not asked: there are as many as nodes."""
    return _workload("apps/v1", "DaemonSet", name, _set(name, image))


def job(name: str, *, indexed: bool, run_s: int) -> Manifest:
    spec = {
        "completions": JOB_PODS,
        "parallelism": 2,
        "completionMode": "Indexed" if indexed else "NonIndexed",
        # A pod that was made twice and taken away counts as failed: that must not end the Job.
        "backoffLimit": 100,
        "template": _template(name, "worker:1", run_s=run_s),
    }
    return _workload("batch/v1", "Job", name, spec)


def cron_job(name: str, *, policy: str) -> Manifest:
    spec = {
        "schedule": "* * * * *",
        "concurrencyPolicy": policy,
        "jobTemplate": {"spec": {"template": _template(name, "worker:1", run_s=75)}},
    }
    return _workload("batch/v1", "CronJob", name, spec)


def surroundings() -> list[Manifest]:
    """What looks at the workloads: a service, a disruption budget and a quota; and what their claims ask for."""
    selector = {"app": "web"}
    return [
        _workload("v1", "Service", "web", {"selector": selector, "ports": [{"port": 80}]}),
        _workload(
            "policy/v1",
            "PodDisruptionBudget",
            "web",
            {"minAvailable": 1, "selector": {"matchLabels": selector}},
        ),
        _workload(
            "v1",
            "ResourceQuota",
            "all",
            {"hard": {"pods": str(JOBS_ROOM), "persistentvolumeclaims": "50"}},
        ),
        _workload(
            "resource.k8s.io/v1",
            "ResourceClaimTemplate",
            "device",
            {"spec": {"devices": {"requests": [{"name": "any", "exactly": {"deviceClassName": "any"}}]}}},
        ),
        *(_volume(number) for number in range(VOLUMES)),
    ]


def _volume(number: int) -> Manifest:
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "by-hand",
        "csi": {"driver": "csi.example.com", "volumeHandle": f"handle-{number}"},
    }
    return _workload("v1", "PersistentVolume", f"volume-{number}", spec)


def _set(name: str, image: str) -> Manifest:
    return {"selector": {"matchLabels": {"app": name}}, "template": _template(name, image)}


def _template(name: str, image: str, *, run_s: int = 0) -> Manifest:
    metadata: Manifest = {"labels": {"app": name}}
    spec: Manifest = {"containers": [{"name": "main", "image": image}], "terminationGracePeriodSeconds": 2}
    if run_s:
        metadata["annotations"] = {"knarr.dev/simulate-run-seconds": str(run_s)}
        spec["restartPolicy"] = "Never"
    return {"metadata": metadata, "spec": spec}


def _workload(api_version: str, kind: str, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}
