"""Which volumes have to be attached to a node before they can be mounted there, and what they are then called. Pure.

The attach/detach controller and the kubelets talk about a volume by its unique name, in ``node.status``. Upstream's counterparts are
``pkg/volume/csi`` and ``pkg/volume/util``.
"""

from __future__ import annotations

import hashlib

from knarr.api.core import v1 as core
from knarr.api.storage import v1 as storage

__all__ = ["attachment_name", "is_attachable", "unique_name"]


def is_attachable(volume: core.PersistentVolume, driver: storage.CSIDriver | None) -> bool:
    """A driver that has not said anything wants its volumes attached."""
    if volume.spec.csi is None:
        return False
    return driver is None or driver.spec.attachRequired is not False


def unique_name(volume: core.PersistentVolume) -> str:
    """What the volume is called in ``volumesAttached`` and ``volumesInUse``."""
    source = volume.spec.csi
    assert source is not None, "only attachable volumes have such a name"
    return f"kubernetes.io/csi/{source.driver}^{source.volumeHandle}"


def attachment_name(volume: core.PersistentVolume, node: str) -> str:
    """The name of the VolumeAttachment of a volume on a node: the same for whoever asks."""
    source = volume.spec.csi
    assert source is not None, "only attachable volumes have such a name"
    return "csi-" + hashlib.sha256(f"{source.volumeHandle}{source.driver}{node}".encode()).hexdigest()
