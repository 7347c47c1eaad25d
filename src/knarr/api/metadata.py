"""The rules for ``metadata``, the same for every kind, custom resources included.

Counterpart upstream: ``apimachinery/pkg/api/validation/objectmeta.go``. Neighbours: ``validation`` adds each
kind's own rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knarr.api import names
from knarr.api.errors import FieldError, field_forbidden, invalid_value, required, too_long
from knarr.api.meta import v1 as meta
from knarr.api.rules import NameCheck, each, labels, unchanged

__all__ = ["check_metadata", "check_metadata_update"]

ANNOTATIONS_MAX_BYTES = 256 * 1024
#: Set by the system or once and for all.
IMMUTABLE_FIELDS = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


def check_metadata(metadata: meta.ObjectMeta, *, namespaced: bool, name: NameCheck) -> list[FieldError]:
    """The metadata of one object; ``name`` judges its name."""
    faults: list[FieldError] = []
    if metadata.generateName:
        faults += each(
            "metadata.generateName", metadata.generateName, name(_as_prefix(metadata.generateName))
        )
    if not metadata.name:
        faults.append(required("metadata.name", "name or generateName is required"))
    else:
        faults += each("metadata.name", metadata.name, name(metadata.name))
    faults += _check_namespace(metadata.namespace, namespaced=namespaced)
    if metadata.generation < 0:
        faults.append(
            invalid_value("metadata.generation", metadata.generation, "must be greater than or equal to 0")
        )
    if metadata.labels:
        faults += labels("metadata.labels", metadata.labels)
    if metadata.annotations:
        faults += check_annotations("metadata.annotations", metadata.annotations)
    if metadata.ownerReferences:
        faults += _check_owners(metadata.ownerReferences)
    if metadata.finalizers:
        faults += _check_finalizers(metadata.finalizers)
    return faults


def _check_finalizers(finalizers: list[str]) -> list[FieldError]:
    faults: list[FieldError] = []
    for index, finalizer in enumerate(finalizers):
        faults += each(f"metadata.finalizers[{index}]", finalizer, names.qualified_name(finalizer))
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        text = "finalizer object conflict: orphan and foregroundDeletion cannot both be set"
        faults.append(invalid_value("metadata.finalizers", finalizers, text))
    return faults


def _as_prefix(text: str) -> str:
    # A prefix may end in what a name may not, since something will follow.
    return f"{text[:-1]}a" if len(text) > 1 and text.endswith("-") else text


def _check_namespace(namespace: str, *, namespaced: bool) -> list[FieldError]:
    if not namespaced:
        return [field_forbidden("metadata.namespace", "not allowed on this type")] if namespace else []
    if not namespace:
        return [required("metadata.namespace")]
    return each("metadata.namespace", namespace, names.dns1123_label(namespace))


def check_annotations(field: str, annotations: Mapping[str, str]) -> list[FieldError]:
    faults = []
    size = 0
    for key, value in annotations.items():
        faults += each(field, key, names.qualified_name(key.lower()))
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_MAX_BYTES:
        faults.append(too_long(field, ANNOTATIONS_MAX_BYTES))
    return faults


def _check_owners(references: Sequence[meta.OwnerReference]) -> list[FieldError]:
    faults = []
    controller: str | None = None
    for index, reference in enumerate(references):
        field = f"metadata.ownerReferences[{index}]"
        version = reference.apiVersion.rpartition("/")[2]
        for name, value in (("apiVersion", version), ("kind", reference.kind), ("name", reference.name)):
            if not value:
                text = "version must not be empty" if name == "apiVersion" else "must not be empty"
                faults.append(invalid_value(f"{field}.{name}", value, text))
        if not reference.uid:
            faults.append(invalid_value(f"{field}.uid", reference.uid, "must not be empty"))
        if reference.kind == "Event" and reference.apiVersion in ("v1", "events.k8s.io/v1"):
            text = f"{reference.apiVersion}, Kind=Event is disallowed from being an owner"
            faults.append(invalid_value(field, reference, text))
        if reference.controller:
            this = f"{reference.kind}/{reference.name}"
            if controller is not None:
                text = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{controller} and {this}"
                )
                faults.append(invalid_value("metadata.ownerReferences", references, text))
            controller = controller or this
    return faults


def check_metadata_update(new: meta.ObjectMeta, old: meta.ObjectMeta) -> list[FieldError]:
    """What may never change, and what may only change one way.

    The resource version is the registry's to judge: without one, an update means whatever is there.
    """
    faults: list[FieldError] = []
    if old.deletionTimestamp is not None:
        added = sorted(set(new.finalizers) - set(old.finalizers))
        if added:
            listed = ", ".join(f'"{finalizer}"' for finalizer in added)
            text = (
                "no new finalizers can be added if the object is being deleted, found new finalizers "
                f"[]string{{{listed}}}"
            )
            faults.append(field_forbidden("metadata.finalizers", text))
    if new.generation < old.generation:
        faults.append(invalid_value("metadata.generation", new.generation, "must not be decremented"))
    for field in IMMUTABLE_FIELDS:
        faults += unchanged(f"metadata.{field}", getattr(new, field), getattr(old, field))
    return faults
