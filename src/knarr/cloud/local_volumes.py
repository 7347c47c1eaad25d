"""Volumes on a node's own disk: a directory a volume, made where the pod that needs it first is placed.

The controller-manager only names the directory; the kubelet makes it when it mounts it, and the node's
process removes it (``LocalVolumeCleaner``) when the claim
is gone, since only it can reach the node's disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

from knarr.api.core import v1 as core
from knarr.api.errors import StatusError
from knarr.api.meta import v1 as meta
from knarr.api.quantity import Quantity
from knarr.api.storage import v1 as storage
from knarr.client.client import Client
from knarr.client.informer import InformerFactory
from knarr.client.transport import TransportError
from knarr.client.workqueue import WorkQueue
from knarr.cloud.contract import ProviderError
from knarr.kit.clock import Clock
from knarr.kit.log import get_logger

__all__ = ["LocalVolumeCleaner", "LocalVolumes", "default_class"]

log = get_logger("local-volumes")

PROVISIONER = "knarr.dev/local"
CLASS_NAME = "standard"
ROOT = Path("/var/lib/kubelet/local-volumes")
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
HOSTNAME = "kubernetes.io/hostname"


def default_class() -> storage.StorageClass:
    """The storage class a new cluster has."""
    return storage.StorageClass(
        metadata=meta.ObjectMeta(
            name=CLASS_NAME, annotations={"storageclass.kubernetes.io/is-default-class": "true"}
        ),
        provisioner=PROVISIONER,
        reclaimPolicy="Delete",
        volumeBindingMode="WaitForFirstConsumer",
        allowVolumeExpansion=True,
    )


class LocalVolumes:
    """The provisioner."""

    provisioner = PROVISIONER

    async def provision(
        self, claim: core.PersistentVolumeClaim, storage_class: storage.StorageClass, node: core.Node | None
    ) -> core.PersistentVolume:
        if node is None:
            raise ProviderError(
                "a volume on a node's disk needs a node: use volumeBindingMode WaitForFirstConsumer"
            )
        if claim.spec.volumeMode == "Block":
            raise ProviderError("only volumes with a file system can be made here")
        if any(mode in ("ReadWriteMany", "ReadOnlyMany") for mode in claim.spec.accessModes):
            raise ProviderError("a node's disk can be used by one node only, access mode ReadWriteOnce")
        name = f"pvc-{claim.metadata.uid}"
        term = core.NodeSelectorTerm(
            matchExpressions=[
                core.NodeSelectorRequirement(
                    key=HOSTNAME,
                    operator="In",
                    values=[node.metadata.labels.get(HOSTNAME, node.metadata.name)],
                )
            ]
        )
        return core.PersistentVolume(
            metadata=meta.ObjectMeta(name=name),
            spec=core.PersistentVolumeSpec(
                capacity=dict(claim.spec.resources.requests),
                accessModes=list(claim.spec.accessModes),
                volumeMode="Filesystem",
                storageClassName=storage_class.metadata.name,
                persistentVolumeReclaimPolicy=storage_class.reclaimPolicy or "Delete",
                mountOptions=list(storage_class.mountOptions),
                hostPath=core.HostPathVolumeSource(path=str(ROOT / name), type="DirectoryOrCreate"),
                nodeAffinity=core.VolumeNodeAffinity(required=core.NodeSelector(nodeSelectorTerms=[term])),
            ),
        )

    async def expand(self, volume: core.PersistentVolume, size: Quantity) -> bool:
        """A directory has no size of its own: it holds what the node's disk does."""
        return False

    async def remove(self, volume: core.PersistentVolume) -> bool:
        return False


class LocalVolumeCleaner:
    """On each node: removes released volumes' directories, then the objects."""

    def __init__(self, client: Client, factory: InformerFactory, *, node: str, clock: Clock) -> None:
        self._client = client
        self._node = node
        self._clock = clock
        self._queue: WorkQueue[str] = WorkQueue(clock)
        self._volumes = factory.informer(core.PersistentVolume)
        self._volumes.add_handler(lambda event, old, new: self._queue.add((new or old).metadata.name))

    async def run(self) -> None:
        """Clean until cancelled."""
        await self._volumes.wait_synced()
        try:
            while True:
                name = await self._queue.get()
                try:
                    await self._clean(name)
                    self._queue.forget(name)
                except (StatusError, TransportError, OSError) as error:
                    log.warning("volume not removed", volume=name, error=error)
                    self._queue.retry(name)
                finally:
                    self._queue.done(name)
        finally:
            self._queue.close()

    async def _clean(self, name: str) -> None:
        volume = self._volumes.lister.get("", name)
        if volume is None or volume.status.phase != "Released" or not self._is_ours(volume):
            return
        assert volume.spec.hostPath is not None, "checked in _is_ours"
        with contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(shutil.rmtree, volume.spec.hostPath.path)
        await self._client.delete(core.PersistentVolume, name, uid=volume.metadata.uid, missing_ok=True)
        log.info("volume removed", volume=name)

    def _is_ours(self, volume: core.PersistentVolume) -> bool:
        """Made by us, to be deleted, on this node, and nowhere but below our directory."""
        spec = volume.spec
        if volume.metadata.annotations.get(PROVISIONED_BY) != PROVISIONER or spec.hostPath is None:
            return False
        if spec.persistentVolumeReclaimPolicy != "Delete" or spec.hostPath.path != str(
            ROOT / volume.metadata.name
        ):
            return False
        required = spec.nodeAffinity.required if spec.nodeAffinity is not None else None
        return required is not None and any(
            self._node in requirement.values
            for term in required.nodeSelectorTerms
            for requirement in term.matchExpressions
            if requirement.key == HOSTNAME
        )
