"""Waiting for what the attach/detach controller does: a volume is mounted only once it is attached to this node.

A pod's attachable volumes are first reported in ``node.status.volumesInUse``, so that nobody takes them away under a pod, then waited for
in ``volumesAttached``. When the pod's volumes have been unmounted, the report ends.

Upstream's counterpart is ``pkg/kubelet/volumemanager``. Neighbours: ``node_registration`` reports, ``pod_sync`` waits here before it prepares
a pod's volumes, ``pod_workers`` says when they are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from knarr.api.core import v1 as core
from knarr.api.core.pod_claims import claim_names, claim_of_volume
from knarr.api.errors import StatusError
from knarr.api.storage import v1 as storage
from knarr.api.storage.attachment import is_attachable, unique_name
from knarr.client.transport import TransportError
from knarr.kit.clock import Clock
from knarr.kubelet.objects import ObjectSource
from knarr.kubelet.volumes.manager import VolumeError

__all__ = ["VolumeAttachments"]

#: As upstream: how often to look, and how long until the pod is tried again.
LOOK_S, TIMEOUT_S = 0.3, 123.0


class VolumeAttachments:
    """``node`` gives the node as last seen; ``report`` asks for a report of its status."""

    def __init__(
        self,
        objects: ObjectSource,
        node: Callable[[], core.Node | None],
        report: Callable[[], None],
        *,
        clock: Clock,
    ) -> None:
        self._objects = objects
        self._node = node
        self._report = report
        self._clock = clock
        self._in_use: dict[str, list[str]] = {}

    def in_use(self, reported: Sequence[str], pods: Sequence[core.Pod] | None) -> list[str]:
        """The unique names of what pods here use or are about to use.

        After a restart not everything is known yet (``pods`` is None until the node's pods are): until then, what was ``reported`` stays.
        """
        names = {name for names in self._in_use.values() for name in names}
        if pods is None or any(claim_names(pod) and pod.metadata.uid not in self._in_use for pod in pods):
            names |= set(reported)
        return sorted(names)

    def released(self, uid: str) -> None:
        """The pod's volumes have been unmounted."""
        if self._in_use.pop(uid, None):
            self._report()

    async def wait(self, pod: core.Pod) -> None:
        """Until all of the pod's attachable volumes are attached. Raises ``VolumeError``."""
        wanted = await self._note(pod)
        until_s = self._clock.monotonic_s() + TIMEOUT_S
        while lacking := self._lacking(wanted):
            if self._clock.monotonic_s() >= until_s:
                names = " ".join(lacking)
                raise VolumeError(
                    f"Unable to attach or mount volumes: unmounted volumes=[{names}], unattached volumes=[{names}], "
                    "failed to process volumes=[]: timed out waiting for the condition"
                )
            await self._clock.sleep(LOOK_S)

    async def keep(self, pod: core.Pod) -> None:
        """The pod runs already: an earlier kubelet has mounted what it uses. Raises ``VolumeError``."""
        if pod.metadata.uid not in self._in_use:
            await self._note(pod)

    async def _note(self, pod: core.Pod) -> dict[str, str]:
        """Have the pod's attachable volumes reported; returns them."""
        if not claim_names(pod):
            return {}
        try:
            wanted = await self._attachable(pod)
        except (StatusError, TransportError) as error:
            raise VolumeError(f"Unable to attach or mount volumes: {error}") from error
        if self._in_use.get(pod.metadata.uid) != list(wanted.values()):
            self._in_use[pod.metadata.uid] = list(wanted.values())
            self._report()
        return wanted

    def _lacking(self, wanted: dict[str, str]) -> list[str]:
        node = self._node()
        if node is None:
            return list(wanted)
        ready = {each.name for each in node.status.volumesAttached} & set(node.status.volumesInUse)
        return [volume for volume, name in wanted.items() if name not in ready]

    async def _attachable(self, pod: core.Pod) -> dict[str, str]:
        """The unique names of the pod's volumes that have to be attached, by the names the pod has for them.

        What is missing or not bound is not waited for here: setting it up says what is wrong with it.
        """
        found: dict[str, str] = {}
        for volume in pod.spec.volumes:
            name = claim_of_volume(pod, volume)
            if not name:
                continue
            claim = await self._objects.get(core.PersistentVolumeClaim, pod.metadata.namespace, name)
            if claim is None or not claim.spec.volumeName:
                continue
            persistent = await self._objects.get(core.PersistentVolume, "", claim.spec.volumeName)
            if persistent is None or persistent.spec.csi is None:
                continue
            driver = await self._objects.get(storage.CSIDriver, "", persistent.spec.csi.driver)
            if is_attachable(persistent, driver):
                found[volume.name] = unique_name(persistent)
        return found
