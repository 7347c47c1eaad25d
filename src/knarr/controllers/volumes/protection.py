"""What is in use is not deleted: a claim while a pod uses it, a volume while a claim has it.

Upstream's counterparts are the ``pvc-protection`` and ``pv-protection`` controllers. Neighbour: the API
server's admission gives the finalizers.
"""

from __future__ import annotations

from knarr.api.core import v1 as core
from knarr.api.core.pod_claims import claim_names
from knarr.client.informer import Lister
from knarr.controllers.framework import Controller, ControllerContext, Key

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"
#: The index of pods that ``claims_of`` fills.
BY_CLAIM = "claim"


class ClaimProtection(Controller):
    name = "persistentvolumeclaim-protection-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._claims = self.watch(core.PersistentVolumeClaim)
        self._pods = self.lister(core.Pod)
        self._pods.add_index(BY_CLAIM, claims_of)
        self.informer(core.Pod).add_handler(self._pod_changed)

    def _pod_changed(self, event: str, old: core.Pod | None, new: core.Pod | None) -> None:
        pod = new or old
        assert pod is not None
        if new is None or new.status.phase in ("Succeeded", "Failed"):
            for key in claims_of(pod):
                namespace, _, name = key.partition("/")
                self.queue.add((namespace, name))

    async def reconcile(self, key: Key) -> None:
        claim = self._claims.get(*key)
        if claim is None or claim.metadata.deletionTimestamp is None:
            return
        if CLAIM_FINALIZER not in claim.metadata.finalizers:
            return
        if users_of_claim(self._pods, key):
            return
        await self.drop_finalizer(core.PersistentVolumeClaim, claim, CLAIM_FINALIZER)


class VolumeProtection(Controller):
    name = "persistentvolume-protection-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._volumes = self.watch(core.PersistentVolume)

    async def reconcile(self, key: Key) -> None:
        volume = self._volumes.get(*key)
        if volume is None or volume.metadata.deletionTimestamp is None or volume.status.phase == "Bound":
            return
        if VOLUME_FINALIZER in volume.metadata.finalizers:
            await self.drop_finalizer(core.PersistentVolume, volume, VOLUME_FINALIZER)


def users_of_claim(pods: Lister[core.Pod], claim: Key) -> list[core.Pod]:
    """The pods that keep a claim: those on a node that have not ended. ``ClaimProtection`` has made the index."""
    users = pods.by_index(BY_CLAIM, "/".join(claim))
    return [pod for pod in users if pod.spec.nodeName and pod.status.phase not in ("Succeeded", "Failed")]


def claims_of(pod: core.Pod) -> list[str]:
    """The claims a pod uses, as namespace/name."""
    return [f"{pod.metadata.namespace}/{name}" for name in claim_names(pod)]
