"""Telling the API what became of each pod, and removing pods of which nothing is left.

Workers ``set`` a status as often as they like; what is written is the difference to what the API has, one
write a pod at a time, and the newest status wins. A deleted pod's object goes when its worker says that
nothing is left of it.

Upstream counterpart: ``pkg/kubelet/status/status_manager.go``. Neighbours: ``pod_status`` makes statuses,
``pod_workers`` hand them in.

Invariants: the uid is part of every write, so a new pod of the same name is never touched; failures are
retried with back-off until the pod is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.client.client import STRATEGIC_MERGE_PATCH, Client
from knarr.client.transport import TransportError
from knarr.client.workqueue import WorkQueue
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger
from knarr.kubelet.pods import pod_ref

__all__ = ["StatusManager", "status_patch"]

log = get_logger("status")

#: Writes under way at once.
WRITERS = 8
RETRY_BASE_S, RETRY_MAX_S = 0.1, 10.0


class StatusManager:
    """``current`` gives the newest object the kubelet has seen for a uid, or None."""

    def __init__(self, client: Client, *, clock: Clock, current: Callable[[str], core.Pod | None]) -> None:
        self._client = client
        self._current = current
        self._queue: WorkQueue[str] = WorkQueue(clock, retry_base_s=RETRY_BASE_S, retry_max_s=RETRY_MAX_S)
        self._statuses: dict[str, core.PodStatus] = {}
        self._written: dict[str, core.Pod] = {}
        self._pods: dict[str, core.Pod] = {}
        self._finished: set[str] = set()
        #: Shared by kubelets of one process that are many. What waits for its turn is written once, as it then is.
        self.turns: asyncio.Semaphore | None = None

    def get(self, uid: str) -> core.PodStatus | None:
        """The last status set."""
        return self._statuses.get(uid)

    def set(self, pod: core.Pod, status: core.PodStatus) -> None:
        uid = pod.metadata.uid
        if self._statuses.get(uid) == status:
            return
        self._statuses[uid] = status
        self._pods[uid] = pod
        self._queue.add(uid)

    def finish(self, pod: core.Pod) -> None:
        """Nothing of the pod is left on the node: once its status is written, a deleted pod's object may
        go.
        """
        self._pods[pod.metadata.uid] = pod
        self._finished.add(pod.metadata.uid)
        self._queue.add(pod.metadata.uid)

    def forget(self, uid: str) -> None:
        """The pod is gone from the API and from the node."""
        for table in (self._statuses, self._written, self._pods):
            table.pop(uid, None)
        self._finished.discard(uid)
        self._queue.forget(uid)

    def recheck(self, uid: str) -> None:
        """The API's copy changed: make sure it still shows the last status."""
        if uid in self._statuses:
            self._queue.add(uid)

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(WRITERS):
                    group.create_task(self._work())
        finally:
            self._queue.close()

    async def _work(self) -> None:
        while True:
            uid = await self._queue.get()
            try:
                async with self.turns or nullcontext():
                    await self._write(uid)
                self._queue.forget(uid)
            except (StatusError, TransportError) as error:
                log.warning("pod status not written", uid=uid, error=error)
                self._queue.retry(uid)
            finally:
                self._queue.done(uid)

    async def _write(self, uid: str) -> None:
        pod, status = self._current(uid) or self._pods.get(uid), self._statuses.get(uid)
        if pod is None:
            return
        base = _newer(self._written.get(uid), pod).status
        patch = status_patch(base, status) if status is not None else {}
        try:
            if patch and status is not None:
                body = {"metadata": {"uid": uid}, "status": patch}
                written = await self._client.patch(
                    core.Pod,
                    pod.metadata.name,
                    body,
                    namespace=pod.metadata.namespace,
                    patch_type=STRATEGIC_MERGE_PATCH,
                    subresource="status",
                )
                self._written[uid] = written
                log.debug("pod status written", pod=pod_ref(pod), phase=status.phase)
            if uid in self._finished and pod.metadata.deletionTimestamp:
                await self._client.delete(
                    core.Pod,
                    pod.metadata.name,
                    namespace=pod.metadata.namespace,
                    uid=uid,
                    grace_period_s=0,
                )
        except StatusError as error:
            # Gone, or another pod of that name by now: there is nothing to tell any more.
            if error.code not in (404, 409):
                raise
            if error.code == 409 and self._current(uid) is not None:
                raise


#: The conditions a kubelet may take away; others' may have come since the status was computed.
OWN_CONDITIONS = frozenset(
    {
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodResizePending",
        "PodResizeInProgress",
    }
)


def status_patch(old: core.PodStatus, new: core.PodStatus) -> dict[str, Any]:
    """A strategic merge patch that turns ``old`` into ``new``. Pure."""
    before, after = codec.to_dict(old), codec.to_dict(new)
    patch: dict[str, Any] = {}
    for name in before | after:
        if before.get(name) == after.get(name):
            continue
        if name == "conditions":
            patch[name] = [
                entry
                for entry in _keyed_patch(before.get(name, []), after.get(name, []), "type")
                if "$patch" not in entry or entry["type"] in OWN_CONDITIONS
            ]
            if not patch[name]:
                del patch[name]
        elif name in ("podIPs", "hostIPs") and name in after:
            patch[name] = _keyed_patch(before.get(name, []), after[name], "ip")
        else:
            patch[name] = after.get(name)
    return patch


def _keyed_patch(before: list[dict[str, Any]], after: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Entries that changed, and a deletion for those that went."""
    old = {entry[key]: entry for entry in before}
    new = {entry[key]: entry for entry in after}
    changed: list[dict[str, Any]] = []
    for name, entry in new.items():
        if old.get(name) != entry:
            # What an entry no longer says must be said to be gone.
            vanished = {field: None for field in old.get(name, {}) if field not in entry}
            changed.append({**entry, **vanished})
    changed += [{"$patch": "delete", key: name} for name in old if name not in new]
    return changed


def _newer(written: core.Pod | None, seen: core.Pod) -> core.Pod:
    """Our own last write, unless somebody has written since: the informer may be behind us, or ahead."""
    if written is None:
        return seen
    ours, theirs = written.metadata.resourceVersion, seen.metadata.resourceVersion
    if not (ours.isdecimal() and theirs.isdecimal()):
        return written
    return seen if int(theirs) > int(ours) else written
