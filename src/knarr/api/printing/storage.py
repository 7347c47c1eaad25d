"""Volumes, claims, storage classes and drivers.

Counterpart upstream: ``printPersistentVolume`` and its siblings. Neighbours: ``columns``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from knarr.api.printing.columns import NONE, UNSET, Printer, access_modes, age, columns, joined, lower_flag

DEFAULT_CLASS_KEYS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def persistent_volume_row(obj: Any, now: datetime) -> list[Any]:
    claim = obj.spec.claimRef
    return [
        obj.metadata.name,
        obj.spec.capacity.get("storage", "0"),
        access_modes(obj.spec.accessModes),
        obj.spec.persistentVolumeReclaimPolicy,
        "Terminating" if obj.metadata.deletionTimestamp else obj.status.phase,
        f"{claim.namespace}/{claim.name}" if claim is not None else "",
        obj.spec.storageClassName,
        UNSET if obj.spec.volumeAttributesClassName is None else obj.spec.volumeAttributesClassName,
        obj.status.reason,
        age(obj, now),
        UNSET if obj.spec.volumeMode is None else obj.spec.volumeMode,
    ]


def claim_row(obj: Any, now: datetime) -> list[Any]:
    bound = bool(obj.spec.volumeName)
    return [
        obj.metadata.name,
        "Terminating" if obj.metadata.deletionTimestamp else obj.status.phase,
        obj.spec.volumeName,
        obj.status.capacity.get("storage", "0") if bound else "",
        access_modes(obj.status.accessModes) if bound else "",
        obj.spec.storageClassName or "",
        obj.spec.volumeAttributesClassName or UNSET,
        age(obj, now),
        UNSET if obj.spec.volumeMode is None else obj.spec.volumeMode,
    ]


def storage_class_row(obj: Any, now: datetime) -> list[Any]:
    annotations = obj.metadata.annotations
    is_default = any(annotations.get(key) == "true" for key in DEFAULT_CLASS_KEYS)
    return [
        f"{obj.metadata.name} (default)" if is_default else obj.metadata.name,
        obj.provisioner,
        obj.reclaimPolicy or "Delete",
        obj.volumeBindingMode or "Immediate",
        bool(obj.allowVolumeExpansion),
        age(obj, now),
    ]


def attachment_row(obj: Any, now: datetime) -> list[Any]:
    return [
        obj.metadata.name,
        obj.spec.attacher,
        obj.spec.source.persistentVolumeName or "",
        obj.spec.nodeName,
        obj.status.attached,
        age(obj, now),
    ]


def csi_driver_row(obj: Any, now: datetime) -> list[Any]:
    spec = obj.spec
    return [
        obj.metadata.name,
        lower_flag(spec.attachRequired if spec.attachRequired is not None else True),
        lower_flag(bool(spec.podInfoOnMount)),
        lower_flag(bool(spec.storageCapacity)),
        joined((request.audience for request in spec.tokenRequests), empty=UNSET),
        lower_flag(bool(spec.requiresRepublish)),
        joined(spec.volumeLifecycleModes, empty=NONE),
        age(obj, now),
    ]


def csi_node_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, len(obj.spec.drivers), age(obj, now)]


def csi_capacity_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, obj.storageClassName, obj.capacity or UNSET, age(obj, now)]


def attributes_class_row(obj: Any, now: datetime) -> list[Any]:
    return [obj.metadata.name, obj.driverName, age(obj, now)]


PRINTERS = (
    Printer(
        "",
        "persistentvolumes",
        columns(
            "Name | Capacity | Access Modes | Reclaim Policy | Status | Claim | StorageClass"
            " | VolumeAttributesClass | Reason | Age | *VolumeMode"
        ),
        persistent_volume_row,
    ),
    Printer(
        "",
        "persistentvolumeclaims",
        columns(
            "Name | Status | Volume | Capacity | Access Modes | StorageClass | VolumeAttributesClass | Age"
            " | *VolumeMode"
        ),
        claim_row,
    ),
    Printer(
        "storage.k8s.io",
        "storageclasses",
        columns(
            "Name | Provisioner | ReclaimPolicy | VolumeBindingMode | AllowVolumeExpansion:boolean | Age"
        ),
        storage_class_row,
    ),
    Printer(
        "storage.k8s.io",
        "volumeattachments",
        columns("Name | Attacher | PV | Node | Attached:boolean | Age"),
        attachment_row,
    ),
    Printer(
        "storage.k8s.io",
        "csidrivers",
        columns(
            "Name | AttachRequired | PodInfoOnMount | StorageCapacity | TokenRequests | RequiresRepublish"
            " | Modes | Age"
        ),
        csi_driver_row,
    ),
    Printer("storage.k8s.io", "csinodes", columns("Name | Drivers:integer | Age"), csi_node_row),
    Printer(
        "storage.k8s.io",
        "csistoragecapacities",
        columns("Name | StorageClassName | Capacity | Age"),
        csi_capacity_row,
    ),
    Printer(
        "storage.k8s.io",
        "volumeattributesclasses",
        columns("Name | DriverName | Age"),
        attributes_class_row,
    ),
)
