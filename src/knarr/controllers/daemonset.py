"""DaemonSets: one pod on every node that should have one.

Each pod is bound to its node by affinity to the node's name and then scheduled like any other. Updates
replace pods a few at a time: with ``maxUnavailable`` an old pod goes
first, with ``maxSurge`` a new one comes first.

Upstream's counterpart is ``pkg/controller/daemon``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from knarr.api import codec
from knarr.api.apps import v1 as apps
from knarr.api.core import v1 as core
from knarr.api.core.placement import matches_node, tolerated
from knarr.api.intstr import scaled_value
from knarr.client.events import WARNING
from knarr.controllers import pods as podlib
from knarr.controllers.failed_pods import FailedPodBackoff
from knarr.controllers.framework import ControllerContext, Key, key_of
from knarr.controllers.history import HASH_LABEL, RevisionHistory, revision_hash
from knarr.controllers.pod_owner import PodOwnerController

BURST = 250
#: Written by the API server: how often the template has changed. It is also a label of the pods, as upstream keeps it.
TEMPLATE_GENERATION, GENERATION_LABEL = "deprecated.daemonset.template.generation", "pod-template-generation"
#: Daemons stay where others have to leave: they often are what makes a node work.
_TOLERATIONS = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)


@dataclass(slots=True)
class Plan:
    """What is to be done now: nodes that get a pod, pods that go."""

    create_on: list[str] = field(default_factory=list)
    delete: list[core.Pod] = field(default_factory=list)
    failed: list[core.Pod] = field(default_factory=list)


class DaemonSetController(PodOwnerController):
    name = "daemonset-controller"
    owner_type = apps.DaemonSet

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._nodes = self.lister(core.Node)
        self._failed = FailedPodBackoff(context.clock)
        self._history = RevisionHistory(context.client, self.lister(apps.ControllerRevision))
        self.informer(core.Node).add_handler(self._node_changed)

    def _node_changed(self, event: str, old: core.Node | None, new: core.Node | None) -> None:
        if old is not None and new is not None:
            same = (
                old.metadata.labels == new.metadata.labels
                and old.spec.taints == new.spec.taints
                and old.spec.unschedulable == new.spec.unschedulable
            )
            if same:
                return
        for owner in self.owners.list():
            self.queue.add(key_of(owner))

    async def reconcile(self, key: Key) -> None:
        daemon_set = self.owners.get(*key)
        if daemon_set is None:
            self.expectations.forget(key)
            return
        if daemon_set.metadata.deletionTimestamp is not None:
            return
        selector = self.selector_of(daemon_set)
        revisions = await self._history.of(daemon_set, selector)
        current, collisions = await self._history.current(
            daemon_set, revisions, daemon_set.status.collisionCount
        )
        settled = self.is_settled(key)
        pods = await self.claim(daemon_set)
        nodes = self._nodes.list()
        digest = revision_hash(current)
        if settled:
            plan = manage(
                daemon_set, nodes, pods, digest, may_kill=lambda pod: self._may_kill(key, daemon_set, pod)
            )
            await self._carry_out(key, daemon_set, plan, digest)
            if daemon_set.spec.updateStrategy.type == "RollingUpdate" and self.expectations.satisfied(key):
                rolling = roll(daemon_set, nodes, pods, digest, now=self.clock.now())
                await self._carry_out(key, daemon_set, rolling, digest)
        live = {pod.metadata.labels.get(HASH_LABEL, "") for pod in pods} | {digest}
        await self._history.truncate(revisions, live=live, limit=daemon_set.spec.revisionHistoryLimit)
        now = self.clock.now()
        await self._write_status(daemon_set, nodes, pods, digest, collisions, now=now)
        self.wake_when_available(key, daemon_set, pods, now)

    def _may_kill(self, key: Key, daemon_set: apps.DaemonSet, pod: core.Pod) -> bool:
        """A daemon that fails again and again on a node is killed less and less often."""
        wait_s = self._failed.wait_s((daemon_set.metadata.uid, pod.spec.nodeName))
        if wait_s:
            self.queue.add_after(key, wait_s)
        return not wait_s

    async def _carry_out(self, key: Key, daemon_set: apps.DaemonSet, plan: Plan, digest: str) -> None:
        for pod in plan.failed:
            message = f"Found failed daemon pod {'/'.join(key_of(pod))} on node {pod.spec.nodeName}, will try to kill it"
            self.recorder.event(daemon_set, WARNING, "FailedDaemonPod", message)
        await self.delete_pods(key, daemon_set, plan.delete[:BURST])
        create = plan.create_on[:BURST]
        templates = (pinned_template(daemon_set, node, digest) for node in create)
        await self.create_pods(key, daemon_set, len(create), templates)

    async def _write_status(
        self,
        daemon_set: apps.DaemonSet,
        nodes: Sequence[core.Node],
        pods: Sequence[core.Pod],
        digest: str,
        collisions: int | None,
        *,
        now: datetime,
    ) -> None:
        status = compute_status(daemon_set, nodes, pods, digest, now=now)
        status.collisionCount = collisions
        if status != daemon_set.status:
            changed = codec.copy(daemon_set)
            changed.status = status
            await self.client.update_status(changed)


def should_run(daemon_set: apps.DaemonSet, node: core.Node) -> tuple[bool, bool]:
    """Whether the node should get a pod, and whether one that is there may stay."""
    spec = daemon_set.spec.template.spec or core.PodSpec()
    if spec.nodeName and spec.nodeName != node.metadata.name:
        return False, False
    if not matches_node(spec, node):
        return False, False
    tolerations = [*spec.tolerations, *daemon_tolerations(spec)]
    blocking = [t for t in node.spec.taints if t.effect in ("NoSchedule", "NoExecute")]
    if all(tolerated(taint, tolerations) for taint in blocking):
        return True, True
    evicted = any(t.effect == "NoExecute" and not tolerated(t, tolerations) for t in blocking)
    return False, not evicted


def daemon_tolerations(spec: core.PodSpec) -> list[core.Toleration]:
    keys = list(_TOLERATIONS)
    if spec.hostNetwork:
        keys.append(("node.kubernetes.io/network-unavailable", "NoSchedule"))
    return [core.Toleration(key=key, operator="Exists", effect=effect) for key, effect in keys]


def by_node(pods: Sequence[core.Pod]) -> dict[str, list[core.Pod]]:
    """Pods by the node they are on or are meant for."""
    found: dict[str, list[core.Pod]] = {}
    for pod in pods:
        found.setdefault(pod.spec.nodeName or target_of(pod), []).append(pod)
    return found


def target_of(pod: core.Pod) -> str:
    """The node a daemon pod was pinned to, from its affinity."""
    affinity = pod.spec.affinity.nodeAffinity if pod.spec.affinity else None
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    for term in required.nodeSelectorTerms if required else ():
        for requirement in term.matchFields:
            if requirement.key == "metadata.name" and requirement.values:
                return requirement.values[0]
    return ""


def manage(
    daemon_set: apps.DaemonSet,
    nodes: Sequence[core.Node],
    pods: Sequence[core.Pod],
    digest: str,
    *,
    may_kill: Callable[[core.Pod], bool] = lambda pod: True,
) -> Plan:
    """One pod on each node that should have one, none elsewhere; failed ones go. Surplus young ones go."""
    plan = Plan()
    held = by_node(pods)
    known = {node.metadata.name for node in nodes}
    verdicts = [(node, *should_run(daemon_set, node)) for node in nodes]
    surge, _ = limits(daemon_set, sum(1 for _, wanted, _ in verdicts if wanted))
    for node, wanted, may_stay in verdicts:
        mine = held.get(node.metadata.name, [])
        if wanted and not mine:
            plan.create_on.append(node.metadata.name)
        elif may_stay:
            _keep_one(plan, mine, digest, surging=surge > 0, may_kill=may_kill)
        else:
            plan.delete += [pod for pod in mine if pod.metadata.deletionTimestamp is None]
    for name, mine in held.items():
        if name not in known:
            # The node is gone; a pod still waiting for it would wait for ever.
            plan.delete += [p for p in mine if not p.spec.nodeName and p.metadata.deletionTimestamp is None]
    return plan


def _keep_one(
    plan: Plan, mine: list[core.Pod], digest: str, *, surging: bool, may_kill: Callable[[core.Pod], bool]
) -> None:
    alive = []
    for pod in mine:
        if pod.metadata.deletionTimestamp is not None:
            continue
        if pod.status.phase == "Failed" and not may_kill(pod):
            continue
        if pod.status.phase == "Failed":
            plan.failed.append(pod)
            plan.delete.append(pod)
        elif pod.status.phase == "Succeeded":
            plan.delete.append(pod)
        else:
            alive.append(pod)
    if surging and len(alive) > 1:
        # During a surge one old and one new pod belong together.
        new = [pod for pod in alive if pod.metadata.labels.get(HASH_LABEL) == digest]
        old = [pod for pod in alive if pod.metadata.labels.get(HASH_LABEL) != digest]
        plan.delete += _younger(old) + _younger(new)
    else:
        plan.delete += _younger(alive)


def _younger(pods: list[core.Pod]) -> list[core.Pod]:
    return sorted(pods, key=lambda pod: (not pod.spec.nodeName, pod.metadata.creationTimestamp or ""))[1:]


def limits(daemon_set: apps.DaemonSet, desired: int) -> tuple[int, int]:
    """``maxSurge`` and ``maxUnavailable`` as numbers; one of them is at least one."""
    rolling = daemon_set.spec.updateStrategy.rollingUpdate
    if daemon_set.spec.updateStrategy.type != "RollingUpdate" or rolling is None:
        return 0, 0
    surge = scaled_value(rolling.maxSurge if rolling.maxSurge is not None else 0, desired, round_up=True)
    unavailable = scaled_value(
        rolling.maxUnavailable if rolling.maxUnavailable is not None else 1, desired, round_up=True
    )
    return (surge, unavailable) if surge or unavailable else (0, 1)


def roll(
    daemon_set: apps.DaemonSet,
    nodes: Sequence[core.Node],
    pods: Sequence[core.Pod],
    digest: str,
    *,
    now: datetime,
) -> Plan:
    """Which pods of an old template are replaced now."""
    wanted = [node.metadata.name for node in nodes if should_run(daemon_set, node)[0]]
    surge, unavailable = limits(daemon_set, len(wanted))
    held = by_node([pod for pod in pods if pod.metadata.deletionTimestamp is None])
    min_ready_s = daemon_set.spec.minReadySeconds
    plan = Plan()
    missing, candidates, surging = 0, [], 0
    for name in wanted:
        mine = held.get(name, [])
        new = next((p for p in mine if p.metadata.labels.get(HASH_LABEL) == digest), None)
        old = next((p for p in mine if p.metadata.labels.get(HASH_LABEL) != digest), None)
        new_available = new is not None and podlib.is_available(new, min_ready_s, now)
        old_available = old is not None and podlib.is_available(old, min_ready_s, now)
        if old is not None and new is not None:
            surging += 1
            if new_available or not old_available:
                plan.delete.append(old)
        elif old is None and not new_available:
            missing += 1
        elif old is not None and not old_available:
            # It helps nobody as it is; replacing it costs nothing.
            missing += 1
            plan.delete.append(old)
        elif old is not None:
            candidates.append((name, old))
    if surge:
        plan.create_on += [name for name, _ in candidates[: max(surge - surging, 0)]]
    else:
        plan.delete += [old for _, old in candidates[: max(unavailable - missing, 0)]]
    return plan


def pinned_template(daemon_set: apps.DaemonSet, node: str, digest: str) -> core.PodTemplateSpec:
    """The template for one node."""
    template = codec.copy(daemon_set.spec.template)
    assert template.spec is not None, "validation requires a pod specification"
    metadata = template.metadata or type(daemon_set.metadata)()
    metadata.labels = {**metadata.labels, HASH_LABEL: digest}
    generation = daemon_set.metadata.annotations.get(TEMPLATE_GENERATION)
    if generation is not None:
        metadata.labels[GENERATION_LABEL] = generation
    template.metadata = metadata
    spec = template.spec
    spec.tolerations = [*spec.tolerations, *daemon_tolerations(spec)]
    pin = core.NodeSelectorRequirement(key="metadata.name", operator="In", values=[node])
    affinity = spec.affinity or core.Affinity()
    node_affinity = affinity.nodeAffinity or core.NodeAffinity()
    required = node_affinity.requiredDuringSchedulingIgnoredDuringExecution
    if required is None or not required.nodeSelectorTerms:
        required = core.NodeSelector(nodeSelectorTerms=[core.NodeSelectorTerm(matchFields=[pin])])
    else:
        # Terms are alternatives: each of them must lead to this node.
        for term in required.nodeSelectorTerms:
            term.matchFields = [pin]
    node_affinity.requiredDuringSchedulingIgnoredDuringExecution = required
    affinity.nodeAffinity = node_affinity
    spec.affinity = affinity
    return template


def compute_status(
    daemon_set: apps.DaemonSet,
    nodes: Sequence[core.Node],
    pods: Sequence[core.Pod],
    digest: str,
    *,
    now: datetime,
) -> apps.DaemonSetStatus:
    """The status that describes these pods."""
    held = by_node(pods)
    status = apps.DaemonSetStatus(
        observedGeneration=daemon_set.metadata.generation or 0, conditions=daemon_set.status.conditions
    )
    for node in nodes:
        mine = held.get(node.metadata.name, [])
        wanted, _ = should_run(daemon_set, node)
        if not wanted:
            status.numberMisscheduled += 1 if mine else 0
            continue
        status.desiredNumberScheduled += 1
        if not mine:
            continue
        status.currentNumberScheduled += 1
        oldest = min(mine, key=lambda pod: pod.metadata.creationTimestamp or "")
        if any(podlib.is_ready(pod) for pod in mine):
            status.numberReady += 1
        if any(podlib.is_available(pod, daemon_set.spec.minReadySeconds, now) for pod in mine):
            status.numberAvailable += 1
        if any(pod.metadata.labels.get(HASH_LABEL) == digest for pod in (oldest, *mine)):
            status.updatedNumberScheduled += 1
    status.numberUnavailable = status.desiredNumberScheduled - status.numberAvailable
    return status
