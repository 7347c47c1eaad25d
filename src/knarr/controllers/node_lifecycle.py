"""Nodes that stop reporting: noticed, tainted, and their pods marked.

A node whose lease has not been renewed for ``GRACE_S`` gets Ready=Unknown and the ``unreachable`` taints; one
that reports itself not ready gets ``not-ready``. Conditions such as disk pressure
become NoSchedule taints. When much of the cluster seems to fail at once, taints that evict are given slowly,
for then the network is the likelier cause.

Upstream's counterpart is ``pkg/controller/nodelifecycle``. Neighbour: ``taint_eviction`` deletes the pods.
"""

from __future__ import annotations

from dataclasses import dataclass

from knarr.api import codec, conditions
from knarr.api.coordination import v1 as coordination
from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.client.client import STRATEGIC_MERGE_PATCH
from knarr.client.events import NORMAL
from knarr.client.transport import TransportError
from knarr.controllers.framework import Controller, ControllerContext, Key
from knarr.kit.clock import rfc3339

MONITOR_PERIOD_S = 5.0
#: Upstream's --node-monitor-grace-period.
GRACE_S = 50.0
#: A node that never reported gets longer.
STARTUP_GRACE_S = 60.0
LEASE_NAMESPACE = "kube-node-lease"
#: Evicting taints a second in a healthy zone, and in one where most nodes fail (small zones: none).
EVICTION_RATE, SECONDARY_RATE = 0.1, 0.01
UNHEALTHY_SHARE = 0.55
LARGE_ZONE = 50

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
#: Condition type -> status -> taint.
CONDITION_TAINTS = {
    "Ready": {"False": NOT_READY, "Unknown": UNREACHABLE},
    "MemoryPressure": {"True": "node.kubernetes.io/memory-pressure"},
    "DiskPressure": {"True": "node.kubernetes.io/disk-pressure"},
    "PIDPressure": {"True": "node.kubernetes.io/pid-pressure"},
    "NetworkUnavailable": {"True": "node.kubernetes.io/network-unavailable"},
}
_MANAGED = {key for by_status in CONDITION_TAINTS.values() for key in by_status.values()} | {UNSCHEDULABLE}
ZONE_LABEL, REGION_LABEL = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"


@dataclass(slots=True)
class _Heard:
    """When a node was last heard of, by our own clock."""

    at_s: float
    renewed: str
    reported: str


