"""Short ways to say what the cluster tests create, and to look at what became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from knarr.api import conditions
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.testing import InProcessCluster

NS = "default"


def pod_spec(image: str = "app:1", *, cpu: str = "", **more: Any) -> core.PodSpec:
    resources = core.ResourceRequirements(requests={"cpu": cpu} if cpu else {})
    more.setdefault("containers", [core.Container(name="main", image=image, resources=resources)])
    return core.PodSpec(**more)


def pod(name: str, *, labels: dict[str, str] | None = None, namespace: str = NS, **spec: Any) -> core.Pod:
    metadata = meta.ObjectMeta(name=name, namespace=namespace, labels=labels or {})
    return core.Pod(metadata=metadata, spec=pod_spec(**spec))


def template(app: str, **spec: Any) -> core.PodTemplateSpec:
    return core.PodTemplateSpec(metadata=meta.ObjectMeta(labels={"app": app}), spec=pod_spec(**spec))


def deployment(
    name: str = "web", replicas: int = 3, *, strategy: apps.DeploymentStrategy | None = None, **more: Any
) -> apps.Deployment:
    names = ("minReadySeconds", "paused", "progressDeadlineSeconds", "revisionHistoryLimit")
    own = {key: more.pop(key) for key in names if key in more}
    return apps.Deployment(
        metadata=meta.ObjectMeta(name=name, namespace=NS),
        spec=apps.DeploymentSpec(
            replicas=replicas,
            selector=meta.LabelSelector(matchLabels={"app": name}),
            template=template(name, **more),
            strategy=strategy or apps.DeploymentStrategy(),
            **own,
        ),
    )


def rolling(surge: int | str, unavailable: int | str) -> apps.DeploymentStrategy:
    limits = apps.RollingUpdateDeployment(maxSurge=surge, maxUnavailable=unavailable)
    return apps.DeploymentStrategy(type="RollingUpdate", rollingUpdate=limits)


def replica_set(name: str = "rs", replicas: int = 2, **spec: Any) -> apps.ReplicaSet:
    return apps.ReplicaSet(
        metadata=meta.ObjectMeta(name=name, namespace=NS),
        spec=apps.ReplicaSetSpec(
            replicas=replicas,
            selector=meta.LabelSelector(matchLabels={"app": name}),
            template=template(name, **spec),
        ),
    )


def image_patch(image: str) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}}


def is_ready(obj: core.Pod) -> bool:
    return conditions.is_true(obj.status.conditions, "Ready")


def image_of(obj: Any) -> str:
    spec = obj.spec.template.spec if hasattr(obj.spec, "template") else obj.spec
    return str(spec.containers[0].image)


class PodLog:
    """Calls ``look(pods)`` after every change of any pod, with all pods as they then stand."""

    def __init__(self, cluster: InProcessCluster, look: Callable[[list[core.Pod]], Any]) -> None:
        self.samples: list[Any] = []
        registry = cluster.server.registry("", "pods")
        registry.cache.subscribers.append(lambda change: self.samples.append(look(registry.objects(NS))))


async def sets(cluster: InProcessCluster) -> dict[str, apps.ReplicaSet]:
    """ReplicaSets by their image."""
    return {image_of(each): each for each in await cluster.client.list(apps.ReplicaSet, namespace=NS)}


async def deployed(
    cluster: InProcessCluster, name: str = "web", *, timeout_s: float = 120
) -> apps.Deployment:
    """Until a rollout is complete, as ``kubectl rollout status``."""

    async def complete() -> apps.Deployment | None:
        obj = await cluster.client.get(apps.Deployment, name, namespace=NS)
        status, count = obj.status, obj.spec.replicas
        seen = status.observedGeneration >= (obj.metadata.generation or 0)
        done = status.replicas == status.updatedReplicas == status.availableReplicas == count
        return obj if seen and done else None

    found: apps.Deployment = await cluster.wait_for(complete, timeout_s)
    return found
