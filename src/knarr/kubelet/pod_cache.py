"""What the runtime says about each pod: sandboxes and containers, newest first, joined by the labels they
carry.

Exited containers never change, so their status is asked for once. ``refresh`` looks at one pod (after the
kubelet's own actions), ``relist`` at all of them (for what happened without it).

Upstream counterpart: ``pkg/kubelet/container`` (``PodStatus``, cache) and
``kuberuntime_manager.GetPodStatus``. Neighbours: ``pleg`` decides when to look, ``pod_actions`` and
``pod_status`` read the records.

Invariant: a record is never changed once handed out; a new look makes a new one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from knarr.kubelet import naming
from knarr.kubelet.runtime import contract as c

__all__ = ["ContainerRecord", "PodCache", "PodRecord"]


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """One container, dead or alive."""

    id: str
    name: str
    state: str
    restart_count: int
    hash: str
    sandbox_id: str
    status: c.ContainerStatus

    @property
    def running(self) -> bool:
        return self.state == c.CONTAINER_RUNNING

    @property
    def exited(self) -> bool:
        return self.state == c.CONTAINER_EXITED

    @property
    def succeeded(self) -> bool:
        return self.exited and self.status.exit_code == 0


@dataclass(frozen=True, slots=True)
class PodRecord:
    """All there is of one pod, newest first."""

    uid: str
    name: str = ""
    namespace: str = ""
    sandboxes: tuple[c.PodSandboxStatus, ...] = ()
    containers: tuple[ContainerRecord, ...] = ()

    def find(self, name: str) -> ContainerRecord | None:
        """The newest container of that name."""
        return next((record for record in self.containers if record.name == name), None)

    def active(self, name: str) -> ContainerRecord | None:
        """The newest container of that name in the newest sandbox: what came before a new sandbox does not
        count.
        """
        newest = self.sandboxes[0].id if self.sandboxes else ""
        return next((r for r in self.containers if r.name == name and r.sandbox_id == newest), None)

    @property
    def ready_sandbox(self) -> c.PodSandboxStatus | None:
        newest = self.sandboxes[0] if self.sandboxes else None
        return newest if newest is not None and newest.state == c.SANDBOX_READY else None

    @property
    def ips(self) -> list[str]:
        """The pod's own addresses; none in the host's network or before the sandbox is ready."""
        sandbox = self.ready_sandbox
        if sandbox is None or sandbox.network is None or not sandbox.network.ip:
            return []
        return [sandbox.network.ip, *(extra.ip for extra in sandbox.network.additional_ips)]

    @property
    def running(self) -> bool:
        """Whether anything of it still runs."""
        return any(box.state == c.SANDBOX_READY for box in self.sandboxes) or any(
            record.running for record in self.containers
        )

    def fingerprint(self) -> tuple[tuple[str, str], ...]:
        boxes = ((box.id, box.state) for box in self.sandboxes)
        return (*boxes, *((record.id, record.state) for record in self.containers))


@dataclass(slots=True)
class PodCache:
    """Records by pod uid, as of the last look. ``last_words`` reads what an ended container left behind."""

    runtime: c.Runtime
    last_words: Callable[[c.ContainerStatus], str] = lambda status: ""
    records: dict[str, PodRecord] = field(default_factory=dict)
    _sandbox_statuses: dict[str, c.PodSandboxStatus] = field(default_factory=dict)
    _container_statuses: dict[str, c.ContainerStatus] = field(default_factory=dict)

    def get(self, uid: str) -> PodRecord:
        return self.records.get(uid) or PodRecord(uid)

    def pod_of(self, runtime_id: str) -> str | None:
        """The uid of the pod a container or sandbox belongs to, if it has been seen."""
        status = self._container_statuses.get(runtime_id) or self._sandbox_statuses.get(runtime_id)
        return status.labels.get(naming.POD_UID_LABEL) if status is not None else None

    def started_at(self, container_id: str) -> int:
        """When the container started, in nanoseconds; 0 for one not seen."""
        status = self._container_statuses.get(container_id)
        return status.started_at if status is not None else 0

    def is_running(self, container_id: str) -> bool:
        """Whether the container (or sandbox) ran at the last look."""
        container = self._container_statuses.get(container_id)
        if container is not None:
            return container.state == c.CONTAINER_RUNNING
        sandbox = self._sandbox_statuses.get(container_id)
        return sandbox is not None and sandbox.state == c.SANDBOX_READY

    async def refresh(self, uid: str) -> PodRecord:
        """Look at one pod now."""
        labels = {naming.POD_UID_LABEL: uid}
        sandboxes, containers = await asyncio.gather(
            self.runtime.list_pod_sandboxes(labels=labels), self.runtime.list_containers(labels=labels)
        )
        record = await self._record(uid, sandboxes, containers)
        self._store(uid, record)
        return record

    async def relist(self) -> list[str]:
        """Look at all pods; returns the uids of those that changed."""
        before = dict(self.records)
        sandboxes, containers = await asyncio.gather(
            self.runtime.list_pod_sandboxes(), self.runtime.list_containers()
        )
        boxes_by_uid: dict[str, list[c.PodSandbox]] = defaultdict(list)
        containers_by_uid: dict[str, list[c.Container]] = defaultdict(list)
        for box in sandboxes:
            boxes_by_uid[box.labels.get(naming.POD_UID_LABEL, "")].append(box)
        for container in containers:
            containers_by_uid[container.labels.get(naming.POD_UID_LABEL, "")].append(container)
        changed: list[str] = []
        for uid in [uid for uid in before | boxes_by_uid | containers_by_uid if uid]:
            # What a refresh found since this look began is newer than what this look has seen.
            if self.records.get(uid) is not before.get(uid):
                continue
            record = await self._record(uid, boxes_by_uid[uid], containers_by_uid[uid])
            if self.records.get(uid) is not before.get(uid):
                continue
            old = before.get(uid) or PodRecord(uid)
            if record.fingerprint() != old.fingerprint():
                changed.append(uid)
                self._store(uid, record)
        self._forget(
            {box.id for box in sandboxes} | {container.id for container in containers}, keep=self.records
        )
        return changed

    def _store(self, uid: str, record: PodRecord) -> None:
        if record.sandboxes or record.containers:
            self.records[uid] = record
        else:
            self.records.pop(uid, None)

    def _forget(self, seen: set[str], *, keep: dict[str, PodRecord]) -> None:
        for record in keep.values():
            seen.update(box.id for box in record.sandboxes)
            seen.update(container.id for container in record.containers)
        for table in (self._sandbox_statuses, self._container_statuses):
            for gone in [key for key in table if key not in seen]:
                del table[gone]

    async def _record(
        self, uid: str, sandboxes: list[c.PodSandbox], containers: list[c.Container]
    ) -> PodRecord:
        boxes = [status for box in sandboxes if (status := await self._sandbox_status(box)) is not None]
        records = [found for each in containers if (found := await self._container(each)) is not None]
        boxes.sort(key=lambda box: box.created_at, reverse=True)
        records.sort(key=lambda record: record.status.created_at, reverse=True)
        labels = boxes[0].labels if boxes else records[0].status.labels if records else {}
        return PodRecord(
            uid,
            name=labels.get(naming.POD_NAME_LABEL, ""),
            namespace=labels.get(naming.POD_NAMESPACE_LABEL, ""),
            sandboxes=tuple(boxes),
            containers=tuple(records),
        )

    async def _sandbox_status(self, box: c.PodSandbox) -> c.PodSandboxStatus | None:
        known = self._sandbox_statuses.get(box.id)
        if known is None or known.state != box.state:
            try:
                known = await self.runtime.pod_sandbox_status(box.id)
            except c.NotFound:
                return None
            self._sandbox_statuses[box.id] = known
        return known

    async def _container(self, container: c.Container) -> ContainerRecord | None:
        known = self._container_statuses.get(container.id)
        if known is None or known.state != container.state:
            try:
                known = await self.runtime.container_status(container.id)
            except c.NotFound:
                return None
            if known.state == c.CONTAINER_EXITED:
                known.message = self.last_words(known) or known.message
            self._container_statuses[container.id] = known
        annotations = known.annotations
        return ContainerRecord(
            id=container.id,
            name=known.labels.get(naming.CONTAINER_NAME_LABEL, known.metadata.name),
            state=known.state,
            restart_count=int(annotations.get(naming.RESTART_COUNT_ANNOTATION) or known.metadata.attempt),
            hash=annotations.get(naming.HASH_ANNOTATION, ""),
            sandbox_id=container.pod_sandbox_id,
            status=known,
        )