class NodeLifecycleController(Controller):
    name = "node-lifecycle-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._nodes = self.watch(core.Node)
        self._leases = self.lister(coordination.Lease)
        self._pods = self.lister(core.Pod)
        self._pods.add_index("node", lambda pod: (pod.spec.nodeName,) if pod.spec.nodeName else ())
        self._heard: dict[str, _Heard] = {}
        self._next_eviction_s: dict[str, float] = {}

    async def reconcile(self, key: Key) -> None:
        """Keep a node's NoSchedule taints as its conditions say; evicting taints go away here as well."""
        _, name = key
        node = self._nodes.get("", name)
        if node is None:
            self._heard.pop(name, None)
            return
        wanted = schedule_taints(node)
        kept = [
            taint
            for taint in node.spec.taints
            if not (taint.effect == "NoSchedule" and taint.key in _MANAGED)
        ]
        ready = conditions.get(node.status.conditions, "Ready")
        if ready is not None and ready.status == "True":
            kept = [t for t in kept if not (t.effect == "NoExecute" and t.key in (NOT_READY, UNREACHABLE))]
        held = {(t.key, t.effect) for t in node.spec.taints}
        target = {(t.key, t.effect) for t in kept} | {(key, "NoSchedule") for key in wanted}
        if held == target:
            return
        stamps = {t.key: t for t in node.spec.taints if t.effect == "NoSchedule"}
        now = rfc3339(self.clock.now())
        taints = [
            *kept,
            *(stamps.get(key) or core.Taint(key=key, effect="NoSchedule", timeAdded=now) for key in wanted),
        ]
        await self._write_taints(node, taints)

    async def _write_taints(self, node: core.Node, taints: list[core.Taint]) -> None:
        """Replace the list as a whole, on the revision it was computed from."""
        patch = {
            "metadata": {"resourceVersion": node.metadata.resourceVersion},
            "spec": {"taints": [codec.to_dict(taint) for taint in taints]},
        }
        await self.client.patch(core.Node, node.metadata.name, patch, patch_type=STRATEGIC_MERGE_PATCH)

    async def background(self) -> None:
        """Look after all nodes, again and again."""
        while True:
            try:
                await self._monitor()
            except (StatusError, TransportError) as error:
                self.log.warning("monitoring failed", error=error)
            await self.clock.sleep(MONITOR_PERIOD_S)

    async def _monitor(self) -> None:
        nodes = self._nodes.list()
        silent = []
        for node in nodes:
            if self._is_silent(node):
                silent.append(node)
                await self._mark_unknown(node)
        unready = [node for node in nodes if _ready_status(node) != "True"]
        for node in unready:
            await self._mark_pods(node)
        await self._evict(nodes, unready)

    def _is_silent(self, node: core.Node) -> bool:
        name = node.metadata.name
        lease = self._leases.get(LEASE_NAMESPACE, name)
        renewed = (lease.spec.renewTime or "") if lease is not None else ""
        ready = conditions.get(node.status.conditions, "Ready")
        reported = (ready.lastHeartbeatTime or "") if ready is not None and ready.status != "Unknown" else ""
        now_s = self.clock.monotonic_s()
        heard = self._heard.get(name)
        if heard is None or renewed != heard.renewed or (reported and reported != heard.reported):
            self._heard[name] = _Heard(now_s, renewed, reported or (heard.reported if heard else ""))
            return False
        grace_s = GRACE_S if (renewed or reported or heard.reported) else STARTUP_GRACE_S
        return now_s - heard.at_s > grace_s

    async def _mark_unknown(self, node: core.Node) -> None:
        if _ready_status(node) == "Unknown":
            return
        now = rfc3339(self.clock.now())
        changed = codec.copy(node)
        for kind in ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure"):
            held = conditions.get(changed.status.conditions, kind)
            unknown = core.NodeCondition(
                type=kind,
                status="Unknown",
                reason="NodeStatusUnknown" if held is not None else "NodeStatusNeverUpdated",
                message="Kubelet stopped posting node status."
                if held is not None
                else "Kubelet never posted node status.",
                lastHeartbeatTime=held.lastHeartbeatTime
                if held is not None
                else node.metadata.creationTimestamp,
                lastTransitionTime=now,
            )
            conditions.put(changed.status.conditions, unknown)
        await self.client.update_status(changed)
        message = f"Node {node.metadata.name} status is now: NodeNotReady"
        self.recorder.event(node, NORMAL, "NodeNotReady", message)

    async def _mark_pods(self, node: core.Node) -> None:
        """Services must stop sending to pods nobody vouches for."""
        for pod in self._pods.by_index("node", node.metadata.name):
            ready = conditions.get(pod.status.conditions, "Ready")
            if ready is None or ready.status != "True":
                continue
            changed = codec.copy(pod)
            now = rfc3339(self.clock.now())
            for condition in changed.status.conditions:
                if condition.type == "Ready":
                    condition.status, condition.lastTransitionTime = "False", now
            try:
                await self.client.update_status(changed)
            except StatusError as error:
                if error.code not in (404, 409):
                    raise
                continue
            self.recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")

    async def _evict(self, nodes: list[core.Node], unready: list[core.Node]) -> None:
        """Give the taints that evict, as fast as the node's zone allows."""
        zones: dict[str, list[core.Node]] = {}
        for node in nodes:
            zones.setdefault(_zone(node), []).append(node)
        all_down = len(unready) == len(nodes) and len(nodes) > 1
        for node in unready:
            zone = _zone(node)
            bad = sum(1 for other in zones[zone] if _ready_status(other) != "True")
            rate = _rate(len(zones[zone]), bad, all_down=all_down)
            wanted = NOT_READY if _ready_status(node) == "False" else UNREACHABLE
            held = {
                t.key
                for t in node.spec.taints
                if t.effect == "NoExecute" and t.key in (NOT_READY, UNREACHABLE)
            }
            if wanted in held or rate == 0:
                continue
            now_s = self.clock.monotonic_s()
            # Exchanging one evicting taint for the other is no new eviction.
            if not held and now_s < self._next_eviction_s.get(zone, 0.0):
                continue
            self._next_eviction_s[zone] = now_s + 1 / rate
            kept = [
                t
                for t in node.spec.taints
                if not (t.effect == "NoExecute" and t.key in (NOT_READY, UNREACHABLE))
            ]
            taint = core.Taint(key=wanted, effect="NoExecute", timeAdded=rfc3339(self.clock.now()))
            await self._write_taints(node, [*kept, taint])


def schedule_taints(node: core.Node) -> list[str]:
    """The keys of the NoSchedule taints a node's conditions ask for."""
    wanted = []
    for condition in node.status.conditions:
        key = CONDITION_TAINTS.get(condition.type, {}).get(condition.status)
        if key is not None:
            wanted.append(key)
    if conditions.get(node.status.conditions, "Ready") is None:
        wanted.append(NOT_READY)
    if node.spec.unschedulable:
        wanted.append(UNSCHEDULABLE)
    return wanted


def _ready_status(node: core.Node) -> str:
    ready = conditions.get(node.status.conditions, "Ready")
    return ready.status if ready is not None else "Unknown"


def _zone(node: core.Node) -> str:
    labels = node.metadata.labels
    return f"{labels.get(REGION_LABEL, '')}:{labels.get(ZONE_LABEL, '')}"


def _rate(count: int, unready: int, *, all_down: bool) -> float:
    """Evicting taints a second for a zone in this state."""
    if all_down:
        # Everything unreachable: the controller is cut off, not the nodes.
        return 0.0
    if unready > 2 and unready / count >= UNHEALTHY_SHARE:
        return SECONDARY_RATE if count > LARGE_ZONE else 0.0
    return EVICTION_RATE
