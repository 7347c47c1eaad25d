"""Defaults of the storage group.

Counterpart upstream: ``pkg/apis/storage/v1/defaults.go``. ``knarr.api.defaulting`` calls through
``DEFAULTERS``.
"""

from __future__ import annotations

from typing import Any

from knarr.api.storage import v1 as storage


def set_storage_class(storage_class: storage.StorageClass) -> None:
    if storage_class.reclaimPolicy is None:
        storage_class.reclaimPolicy = "Delete"
    if storage_class.volumeBindingMode is None:
        storage_class.volumeBindingMode = "Immediate"


def set_csi_driver(driver: storage.CSIDriver) -> None:
    spec = driver.spec
    if spec.attachRequired is None:
        spec.attachRequired = True
    for field in ("podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"):
        if getattr(spec, field) is None:
            setattr(spec, field, False)
    if spec.fsGroupPolicy is None:
        spec.fsGroupPolicy = "ReadWriteOnceWithFSType"
    if not spec.volumeLifecycleModes:
        spec.volumeLifecycleModes = ["Persistent"]


DEFAULTERS: dict[Any, Any] = {
    storage.CSIDriver: set_csi_driver,
    storage.StorageClass: set_storage_class,
}
