"""This node in the API: registering it, reporting its status, and the lease that says "still here".

Upstream counterpart: ``kubelet_node_status.go``, ``component-helpers/apimachinery/lease``.
Neighbours: ``node_status`` makes the objects, the node lifecycle controller reads the lease.

Invariants: a status that says nothing new is reported every ``node_status_report_s`` only, a change within
``node_status_update_s``; the lease is renewed every quarter of its duration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from knarr.api import codec, conditions
from knarr.api.coordination import v1 as coordination
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.client.client import STRATEGIC_MERGE_PATCH, Client
from knarr.client.events import NORMAL, EventRecorder
from knarr.client.transport import TransportError
from knarr.kit.backoff import Backoff
from knarr.kit.clock import Clock, rfc3339_micro
from knarr.kit.log import get_logger
from knarr.kubelet.config import KubeletConfig
from knarr.kubelet.node_status import same_but_heartbeat

__all__ = ["NodeLease", "NodeRegistration"]

log = get_logger("node")

LEASE_NAMESPACE = "kube-node-lease"
RETRY_BASE_S, RETRY_MAX_S = 0.1, 7.0
#: While the node is not ready its status is looked at ever more slowly: most are ready within a moment.
UNREADY_BASE_S, UNREADY_MAX_S, UNREADY_FACTOR = 0.05, 1.0, 1.25

_CONDITION_EVENTS = {
    ("Ready", "True"): "NodeReady",
    ("Ready", "False"): "NodeNotReady",
    ("MemoryPressure", "True"): "NodeHasInsufficientMemory",
    ("MemoryPressure", "False"): "NodeHasSufficientMemory",
    ("DiskPressure", "True"): "NodeHasDiskPressure",
    ("DiskPressure", "False"): "NodeHasNoDiskPressure",
    ("PIDPressure", "True"): "NodeHasInsufficientPID",
    ("PIDPressure", "False"): "NodeHasSufficientPID",
}


class NodeRegistration:
    """``wanted`` is the object to register; ``observe`` makes the status for the object as the API has it."""

    def __init__(
        self,
        client: Client,
        *,
        wanted: core.Node,
        observe: Callable[[core.Node], Awaitable[core.NodeStatus]],
        recorder: EventRecorder,
        config: KubeletConfig,
        clock: Clock,
    ) -> None:
        self._client = client
        self._wanted = wanted
        self._observe = observe
        self._recorder = recorder
        self._config = config
        self._clock = clock
        self._reported_s = 0.0
        self._last: core.NodeStatus | None = None
        self._look_now = asyncio.Event()
        #: The object as last seen; what admission and the downward API measure pods by.
        self.node = wanted
        self.registered = asyncio.Event()

    def look_now(self) -> None:
        """Something changed that the status shows."""
        self._look_now.set()

    async def run(self) -> None:
        await self._register()
        self.registered.set()
        unready = Backoff(UNREADY_BASE_S, UNREADY_MAX_S, UNREADY_FACTOR)
        while True:
            try:
                await self._report()
            except (StatusError, TransportError) as error:
                log.warning("node status not reported", node=self._wanted.metadata.name, error=error)
            ready = self._last is not None and conditions.is_true(self._last.conditions, "Ready")
            self._look_now.clear()
            pause_s = self._config.node_status_update_s if ready else unready.next_s()
            if ready:
                unready.reset()
            try:
                async with asyncio.timeout(pause_s):
                    await self._look_now.wait()
            except TimeoutError:
                continue

    async def _register(self) -> None:
        backoff = Backoff(RETRY_BASE_S, RETRY_MAX_S)
        while True:
            try:
                # With its status at once, a new node is there for the scheduler one round trip earlier.
                fresh = codec.copy(self._wanted)
                fresh.status = await self._observe(fresh)
                self.node = await self._client.create(fresh)
                log.info("node registered", node=self.node.metadata.name)
                return
            except StatusError as error:
                if error.code == 409:
                    try:
                        await self._adopt()
                        return
                    except (StatusError, TransportError) as failure:
                        error_text = str(failure)
                else:
                    error_text = str(error)
            except TransportError as error:
                error_text = str(error)
            log.debug("node not registered yet", node=self._wanted.metadata.name, error=error_text)
            await self._clock.sleep(backoff.next_s())

    async def _adopt(self) -> None:
        """The object is there from an earlier life: bring labels and annotations up to date, keep the rest."""
        name, wanted = self._wanted.metadata.name, self._wanted.metadata
        self.node = await self._client.get(core.Node, name)
        held = self.node.metadata
        lacking = {
            "labels": dict(wanted.labels.items() - held.labels.items()),
            "annotations": dict(wanted.annotations.items() - held.annotations.items()),
        }
        if any(lacking.values()):
            self.node = await self._client.patch(core.Node, name, {"metadata": lacking})

    async def _report(self) -> None:
        name = self._wanted.metadata.name
        try:
            self.node = await self._client.get(core.Node, name)
        except StatusError as error:
            if error.code != 404:
                raise
            # Somebody deleted the node while its kubelet lives: it registers anew.
            self._last = None
            await self._register()
            return
        status = await self._observe(self.node)
        now_s = self._clock.monotonic_s()
        due = now_s - self._reported_s >= self._config.node_status_report_s
        if same_but_heartbeat(status, self.node.status) and self._last is not None and not due:
            self._last = status
            return
        # What is attached is the attach/detach controller's to say; and that nothing is in use any more has to be said.
        told = {**codec.to_dict(status), "volumesInUse": status.volumesInUse}
        told.pop("volumesAttached", None)
        patch = {"status": told}
        self.node = await self._client.patch(
            core.Node, name, patch, patch_type=STRATEGIC_MERGE_PATCH, subresource="status"
        )
        self._reported_s = now_s
        self._tell_changes(self._last, status)
        self._last = status

    def _tell_changes(self, old: core.NodeStatus | None, new: core.NodeStatus) -> None:
        before = {condition.type: condition.status for condition in old.conditions} if old else {}
        name = self._wanted.metadata.name
        for condition in new.conditions:
            reason = _CONDITION_EVENTS.get((condition.type, condition.status))
            if reason is not None and before.get(condition.type) != condition.status:
                text = f"Node {name} status is now: {reason}"
                self._recorder.event_about(node_reference(name), NORMAL, reason, text)


def node_reference(name: str) -> core.ObjectReference:
    """How a kubelet refers to its node in events: by name, which is also what upstream uses as the uid."""
    return core.ObjectReference(kind="Node", name=name, uid=name)


class NodeLease:
    """The node's heartbeat in ``kube-node-lease``."""

    def __init__(
        self, client: Client, node: Callable[[], core.Node], *, config: KubeletConfig, clock: Clock
    ) -> None:
        self._client = client
        self._node = node
        self._config = config
        self._clock = clock
        self._lease: coordination.Lease | None = None

    async def run(self) -> None:
        backoff = Backoff(RETRY_BASE_S, RETRY_MAX_S)
        while True:
            try:
                await self._renew()
                backoff.reset()
                pause_s = self._config.node_lease_duration_s * 0.25
            except (StatusError, TransportError) as error:
                log.warning("node lease not renewed", node=self._node().metadata.name, error=error)
                self._lease = None
                pause_s = backoff.next_s()
            await self._clock.sleep(pause_s)

    async def _renew(self) -> None:
        if self._lease is None:
            self._lease = await self._find_or_create()
            return
        self._lease.spec.renewTime = rfc3339_micro(self._clock.now())
        self._lease = await self._client.update(self._lease)

    async def _find_or_create(self) -> coordination.Lease:
        node = self._node()
        name = node.metadata.name
        spec = coordination.LeaseSpec(
            holderIdentity=name,
            leaseDurationSeconds=self._config.node_lease_duration_s,
            renewTime=rfc3339_micro(self._clock.now()),
        )
        try:
            lease = await self._client.get(coordination.Lease, name, namespace=LEASE_NAMESPACE)
            lease.spec = spec
            return await self._client.update(lease)
        except StatusError as error:
            if error.code != 404:
                raise
        owner = meta.OwnerReference(apiVersion="v1", kind="Node", name=name, uid=node.metadata.uid)
        return await self._client.create(
            coordination.Lease(
                metadata=meta.ObjectMeta(
                    name=name,
                    namespace=LEASE_NAMESPACE,
                    ownerReferences=[owner] if node.metadata.uid else [],
                ),
                spec=spec,
            )
        )
