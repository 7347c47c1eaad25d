"""Generic ephemeral volumes: the claim that a pod brings along is made when the pod is, and goes with it.

The claim is called ``<pod>-<volume>`` and belongs to the pod, so that the garbage collector takes it away. A claim of that name that
somebody else made is never used: the pod waits, and an event says why.

Upstream's counterpart is ``pkg/controller/volume/ephemeral``. Neighbours: the scheduler waits for the claim, ``claims`` binds it.
"""

from __future__ import annotations

from knarr.api import codec
from knarr.api.core import v1 as core
from knarr.api.core.pod_claims import ephemeral_claim_name, not_for_pod
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.owners import controller_reference
from knarr.client.events import WARNING
from knarr.controllers.framework import Controller, ControllerContext, Key, key_of
from knarr.controllers.volumes.protection import BY_CLAIM, claims_of


class EphemeralVolumeController(Controller):
    name = "ephemeral-volume-controller"

    def __init__(self, context: ControllerContext) -> None:
        super().__init__(context)
        self._pods = self.lister(core.Pod)
        self._pods.add_index(BY_CLAIM, claims_of)
        self._claims = self.lister(core.PersistentVolumeClaim)
        self.informer(core.Pod).add_handler(self._pod_changed)
        self.informer(core.PersistentVolumeClaim).add_handler(self._claim_changed)

    def _pod_changed(self, event: str, old: core.Pod | None, new: core.Pod | None) -> None:
        if old is None and new is not None and _has_ephemeral(new):
            self.queue.add(key_of(new))

    def _claim_changed(
        self, event: str, old: core.PersistentVolumeClaim | None, new: core.PersistentVolumeClaim | None
    ) -> None:
        if new is None and old is not None:
            for pod in self._pods.by_index(BY_CLAIM, "/".join(key_of(old))):
                self.queue.add(key_of(pod))

    async def reconcile(self, key: Key) -> None:
        pod = self._pods.get(*key)
        if pod is None or pod.metadata.deletionTimestamp is not None:
            return
        for volume in pod.spec.volumes:
            if volume.ephemeral is None:
                continue
            held = self._claims.get(pod.metadata.namespace, ephemeral_claim_name(pod, volume))
            try:
                problem = not_for_pod(held, pod) if held is not None else await self._create(pod, volume)
            except StatusError as error:
                self._warn(pod, volume, str(error))
                raise
            if problem:
                # Nothing but the other claim's end helps, and that is an event.
                self._warn(pod, volume, problem)

    async def _create(self, pod: core.Pod, volume: core.Volume) -> str:
        """Make the claim; what stands in the way if another has its name."""
        built = build_claim(pod, volume)
        try:
            await self.client.create(built)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            namespace, name = key_of(built)
            return not_for_pod(await self.client.get(core.PersistentVolumeClaim, name, namespace=namespace), pod)
        return ""

    def _warn(self, pod: core.Pod, volume: core.Volume, problem: str) -> None:
        self.recorder.event(pod, WARNING, "FailedBinding", f"ephemeral volume {volume.name}: {problem}")


def _has_ephemeral(pod: core.Pod) -> bool:
    return any(volume.ephemeral is not None for volume in pod.spec.volumes)


def build_claim(pod: core.Pod, volume: core.Volume) -> core.PersistentVolumeClaim:
    """The claim of a pod's ephemeral volume."""
    assert volume.ephemeral is not None and volume.ephemeral.volumeClaimTemplate is not None, "validated"
    template = volume.ephemeral.volumeClaimTemplate
    own = template.metadata or meta.ObjectMeta()
    return core.PersistentVolumeClaim(
        metadata=meta.ObjectMeta(
            name=ephemeral_claim_name(pod, volume),
            namespace=pod.metadata.namespace,
            labels=dict(own.labels),
            annotations=dict(own.annotations),
            ownerReferences=[controller_reference(pod)],
        ),
        spec=codec.copy(template.spec),
    )
