"""Pods and runtime records for the kubelet's unit tests."""

from __future__ import annotations

from typing import Any

from knarr.api.core import v1 as core
from knarr.api.meta import v1 as meta
from knarr.kubelet import naming
from knarr.kubelet.pod_cache import ContainerRecord, PodRecord
from knarr.kubelet.runtime import contract as c


def container(name: str = "main", **fields: Any) -> core.Container:
    fields.setdefault("image", "busybox:1.36")
    fields.setdefault("terminationMessagePath", "/dev/termination-log")
    return core.Container(name=name, **fields)


def sidecar(name: str, **fields: Any) -> core.Container:
    return container(name, restartPolicy="Always", **fields)


def pod(*containers: core.Container, name: str = "web", restart: str = "Always", **spec: Any) -> core.Pod:
    metadata = meta.ObjectMeta(
        name=name,
        namespace="default",
        uid="uid-1",
        generation=3,
        deletionTimestamp=spec.pop("deleted", None),
        labels=spec.pop("labels", {}),
        annotations=spec.pop("annotations", {}),
    )
    status = spec.pop("status", core.PodStatus())
    wanted = list(containers) or [container()]
    return core.Pod(
        metadata=metadata, spec=core.PodSpec(containers=wanted, restartPolicy=restart, **spec), status=status
    )


def sandbox(
    box_id: str = "box", *, ready: bool = True, attempt: int = 0, ip: str = "10.1.0.2"
) -> c.PodSandboxStatus:
    return c.PodSandboxStatus(
        id=box_id,
        metadata=c.PodSandboxMetadata(name="web", uid="uid-1", namespace="default", attempt=attempt),
        state=c.SANDBOX_READY if ready else c.SANDBOX_NOTREADY,
        created_at=1_000 + attempt,
        network=c.PodSandboxNetworkStatus(ip=ip) if ip else None,
    )


def ran(
    spec: core.Container,
    state: str = c.CONTAINER_RUNNING,
    *,
    exit_code: int = 0,
    restarts: int = 0,
    box: str = "box",
    image: str = "",
) -> ContainerRecord:
    """A container of the runtime made from ``spec``."""
    made = core.Container(name=spec.name, image=image or spec.image)
    container_id = f"{spec.name}-{restarts}"
    return ContainerRecord(
        id=container_id,
        name=spec.name,
        state=state,
        restart_count=restarts,
        hash=naming.container_hash(made),
        sandbox_id=box,
        status=c.ContainerStatus(
            id=container_id,
            metadata=c.ContainerMetadata(name=spec.name, attempt=restarts),
            state=state,
            created_at=10**18 + restarts,
            started_at=10**18,
            finished_at=10**18 + 5 * 10**9 if state == c.CONTAINER_EXITED else 0,
            exit_code=exit_code,
            image=c.ImageSpec(image="docker.io/library/busybox:1.36"),
            image_ref="sha256:abc",
        ),
    )


def ended(spec: core.Container, exit_code: int = 0, **more: Any) -> ContainerRecord:
    return ran(spec, c.CONTAINER_EXITED, exit_code=exit_code, **more)


def record(*containers: ContainerRecord, boxes: tuple[c.PodSandboxStatus, ...] | None = None) -> PodRecord:
    return PodRecord(
        "uid-1",
        name="web",
        namespace="default",
        sandboxes=(sandbox(),) if boxes is None else boxes,
        containers=tuple(containers),
    )


class Probes:
    """What the probes say, as a test has it."""

    def __init__(self, *, failed: dict[str, str] | None = None, unstarted: set[str] | None = None) -> None:
        self._failed = failed or {}
        self._unstarted = unstarted or set()

    def failed(self, container_id: str) -> str:
        return self._failed.get(container_id, "")

    def started(self, container: core.Container, container_id: str) -> bool:
        return container.name not in self._unstarted

    def ready(self, container: core.Container, container_id: str) -> bool:
        return container.name not in self._unstarted
