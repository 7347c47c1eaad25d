"""VolumeBinding: a pod goes where its volumes are, and volumes are made where its pod goes.

Filter keeps nodes that every bound volume can be reached from. For claims that wait for a consumer, PreBind
writes the chosen node on the claim and waits until the binder has bound it.

Upstream's counterpart is ``pkg/scheduler/framework/plugins/volumebinding``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knarr.api.core import v1 as core
from knarr.api.core.pod_claims import (
    BIND_COMPLETED,
    SELECTED_NODE,
    claim_names,
    ephemeral_claim_name,
    not_for_pod,
)
from knarr.api.storage import v1 as storage
from knarr.client.client import Client
from knarr.client.informer import InformerFactory
from knarr.kit.clock import Clock
from knarr.scheduler.framework import CycleState, Plugin, Rejection
from knarr.scheduler.plugins.node_affinity import matching
from knarr.scheduler.table import NodeTable

CONFLICT = "node(s) had volume node affinity conflict"
#: How long PreBind waits for the binder, and between two looks.
BIND_TIMEOUT_S, LOOK_S = 600.0, 0.05


class BindingTimeout(Exception):
    """The claims were not bound in time; the pod is scheduled again."""


class VolumeBinding(Plugin):
    name = "VolumeBinding"

    def __init__(self, client: Client, factory: InformerFactory, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._claims = factory.informer(core.PersistentVolumeClaim).lister
        self._volumes = factory.informer(core.PersistentVolume).lister
        self._classes = factory.informer(storage.StorageClass).lister

    def pre_filter(self, state: CycleState, pod: core.Pod, table: NodeTable) -> str | None:
        waiting: list[str] = []
        bound: list[core.PersistentVolume] = []
        own = {ephemeral_claim_name(pod, each) for each in pod.spec.volumes if each.ephemeral is not None}
        for name in claim_names(pod):
            claim = self._claims.get(pod.metadata.namespace, name)
            if claim is None and name in own:
                return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if name in own and (problem := not_for_pod(claim, pod)):
                return problem
            if claim.metadata.deletionTimestamp is not None:
                return f'persistentvolumeclaim "{name}" is being deleted'
            if claim.spec.volumeName and BIND_COMPLETED in claim.metadata.annotations:
                volume = self._volumes.get("", claim.spec.volumeName)
                if volume is None:
                    return "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
                bound.append(volume)
                continue
            chosen = self._classes.get("", claim.spec.storageClassName or "")
            if chosen is None or chosen.volumeBindingMode != "WaitForFirstConsumer":
                return "pod has unbound immediate PersistentVolumeClaims"
            waiting.append(name)
        state.notes[self.name] = (waiting, bound)
        return None

    def filter(self, state: CycleState, pod: core.Pod, table: NodeTable) -> Sequence[Rejection]:
        _, bound = state.notes.get(self.name, ([], []))
        refused = np.zeros(table.size, np.bool_)
        for volume in bound:
            required = volume.spec.nodeAffinity.required if volume.spec.nodeAffinity is not None else None
            if required is not None:
                refused |= table.present & ~matching(required.nodeSelectorTerms, table)
        return (Rejection(refused, CONFLICT, unresolvable=True),) if refused.any() else ()

    async def pre_bind(self, state: CycleState, pod: core.Pod, node: str) -> None:
        waiting, _ = state.notes.get(self.name, ([], []))
        namespace = pod.metadata.namespace
        for name in waiting:
            patch = {"metadata": {"annotations": {SELECTED_NODE: node}}}
            await self._client.patch(core.PersistentVolumeClaim, name, patch, namespace=namespace)
        deadline_s = self._clock.monotonic_s() + BIND_TIMEOUT_S
        while not all(self._is_bound(namespace, name) for name in waiting):
            if self._clock.monotonic_s() > deadline_s:
                raise BindingTimeout("timed out waiting for volumes to be bound")
            await self._clock.sleep(LOOK_S)

    def _is_bound(self, namespace: str, name: str) -> bool:
        claim = self._claims.get(namespace, name)
        return claim is not None and BIND_COMPLETED in claim.metadata.annotations
