"""The rules for the core group, by kind.

Counterpart upstream: ``pkg/apis/core/validation``. Neighbours: the modules for pods, services, volumes and
containers beside this one; ``knarr.api.validation`` calls through ``RULES``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knarr.api import codec, names, quantity
from knarr.api.core import pod_validation as pods
from knarr.api.core import service_validation as services
from knarr.api.core import v1 as core
from knarr.api.core.container_validation import STANDARD_RESOURCES
from knarr.api.core.placement_validation import check_node_selector, check_taints
from knarr.api.core.volume_validation import ACCESS_MODES, check_claim_spec, check_host_path
from knarr.api.errors import FieldError, duplicate, field_forbidden, invalid_value, required, too_long
from knarr.api.rules import NOT_NEGATIVE, Rules, each, not_negative, one_of, unchanged

DATA_MAX_BYTES = 1024 * 1024
FROZEN = "field is immutable when `immutable` is set"
RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
QUOTA_SCOPES = (
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
)
NAMESPACE_FINALIZER = "kubernetes"
ACCOUNT_KEY = "kubernetes.io/service-account.name"


def _key_faults(field: str, data: Mapping[str, str]) -> list[FieldError]:
    faults = []
    for key in data:
        faults += each(f"{field}[{key}]", key, names.config_map_key(key))
    return faults


def check_config_map(config_map: core.ConfigMap) -> list[FieldError]:
    faults = _key_faults("data", config_map.data) + _key_faults("binaryData", config_map.binaryData)
    faults += [
        invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData")
        for key in config_map.data
        if key in config_map.binaryData
    ]
    size = sum(len(text.encode()) for text in config_map.data.values())
    size += sum(_decoded_size(text) for text in config_map.binaryData.values())
    return faults + ([too_long("", DATA_MAX_BYTES)] if size > DATA_MAX_BYTES else [])


def _decoded_size(text: str) -> int:
    return len(text) * 3 // 4 - text[-2:].count("=")


def _check_frozen(new: Any, old: Any, fields: tuple[str, ...]) -> list[FieldError]:
    if not old.immutable:
        return []
    faults = [] if new.immutable else [field_forbidden("immutable", FROZEN)]
    return faults + [
        field_forbidden(field, FROZEN) for field in fields if getattr(new, field) != getattr(old, field)
    ]


def check_config_map_update(new: core.ConfigMap, old: core.ConfigMap) -> list[FieldError]:
    return _check_frozen(new, old, ("data", "binaryData"))


#: The keys a secret of a type must have.
SECRET_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def check_secret(secret: core.Secret) -> list[FieldError]:
    faults = _key_faults("data", secret.data)
    if sum(_decoded_size(text) for text in secret.data.values()) > DATA_MAX_BYTES:
        faults.append(too_long("data", DATA_MAX_BYTES))
    for key in SECRET_KEYS.get(secret.type, ()):
        if key not in secret.data:
            faults.append(required(f"data[{key}]"))
    if secret.type == "kubernetes.io/service-account-token" and not secret.metadata.annotations.get(
        ACCOUNT_KEY
    ):
        faults.append(required(f"metadata.annotations[{ACCOUNT_KEY}]"))
    if secret.type == "kubernetes.io/basic-auth" and not {"username", "password"} & set(secret.data):
        faults.append(required("data[username]"))
        faults.append(required("data[password]"))
    return faults


def check_secret_update(new: core.Secret, old: core.Secret) -> list[FieldError]:
    return unchanged("type", new.type, old.type) + _check_frozen(new, old, ("data",))


def check_claim(claim: core.PersistentVolumeClaim) -> list[FieldError]:
    return check_claim_spec("spec", claim.spec)


CLAIM_TEXT = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName "
    "for bound claims"
)


def check_claim_update(new: core.PersistentVolumeClaim, old: core.PersistentVolumeClaim) -> list[FieldError]:
    """A claim may be bound, may grow once bound, and may get the default class it was made without."""
    munged, before = codec.copy(new.spec), codec.copy(old.spec)
    if not before.volumeName:
        before.volumeName = munged.volumeName
    if before.storageClassName is None:
        before.storageClassName = munged.storageClassName
    munged.volumeAttributesClassName = before.volumeAttributesClassName
    faults = []
    if old.status.phase == "Bound":
        munged.resources.requests = before.resources.requests
        now = new.spec.resources.requests.get("storage", "0")
        held = old.status.capacity.get("storage", "0")
        asked = old.spec.resources.requests.get("storage", "0")
        if quantity.compare(now, asked) < 0 and quantity.compare(now, held) <= 0:
            text = "field can not be less than status.capacity"
            faults.append(field_forbidden("spec.resources.requests.storage", text))
    if munged != before:
        faults.append(field_forbidden("spec", f"{CLAIM_TEXT}\n{pods.difference(munged, before)}"))
    return faults


VOLUME_NOT_SOURCES = frozenset(
    {
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    }
)
VOLUME_SOURCES = tuple(f for f in core.PersistentVolumeSpec.__struct_fields__ if f not in VOLUME_NOT_SOURCES)


def check_volume(volume: core.PersistentVolume) -> list[FieldError]:
    spec = volume.spec
    faults: list[FieldError] = [] if spec.accessModes else [required("spec.accessModes")]
    for mode in spec.accessModes:
        faults += one_of("spec.accessModes", mode, ACCESS_MODES)
    if not spec.capacity:
        faults.append(required("spec.capacity"))
    elif set(spec.capacity) != {"storage"}:
        faults.append(
            FieldError(
                "FieldValueNotSupported", "spec.capacity", 'Unsupported value: supported values: "storage"'
            )
        )
    for name, amount in spec.capacity.items():
        if quantity.nanos(amount) <= 0:
            faults.append(invalid_value(f"spec.capacity[{name}]", amount, "must be greater than zero"))
    faults += one_of(
        "spec.persistentVolumeReclaimPolicy", spec.persistentVolumeReclaimPolicy, RECLAIM_POLICIES
    )
    given = [name for name in VOLUME_SOURCES if getattr(spec, name) is not None]
    if not given:
        faults.append(required("spec", "must specify a volume type"))
    for name in given[1:]:
        faults.append(field_forbidden(f"spec.{name}", "may not specify more than 1 volume type"))
    if spec.hostPath is not None:
        faults += check_host_path("spec.hostPath", spec.hostPath)
        if spec.hostPath.path == "/" and spec.persistentVolumeReclaimPolicy == "Recycle":
            text = "may not be 'recycle' for a hostPath mount of '/'"
            faults.append(field_forbidden("spec.persistentVolumeReclaimPolicy", text))
    if spec.local is not None and spec.nodeAffinity is None:
        faults.append(required("spec.nodeAffinity", "Local volume requires node affinity"))
    if spec.nodeAffinity is not None and spec.nodeAffinity.required is not None:
        faults += check_node_selector("spec.nodeAffinity.required", spec.nodeAffinity.required)
    if spec.storageClassName:
        problems = names.dns1123_subdomain(spec.storageClassName)
        faults += each("spec.storageClassName", spec.storageClassName, problems)
    if spec.volumeMode is not None:
        faults += one_of("spec.volumeMode", spec.volumeMode, ("Block", "Filesystem"))
    return faults


def check_volume_update(new: core.PersistentVolume, old: core.PersistentVolume) -> list[FieldError]:
    faults = []
    if any(getattr(new.spec, name) != getattr(old.spec, name) for name in VOLUME_SOURCES):
        text = "spec.persistentvolumesource is immutable after creation"
        faults.append(field_forbidden("spec.persistentvolumesource", text))
    faults += unchanged("spec.volumeMode", new.spec.volumeMode, old.spec.volumeMode)
    if old.spec.nodeAffinity is not None:
        faults += unchanged("spec.nodeAffinity", new.spec.nodeAffinity, old.spec.nodeAffinity)
    return faults


def check_namespace(namespace: core.Namespace) -> list[FieldError]:
    faults = []
    for finalizer in namespace.spec.finalizers:
        problems = names.qualified_name(finalizer)
        if not problems and "/" not in finalizer and finalizer != NAMESPACE_FINALIZER:
            problems = ["name is neither a standard finalizer name nor is it fully qualified"]
        faults += each("spec.finalizers", finalizer, problems)
    return faults


def check_node(node: core.Node) -> list[FieldError]:
    faults = check_taints("metadata.taints", node.spec.taints)
    for name, amount in node.status.capacity.items():
        if quantity.nanos(amount) < 0:
            faults.append(invalid_value(f"status.capacity[{name}]", amount, NOT_NEGATIVE))
    for index, cidr in enumerate(node.spec.podCIDRs):
        faults += services.check_cidr(f"spec.podCIDRs[{index}]", cidr)
    return faults


def check_node_update(new: core.Node, old: core.Node) -> list[FieldError]:
    faults = []
    if old.spec.podCIDRs and new.spec.podCIDRs != old.spec.podCIDRs:
        text = 'node updates may not change podCIDR except from "" to valid'
        faults.append(field_forbidden("spec.podCIDRs", text))
    if old.spec.providerID and new.spec.providerID != old.spec.providerID:
        text = 'node updates may not change providerID except from "" to valid'
        faults.append(field_forbidden("spec.providerID", text))
    return faults


def check_replication_controller(controller: core.ReplicationController) -> list[FieldError]:
    spec = controller.spec
    faults = not_negative("spec.minReadySeconds", spec.minReadySeconds)
    if not spec.selector:
        faults.append(required("spec.selector"))
    faults += not_negative("spec.replicas", spec.replicas)
    if spec.template is None:
        return [*faults, required("spec.template")]
    template_labels = spec.template.metadata.labels
    if spec.selector and not spec.selector.items() <= template_labels.items():
        text = "`selector` does not match template `labels`"
        faults.append(invalid_value("spec.template.metadata.labels", template_labels, text))
    faults += one_of("spec.template.spec.restartPolicy", spec.template.spec.restartPolicy, ("Always",))
    return faults + pods.check_pod_template("spec.template", spec.template)


def check_quota(quota: core.ResourceQuota) -> list[FieldError]:
    faults: list[FieldError] = []
    for name, amount in quota.spec.hard.items():
        here = f"spec.hard[{name}]"
        faults += each(here, name, names.qualified_name(name))
        if quantity.nanos(amount) < 0:
            faults.append(invalid_value(here, amount, NOT_NEGATIVE))
    for scope in quota.spec.scopes:
        if scope not in QUOTA_SCOPES:
            faults.append(invalid_value("spec.scopes", quota.spec.scopes, "unsupported scope"))
    return faults


def check_quota_update(new: core.ResourceQuota, old: core.ResourceQuota) -> list[FieldError]:
    return unchanged("spec.scopes", sorted(new.spec.scopes), sorted(old.spec.scopes))


def check_limit_range(limit_range: core.LimitRange) -> list[FieldError]:
    faults: list[FieldError] = []
    seen: set[str] = set()
    for index, item in enumerate(limit_range.spec.limits):
        here = f"spec.limits[{index}]"
        if item.type in seen:
            faults.append(duplicate(f"{here}.type", item.type))
        seen.add(item.type)
        for name in sorted({*item.min, *item.max, *item.default, *item.defaultRequest}):
            faults += _check_limit(here, item, name)
    return faults


def _check_limit(field: str, item: core.LimitRangeItem, name: str) -> list[FieldError]:
    """The amounts of one resource stand in order: min, default request, default, max."""
    faults = []
    order = (
        ("min", "max"),
        ("min", "defaultRequest"),
        ("defaultRequest", "max"),
        ("defaultRequest", "default"),
    )
    for low, high in (*order, ("default", "max")):
        smaller, larger = getattr(item, low).get(name), getattr(item, high).get(name)
        if smaller is not None and larger is not None and quantity.compare(smaller, larger) > 0:
            text = f"{low} value {smaller} is greater than {high} value {larger}"
            faults.append(invalid_value(f"{field}.{low}[{name}]", smaller, text))
    known = "/" in name or name in STANDARD_RESOURCES or name.startswith("hugepages-")
    if item.type == "Container" and not known:
        text = "must be a standard limit type or fully qualified"
        faults.append(invalid_value(f"{field}.max[{name}]", name, text))
    return faults


def check_event(event: core.Event) -> list[FieldError]:
    namespace = event.involvedObject.namespace
    if namespace and namespace != event.metadata.namespace:
        return [invalid_value("involvedObject.namespace", namespace, "does not match event.namespace")]
    return []


def check_binding(binding: core.Binding) -> list[FieldError]:
    faults = []
    if binding.target.kind not in ("", "Node"):
        faults += one_of("target.kind", binding.target.kind, ("Node", "<empty>"))
    if not binding.target.name:
        faults.append(required("target.name"))
    return faults


def check_pod_template_object(template: core.PodTemplate) -> list[FieldError]:
    return pods.check_pod_template("template", template.template)


RULES: dict[Any, Rules] = {
    core.Binding: Rules(check_binding),
    core.ConfigMap: Rules(check_config_map, check_config_map_update),
    core.Endpoints: Rules(services.check_endpoints),
    core.Event: Rules(check_event),
    core.LimitRange: Rules(check_limit_range),
    core.Namespace: Rules(check_namespace, name=names.dns1123_label),
    core.Node: Rules(check_node, check_node_update),
    core.PersistentVolume: Rules(check_volume, check_volume_update),
    core.PersistentVolumeClaim: Rules(check_claim, check_claim_update),
    core.Pod: Rules(
        pods.check_pod,
        pods.check_pod_update,
        by_subresource={
            "ephemeralcontainers": pods.check_ephemeral_containers_update,
            "resize": pods.check_resize,
        },
    ),
    core.PodTemplate: Rules(check_pod_template_object),
    core.ReplicationController: Rules(check_replication_controller),
    core.ResourceQuota: Rules(check_quota, check_quota_update),
    core.Secret: Rules(check_secret, check_secret_update),
    core.Service: Rules(services.check_service, services.check_service_update, names.dns1035_label),
}
