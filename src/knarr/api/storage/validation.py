"""The rules for storage classes, drivers and attachments.

Counterpart upstream: ``pkg/apis/storage/validation``. ``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

from typing import Any

from knarr.api import names, quantity
from knarr.api.errors import FieldError, duplicate, field_forbidden, invalid_value, required
from knarr.api.rules import (
    NOT_NEGATIVE,
    Rules,
    each,
    label_selector,
    name_field,
    one_of,
    unchanged,
    unchanged_forbidden,
)
from knarr.api.storage import v1 as storage

DRIVER_NAME_MAX = 63


def _driver_name(text: str) -> list[str]:
    if len(text) > DRIVER_NAME_MAX:
        return [f"must be no more than {DRIVER_NAME_MAX} bytes"]
    return names.dns1123_subdomain(text.lower())


def check_class(storage_class: storage.StorageClass) -> list[FieldError]:
    provisioner = storage_class.provisioner
    faults: list[FieldError] = []
    if not provisioner:
        faults.append(required("provisioner"))
    else:
        faults += each("provisioner", provisioner, names.qualified_name(provisioner.lower()))
    policy = storage_class.reclaimPolicy
    if policy is not None:
        faults += one_of("reclaimPolicy", policy, ("Delete", "Retain"))
    for key in storage_class.parameters:
        if not key:
            faults.append(invalid_value("parameters", key, "field can not be empty."))
    mode = storage_class.volumeBindingMode
    return faults + one_of("volumeBindingMode", mode or "", ("Immediate", "WaitForFirstConsumer"))


def check_class_update(new: storage.StorageClass, old: storage.StorageClass) -> list[FieldError]:
    faults: list[FieldError] = []
    for name in ("parameters", "provisioner", "reclaimPolicy"):
        text = f"updates to {name} are forbidden."
        faults += unchanged_forbidden(name, getattr(new, name), getattr(old, name), text=text)
    return faults + unchanged("volumeBindingMode", new.volumeBindingMode, old.volumeBindingMode)


def check_attachment(attachment: storage.VolumeAttachment) -> list[FieldError]:
    spec = attachment.spec
    faults = name_field("spec.attacher", spec.attacher, _driver_name)
    source = spec.source
    if source.persistentVolumeName is None and source.inlineVolumeSpec is None:
        text = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        faults.append(required("spec.source", text))
    elif source.persistentVolumeName is not None and source.inlineVolumeSpec is not None:
        text = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        faults.append(field_forbidden("spec.source", text))
    return faults + name_field("spec.nodeName", spec.nodeName, names.dns1123_subdomain)


def check_attachment_update(new: storage.VolumeAttachment, old: storage.VolumeAttachment) -> list[FieldError]:
    return unchanged("spec", new.spec, old.spec)


def check_driver(driver: storage.CSIDriver) -> list[FieldError]:
    spec = driver.spec
    needed = ("attachRequired", "podInfoOnMount", "storageCapacity")
    faults = [required(f"spec.{name}") for name in needed if getattr(spec, name) is None]
    for index, mode in enumerate(spec.volumeLifecycleModes):
        faults += one_of(f"spec.volumeLifecycleModes[{index}]", mode, ("Ephemeral", "Persistent"))
    choices = ("File", "None", "ReadWriteOnceWithFSType")
    return faults + one_of("spec.fsGroupPolicy", spec.fsGroupPolicy or "", choices)


def check_driver_update(new: storage.CSIDriver, old: storage.CSIDriver) -> list[FieldError]:
    faults: list[FieldError] = []
    for name in ("attachRequired", "volumeLifecycleModes"):
        faults += unchanged(f"spec.{name}", getattr(new.spec, name), getattr(old.spec, name))
    return faults


def check_csi_node(node: storage.CSINode) -> list[FieldError]:
    faults: list[FieldError] = []
    seen: set[str] = set()
    for index, driver in enumerate(node.spec.drivers):
        here = f"spec.drivers[{index}]"
        faults += name_field(f"{here}.name", driver.name, _driver_name)
        if driver.name in seen:
            faults.append(duplicate(f"{here}.name", driver.name))
        seen.add(driver.name)
        if not driver.nodeID:
            faults.append(required(f"{here}.nodeID"))
    return faults


def check_attributes_class(obj: storage.VolumeAttributesClass) -> list[FieldError]:
    return [] if obj.driverName else [required("driverName")]


def check_attributes_class_update(
    new: storage.VolumeAttributesClass, old: storage.VolumeAttributesClass
) -> list[FieldError]:
    faults = unchanged_forbidden(
        "driverName", new.driverName, old.driverName, text="updates to driverName are forbidden."
    )
    return faults + unchanged_forbidden(
        "parameters", new.parameters, old.parameters, text="updates to parameters are forbidden."
    )


def check_capacity(held: storage.CSIStorageCapacity) -> list[FieldError]:
    faults = label_selector("nodeTopology", held.nodeTopology)
    faults += each(
        "storageClassName", held.storageClassName, names.dns1123_subdomain(held.storageClassName)
    )
    for name in ("capacity", "maximumVolumeSize"):
        amount = getattr(held, name)
        if amount is not None and quantity.nanos(amount) < 0:
            faults.append(invalid_value(name, amount, NOT_NEGATIVE))
    return faults


def check_capacity_update(
    new: storage.CSIStorageCapacity, old: storage.CSIStorageCapacity
) -> list[FieldError]:
    faults = unchanged("nodeTopology", new.nodeTopology, old.nodeTopology)
    return faults + unchanged("storageClassName", new.storageClassName, old.storageClassName)


RULES: dict[Any, Rules] = {
    storage.CSIDriver: Rules(check_driver, check_driver_update, _driver_name),
    storage.CSINode: Rules(check_csi_node),
    storage.CSIStorageCapacity: Rules(check_capacity, check_capacity_update),
    storage.StorageClass: Rules(check_class, check_class_update),
    storage.VolumeAttachment: Rules(check_attachment, check_attachment_update),
    storage.VolumeAttributesClass: Rules(check_attributes_class, check_attributes_class_update),
}
