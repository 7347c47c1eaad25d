"""The rules for a pod's volumes.

Counterpart upstream: ``ValidateVolumes`` and below in ``pkg/apis/core/validation``. Neighbours:
``pod_validation`` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knarr.api import names, quantity
from knarr.api.core import v1 as core
from knarr.api.core.container_validation import check_field_ref, check_resource_field, local_path
from knarr.api.errors import FieldError, duplicate, field_forbidden, invalid_value, required
from knarr.api.rules import each, label_selector, name_field, one_of

HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
DOWNWARD_PATHS = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)
ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
MODE_TEXT = "must be a number between 0 and 0777 (octal), both inclusive"
MODE_MAX = 0o777
TOKEN_MIN_S, TOKEN_MAX_S = 600, 2**32
VOLUME_SOURCES = tuple(field for field in core.Volume.__struct_fields__ if field != "name")


def check_volumes(
    field: str, volumes: Sequence[core.Volume]
) -> tuple[dict[str, core.Volume], list[FieldError]]:
    """The volumes by name, for the mounts, and their faults."""
    by_name: dict[str, core.Volume] = {}
    faults: list[FieldError] = []
    for index, volume in enumerate(volumes):
        here = f"{field}[{index}]"
        problems = name_field(f"{here}.name", volume.name, names.dns1123_label)
        if not problems and volume.name in by_name:
            problems = [duplicate(f"{here}.name", volume.name)]
        faults += problems
        faults += check_source(here, volume)
        by_name[volume.name] = volume
    return by_name, faults


def check_source(field: str, volume: core.Volume) -> list[FieldError]:
    """Exactly one source, and that one right."""
    given = [name for name in VOLUME_SOURCES if getattr(volume, name) is not None]
    if not given:
        return [required(field, "must specify a volume type")]
    faults = [
        field_forbidden(f"{field}.{name}", "may not specify more than 1 volume type") for name in given[1:]
    ]
    checker = CHECKERS.get(given[0])
    if checker is not None:
        faults += checker(f"{field}.{given[0]}", getattr(volume, given[0]))
    return faults


def _mode(field: str, mode: int | None) -> list[FieldError]:
    return [] if mode is None or 0 <= mode <= MODE_MAX else [invalid_value(field, mode, MODE_TEXT)]


def _items(field: str, items: Sequence[core.KeyToPath]) -> list[FieldError]:
    faults: list[FieldError] = []
    for index, item in enumerate(items):
        here = f"{field}[{index}]"
        if not item.key:
            faults.append(required(f"{here}.key"))
        faults += file_path(f"{here}.path", item.path)
        faults += _mode(f"{here}.mode", item.mode)
    return faults


def file_path(field: str, path: str) -> list[FieldError]:
    """Where a file of a volume goes, below the volume."""
    if not path:
        return [required(field)]
    faults = local_path(field, path)
    if path.startswith("..") and not path.startswith("../"):
        faults.append(invalid_value(field, path, "must not start with '..'"))
    return faults


def check_host_path(field: str, source: core.HostPathVolumeSource) -> list[FieldError]:
    if not source.path:
        return [required(f"{field}.path")]
    faults = []
    if ".." in source.path.split("/"):
        faults.append(invalid_value(f"{field}.path", source.path, "must not contain '..'"))
    if source.type:
        faults += one_of(f"{field}.type", source.type, HOST_PATH_TYPES)
    return faults


def _empty_dir(field: str, source: core.EmptyDirVolumeSource) -> list[FieldError]:
    if source.sizeLimit is not None and quantity.nanos(source.sizeLimit) < 0:
        return [field_forbidden(f"{field}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def _secret(field: str, source: core.SecretVolumeSource) -> list[FieldError]:
    faults = [] if source.secretName else [required(f"{field}.secretName")]
    return faults + _mode(f"{field}.defaultMode", source.defaultMode) + _items(f"{field}.items", source.items)


def _config_map(field: str, source: core.ConfigMapVolumeSource) -> list[FieldError]:
    faults = [] if source.name else [required(f"{field}.name")]
    return faults + _mode(f"{field}.defaultMode", source.defaultMode) + _items(f"{field}.items", source.items)


def _claim(field: str, source: core.PersistentVolumeClaimVolumeSource) -> list[FieldError]:
    return [] if source.claimName else [required(f"{field}.claimName")]


def _downward(field: str, source: Any) -> list[FieldError]:
    faults = _mode(f"{field}.defaultMode", getattr(source, "defaultMode", None))
    for index, item in enumerate(source.items):
        here = field  # upstream does not number these
        faults += file_path(f"{here}.path", item.path)
        if item.fieldRef is not None:
            faults += check_field_ref(f"{here}.fieldRef", item.fieldRef, DOWNWARD_PATHS)
            if item.resourceFieldRef is not None:
                text = "fieldRef and resourceFieldRef can not be specified simultaneously"
                faults.append(invalid_value(here, "resource", text))
        elif item.resourceFieldRef is not None:
            if not item.resourceFieldRef.containerName:
                faults.append(required(f"{here}.resourceFieldRef.containerName"))
            faults += check_resource_field(f"{here}.resourceFieldRef", item.resourceFieldRef)
        else:
            faults.append(required(f"{here}[{index}]", "one of fieldRef and resourceFieldRef is required"))
        faults += _mode(f"{here}.mode", item.mode)
    return faults


PROJECTIONS = (
    "secret",
    "configMap",
    "downwardAPI",
    "serviceAccountToken",
    "clusterTrustBundle",
    "podCertificate",
)


def _projected(field: str, source: core.ProjectedVolumeSource) -> list[FieldError]:
    faults = _mode(f"{field}.defaultMode", source.defaultMode)
    for index, projection in enumerate(source.sources):
        here = f"{field}.sources[{index}]"
        given = [name for name in PROJECTIONS if getattr(projection, name) is not None]
        if not given:
            faults.append(required(here, "must specify a source"))
            continue
        faults += [
            field_forbidden(f"{here}.{name}", "may not specify more than 1 volume type per source")
            for name in given[1:]
        ]
        faults += _projection(f"{here}.{given[0]}", given[0], getattr(projection, given[0]))
    return faults


def _projection(field: str, kind: str, source: Any) -> list[FieldError]:
    match kind:
        case "secret" | "configMap":
            faults = [] if source.name else [required(f"{field}.name")]
            return faults + _items(f"{field}.items", source.items)
        case "downwardAPI":
            return _downward(field, source)
        case "serviceAccountToken":
            return _token(field, source)
    return []


def _token(field: str, source: core.ServiceAccountTokenProjection) -> list[FieldError]:
    faults = file_path(f"{field}.path", source.path)
    lifetime_s = source.expirationSeconds
    if lifetime_s is not None and lifetime_s < TOKEN_MIN_S:
        text = "may not specify a duration less than 10 minutes"
        faults.append(invalid_value(f"{field}.expirationSeconds", lifetime_s, text))
    if lifetime_s is not None and lifetime_s > TOKEN_MAX_S:
        text = "may not specify a duration larger than 2^32 seconds"
        faults.append(invalid_value(f"{field}.expirationSeconds", lifetime_s, text))
    return faults


def _nfs(field: str, source: core.NFSVolumeSource) -> list[FieldError]:
    faults = [] if source.server else [required(f"{field}.server")]
    if not source.path:
        faults.append(required(f"{field}.path"))
    elif not source.path.startswith("/"):
        faults.append(invalid_value(f"{field}.path", source.path, "must be an absolute path"))
    return faults


def _csi(field: str, source: core.CSIVolumeSource) -> list[FieldError]:
    return [] if source.driver else [required(f"{field}.driver")]


def _ephemeral(field: str, source: core.EphemeralVolumeSource) -> list[FieldError]:
    if source.volumeClaimTemplate is None:
        return [required(f"{field}.volumeClaimTemplate")]
    return check_claim_spec(f"{field}.volumeClaimTemplate.spec", source.volumeClaimTemplate.spec)


def check_claim_spec(field: str, spec: core.PersistentVolumeClaimSpec) -> list[FieldError]:
    """The spec of a PersistentVolumeClaim, or of a template for one."""
    faults: list[FieldError] = []
    if not spec.accessModes:
        faults.append(required(f"{field}.accessModes", "at least 1 access mode is required"))
    for mode in spec.accessModes:
        faults += one_of(f"{field}.accessModes", mode, ACCESS_MODES)
    if "ReadWriteOncePod" in spec.accessModes and len(spec.accessModes) > 1:
        text = "may not use ReadWriteOncePod with other access modes"
        faults.append(field_forbidden(f"{field}.accessModes", text))
    faults += label_selector(f"{field}.selector", spec.selector)
    size = spec.resources.requests.get("storage")
    if size is None:
        faults.append(required(f"{field}.resources[storage]"))
    elif quantity.nanos(size) <= 0:
        faults.append(invalid_value(f"{field}.resources[storage]", size, "must be greater than zero"))
    if spec.storageClassName:
        problems = names.dns1123_subdomain(spec.storageClassName)
        faults += each(f"{field}.storageClassName", spec.storageClassName, problems)
    if spec.volumeMode is not None:
        faults += one_of(f"{field}.volumeMode", spec.volumeMode, ("Block", "Filesystem"))
    return faults


CHECKERS: dict[str, Any] = {
    "configMap": _config_map,
    "csi": _csi,
    "downwardAPI": _downward,
    "emptyDir": _empty_dir,
    "ephemeral": _ephemeral,
    "hostPath": check_host_path,
    "nfs": _nfs,
    "persistentVolumeClaim": _claim,
    "projected": _projected,
    "secret": _secret,
}
